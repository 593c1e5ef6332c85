# SPDX-License-Identifier: Apache-2.0
"""The trade-off of one model on one data set: how it is measured, recorded and put into words.

``build`` makes the ``record`` that tradeoff.json holds, of the ``points`` that ``routing_quality``
measures; ``verdict`` and ``summary`` read it, as the report does.
"""

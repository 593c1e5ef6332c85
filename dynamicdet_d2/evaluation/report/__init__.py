# SPDX-License-Identifier: Apache-2.0
"""The report of a trade-off: tables, charts, page and pictures.

``files`` writes them all. What a table shows is in ``columns``, how a chart looks in ``charts``,
and the page in ``templates``.
"""

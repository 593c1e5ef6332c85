# SPDX-License-Identifier: Apache-2.0
"""The report: tables, charts, page and pictures of a trade-off."""

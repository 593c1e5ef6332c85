# SPDX-License-Identifier: Apache-2.0
"""Evaluation: AP at any threshold from one pass, cost and latency of the routes, the report."""

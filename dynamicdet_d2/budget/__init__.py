# SPDX-License-Identifier: Apache-2.0
"""Pure: from what a running stream shows to the threshold that keeps its budget; no clock here."""

from dynamicdet_d2.budget.controller import (
    BudgetController,
    BudgetOutOfReachWarning,
    ImplausibleTimeWarning,
)
from dynamicdet_d2.budget.drift import DifficultyDriftWarning, DriftMonitor

__all__ = [
    "BudgetController",
    "BudgetOutOfReachWarning",
    "DifficultyDriftWarning",
    "DriftMonitor",
    "ImplausibleTimeWarning",
]

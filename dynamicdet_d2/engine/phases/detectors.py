# SPDX-License-Identifier: Apache-2.0
"""Phase "detectors": joint training of both (eq. 9)."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dynamicdet_d2.engine.phases.phase import Phase, Start, Training
from dynamicdet_d2.engine.phases.solver import FIXED_KEYS, OPTIMIZER_KEYS, by_solver_keys
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector


class DetectorsPhase(Phase):
    """Both exits are computed in every step, and L1 + L2 is minimised by the solver's keys."""

    name = "detectors"
    steps_key = "SOLVER.MAX_ITER"
    shown = ("total_loss", "L1", "L2", "loss_gap", "time", "data_time")
    mixed_precision = True
    averaged = True
    optimizer_keys, fixed_keys = OPTIMIZER_KEYS, FIXED_KEYS

    def steps(self, num_images: int) -> int:
        """``SOLVER.MAX_ITER``; 0: weights that have been through the phase are loaded."""
        return self.cfg.SOLVER.MAX_ITER

    def trained(self, model: DynamicDetector) -> list[nn.Module]:
        """Everything but the router."""
        parts = [part for name, part in model.named_children() if name != "router"]
        # A subclass may have parameters of its own beside its parts, such as weights of losses.
        return [*parts, nn.ParameterList(model.parameters(recurse=False))]

    def module(self, model: DynamicDetector, kept: Mapping[str, Any]) -> nn.Module:
        return model

    def build(self, start: Start) -> Training:
        return by_solver_keys(self.cfg, start, self.module(start.model, {}), start.model)

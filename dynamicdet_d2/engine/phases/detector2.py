# SPDX-License-Identifier: Apache-2.0
"""Phase "detector2": a trained detector is kept as it is and gets a hard route."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from dynamicdet_d2.engine.phases.own_parts import check_second
from dynamicdet_d2.engine.phases.phase import Phase, Start, Training
from dynamicdet_d2.engine.phases.solver import FIXED_KEYS, OPTIMIZER_KEYS, by_solver_keys
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.words import shown


class Detector2Phase(Phase):
    """Connections and backbone 2 are trained by L2 alone; all that detector1 uses is frozen.

    A kind of detector with a tail per detector trains the second one as well.

    So the easy route stays the detector that it was, bit for bit. The second exit alone is
    computed in every step. The solver's keys are those of phase "detectors": a plan that has
    both runs ``SOLVER.MAX_ITER`` steps of each, each with the whole schedule.
    """

    name = "detector2"
    steps_key = "SOLVER.MAX_ITER"
    shown = ("total_loss", "L2", "time", "data_time")
    mixed_precision = True
    averaged = True
    optimizer_keys, fixed_keys = OPTIMIZER_KEYS, FIXED_KEYS

    def steps(self, num_images: int) -> int:
        """``SOLVER.MAX_ITER``."""
        return self.cfg.SOLVER.MAX_ITER

    def check(self, model: DynamicDetector) -> None:
        check_second(model)

    def trained(self, model: DynamicDetector) -> list[nn.Module]:
        """What detector2 has for itself.

        Raises:
            ValueError: it is no list of modules.
        """
        parts: Any = model.second_parts()
        found = list(parts) if isinstance(parts, Iterable) else [parts]
        if not all(isinstance(part, nn.Module) for part in found):
            raise ValueError(
                f"second_parts() of {type(model).__name__} gives {shown(parts)}; it must be a list "
                "of modules."
            )
        return found

    def module(self, model: DynamicDetector, kept: Mapping[str, Any]) -> nn.Module:
        return SecondLosses(model, self.trained(model))

    def build(self, start: Start) -> Training:
        module = self.module(start.model, {})
        return by_solver_keys(self.cfg, start, module, start.model.losses_of_second)


class SecondLosses(nn.Module):
    """A batch -> detector2's losses, named as in joint training."""

    def __init__(self, model: DynamicDetector, trained: list[nn.Module]) -> None:
        """
        Args:
            model: frozen but for the parts that train.
            trained: these parts.
        """
        super().__init__()
        self.model = model
        self._trained = trained

    def train(self, mode: bool = True) -> "SecondLosses":
        """Training mode reaches the parts that train: detector1's statistics must not move."""
        self.training = mode
        for part in self._trained:
            part.train(mode)
        return self

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        # A hook that looks at the detector may have left all of it in one mode.
        self.model.eval()
        self.train(self.training)
        return self.model.losses_of_second(batched_inputs)

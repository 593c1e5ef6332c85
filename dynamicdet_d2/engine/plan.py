# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: which phases it has, in which order, and at which iterations."""

from collections.abc import Sequence
from itertools import accumulate

from detectron2.config import CfgNode

from dynamicdet_d2.engine.phases import PHASES, Phase


class Plan:
    """Phases one after the other; iterations are counted through all of them, from 0.

    Attributes:
        phases: in order.
        num_images: size of the training set.
        steps: name -> number of steps.
        ends: name -> the iteration at which the phase ends, its last one plus 1.
        max_iter: iterations of the run.
        ended: name -> the iteration from which on a phase that was ended early is passed over.
    """

    def __init__(self, phases: Sequence[Phase], num_images: int) -> None:
        """
        Args:
            phases: at least one, each of another name.
            num_images: size of the training set.
        """
        self.phases, self.num_images = tuple(phases), num_images
        self.steps = {phase.name: phase.steps(num_images) for phase in phases}
        self.ends = dict(zip(self.steps, accumulate(self.steps.values()), strict=True))
        self.max_iter = sum(self.steps.values())
        self.ended: dict[str, int] = {}

    def at(self, iteration: int) -> Phase:
        """The phase that an iteration belongs to; the last one for those after the end."""
        running = (phase for phase in self.phases if iteration < self.ends[phase.name])
        return next(running, self.phases[-1])

    def passes_over(self, iteration: int) -> bool:
        """Whether nothing happens in an iteration, since its phase was ended before."""
        name = self.at(iteration).name
        return name in self.ended and self.ended[name] <= iteration < self.ends[name]

    def passed_over(self, start: int) -> int:
        """How many iterations from one on nothing happens in."""
        return sum(max(self.ends[n] - max(at, start), 0) for n, at in self.ended.items())

    def start(self, name: str) -> int:
        """The iteration that a phase begins with."""
        return self.ends[name] - self.steps[name]

    def up_to(self, name: str) -> tuple[Phase, ...]:
        """The phases before one of that name, and itself."""
        return self.phases[: list(self.steps).index(name) + 1]

    def named(self, name: str) -> Phase:
        """The phase of that name."""
        return next(phase for phase in self.phases if phase.name == name)


def planned_phases(cfg: CfgNode) -> list[Phase]:
    """The phases that ``SOLVER.PHASES`` names, which ``config.check`` has looked at."""
    return [PHASES[name](cfg) for name in cfg.SOLVER.PHASES]

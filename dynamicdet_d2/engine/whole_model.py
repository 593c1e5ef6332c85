# SPDX-License-Identifier: Apache-2.0
"""What users of a trainer know as its model and its step, in phases that train a part alone."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from dynamicdet_d2.engine.passing import PassingTrainer
from dynamicdet_d2.engine.phases.phase import Phase, Training
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector


class WholeModelTrainer(PassingTrainer):
    """A trainer whose ``model`` is a detector in every phase, and after the last one.

    A phase that trains a part, such as the router, steps a module of its own, which is of no use
    to hooks that evaluate, draw or save, nor to what comes after ``train()``.
    """

    detector: DynamicDetector
    phase: Phase
    training: Training | None
    # A step that a program has set on this very trainer, and the one that stands in its place.
    _given_step: Callable[[], None] | None = None
    _chosen_step: Callable[[], None] | None = None

    def before_train(self) -> None:
        """As Detectron2's; knows of a step that was set since the phase was entered."""
        if self.training is not None:
            self.choose_step()
        super().before_train()

    @property
    def model(self) -> nn.Module:
        """The detector; wrapped for several processes where the phase trains it as a whole."""
        stepped = self._trainer.model
        if self.training is not None and stepped is self.training.module:
            return stepped if _unwrapped(stepped) is self.detector else self.detector
        return stepped

    @model.setter
    def model(self, value: Any) -> None:
        """A wrapper of the detector; until the next phase begins.

        Raises:
            ValueError: it is another model, which no optimizer and no checkpoint would know; or the
                phase trains a part, in the place of which the whole would be stepped.
        """
        if not (isinstance(value, nn.Module) and any(x is self.detector for x in value.modules())):
            raise ValueError(
                f"The model of a {type(self).__name__} cannot be replaced by another one, which "
                "its optimizer and its checkpoints would not know: its build_model gives it."
            )
        if self.training is None or self._trains_all(self.training):
            self._trainer.model = value
        elif value is not self.detector:
            raise ValueError(
                f"The model of a {type(self).__name__} cannot be wrapped in phase "
                f"{self.phase.name}, which trains a part of it: in phase detectors it can."
            )

    def choose_step(self) -> None:
        """A subclass's ``run_step``, or one that is set on the trainer, where it is for the phase.

        Written for the losses of a detector on images, it is asked where the detector is trained as
        a whole, and no iteration is passed over: of what another phase trains it knows nothing.
        """
        found = self.__dict__.pop("run_step", None)
        if found is not self._chosen_step:
            self._given_step = found
        ours = PassingTrainer.run_step
        if self._given_step is None and type(self).run_step is ours:
            return
        own = weakref.ref(self)
        whole = self.training is not None and self._trains_all(self.training)

        def chosen() -> None:
            trainer: Any = own()
            if not whole:
                ours(trainer)
            elif not trainer.plan.passes_over(trainer.iter):
                given = trainer._given_step
                type(trainer).run_step(trainer) if given is None else given()

        self.__dict__["run_step"] = self._chosen_step = chosen

    def _trains_all(self, training: Training) -> bool:
        return _unwrapped(training.module) is self.detector


def _unwrapped(module: Any) -> nn.Module:
    return getattr(module, "module", module)

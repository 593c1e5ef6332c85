# SPDX-License-Identifier: Apache-2.0
"""What users of a trainer know as its model and its step, in phases that train a part alone."""

import functools
import weakref
from collections.abc import Callable
from typing import Any

from detectron2.engine import DefaultTrainer
from torch import nn

from dynamicdet_d2.engine.phases.phase import Training
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector


class WholeModelTrainer(DefaultTrainer):
    """A trainer whose ``model`` is a detector in every phase, and after the last one.

    A phase that trains a part, such as the router, steps a module of its own, which is of no use
    to hooks that evaluate, draw or save, nor to what comes after ``train()``.
    """

    detector: DynamicDetector
    training: Training | None

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
            ValueError: it is another model, which no optimizer and no checkpoint would know.
        """
        if not (isinstance(value, nn.Module) and any(x is self.detector for x in value.modules())):
            raise ValueError(
                f"The model of a {type(self).__name__} cannot be replaced by another one, which "
                "its optimizer and its checkpoints would not know: its build_model gives it."
            )
        self._trainer.model = value

    def choose_step(self, ours: Callable) -> None:
        """A subclass's ``run_step`` is asked where the detector is trained as a whole.

        Written for the losses of a detector on images, it would know nothing of what another phase
        trains, and on what.

        Args:
            ours: the step that is taken elsewhere.
        """
        self.__dict__.pop("run_step", None)
        if type(self).run_step is not ours and _unwrapped(self._trainer.model) is not self.detector:
            self.__dict__["run_step"] = functools.partial(ours, weakref.proxy(self))


def _unwrapped(module: Any) -> nn.Module:
    return getattr(module, "module", module)

# SPDX-License-Identifier: Apache-2.0
"""What an entry of a run's plan says of itself, and what it is built from.

The trainer, its hooks and the log know this much and no names of phases: a further phase is a file
beside this one and its place in ``phases/__init__.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector


@dataclass(frozen=True)
class Stream:
    """Where a phase's images come from.

    Attributes:
        images: the training set in Detectron2's format.
        seed: of the run.
        step: steps of this phase that are made.
        batches: batches that were taken for them; a step of a user's own may take several.
            None: as many as steps.
    """

    images: Sequence[dict]
    seed: int
    step: int
    batches: int | None = None

    @property
    def begun_at(self) -> int:
        """The batch that the stream goes on with."""
        return self.step if self.batches is None else self.batches


@dataclass(frozen=True)
class Start:
    """What a phase is built from, at the step that it starts or resumes at.

    Attributes:
        model: frozen, and in evaluation mode, but for the parameters that the phase trains.
        stream: where its images come from.
        builders: the trainer's class; its ``build_train_loader``, ``build_optimizer`` and
            ``build_lr_scheduler`` are asked, so that a subclass can override them.
        table: with the columns that the phase asked for.
    """

    model: DynamicDetector
    stream: Stream
    builders: type[DefaultTrainer]
    table: LossTable


@dataclass(frozen=True)
class Training:
    """What is trained, on what, by what.

    Attributes:
        module: maps a batch to a dict of losses; wrapped for several processes where it has to
            be. Its ``train()`` wakes what trains in this phase and nothing else.
        loader: batches from the step on that the phase was built at.
        optimizer: of the parameters that train.
        scheduler: stepped after every step; None: a constant learning rate.
        statistics: the scalars of a step, by name -> further scalars for log and metrics.
        kept: what the phase's ``module`` needs beside the model, in tensors and plain types, for
            the file of a step that failed.
        finish: called after the phase's last step, before that is saved.
    """

    module: nn.Module
    loader: Iterable
    optimizer: Optimizer
    scheduler: LRScheduler | None
    statistics: Callable[[Mapping[str, float]], dict[str, float]]
    kept: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[], None] | None = None


class Phase(ABC):
    """One entry of the plan of a run.

    Attributes:
        name: in the log, in checkpoints and in ``SOLVER.PHASES``.
        steps_key: the key that the number of its steps comes from.
        shown: scalars that its lines in the log show; all are in metrics.json and TensorBoard.
        mixed_precision: whether ``SOLVER.AMP`` applies to it.
        averaged: whether ``SOLVER.EMA`` applies to it.
        constant_rate: whether its learning rate is the one that ``build`` gives from each step on,
            and not a checkpoint's: what is learnt may be chosen anew with a rate of its own.
        optimizer_keys: keys that its optimizer is made by and that its checkpoints keep: of a run
            that resumes in it or behind it, the run's own values hold.
        fixed_keys: keys that a run which resumes in it cannot change.
    """

    name: ClassVar[str]
    steps_key: ClassVar[str]
    shown: ClassVar[tuple[str, ...]]
    mixed_precision: ClassVar[bool] = False
    averaged: ClassVar[bool] = False
    constant_rate: ClassVar[bool] = False
    optimizer_keys: ClassVar[tuple[str, ...]] = ()
    fixed_keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the loss table, beside the router's inputs; none: no pass.

        It is measured before the first step.

        The table is of the detectors as they are then, so a phase that has some is the last.
        """
        return ()

    @abstractmethod
    def steps(self, num_images: int) -> int:
        """How many steps it has, >= 0, for a training set of that size."""

    def check(self, model: DynamicDetector) -> None:
        """Before the run's first step: refuse a model that the phase cannot train as it is.

        Raises:
            ValueError: naming a part of a program's own.
        """
        return

    def prepare(self, model: DynamicDetector, images: Sequence[dict]) -> None:
        """Whatever comes before its first step, and before its columns are measured.

        Args:
            model: frozen.
            images: the training set in Detectron2's format.
        """
        return

    @abstractmethod
    def trained(self, model: DynamicDetector) -> list[nn.Module]:
        """The parts that train; all else is frozen, parameters and statistics.

        A parameter that was built frozen (``FREEZE_AT``) stays so.
        """

    @abstractmethod
    def module(self, model: DynamicDetector, kept: Mapping[str, Any]) -> nn.Module:
        """What maps a batch to losses.

        Args:
            model: frozen but for what the phase trains.
            kept: see ``Training``.
        """

    @abstractmethod
    def build(self, start: Start) -> Training:
        """What the trainer runs, from ``start.stream.step`` on."""

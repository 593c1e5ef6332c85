# SPDX-License-Identifier: Apache-2.0
"""What a kind of detector says about all that follows the backbones.

N: images of a batch.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from detectron2.config import CfgNode
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dynamicdet_d2.modeling.batch import Batch
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.tail_pass import TailPass
from dynamicdet_d2.operating_point.point import OperatingPoint
from dynamicdet_d2.parts import Part, Regions
from dynamicdet_d2.utils.own_code import own_methods

# What takes the number of a detector, or makes the passes of both.
_TOLD_WHOSE = ("pyramid", "predictions", "proposals", "detections", "second_pass", "pass_type")


class Tails(ABC):
    """The tails of detector1 and detector2: each a neck, which makes a pyramid, and heads.

    Methods take the number of the detector, 1 or 2, whose tail is meant.
    """

    operating_point: OperatingPoint

    def __init_subclass__(cls, **options: Any) -> None:
        """
        Raises:
            TypeError: a method in the place of a property, which would be true whatever it says; or
                one that takes less than what it overrides is called with.
        """
        super().__init_subclass__(**options)
        for name in ("shared_neck", "shared_heads", "shared_tail", "heads", "regions"):
            if callable(vars(cls).get(name)):
                raise TypeError(f"{name} of {cls.__name__} must be a property, and is a method.")
        for name in ("pyramid", "losses", "detections"):
            if inspect.isfunction(own := vars(cls).get(name)):
                _check_takes_as_many(own, getattr(super(cls, cls), name))

    @property
    def shared_neck(self) -> bool:
        """Whether both detectors have one and the same neck."""
        return True

    @property
    def shared_heads(self) -> bool:
        """Whether both detectors have one and the same set of heads."""
        return True

    @property
    def shared_tail(self) -> bool:
        """Whether a batch's features pass neck and heads once, whatever their routes; otherwise
        each route's images pass their own.

        They do not where a method of a program's own is told whose images it is given.
        """
        return self.shared_neck and self.shared_heads and not own_methods(self, _TOLD_WHOSE)

    @classmethod
    def check_shared(cls, cfg: CfgNode) -> None:
        """
        Raises:
            ValueError: detector2 is to have a neck or heads of its own, and this kind has but one.
        """
        for key, name in (("SHARE_NECK", "shared_neck"), ("SHARE_HEADS", "shared_heads")):
            if not cfg.MODEL.COMPOSITE[key] and getattr(cls, name) is getattr(Tails, name):
                raise ValueError(
                    f"MODEL.COMPOSITE.{key} is False, but both detectors of a {cls.__name__} have "
                    "one and the same: a kind that can have two is a SharableTail."
                )

    pass_type: ClassVar[type[TailPass]] = TailPass
    """The steps of a tail that can be taken one at a time."""

    @classmethod
    @abstractmethod
    def num_classes_key(cls, cfg: CfgNode) -> str:
        """Dotted name of the config key that holds the number of classes."""

    @property
    def known_classes(self) -> int | None:
        """Classes that ground truth and detections are held against; None where neither the heads
        nor the detector itself say."""
        found = (getattr(part, "num_classes", None) for part in (*self.heads, self))
        return next((number for number in found if number is not None), None)

    @property
    def learnt_fields(self) -> tuple[str, ...]:
        """Fields of ground truth that the heads learn beside boxes and classes."""
        fields = {"mask_on": "gt_masks", "keypoint_on": "gt_keypoints"}
        asked = (name for name in fields if any(getattr(x, name, False) for x in self.heads))
        return tuple(fields[name] for name in asked)

    @abstractmethod
    def pyramid(self, detector: int, features: Features) -> Features:
        """The neck: the backbone's features by level -> what the heads read, by level."""

    @abstractmethod
    def predictions(self, detector: int, pyramid: Features) -> object:
        """What the heads predict at every position of the pyramid."""

    @abstractmethod
    def losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        """Losses of a step of joint training: scalars by name, means over the batch."""

    def image_losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        """Losses of a batch of one image, a function of that image alone; no state changes.

        Called in evaluation mode, with an ``EventStorage`` that nobody reads.
        """
        return self.losses(detector, batch, pyramid)

    @abstractmethod
    def detections(
        self, detector: int, images: ImageList, pyramid: Features, limits: Sequence[int]
    ) -> list[Instances]:
        """N images' detections, in pixels of the network's input.

        Args:
            limits: candidates that are kept of each image, the best ones (proposals of two-stage
                detectors); 0: as many as the heads' own settings say.
        """

    @classmethod
    def objectness_channels(cls, cfg: CfgNode) -> int:
        """Predictions per position that ``objectness`` gives; 0 where a kind has none."""
        return 0

    def objectness(self, detector: int, pyramid: Features) -> dict[int, Tensor]:
        """How likely it is that a position shows an object.

        Returns:
            stride in pixels -> logits (N, ``objectness_channels``, H, W).

        Raises:
            NotImplementedError: where ``objectness_channels`` is 0.
        """
        raise NotImplementedError

    @abstractmethod
    def tail_parts(self) -> tuple[Part, ...]:
        """The parts of the tail, or of both with the route of each."""

    @property
    @abstractmethod
    def heads(self) -> tuple[nn.Module, ...]:
        """Modules whose plain settings, such as score thresholds, decide on detections."""

    @property
    def regions(self) -> Regions | None:
        """What ROI heads are called with; None without them."""
        return None


def _check_takes_as_many(own: Callable, overridden: Callable) -> None:
    taken, needed = inspect.signature(own), inspect.signature(overridden)
    try:
        taken.bind(*needed.parameters)
    except TypeError:
        raise TypeError(
            f"{own.__qualname__} takes {tuple(taken.parameters)}; it is called with as many as "
            f"{overridden.__qualname__} takes: {tuple(needed.parameters)}."
        ) from None

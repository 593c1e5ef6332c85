# SPDX-License-Identifier: Apache-2.0
"""A batch on its way through the tail of one detector, as far as anyone has asked.

N: images of the batch; M: some of them.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from detectron2.structures import ImageList, Instances

from dynamicdet_d2.modeling import routing
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.tail_pyramid import pyramid_of_tail
from dynamicdet_d2.modeling.tail_results import detections_of_tail

if TYPE_CHECKING:
    from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
    from dynamicdet_d2.modeling.tails import Tails


class TailPass:
    """Each step is taken when its result is first asked for, and once.

    So what the router has looked at is not computed again for the images that go on from there.

    Attributes:
        steps: names of the results, in the order of the steps.
        features: F1 or F2 by level, (N, C, H, W): what the first step starts from.
    """

    steps: ClassVar[tuple[str, ...]] = ("pyramid", "detections")

    def __init__(
        self, tails: "Tails", detector: int, images: ImageList, features: Features
    ) -> None:
        """
        Args:
            tails: whose methods take the steps.
            detector: 1 or 2.
            images: N, normalised and padded.
            features: the detector's, by level.
        """
        self.tails, self.detector = tails, detector
        self.images, self.features = images, features

    @cached_property
    def pyramid(self) -> Features:
        """The neck's features by level."""
        return pyramid_of_tail(self.tails, self.detector, self.features)

    @cached_property
    def detections(self) -> list[Instances]:
        """N images' detections, in pixels of the network's input."""
        return detections_of_tail(self.tails, self.detector, self.images, self.pyramid, self.limits)

    @property
    def limits(self) -> list[int]:
        """Candidates kept of each of N images, which all leave by this detector."""
        return [self.tails.operating_point.limit(self.detector)] * len(self.images)

    def before(self, step: str) -> "TailPass":
        """A pass of the same images that shares all steps before one, which it has not taken."""
        earlier = self.steps[: self.steps.index(step)]
        other = type(self)(self.tails, self.detector, self.images, self.features)
        vars(other).update({name: getattr(self, name) for name in earlier})
        return other

    def select(self, indices: Sequence[int]) -> "TailPass":
        """The pass of some images, with the steps that were taken; itself where that is all.

        Args:
            indices: M positions, ascending.
        """
        chosen = self.restart(indices)
        if chosen is not self:
            taken = {name: value for name, value in vars(self).items() if name in self.steps}
            vars(chosen).update({k: _select(value, indices) for k, value in taken.items()})
        return chosen

    def restart(self, indices: Sequence[int]) -> "TailPass":
        """The pass of some images before its first step; itself where that is all."""
        if len(indices) == len(self.images):
            return self
        index = routing.on_device(indices, self.images.tensor.device)
        images = routing.select_images(self.images, indices, index)
        return type(self)(self.tails, self.detector, images, routing.select(self.features, index))


class ProposalPass(TailPass):
    """The pass of a two-stage detector."""

    tails: "DynamicRCNN"
    steps = ("pyramid", "proposals", "detections")

    @cached_property
    def proposals(self) -> list[Instances]:
        """N images' proposals, in pixels of the network's input."""
        return self.tails.proposals(self.detector, self.images, self.pyramid)

    @cached_property
    def detections(self) -> list[Instances]:
        seen = self.images, self.pyramid, self.limits, self.proposals
        return detections_of_tail(self.tails, self.detector, *seen)


def _select(result: Any, indices: Sequence[int]) -> Any:
    """Of tensors by level, or of a list of what each image has."""
    if isinstance(result, dict):
        device = next(iter(result.values())).device
        return routing.select(result, routing.on_device(indices, device))
    return [result[i] for i in indices]

# SPDX-License-Identifier: Apache-2.0
"""A batch on its way through a dynamic detector.

N: images of the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from detectron2.modeling import detector_postprocess
from detectron2.structures import ImageList, Instances
from torch import Tensor

from dynamicdet_d2.modeling.given import checked_ground_truth, image_name, original_size
from dynamicdet_d2.modeling.own_fields import with_own_fields
from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.modeling.tail_pass import TailPass

# What Detectron2 scales in place of detections, which may be read again, and of ground truth.
_FOUND, _LEARNT = ("pred_boxes", "pred_keypoints"), ("gt_boxes",)


class FirstPass(NamedTuple):
    """A batch at the point where routes are decided; whatever follows goes on from here.

    What a router comes to read beside F1 belongs here too, so that nothing is computed twice.

    Attributes:
        seen: detector1's pass, with F1 and all that the router has looked at.
        start: what backbone 2 starts from, of N images.
        difficulties: (N,), in (0, 1), 1 = hard.
    """

    seen: TailPass
    start: Tensor
    difficulties: Tensor


@dataclass(frozen=True)
class Batch:
    """Images with ground truth.

    Attributes:
        inputs: Detectron2's dicts, N of them.
        images: (N, 3, H, W), normalised and padded.
        gt_instances: N, on the model's device.
    """

    inputs: list[dict]
    images: ImageList
    gt_instances: list[Instances]

    @classmethod
    def of(
        cls,
        inputs: list[dict],
        images: ImageList,
        num_classes: int | None = None,
        learnt: Sequence[str] = (),
    ) -> "Batch":
        """The batch of Detectron2's dicts, which must have ``"instances"``.

        Args:
            num_classes: of the model; None: classes are not looked at.
            learnt: fields of ground truth beside boxes and classes, such as "gt_masks".

        Raises:
            ValueError: naming the first image whose ground truth is missing or malformed.
        """
        found = [
            checked_ground_truth(x, place, size, num_classes, learnt)
            for place, (x, size) in enumerate(zip(inputs, images.image_sizes, strict=True))
        ]
        return cls(inputs, images, [x.to(images.tensor.device) for x in found])

    def one(self, i: int) -> "Batch":
        """The batch of the i-th image alone, padded as here."""
        image = ImageList(self.images.tensor[i : i + 1], self.images.image_sizes[i : i + 1])
        return Batch(self.inputs[i : i + 1], image, self.gt_instances[i : i + 1])

    def with_own_places(self) -> "Batch":
        """The same images, with ground truth whose boxes may be scaled in place."""
        return replace(self, gt_instances=[with_own_fields(x, _LEARNT) for x in self.gt_instances])


def checked_difficulties(difficulties: list[float], batched_inputs: Sequence[dict]) -> list[float]:
    """The N difficulties themselves: a NaN would send its image the easy way without a word.

    Raises:
        ValueError: naming the image whose difficulty is not finite.
    """
    for place, (difficulty, source) in enumerate(zip(difficulties, batched_inputs, strict=True)):
        if not math.isfinite(difficulty):
            raise ValueError(
                f"The difficulty of image {image_name(source, place).removeprefix('Image ')} is "
                f"{difficulty}: its pixels or the model's weights are not finite."
            )
    return difficulties


def postprocessed(
    results: list[Instances], batched_inputs: list[dict], images: ImageList
) -> list[Instances]:
    """N images' detections in pixels of the original images, masks too.

    Args:
        results: in pixels of the network's input.
        batched_inputs: Detectron2's dicts, with ``"height"`` and ``"width"`` of the original
            where it is not the network's input.
        images: the network's input.

    Raises:
        ValueError: naming the image whose size is none.
    """
    sizes = [
        original_size(x, place, size)
        for place, (x, size) in enumerate(zip(batched_inputs, images.image_sizes, strict=True))
    ]
    return [
        detector_postprocess(with_own_fields(found, _FOUND), *size)
        for found, size in zip(results, sizes, strict=True)
    ]


def routed_outputs(
    instances: list[Instances], difficulties: list[float], threshold: float
) -> list[dict]:
    """What a dynamic detector says about N images, in Detectron2's form."""
    return [
        {"instances": x, "difficulty": d, "route": route_name(d, threshold)}
        for x, d in zip(instances, difficulties, strict=True)
    ]

# SPDX-License-Identifier: Apache-2.0
"""A batch on its way through a dynamic detector.

N: images of the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from detectron2.modeling import detector_postprocess
from detectron2.structures import ImageList, Instances
from torch import Tensor

from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.modeling.tail_pass import TailPass


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
    def of(cls, inputs: list[dict], images: ImageList) -> "Batch":
        """The batch of Detectron2's dicts, which must have ``"instances"``.

        Raises:
            ValueError: naming the first image that has none.
        """
        missing = [x for x in inputs if "instances" not in x]
        if missing:
            name = missing[0].get("file_name", "an image")
            raise ValueError(f"Losses need ground truth, but {name} came without 'instances'.")
        return cls(inputs, images, [x["instances"].to(images.tensor.device) for x in inputs])

    def one(self, i: int) -> "Batch":
        """The batch of the i-th image alone, padded as here."""
        image = ImageList(self.images.tensor[i : i + 1], self.images.image_sizes[i : i + 1])
        return Batch(self.inputs[i : i + 1], image, self.gt_instances[i : i + 1])


def checked_images(batched_inputs: Sequence[dict], pixel_mean: Tensor) -> list[Tensor]:
    """The images of Detectron2's dicts, (C, H, W) each, on the device of the mean.

    Args:
        batched_inputs: one at least.
        pixel_mean: (C, 1, 1).

    Raises:
        ValueError: naming the image that is none, has another number of channels, or has values
            that are not finite. Values are looked at in the main memory alone: the results of a
            GPU are looked at later, when they are waited for anyway.
    """
    if not isinstance(batched_inputs, list | tuple) or not batched_inputs:
        raise ValueError(
            "A detector takes a list of dicts, one an image, with 'image'; it was given "
            f"{type(batched_inputs).__name__ if batched_inputs else 'no image'}."
        )
    return [
        _checked_image(x, place, len(pixel_mean)).to(pixel_mean.device)
        for place, x in enumerate(batched_inputs)
    ]


def _checked_image(source: Any, place: int, channels: int) -> Tensor:
    image = source.get("image") if isinstance(source, dict) else None
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != channels:
        found = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"{image_name(source, place)} is {found}, where a tensor ({channels}, H, W) belongs "
            "under 'image'."
        )
    if not image.numel():
        raise ValueError(f"{image_name(source, place)} has no pixels: {tuple(image.shape)}.")
    if image.is_floating_point() and image.device.type == "cpu":
        # One number says it of all: infinity stays infinite or becomes NaN in a sum.
        if not torch.isfinite(image.sum(dtype=torch.float32)):
            raise ValueError(f"{image_name(source, place)} has pixels that are not finite.")
    return image


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


def image_name(source: Any, place: int) -> str:
    """How a sentence that begins with it calls the image of one of Detectron2's dicts."""
    known = source if isinstance(source, dict) else {}
    if "file_name" in known:
        known_id = f" (id {known['image_id']!r})" if "image_id" in known else ""
        return f"Image {known['file_name']}{known_id}"
    return f"Image {known['image_id']!r}" if "image_id" in known else f"Image {place} of the batch"


def postprocessed(
    results: list[Instances], batched_inputs: list[dict], images: ImageList
) -> list[Instances]:
    """N images' detections in pixels of the original images, masks too.

    Args:
        results: in pixels of the network's input.
        batched_inputs: Detectron2's dicts, with ``"height"`` and ``"width"`` of the original
            where it is not the network's input.
        images: the network's input.
    """
    return [
        detector_postprocess(found, x.get("height", size[0]), x.get("width", size[1]))
        for found, x, size in zip(results, batched_inputs, images.image_sizes, strict=True)
    ]


def routed_outputs(
    instances: list[Instances], difficulties: list[float], threshold: float
) -> list[dict]:
    """What a dynamic detector says about N images, in Detectron2's form."""
    return [
        {"instances": x, "difficulty": d, "route": route_name(d, threshold)}
        for x, d in zip(instances, difficulties, strict=True)
    ]

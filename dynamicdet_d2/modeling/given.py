# SPDX-License-Identifier: Apache-2.0
"""What a model is given, looked at before anything is computed from it.

Values are looked at where they can be without waiting: in the main memory.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks
from torch import Tensor

from dynamicdet_d2.utils.words import named_image, shown

logger = logging.getLogger(__name__)

_NO_PIXELS = (torch.bool, torch.complex32, torch.complex64, torch.complex128)
# What is normalised by the statistics of ImageNet is below 2.7; of what only its mean is taken off,
# dark pixels are below -100. Every so many pixels are looked at.
_MOST_PREPARED, _LEAST, _SOME = 3.0, -30.0, 8
# Resizing may go beyond 255 a little; ten bits begin at 256 and end at 1023.
_MOST = 400.0
# Of what models learn beside boxes and classes.
_KINDS = {"gt_masks": (PolygonMasks, BitMasks), "gt_keypoints": (Keypoints,)}
# More pixels a side are those of no image.
_LARGEST_SIDE = 1 << 20


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
    listed = isinstance(batched_inputs, list | tuple)
    if not listed or not batched_inputs:
        raise ValueError(
            "A detector takes a list of dicts, one an image, with 'image'; it was given "
            f"{'no image' if listed or batched_inputs is None else type(batched_inputs).__name__}."
        )
    images = [
        _checked_image(x, place, len(pixel_mean)).to(pixel_mean.device)
        for place, x in enumerate(batched_inputs)
    ]
    # What is finer than the model would make all that follows so.
    return [x.to(pixel_mean.dtype) if x.dtype == torch.float64 else x for x in images]


def given_instances(given: Any, num_images: int, device: torch.device) -> list[Instances]:
    """Detections that a caller gives to ``inference``, on the device.

    Raises:
        ValueError: they are no list of ``Instances``, one an image.
    """
    listed = isinstance(given, list | tuple) and all(isinstance(x, Instances) for x in given)
    if not listed or len(given) != num_images:
        found = f"{len(given)} for {num_images} images" if listed else shown(given)
        raise ValueError(
            f"detected_instances must be a list of Instances, one an image; found {found}."
        )
    return [x.to(device) for x in given]


def _checked_image(source: Any, place: int, channels: int) -> Tensor:
    if not isinstance(source, dict):  # as torchvision's detectors take their images
        raise ValueError(
            f"{image_name(source, place)} is {type(source).__name__}, where a dict belongs, with a "
            f"tensor ({channels}, H, W) under 'image'."
        )
    image = source.get("image")
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != channels:
        found = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"{image_name(source, place)} is {found}, where a tensor ({channels}, H, W) belongs "
            "under 'image'."
        )
    if image.layout != torch.strided or image.is_meta or image.dtype in _NO_PIXELS:
        raise ValueError(
            f"{image_name(source, place)} is a tensor of {image.dtype}, {image.layout}, on "
            f"{image.device}; its pixels must be whole or floating point numbers, in memory."
        )
    if not image.numel():
        raise ValueError(f"{image_name(source, place)} has no pixels: {tuple(image.shape)}.")
    if image.is_floating_point() and image.device.type == "cpu":
        # One number says it of all: infinity stays infinite or becomes NaN in a sum.
        if not torch.isfinite(image.sum(dtype=torch.float32)):
            raise ValueError(f"{image_name(source, place)} has pixels that are not finite.")
    if image.dtype != torch.uint8 and image.device.type == "cpu":
        doubt = _doubt_of_pixels(image[:, ::_SOME, ::_SOME].float())
        if doubt:
            _say_pixels(doubt)
    return image


def _doubt_of_pixels(some: Tensor) -> str:
    """What is hardly meant of some pixels, which are from 0 to 255; a frame may be black."""
    if some.amax() > _MOST:
        return f"above {_MOST:g}, as if they were of more than 8 bits"
    prepared = some.amax() <= _MOST_PREPARED and (some % 1 != 0).any()
    if prepared or some.amin() < _LEAST:
        return (
            f"of {_MOST_PREPARED:g} at most or below {_LEAST:g}, as if they were divided by 255, "
            "normalised or had a mean taken off, by a mapper for one"
        )
    return ""


@cache  # of a stream, once
def _say_pixels(doubt: str) -> None:
    logger.warning(
        "Images have pixels %s: a detector takes them from 0 to 255, and normalises them itself.",
        doubt,
    )


def image_name(source: Any, place: int) -> str:
    """How a sentence that begins with it calls the image of one of Detectron2's dicts."""
    return named_image(source, f"Image {place} of the batch")


def checked_ground_truth(
    source: dict,
    place: int,
    size: tuple[int, int],
    num_classes: int | None,
    learnt: Sequence[str],
) -> Instances:
    """The ground truth of one of Detectron2's dicts, on the device where it is.

    Args:
        place: of the image in its batch.
        size: height and width of the image in pixels.
        num_classes: of the model; None: classes are not looked at.
        learnt: fields that objects must have beside boxes and classes.

    Raises:
        ValueError: naming the image, and what is missing or malformed.
    """
    if "instances" not in source:
        raise ValueError(
            f"{image_name(source, place)} came without 'instances'; losses, which a model in "
            "training mode gives, need ground truth."
        )
    given = source["instances"]
    fault = _fault(given, size, num_classes, learnt)
    if fault is not None:
        raise ValueError(f"{image_name(source, place)} has ground truth {fault}.")
    boxes = given.gt_boxes.tensor
    if boxes.device.type == "cpu" and len(boxes):
        doubt = _doubt(boxes, size)
        if doubt:
            _say_doubt(doubt)
    return given


def _doubt(boxes: Tensor, size: tuple[int, int]) -> str:
    """What is hardly meant of boxes (n, 4), which Detectron2's mapper cuts and leaves out."""
    if not (boxes[:, :2] < boxes[:, 2:]).all():
        return "without an area"
    if max(size) > 1 and boxes.max() <= 1:
        return "within a pixel of the corner, as shares of the sides are"
    corner = boxes.new_tensor([size[1], size[0]])
    outside = (boxes[:, :2] >= corner).any(dim=1) | (boxes[:, 2:] <= 0).any(dim=1)
    return "outside of its image" if outside.any() else ""


@cache  # of a stream, once
def _say_doubt(doubt: str) -> None:
    logger.warning(
        "Ground truth has a box %s, by a mapper for one: boxes are in pixels of the image as the "
        "model is given it, and such ones are to be left out.",
        doubt,
    )


def _fault(
    given: Any, size: tuple[int, int], num_classes: int | None, learnt: Sequence[str]
) -> str | None:
    """What is wrong with ground truth, as the end of a sentence; None where nothing is."""
    if not isinstance(given, Instances):
        return f"of type {type(given).__name__}; it must be Detectron2's Instances"
    if tuple(given.image_size) != tuple(size):
        return f"for an image of size {given.image_size}, but its own is {tuple(size)}"
    fields = given.get_fields()
    for name in ("gt_boxes", "gt_classes"):
        if name not in fields:
            return f"without '{name}'"
    boxes, classes = fields["gt_boxes"], fields["gt_classes"]
    if type(boxes) is not Boxes:
        return f"whose 'gt_boxes' are of type {type(boxes).__name__}; they must be Boxes"
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64 or classes.ndim != 1:
        return f"whose 'gt_classes' are {_kind(classes)}; they must be a tensor (n,) of int64"
    if boxes.tensor.ndim != 2 or boxes.tensor.shape[1] != 4:
        return f"whose 'gt_boxes' are {_kind(boxes.tensor)}; they must be (n, 4)"
    if len(boxes) != len(classes):
        return f"of {len(boxes)} boxes and {len(classes)} classes"
    if boxes.tensor.is_meta or classes.is_meta:
        return "without values, on device meta"
    fault = _fault_of_fields(fields, size, learnt) if len(boxes) else None
    return fault or _fault_of_values(boxes.tensor, classes, num_classes)


def _fault_of_fields(
    fields: Mapping[str, Any], size: tuple[int, int], learnt: Sequence[str]
) -> str | None:
    """Of what is known of an image's objects beside boxes and classes."""
    count = len(fields["gt_boxes"])
    for name in learnt:
        if name not in fields:
            return f"without '{name}', which the model learns"
        if not isinstance(fields[name], _KINDS[name]):
            kinds = " or ".join(kind.__name__ for kind in _KINDS[name])
            return f"whose '{name}' are {_kind(fields[name])}; they must be {kinds}"
    for name, values in fields.items():
        if len(values) != count:
            return f"of {count} boxes and {len(values)} '{name}'"
        if isinstance(values, BitMasks) and tuple(values.image_size) != tuple(size):
            return f"with '{name}' of {tuple(values.image_size)} pixels; its own are {tuple(size)}"
    return None


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    return f"of type {type(value).__name__}"


def _fault_of_values(boxes: Tensor, classes: Tensor, num_classes: int | None) -> str | None:
    if boxes.device.type == "cpu" and len(boxes):
        # Corners of an image's own may lie outside of it, but not beyond any image.
        good = (boxes[:, :2] <= boxes[:, 2:]).all(dim=1) & (boxes.abs() < _LARGEST_SIDE).all(dim=1)
        if not good.all():
            found = boxes[~good][0].tolist()
            return f"with the box {found}; it must be [x1, y1, x2, y2], x1 <= x2 and y1 <= y2"
    if classes.device.type == "cpu" and num_classes is not None:
        wrong = classes[(classes < 0) | (classes >= num_classes)]
        if len(wrong):
            return f"of class {int(wrong[0])}; the model's classes are 0 to {num_classes - 1}"
    return None


def original_size(source: dict, place: int, own: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels that detections are scaled to.

    Args:
        source: one of Detectron2's dicts; ``"height"`` and ``"width"`` where they are not ``own``.
        place: of the image in its batch.
        own: size of the network's input.

    Raises:
        ValueError: naming the image whose size is none.
    """
    sides = []
    for name, default in zip(("height", "width"), own, strict=True):
        side = source.get(name, default)
        # Numpy's and torch's whole numbers, too, but neither words nor fractions.
        try:
            whole = int(side)
            good = whole == side and 1 <= whole <= _LARGEST_SIDE
        except (TypeError, ValueError, OverflowError, RuntimeError):
            good = False
        if not good:
            raise ValueError(
                f"{image_name(source, place)} has {shown(side)} for '{name}'; it must be a "
                f"whole number of pixels, from 1 to {_LARGEST_SIDE}."
            )
        sides.append(whole)
    return sides[0], sides[1]


def best_proposals(proposals: Instances, number: int) -> Instances:
    """So many of an image's, those of the highest logits; 0: all of them.

    Detectron2's RPN gives its best ones first. Of a generator without logits it is the first ones.
    """
    if not number:
        return proposals
    if not proposals.has("objectness_logits"):
        return proposals[:number]
    order = proposals.objectness_logits.argsort(descending=True, stable=True)
    return proposals[order[:number]]

# SPDX-License-Identifier: Apache-2.0
"""What a user's own detector gives, refused by name before anything is done with it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor

from dynamicdet_d2.modeling.modes import buffers_kept, unfused
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.tail_pyramid import check_pyramid
from dynamicdet_d2.parts import Part
from dynamicdet_d2.utils.words import named_image, shown

if TYPE_CHECKING:
    from dynamicdet_d2.modeling.batch import Batch
    from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
    from dynamicdet_d2.modeling.tails import Tails

_FIELDS = ("pred_boxes", "scores", "pred_classes")
# As fvcore's losses begin to say it, and Detectron2's ``Boxes.clip``.
_BAD_BOXES = ("bad box:", "Box tensor contains infinite")


def losses_of_tail(
    tails: "Tails", detector: int, batch: "Batch", pyramid: Features
) -> dict[str, Tensor]:
    """``tails.losses``.

    Raises:
        ValueError: as ``checked_losses``, or the pyramid is no mapping, or lacks a level.
    """
    check_pyramid(tails, pyramid)
    losses = tails.losses(detector, batch.with_own_places(), pyramid)
    return checked_losses(losses, f"losses() of {type(tails).__name__}")


def loss_of_image(
    tails: "DynamicDetector",
    detector: int,
    batch: "Batch",
    pyramid: Features,
    place: int,
    image: Any,
) -> float:
    """The sum of ``tails.image_losses`` of an image of a batch.

    Args:
        place: of the image.
        image: as the batch was given it, for the sentence.

    Raises:
        FloatingPointError: naming the image, of which predicted boxes are not finite.
        ValueError: as ``checked_losses``.
    """
    own = {name: level[place : place + 1] for name, level in pyramid.items()}
    try:
        # Detectron2's heads log; these losses are no training step.
        with EventStorage(), finite_boxes(), buffers_kept(tails), unfused():
            alone = batch.one(place).with_own_places()
            losses = tails.image_losses(detector, alone, own)
            checked = checked_losses(losses, f"image_losses() of {type(tails).__name__}")
            return float(sum(checked.values()))
    except FloatingPointError as error:
        named = named_image(image, f"Image {place} of a batch")
        raise FloatingPointError(
            f"{named}: what detector{detector} predicts is not finite; its weights have diverged."
        ) from error


@contextmanager
def finite_boxes() -> Iterator[None]:
    """For what computes with boxes.

    Raises:
        FloatingPointError: they met predictions that are not finite.
    """
    try:
        yield
    except AssertionError as error:
        # The losses by overlap, FCOS's among them, assert that x1 <= x2, which NaN is not.
        if not str(error).startswith(_BAD_BOXES):
            raise
        raise FloatingPointError("predicted boxes are not finite") from error


def detections_of_tail(
    tails: "Tails",
    detector: int,
    images: ImageList,
    pyramid: Features,
    limits: Sequence[int],
    *proposals: list[Instances],
) -> list[Instances]:
    """``tails.detections``, of two-stage detectors from proposals.

    Raises:
        ValueError: they are not one ``Instances`` an image, of its size, with boxes, scores and
            classes that there are, or the pyramid is no mapping, or lacks a level.
        FloatingPointError: boxes or scores are not finite.
    """
    check_pyramid(tails, pyramid)
    giver = f"detections() of {type(tails).__name__}"
    try:
        with finite_boxes():
            found = tails.detections(detector, images, pyramid, limits, *proposals)
    except FloatingPointError as error:
        raise FloatingPointError(f"{giver}: {error}.") from error
    check_detections(found, images.image_sizes, tails.known_classes, giver)
    return found


def check_detections(
    found: Any, sizes: Sequence[tuple[int, int]], classes: int | None, giver: str
) -> None:
    """Refuse what are no detections of images.

    Args:
        sizes: of the images, (height, width).
        classes: that there are; None: nobody knows.
        giver: what gives them, as the beginning of a sentence.

    Raises:
        ValueError, FloatingPointError: as ``detections_of_tail``.
    """
    _check_detections(found, sizes, giver)
    for own in found:
        _check_fields(own, classes, giver)


def parts_of_tail(tails: "Tails") -> tuple[Part, ...]:
    """``tails.tail_parts``.

    Raises:
        ValueError: one is no ``Part``, or has a route twice, or a step that the detector has not.
    """
    given, giver = tails.tail_parts(), f"tail_parts() of {type(tails).__name__}"
    parts = list(given) if isinstance(given, Iterable) else [given]
    wrong = [x for x in parts if not isinstance(x, Part)]
    if wrong or not isinstance(given, Iterable):
        raise ValueError(
            f"{giver} gives {shown((wrong or parts)[0])}; it must be a tuple of "
            "dynamicdet_d2.parts.Part."
        )
    for part in parts:
        _check_part(part, tails.pass_type.steps, f"{giver} gives '{part.name}', whose")
    return tuple(parts)


def _check_part(part: Part, steps: Sequence[str], whose: str) -> None:
    """What runs of detector1's tail on the hard route cost is added by whoever counts."""
    if len(set(part.routes)) < len(part.routes):
        raise ValueError(f"{whose} routes are {part.routes}; each can be named once.")
    if part.step not in steps:
        raise ValueError(
            f"{whose} step is {shown(part.step)}; it must be one of {', '.join(steps)}."
        )


def objectness_of_tail(
    tails: "Tails", pyramid: Features, channels: int | None = None
) -> dict[int, Tensor]:
    """``tails.objectness`` of detector1.

    Args:
        channels: that its maps have; None: nobody knows.

    Raises:
        ValueError: it is no mapping of maps of as many images by stride, or they have other
            channels.
        FloatingPointError: a logit is NaN or +inf; -inf is that of a position without an object.
    """
    found, giver = tails.objectness(1, pyramid), f"objectness() of {type(tails).__name__}"
    maps = found.values() if isinstance(found, Mapping) else ()
    if not maps or not all(isinstance(x, Tensor) and x.ndim == 4 for x in maps):
        raise ValueError(
            f"{giver} gives {shown(found)}; it must be a dict of logits (N, C, H, W) by stride."
        )
    images = [len(level) for level in pyramid.values() if isinstance(level, Tensor)]
    for stride, logits in found.items():
        if type(stride) is not int or stride < 1 or (images and len(logits) not in images):
            raise ValueError(
                f"{giver} gives {len(logits)} images at the stride {shown(stride)}; it must be a "
                "dict of logits (N, C, H, W) by stride in pixels, of all N images of the batch."
            )
        if channels is not None and logits.shape[1] != channels:
            raise ValueError(
                f"{giver} gives logits of the shape {tuple(logits.shape)} at stride {stride}; by "
                f"objectness_channels() they are (N, {channels}, H, W)."
            )
        if not (logits.float() < math.inf).all():
            raise FloatingPointError(
                f"{giver} gives logits at stride {stride} that are NaN or too large."
            )
    return dict(found)


def checked_losses(losses: Any, giver: str) -> dict[str, Tensor]:
    """Losses of a step by name.

    Args:
        giver: what gives them, as the beginning of a sentence.

    Raises:
        ValueError: they are no mapping, or one is no tensor of one number.
    """
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(f"{giver} gives {shown(losses)}; it must be a dict of losses by name.")
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"has the shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else None
            raise ValueError(
                f"{giver} gives '{name}', which {found or f'is {shown(loss)}'}; a loss must be a "
                "tensor of one number."
            )
    return dict(losses)


def _check_detections(found: Any, sizes: Sequence[tuple[int, int]], giver: str) -> None:
    if not isinstance(found, list | tuple) or len(found) != len(sizes):
        given = f"{len(found)}" if isinstance(found, list | tuple) else shown(found)
        raise ValueError(f"{giver} gives {given}; it must be a list of {len(sizes)} Instances.")
    for own, size in zip(found, sizes, strict=True):
        if not isinstance(own, Instances):
            raise ValueError(f"{giver} gives {shown(own)}; each image has Instances.")
        missing = [name for name in _FIELDS if not own.has(name)]
        if missing:
            raise ValueError(f"{giver} gives Instances without '{missing[0]}'.")
        if tuple(own.image_size) != tuple(size):
            raise ValueError(
                f"{giver} gives Instances of an image of {tuple(own.image_size)} (height, width), "
                f"where it is {tuple(size)} without padding: images.image_sizes has them."
            )


def _check_fields(found: Instances, classes: int | None, giver: str) -> None:
    """Of an image; a class that there is not would get the name of another, or none.

    Args:
        classes: that there are; None: nobody knows.
    """
    if not isinstance(found.pred_boxes, Boxes):
        raise ValueError(
            f"{giver} gives pred_boxes of type {type(found.pred_boxes).__name__}; they must be "
            "detectron2.structures.Boxes."
        )
    if not found.pred_boxes.tensor.isfinite().all():
        raise FloatingPointError(f"{giver} gives pred_boxes that are not finite.")
    _check_scores(found.scores, giver)
    numbers = found.pred_classes
    if not isinstance(numbers, Tensor) or numbers.is_floating_point():
        kind = numbers.dtype if isinstance(numbers, Tensor) else f"type {type(numbers).__name__}"
        raise ValueError(f"{giver} gives pred_classes of {kind}; they must be a tensor of int64.")
    _check_own_fields(found, giver)
    if not len(numbers):
        return
    lowest, highest = (int(end) for end in numbers.aminmax())
    if lowest < 0 or (classes is not None and highest >= classes):
        last = "" if classes is None else f", and the last one is {classes - 1}"
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"{giver} gives class {wrong}; the first class is 0{last}.")


def _check_own_fields(found: Instances, giver: str) -> None:
    for name, values in found.get_fields().items():
        if isinstance(values, list | tuple):
            raise ValueError(
                f"{giver} gives '{name}' as a {type(values).__name__}, which cannot be indexed as "
                "detections are chosen; it must be a tensor, or an object that can be."
            )


def _check_scores(scores: Any, giver: str) -> None:
    if not isinstance(scores, Tensor) or scores.dim() != 1 or not scores.is_floating_point():
        kind = f"type {type(scores).__name__}"
        if isinstance(scores, Tensor):
            kind = f"shape {tuple(scores.shape)} and {scores.dtype}"
        raise ValueError(f"{giver} gives scores of {kind}; they must be a tensor (n,) of floats.")
    if not scores.isfinite().all():
        raise FloatingPointError(f"{giver} gives scores that are not finite.")

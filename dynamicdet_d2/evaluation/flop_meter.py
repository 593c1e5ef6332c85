# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of a detector's parts, by running its own modules under torch's counter.

Parts that see whole images run on tensors of torch's "meta" device, which have shapes and no
values; ROI heads, whose NMS needs values, run for real on a small image. Weights, modes and random
number generators are afterwards as before.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dynamicdet_d2.acceleration.foldable import blocks_folded
from dynamicdet_d2.modeling.modes import buffers_kept, evaluating, torch_seeded
from dynamicdet_d2.parts import Part, Parts, Takes, parts_of
from dynamicdet_d2.utils.own_code import is_own

logger = logging.getLogger(__name__)

NUM_DETECTIONS = 100
"""Detections that mask and keypoint heads are counted for, as in the paper."""

# What third-party modules raise where they read values that are not there or cannot be copied.
_NO_VALUES = (AttributeError, RuntimeError, TypeError, ValueError, NotImplementedError)

_ROI_SIDE = 128  # pixels; side of the small image
_ONE_AT_A_TIME = Lock()  # parts of the model itself are watched


class Work(NamedTuple):
    """Multiply-adds."""

    attention: int
    """In the two matrix products of attention, q k^T and the one with v."""
    other: int
    """In convolutions and all other matrix products."""

    def plus(self, work: "Work") -> "Work":
        return Work(self.attention + work.attention, self.other + work.other)

    def minus(self, work: "Work") -> "Work":
        return Work(self.attention - work.attention, self.other - work.other)


NOTHING = Work(0, 0)


class Meter:
    """Calls functions and keeps the work of each under the name of a part, in ``work``.

    What a function calls by the meter in its turn is booked there and not on the function.
    """

    def __init__(self) -> None:
        self.work: dict[str, Work] = {}
        self._booked = NOTHING  # by calls inside the present one

    def __call__(self, part: str, function: Callable, *args: object, **named: object) -> Any:
        """Call the function without gradients and book its work on ``part``."""
        before, self._booked = self._booked, NOTHING
        with torch.no_grad(), _unfused_attention(), FlopCounterMode(display=False) as counter:
            result = function(*args, **named)
        total = as_work(counter.get_flop_counts().get("Global", {}))
        own = total.minus(self._booked)
        self.work[part] = self.work.get(part, NOTHING).plus(own)
        self._booked = before.plus(total)
        return result

    @contextmanager
    def watching(self, part: Part) -> Iterator[None]:
        """Book all calls of the part's function inside."""
        own = vars(part.owner)
        before = {k: v for k, v in own.items() if k == part.function}
        part.wrap(lambda function: partial(self, part.name, function))
        try:
            yield
        finally:
            del own[part.function]
            own.update(before)


def as_work(counts: Mapping[object, int]) -> Work:
    """torch's counts by operator, two for each multiply-add -> multiply-adds.

    Without fused kernels the products of attention are batched ones, and in detectors hardly
    anything else is: linear layers become ``mm`` or ``addmm`` (see ``_as_trainable``).
    """
    batched = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
    attention = sum(counts.get(op, 0) for op in batched) // 2
    return Work(attention, sum(counts.values()) // 2 - attention)


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Attention as plain matrix products: torch's counter misses some of the fused kernels."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def measure_dense(model: nn.Module, height: int, width: int) -> dict[str, Work]:
    """Work of the parts that see whole images, by name; blocks that can be folded are.

    Args:
        model: as in ``cost.count_flops``.
        height, width: of one image in pixels, padded.
    """
    with _ONE_AT_A_TIME:
        try:
            with torch.device("meta"):
                return _dense_pass(_copy_without_values(model), height, width)
        except _NO_VALUES as error:
            logger.debug("Counting by a real run, as one without values failed: %s", error)
            with _undisturbed(model):
                return _dense_pass(model, height, width)


def _dense_pass(model: nn.Module, height: int, width: int) -> dict[str, Work]:
    parts, image = parts_of(model), _blank_image(model, height, width)
    hard = _watched(model, parts, lambda: parts.run_on_image(image))
    easy = parts.run_on_easy
    return hard if easy is None else {**_watched(model, parts, lambda: easy(image)), **hard}


def _watched(model: nn.Module, parts: Parts, run: Callable[[], object]) -> dict[str, Work]:
    meter = Meter()
    with ExitStack() as stack, torch.no_grad(), blocks_folded(model):
        for part in parts.parts:
            if part.takes is Takes.IMAGE:
                stack.enter_context(meter.watching(part))
        run()
    return meter.work


def _any_weight(model: nn.Module) -> Tensor:
    return next(model.parameters()).detach()


def _blank_image(model: nn.Module, height: int, width: int) -> Tensor:
    return _any_weight(model).new_zeros(1, channels_of(model), height, width)


def channels_of(model: nn.Module) -> int:
    """Of a detector's images: as many as it has means of pixels, 1 where they are grey."""
    mean = getattr(model, "pixel_mean", None)
    return mean.numel() if isinstance(mean, Tensor) else 3


def _copy_without_values(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with weights that have no memory."""
    memo: dict[int, object] = {id(b): torch.empty_like(b, device="meta") for b in model.buffers()}
    for weight in model.parameters():
        empty = torch.empty_like(weight, device="meta")
        memo[id(weight)] = nn.Parameter(empty, weight.is_floating_point())
    return copy.deepcopy(model, memo).eval()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and own random numbers; afterwards modes and buffers are as before."""
    device = _any_weight(model).device
    with (
        evaluating(model),
        buffers_kept(model),
        torch_seeded(0, device),
        _as_trainable(model),
    ):
        yield


@contextmanager
def _as_trainable(model: nn.Module) -> Iterator[None]:
    """Weights that require a gradient, which nobody computes.

    With a frozen weight torch may run a linear layer over a transposed input as a batched
    product, which would be taken for one of attention's; with a trainable one it does not.
    """
    frozen = [w for w in model.parameters() if w.is_floating_point() and not w.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def reads_maps(model: nn.Module) -> bool:
    """Whether ROI heads may do more on a larger image, as those of a program's own: pooled features
    are of one size whatever the image's, and those of known ones are all that they work on."""
    parts = parts_of(model)
    heads = parts.heads if parts.regions is not None else ()
    return any(is_own(module) for head in heads for module in head.modules())


def measure_roi_heads(
    model: nn.Module, num_proposals: int, size: tuple[int, int] = (_ROI_SIDE, _ROI_SIDE)
) -> dict[str, Work]:
    """Work of the ROI heads on made-up boxes over a blank image, by name.

    Args:
        model: as in ``cost.count_flops``; without ROI heads there is no work.
        num_proposals: that parts which take proposals are counted for; those that take detections
            are counted for ``NUM_DETECTIONS``.
        size: height and width of the image in pixels, padded.
    """
    parts = parts_of(model)
    if parts.regions is None:
        return {}
    image = _blank_image(model, *size)
    images = ImageList(image, [size])
    features = _blank_features(parts.regions.pyramid, image)
    inputs = {
        Takes.PROPOSALS: (images, features, [_proposals(num_proposals, image)]),
        Takes.DETECTIONS: (features, [_detections(NUM_DETECTIONS, image)]),
    }
    work = {}
    with _ONE_AT_A_TIME, _undisturbed(model):
        for takes, arguments in inputs.items():
            work.update(_roi_pass([p for p in parts.parts if p.takes in inputs], takes, arguments))
    return work


def _roi_pass(parts: list[Part], takes: Takes, arguments: tuple) -> dict[str, Work]:
    """Work of the parts that take this.

    How many detections come of proposals depends on the weights: what other parts do with them
    is booked there, and forgotten.
    """
    meter = Meter()
    called = [part for part in parts if part.takes is takes]
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(meter.watching(part))
        for part in called:
            getattr(part.owner, part.function)(*arguments)
    return {part.name: meter.work[part.name] for part in called}


def _blank_features(pyramid: Mapping[str, ShapeSpec], image: Tensor) -> dict[str, Tensor]:
    """What ROI heads get to see of a blank image, by level."""
    blank = {}
    for name, shape in pyramid.items():
        sides = (-(-side // shape.stride) for side in image.shape[-2:])
        blank[name] = image.new_zeros(1, shape.channels, *sides)
    return blank


def _boxes(count: int, image: Tensor) -> Boxes:
    """Boxes of 16 to 79 pixels inside the small image."""
    index = torch.arange(count, device=image.device)
    x, y, side = index % 48, index // 48 % 48, 16 + index % 64
    return Boxes(torch.stack([x, y, x + side, y + side], dim=1).to(image.dtype))


def _proposals(count: int, image: Tensor) -> Instances:
    boxes, logits = _boxes(count, image), image.new_zeros(count)
    return Instances(image.shape[-2:], proposal_boxes=boxes, objectness_logits=logits)


def _detections(count: int, image: Tensor) -> Instances:
    boxes, scores = _boxes(count, image), image.new_zeros(count)
    return Instances(image.shape[-2:], pred_boxes=boxes, scores=scores, pred_classes=scores.long())

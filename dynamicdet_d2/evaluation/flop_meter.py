# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of a detector's parts, by running its own modules under torch's counter.

Parts that see whole images run on torch's fake tensors, where only shapes are computed; the ROI
heads, whose NMS needs values, run for real on a small image. Weights, modes and random number
generators are afterwards as before.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dynamicdet_d2.modeling.modes import seeded

logger = logging.getLogger(__name__)

NUM_DETECTIONS = 100
"""Detections that mask and keypoint heads are counted for, as in the paper."""

# What third-party modules raise where they read values of a fake tensor or cannot be copied.
_FAKE_ERRORS = (AttributeError, RuntimeError, TypeError, ValueError)

_ROI_SIDE = 128  # pixels; side of the small image


class Work(NamedTuple):
    """Multiply-adds of one part."""

    attention: int
    """In the two matrix products of attention, q k^T and the one with v."""
    other: int
    """In convolutions and all other matrix products."""


class Meter:
    """Calls functions and keeps the work of each under the name of a part, in ``work``."""

    def __init__(self) -> None:
        self.work: dict[str, Work] = {}

    def __call__(self, part: str, function: Callable, *args: object, inner: str = "") -> Any:
        """Call ``function(*args)`` without gradients and book its work.

        Args:
            part: whose work it is.
            inner: "PART=MODULE": what is done inside that module, named as torch's counter
                names it, is booked on PART instead.

        Returns:
            what the function returned.
        """
        with torch.no_grad(), _unfused_attention(), FlopCounterMode(display=False) as counter:
            result = function(*args)
        counts = counter.get_flop_counts()
        work = as_work(counts.get("Global", {}))
        if inner:
            inner_part, module = inner.split("=")
            apart = self.work[inner_part] = as_work(counts.get(module, {}))
            work = Work(work.attention - apart.attention, work.other - apart.other)
        self.work[part] = work
        return result


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
    """Work of the parts that see whole images: backbones, router, neck, RPN head.

    Args:
        model: as in ``cost.count_flops``.
        height, width: of one image in pixels, padded.

    Returns:
        work by part: "bottom_up1", "neck", "rpn_head", and for a dynamic detector "router",
        "connections", "bottom_up2".
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return _dense_pass(_fake_copy(model), height, width)
    except _FAKE_ERRORS as error:
        logger.debug("Counting by a real run, as one on fake tensors failed: %s", error)
        with _undisturbed(model):
            return _dense_pass(model, height, width)


def _dense_pass(model: nn.Module, height: int, width: int) -> dict[str, Work]:
    meter = Meter()
    image = _any_weight(model).new_zeros(1, 3, height, width)
    run = _dynamic_features if hasattr(model, "router") else _static_features
    features = run(model, image, meter)
    rpn = model.proposal_generator
    meter("rpn_head", rpn.rpn_head, [features[name] for name in rpn.in_features])
    return meter.work


def _dynamic_features(model: nn.Module, image: Tensor, meter: Meter) -> dict[str, Tensor]:
    backbone = model.backbone
    features1, start = meter("bottom_up1", backbone.first, image)
    meter("router", model.router, features1)
    connections = f"connections={type(backbone.connections).__name__}"
    features2 = meter("bottom_up2", backbone.second, features1, start, inner=connections)
    return meter("neck", model.neck, features2)


def _static_features(model: nn.Module, image: Tensor, meter: Meter) -> dict[str, Tensor]:
    backbone = model.backbone
    if not hasattr(backbone, "bottom_up"):
        return meter("bottom_up1", backbone, image)
    bottom_up = f"bottom_up1={type(backbone).__name__}.bottom_up"
    return meter("neck", backbone, image, inner=bottom_up)


def _any_weight(model: nn.Module) -> Tensor:
    return next(model.parameters()).detach()


def _fake_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with weights that have no memory; call it in a fake mode."""
    memo: dict[int, object] = {id(b): torch.empty_like(b) for b in model.buffers()}
    for weight in model.parameters():
        memo[id(weight)] = nn.Parameter(torch.empty_like(weight), weight.is_floating_point())
    return copy.deepcopy(model, memo).eval()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and own random numbers; afterwards all is as before.

    ``model.train()`` would not do: it wakes modules that were frozen one by one.
    """
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = False
        with seeded(0, _any_weight(model).device), _as_trainable(model):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


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


def measure_roi_heads(model: nn.Module, num_proposals: int) -> dict[str, Work]:
    """Work of the ROI heads on made-up boxes over a small blank image.

    Pooled features are of one size whatever the image's. Heads that read whole feature maps
    cost more on a larger image, which is not seen here.

    Returns:
        work by part: "box_head", all that is done with ``num_proposals`` proposals, and
        "mask_head", all that is done with ``NUM_DETECTIONS`` detections.
    """
    meter = Meter()
    image = _any_weight(model).new_zeros(1, 3, _ROI_SIDE, _ROI_SIDE)
    images = ImageList(image, [(_ROI_SIDE, _ROI_SIDE)])
    features = _blank_features(model, image)
    with _undisturbed(model):
        # How many detections come out depends on the weights: the heads that work on detections
        # are kept out of the first call and get a fixed number of boxes in the second.
        box_heads = copy.copy(model.roi_heads)
        box_heads.forward_with_given_boxes = lambda features, instances: instances
        meter("box_head", box_heads, images, features, [_proposals(num_proposals, image)])
        detections = [_detections(NUM_DETECTIONS, image)]
        meter("mask_head", model.roi_heads.forward_with_given_boxes, features, detections)
    return meter.work


def _blank_features(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What the ROI heads of a model get to see of a blank image, by level."""
    blank = {}
    for name, shape in getattr(model, "neck", model.backbone).output_shape().items():
        side = -(-_ROI_SIDE // shape.stride)
        blank[name] = image.new_zeros(1, shape.channels, side, side)
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

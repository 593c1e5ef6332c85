# SPDX-License-Identifier: Apache-2.0
"""Whole detectors, loads of easy and hard images, batches, and the share of the machine's rate."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.speed.setting import Detector, Setting, drawn_proposals, optimized, stock_copy
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.acceleration import InferenceOptions, optimize_for_inference
from dynamicdet_d2.calibration import realised_hard_fraction, threshold_for_hard_fraction
from dynamicdet_d2.evaluation.cost import RouteCost

LOAD = 10
"""Images of a load, so that a tenth of them is one image."""
BATCH = 8
SHARES = (0.1, 0.5, 0.9)

Call = tuple[int, Callable[[], object]]


def time_detectors(stock: Detector, dynamic: Detector, setting: Setting, rounds: int) -> Rounds:
    """Stock, and ours in each precision, eager and compiled: static, easy route, hard route."""
    image = setting.images(1)
    calls = {"stock": _call(stock_copy(stock), image)}
    if setting.device == "cuda":
        calls["stock autocast"] = _call(stock_copy(stock), image, autocast=True)
    calls["easy as built"] = _call(stock_copy(dynamic), image, 1.0)
    for precision, compile in variants(setting):
        name = variant_name(precision, compile)
        calls[f"static {name}"] = _call(optimized(stock, precision, compile), image)
        routed = optimized(dynamic, precision, compile)
        calls[f"easy {name}"] = _call(routed, image, 1.0)
        calls[f"hard {name}"] = _call(routed, image, 0.0)
    return interleave("Detectors", calls, rounds)


def variants(setting: Setting) -> list[tuple[str, bool]]:
    """Precision, and whether compiled. A GPU compiles slowly: only what it is fastest in."""
    reduced = reduced_precision(setting)
    eager = [("float32", False), (reduced, False)]
    return [*eager, *([] if setting.device == "cuda" else [("float32", True)]), (reduced, True)]


def variant_name(precision: str, compile: bool) -> str:
    """As it stands in the table."""
    return precision + (" compiled" if compile else "")


def time_loads(stock: Detector, dynamic: Detector, setting: Setting, rounds: int) -> Rounds:
    """Ten images one by one: all easy, a tenth, half, nine tenths hard, all hard; and static."""
    images = setting.images(LOAD)
    routed = optimized(dynamic)
    calls = {"stock": one_by_one(stock_copy(stock), images, None)}
    calls["static"] = one_by_one(optimized(stock), images, None)
    for share in (0.0, *SHARES, 1.0):
        threshold = threshold_for(routed, images, share)
        calls[load_name(share)] = one_by_one(routed, images, threshold)
    return interleave("Loads", calls, rounds)


def time_batches(dynamic: Detector, setting: Setting, rounds: int) -> Rounds:
    """The same images, half of them hard, one by one and in one batch."""
    images = setting.images(BATCH)
    routed = optimized(dynamic)
    threshold = threshold_for(routed, images, 0.5)
    calls = {
        "one by one": one_by_one(routed, images, threshold),
        "one batch": _call(routed, images, threshold),
    }
    return interleave("Batches", calls, rounds)


def time_heads(stock: Detector, setting: Setting, rounds: int) -> Rounds:
    """ROIAlign and the box head's fully connected layers, as built and in the CPU's form."""
    fast: Detector = optimize_for_inference(stock)
    images = stock.preprocess_image(setting.images(1))
    proposals = [drawn_proposals(images.image_sizes[0], images.tensor.device).proposal_boxes]
    calls: dict[str, Call] = {}
    with torch.no_grad():
        for name, model in (("as built", stock), ("optimised", fast)):
            features = model.backbone(images.tensor)
            levels = [features[level] for level in model.roi_heads.box_in_features]
            heads = model.roi_heads
            pooled = heads.box_pooler(levels, proposals)
            calls[f"ROIAlign, {name}"] = (1, _without_grad(heads.box_pooler, levels, proposals))
            calls[f"box head, {name}"] = (1, _without_grad(heads.box_head, pooled))
    return interleave("Heads", calls, rounds)


def time_rate(stock: Detector, setting: Setting, rounds: int) -> tuple[Rounds, dict[str, float]]:
    """Backbone and FPN beside one 3x3 convolution of 256 channels at stride 4.

    Returns:
        times, and multiply-adds of each call.
    """
    gpu = setting.device == "cuda"
    precision = "float16" if gpu else "float32"
    convolution, convolved = _convolution(setting)
    batch = convolution[0]
    image = torch.rand(batch, 3, setting.height, setting.width, device=setting.device)
    calls: dict[str, Call] = {"convolution": convolution}
    for name, compile in (("eager", False), ("compiled", True)):
        options = InferenceOptions(precision=precision, compile=compile)
        fast: Detector = optimize_for_inference(stock, options)
        calls[name] = (batch, _without_grad(fast.backbone, image))
    parts = RouteCost(stock).parts(setting.height, setting.width)
    work = {name: batch * (parts["bottom_up1"] + parts["neck"]) for name in ("eager", "compiled")}
    return interleave("Rate", calls, rounds), {**work, "convolution": convolved}


def convolution_rate(setting: Setting, rounds: int) -> float:
    """10^9 multiply-adds per second of that convolution: what ratios between machines depend on."""
    convolution, work = _convolution(setting)
    timed = interleave("Convolution", {"convolution": convolution}, rounds)
    return work / convolution[0] / timed.milliseconds("convolution") / 1e6


def _convolution(setting: Setting) -> tuple[Call, float]:
    """The call, and its multiply-adds."""
    gpu = setting.device == "cuda"
    batch = 16 if gpu else 1
    conv = nn.Conv2d(256, 256, 3, padding=1).to(setting.device)
    conv = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = torch.rand(batch, 256, setting.height // 4, setting.width // 4)
    features = features.to(setting.device, memory_format=torch.channels_last)
    if gpu:
        conv, features = conv.half(), features.half()
    work = features.shape[2] * features.shape[3] * 9.0 * 256 * 256 * batch
    return (batch, _without_grad(conv, features)), work


def reduced_precision(setting: Setting) -> str:
    """What a device computes fast in."""
    return "float16" if setting.device == "cuda" else "bfloat16"


def load_name(share: float) -> str:
    """Of a load with that share of hard images."""
    return f"{share:.0%} hard"


def threshold_for(model: Detector, images: Sequence[dict], share: float) -> float:
    """A threshold at which this share of these images is hard, by their own difficulties."""
    difficulties = [model.difficulties([image])[0] for image in images]
    threshold = threshold_for_hard_fraction(difficulties, share)
    if realised_hard_fraction(difficulties, threshold) != share:
        raise RuntimeError(f"Difficulties {difficulties} do not let {share:.0%} be hard.")
    return threshold


def _call(
    model: Detector, images: list[dict], threshold: float | None = None, autocast: bool = False
) -> Call:
    """One call of the model on one batch."""

    def call() -> None:
        if threshold is not None:
            model.threshold = threshold
        with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=autocast):
            model(images)

    return len(images), call


def one_by_one(model: Detector, images: Sequence[dict], threshold: float | None) -> Call:
    """A call of the model on each image; None: of a static detector."""
    calls = [_call(model, [image], threshold)[1] for image in images]
    return len(images), lambda: [call() for call in calls]


def _without_grad(module: nn.Module, *args: object) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return module(*args)

    return call

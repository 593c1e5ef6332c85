# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of a detector by part, by route, and averaged over routed images.

One multiply-add of a convolution or matrix product is one unit, which the paper calls a FLOP
(Tables 2 and 3). Norms, activations, interpolation and RoIAlign count nothing: they are some
0.4 % of Faster R-CNN ResNet-50, which is what its count here lacks of the paper's 207.1 G.
"""

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from torch import nn

from dynamicdet_d2.evaluation.flop_meter import (
    NOTHING,
    NUM_DETECTIONS,
    Work,
    measure_dense,
    measure_roi_heads,
)
from dynamicdet_d2.modeling.architecture import architecture_of, is_dynamic
from dynamicdet_d2.parts import parts_of

PAPER = {
    "Faster R-CNN ResNet-50": {"total": 207.1e9},
    "Faster R-CNN ResNet-101": {"total": 283.1e9},
    "Mask R-CNN Swin-T": {"total": 263.8e9},
    "Mask R-CNN Swin-S": {"total": 353.8e9},
    "Dy-Faster R-CNN ResNet-50": {
        "route easy": 207.1e9,
        "route hard": 283.7e9,
        "router": 3.7e6,
        "average at 0.5": 245.4e9,
        "average at 0.9": 276.0e9,
    },
    "Dy-Mask R-CNN Swin-T": {
        "route easy": 263.8e9,
        "route hard": 357.4e9,
        "router": 0.5e6,
        "average at 0.5": 310.6e9,
        "average at 0.9": 348.0e9,
    },
}
"""Tables 2 and 3 by row of ``table``, at PAPER_SETTING and without attention's products."""

PAPER_SETTING = (800, 1280, 1000)
"""Height and width in pixels and number of proposals."""


def count_flops(
    model: nn.Module,
    height: int,
    width: int,
    num_proposals: int = 1000,
    attention_matmul: bool = True,
) -> dict[str, int]:
    """Multiply-adds of one image on each route.

    Args:
        model: a detector that ``parts_of`` knows; the two routes of a static one are the same,
            and its router costs nothing. Weights and threshold do not matter.
        height, width: of the network's input in pixels; padded as the model pads.
        num_proposals: boxes that the box head works on, where there is one.
        attention_matmul: count the two matrix products of attention. The paper leaves them out.

    Returns:
        {"easy", "hard", "router"}; both routes contain the router.

    Raises:
        ValueError: for a size or a number of proposals below 1, or a detector whose parts are not
            described.
    """
    return RouteCost(model, attention_matmul, num_proposals).at(height, width)


def count_parts(
    model: nn.Module,
    height: int,
    width: int,
    num_proposals: int = 1000,
    attention_matmul: bool = True,
) -> dict[str, int]:
    """Multiply-adds of one image by part, for all that it has; arguments as ``count_flops``.

    ``box_head`` is all that is done with proposals, ``mask_head`` all that is done with
    ``NUM_DETECTIONS`` detections (keypoints too).
    """
    return RouteCost(model, attention_matmul, num_proposals).parts(height, width)


def route_flops(parts: Mapping[str, int], routes: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Multiply-adds by part, and the routes of each -> {"easy", "hard", "router"}.

    A route that a part names twice runs it twice: the router has looked at what the easy route
    makes of the image before it went the hard one.
    """
    easy, hard = (
        sum(count * list(routes[part]).count(route) for part, count in parts.items())
        for route in ("easy", "hard")
    )
    return {"easy": easy, "hard": hard, "router": parts.get("router", 0)}


def padded_size(model: nn.Module, height: int, width: int) -> tuple[int, int]:
    """An image's size in pixels -> the size that the model pads it to when it is alone."""
    if height < 1 or width < 1:
        raise ValueError(f"The image size is {height}x{width}; both sides must be at least 1.")
    step = parts_of(model).padding
    return -(-int(height) // step) * step, -(-int(width) // step) * step


def kept_proposals(model: nn.Module) -> int:
    """Boxes that a model keeps of an image for its box head; 0 without one."""
    regions = parts_of(model).regions
    return 0 if regions is None else regions.num_proposals


class RouteCost:
    """Cost of a model's routes at any image size; each padded size is measured once."""

    def __init__(
        self, model: nn.Module, attention_matmul: bool = True, num_proposals: int | None = None
    ) -> None:
        """Arguments as ``count_flops``; ``num_proposals`` None: as many as the model keeps."""
        if num_proposals is not None and num_proposals < 1:
            raise ValueError(f"num_proposals is {num_proposals}; it must be at least 1.")
        self.model = model
        self.attention_matmul = attention_matmul
        self.num_proposals = num_proposals
        self._roi_work: dict[str, Work] = {}
        self._work: dict[tuple[int, int], dict[str, Work]] = {}

    def parts(self, height: int, width: int) -> dict[str, int]:
        """Multiply-adds by part, in the order of its description, at an image size in pixels."""
        size = padded_size(self.model, height, width)
        if size not in self._work:
            self._work[size] = self._measure(size)
        work = {part: self._work[size].get(part, NOTHING) for part in parts_of(self.model).routes}
        attention_matmul = int(self.attention_matmul)
        return {part: w.other + attention_matmul * w.attention for part, w in work.items()}

    def at(self, height: int, width: int) -> dict[str, int]:
        """{"easy", "hard", "router"} in multiply-adds at an image size in pixels."""
        return route_flops(self.parts(height, width), parts_of(self.model).routes)

    def average(self, sizes: Sequence[tuple[int, int]], hard_mask: Sequence[bool]) -> float:
        """Mean cost of routed images: the FLOPs column of Table 2.

        Args:
            sizes: height and width of each image's network input in pixels, at least one.
            hard_mask: for each image, whether it goes the hard route.

        Returns:
            10^9 multiply-adds an image.

        Raises:
            ValueError: without images, or with another number of routes.
        """
        if len(sizes) == 0 or len(sizes) != len(hard_mask):
            raise ValueError(
                "An average cost needs at least one image and one route for each; found "
                f"{len(sizes)} images and {len(hard_mask)} routes."
            )
        routes = ["hard" if hard else "easy" for hard in hard_mask]
        costs = (self.at(*size)[route] for size, route in zip(sizes, routes, strict=True))
        return sum(costs) / len(sizes) / 1e9

    def _measure(self, size: tuple[int, int]) -> dict[str, Work]:
        if not self._roi_work:  # the same at every image size
            count = self.num_proposals or kept_proposals(self.model)
            self._roi_work = measure_roi_heads(self.model, count)
        return {**measure_dense(self.model, *size), **self._roi_work}


def system_name(cfg: CfgNode) -> str:
    """What the tables of the paper would call a config's system, or "" where they could not.

    A "Dy-" for two routes, then "Mask" or "Faster", then the backbone and its size.
    """
    backbone = _backbone_name(cfg)
    if not issubclass(architecture_of(cfg), GeneralizedRCNN):
        return ""
    blocks = cfg.MODEL.COMPOSITE.NUM_BLOCKS1 or cfg.MODEL.COMPOSITE.NUM_BLOCKS2
    heads = cfg.MODEL.ROI_HEADS
    if not backbone or blocks or (heads.NAME, heads.NUM_CLASSES) != ("StandardROIHeads", 80):
        return ""
    detector = "Mask R-CNN" if cfg.MODEL.MASK_ON else "Faster R-CNN"
    return f"{'Dy-' if is_dynamic(cfg) else ''}{detector} {backbone}"


def _backbone_name(cfg: CfgNode) -> str:
    builder = cfg.MODEL.BACKBONE.NAME
    if "resnet" in builder:
        return f"ResNet-{cfg.MODEL.RESNETS.DEPTH}"
    if "swin" in builder and "SWIN" in cfg.MODEL:
        return f"Swin-{cfg.MODEL.SWIN.SIZE}"
    if "efficientnet_lite" in builder:
        keys = cfg.MODEL.EFFICIENTNET_LITE
        alone = "composite" not in builder or keys.SIZE2 in (None, keys.SIZE)
        second = "" if alone else f" and Lite{keys.SIZE2}"
        return f"EfficientNet-Lite{keys.SIZE}{second}"
    return ""


def table(model: nn.Module, cfg: CfgNode, height: int, width: int, num_proposals: int) -> str:
    """The cost of a config's model as text: parts, routes, router, averages, paper's figures."""
    cost = RouteCost(model, True, num_proposals)
    fractions = cfg.TEST.DYNAMIC.HARD_FRACTIONS
    full = _rows(cost, height, width, fractions)
    cost.attention_matmul = False
    bare = _rows(cost, height, width, fractions)
    name = system_name(cfg)
    paper = PAPER.get(name, {}) if (height, width, num_proposals) == PAPER_SETTING else {}
    setting = "3x{}x{}".format(*padded_size(model, height, width))
    if parts_of(model).regions is not None:
        setting += f", {num_proposals} proposals, {NUM_DETECTIONS} detections"
    lines = [_line(row, full[row], bare[row], paper.get(row)) for row in full]
    return (
        f"{name or cfg.MODEL.META_ARCHITECTURE}, multiply-adds at {setting}\n"
        f"{'':16}{'all':>12}{'no attention':>14}{'paper':>12}{'difference':>12}\n"
        f"{''.join(lines)}"
        "no attention: without the two products of attention, as the paper counts.\n"
    )


def _rows(cost: RouteCost, height: int, width: int, fractions: Sequence[float]) -> dict[str, float]:
    parts, routes = cost.parts(height, width), cost.at(height, width)
    rows: dict[str, float] = {part: count for part, count in parts.items() if count}
    if not routes["router"]:
        return {**rows, "total": routes["easy"]}
    rows.update({"route easy": routes["easy"], "route hard": routes["hard"]})
    for k in fractions:
        rows[f"average at {k:g}"] = (1 - k) * routes["easy"] + k * routes["hard"]
    return rows


def _line(row: str, full: float, bare: float, paper: float | None) -> str:
    unit, scale = ("M", 1e6) if full < 1e8 else ("G", 1e9)
    text = f"{row:16}{full / scale:10.2f} {unit}{bare / scale:12.2f} {unit}"
    if paper is None:
        return f"{text}\n"
    return f"{text}{paper / scale:10.1f} {unit}{bare / paper - 1:+12.2%}\n"

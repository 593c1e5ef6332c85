# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of a detector by part, by route, and averaged over routed images.

One multiply-add of a convolution or matrix product is one unit, which the paper calls a FLOP in
Tables 2 and 3; its Table 1 and YOLOv7's tables count two for each. Norms, activations,
interpolation and RoIAlign count nothing: they are some 0.4 % of Faster R-CNN ResNet-50, which is
what its count here lacks of the paper's 207.1 G. Blocks that can be folded, such as YOLOv7's, are
counted in the folded form.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
from detectron2.config import CfgNode
from numpy.typing import NDArray
from torch import nn

from dynamicdet_d2.config.ranges import MOST_PROPOSALS, integer
from dynamicdet_d2.evaluation.flop_meter import (
    NOTHING,
    NUM_DETECTIONS,
    Work,
    channels_of,
    measure_dense,
    measure_roi_heads,
    reads_maps,
)
from dynamicdet_d2.evaluation.paper import PAPER, Published, Setting, system_name
from dynamicdet_d2.evaluation.uncounted import say_uncounted
from dynamicdet_d2.parts import parts_of, rounded_up

_SIDE, _PROPOSALS = integer(at_least=1), integer(at_least=1, at_most=MOST_PROPOSALS)


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


def kept_proposals(
    model: nn.Module, route: str = "hard", size: tuple[int, int] | None = None
) -> int:
    """Most boxes that a model keeps of an image on a route for its box head; 0 without one.

    Args:
        size: height and width of the image in pixels, padded; None: large enough for any number.
    """
    regions = parts_of(model).regions
    return 0 if regions is None else regions.kept(route, size)


class RouteCost:
    """Cost of a model's routes at any image size; each padded size is measured once."""

    def __init__(
        self,
        model: nn.Module,
        attention_matmul: bool = True,
        num_proposals: int | None = None,
        size_multiple: int = 0,
    ) -> None:
        """Arguments as ``count_flops``, and

        Args:
            num_proposals: None: as many as the model keeps.
            size_multiple: what an optimised copy of a static detector pads to on top, in pixels
                (``MODEL.INFERENCE.SIZE_MULTIPLE``); a dynamic detector knows it itself.
        """
        if num_proposals is not None:
            num_proposals = _PROPOSALS.whole(num_proposals, "num_proposals")
        self.model = model
        self.attention_matmul = attention_matmul
        self.num_proposals = num_proposals
        self._last_padding = rounded_up(size_multiple)
        self._roi_work: dict[tuple, dict[str, Work]] = {}
        self._work: dict[tuple[int, int], dict[str, Work]] = {}

    @cached_property
    def _reads_maps(self) -> bool:
        return reads_maps(self.model)

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """An image's size in pixels -> the size that the model pads it to when it is alone.

        Raises:
            ValueError: a side is no whole number, at least 1.
        """
        height, width = _SIDE.whole(height, "height"), _SIDE.whole(width, "width")
        own, last = parts_of(self.model).padded_side, self._last_padding
        return last(own(height)), last(own(width))

    def parts(self, height: int, width: int, route: str = "hard") -> dict[str, int]:
        """Multiply-adds by part, in the order of its description, at an image size in pixels.

        Args:
            route: whose number of proposals counts.
        """
        size = self.padded_size(height, width)
        if size not in self._work:
            work = measure_dense(self.model, *size)
            if not self._work:
                say_uncounted(self.model, work)
            self._work[size] = work
        easy = {**self._work[size], **self._regions("easy", size)}
        measured = {**self._work[size], **self._regions(route, size)}
        parts = parts_of(self.model)
        work = {
            part: (easy if parts.is_easy_alone(part) else measured).get(part, NOTHING)
            for part in parts.routes
        }
        attention_matmul = int(self.attention_matmul)
        return {part: w.other + attention_matmul * w.attention for part, w in work.items()}

    def at(self, height: int, width: int) -> dict[str, int]:
        """{"easy", "hard", "router"} in multiply-adds at an image size in pixels."""
        parts = parts_of(self.model)
        hard, easy = (self.parts(height, width, route) for route in ("hard", "easy"))
        found, cheaper = (route_flops(work, parts.routes) for work in (hard, easy))
        # One of the two runs of these is with the proposals of an easy image.
        fewer = sum(hard[part] - easy[part] for part in parts.as_easy)
        return {**found, "easy": cheaper["easy"], "hard": found["hard"] - fewer}

    def of_images(
        self, sizes: Sequence[tuple[int, int]], step: Callable[[], object] = lambda: None
    ) -> NDArray[np.float64]:
        """Cost of each image on the easy and on the hard route: (I, 2), 10^9 multiply-adds.

        Args:
            sizes: (I,) height and width of each image's network input in pixels.
            step: called after each distinct size.
        """
        known = {}
        for size in sorted(set(sizes)):
            known[size] = self.at(*size)
            step()
        return np.array([[known[size][r] / 1e9 for r in ("easy", "hard")] for size in sizes])

    def average(self, sizes: Sequence[tuple[int, int]], hard_mask: Sequence[bool]) -> float:
        """Mean cost of routed images: the FLOPs column of Table 2.

        Args:
            sizes: height and width of each image's network input in pixels, at least one.
            hard_mask: for each image, whether it goes the hard route.

        Returns:
            10^9 multiply-adds per image.

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

    def _regions(self, route: str, size: tuple[int, int]) -> dict[str, Work]:
        """Work of the ROI heads, the same at every image size where they read no maps."""
        count = kept_proposals(self.model, route, size)
        if self.num_proposals is not None:
            fewer = count < kept_proposals(self.model, size=size)
            count = min(count, self.num_proposals) if fewer else self.num_proposals
        given = (count, size) if self._reads_maps else (count,)
        if given not in self._roi_work:
            self._roi_work[given] = measure_roi_heads(self.model, *given)
        return self._roi_work[given]


def table(model: nn.Module, cfg: CfgNode, setting: Setting) -> str:
    """The cost of a config's model as text: parts, routes, router, averages, paper's figures."""
    multiple = cfg.MODEL.INFERENCE.SIZE_MULTIPLE
    cost = RouteCost(model, True, setting.num_proposals, multiple)
    fractions = cfg.TEST.DYNAMIC.HARD_FRACTIONS
    full = _rows(cost, setting, fractions)
    cost.attention_matmul = False
    bare = _rows(cost, setting, fractions)
    name = system_name(cfg)
    published = _published(name, setting)
    sides = cost.padded_size(setting.height, setting.width)
    size = "{}x{}x{}".format(channels_of(model), *sides)
    if parts_of(model).regions is not None:
        size += f", {setting.num_proposals} proposals, {NUM_DETECTIONS} detections"
    lines = [_line(row, full[row], bare[row], published) for row in full]
    text = (
        f"{name or cfg.MODEL.META_ARCHITECTURE}, multiply-adds at {size}\n"
        f"{'':16}{'all':>12}{'no attention':>14}{'paper':>12}{'difference':>12}\n"
        f"{''.join(lines)}"
        "no attention: without the two products of attention, as the paper counts.\n"
        f"{_twice(model, full)}"
    )
    if published.rows and published.per_multiply_add > 1:
        factor = published.per_multiply_add
        text += (
            f"paper: its table prints {factor} operations for each multiply-add; they are compared "
            f"with {factor} times ours.\n"
        )
    return text


def _published(name: str, setting: Setting) -> Published:
    """What the papers say of a system at a setting; nothing where they do not."""
    found = PAPER.get(name)
    if found is None or found.setting != setting:
        return Published({})
    return found


def _twice(model: nn.Module, rows: Collection[str]) -> str:
    """What the hard route runs twice, as the router or a merged exit needs it; "" where nothing.

    Args:
        rows: of the table; some parts are of other detectors.
    """
    routes = parts_of(model).routes
    names = [name for name, own in routes.items() if own.count("hard") > 1 and name in rows]
    if not names:
        return ""
    return f"route hard: {', '.join(names)} run twice, once by each detector.\n"


def _rows(cost: RouteCost, setting: Setting, fractions: Sequence[float]) -> dict[str, float]:
    size = setting.height, setting.width
    parts, routes = cost.parts(*size), cost.at(*size)
    rows: dict[str, float] = {part: count for part, count in parts.items() if count}
    easy = cost.parts(*size, "easy").get("box_head", 0)
    if easy != parts.get("box_head", 0):
        rows["box_head, easy"] = easy
    if not routes["router"]:
        return {**rows, "total": routes["easy"]}
    rows.update({"route easy": routes["easy"], "route hard": routes["hard"]})
    for k in fractions:
        rows[f"average at {k:g}"] = (1 - k) * routes["easy"] + k * routes["hard"]
    return rows


def _line(row: str, full: float, bare: float, published: Published) -> str:
    unit, scale = ("M", 1e6) if full < 1e8 else ("G", 1e9)
    text = f"{row:16}{full / scale:10.2f} {unit}{bare / scale:12.2f} {unit}"
    paper = published.rows.get(row)
    if paper is None:
        return f"{text}\n"
    difference = published.per_multiply_add * bare / paper - 1
    return f"{text}{paper / scale:10.1f} {unit}{difference:+12.2%}\n"

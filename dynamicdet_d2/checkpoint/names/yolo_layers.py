# SPDX-License-Identifier: Apache-2.0
"""Our weights and the numbers of their layers in the published lists of YOLOv7. Pure.

A published model is a list: every convolution, pooling, upsampling and concatenation has a number,
and blocks of ours take several in a row. Names here are those behind the list's own.
"""

from collections.abc import Iterator

from dynamicdet_d2.modeling.backbone.elan import Level, Levels
from dynamicdet_d2.modeling.yolo.neck import NeckSize
from dynamicdet_d2.modeling.yolo.variants import Variant

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_ENTRY_LAYERS = {"none": 0, "conv": 1, "pool": 5}
_ELAN_LAYERS = 4
"""Beside the chain: two 1x1 convolutions, the concatenation, the last convolution."""

WeightNames = dict[str, str]
"""Our name -> the published one."""


def backbone_weights(levels: Levels) -> WeightNames:
    """Of a backbone that begins with layer 0."""
    blocks: WeightNames = {"stem": "0"} if levels.stem else {}
    index = 1
    for name, level in zip(levels.names, levels.levels, strict=True):
        if level.entry == "conv":
            blocks[f"{name}.entry"] = str(index)
        elif level.entry == "pool":
            blocks |= _pooled_down(f"{name}.entry", index)
        index += _ENTRY_LAYERS[level.entry]
        if level.width:
            blocks |= _elan(f"{name}.blocks.0", index, level.depth)
        else:
            blocks |= {f"{name}.blocks.{i}": str(index + i) for i in range(level.depth)}
        index += _block_layers(level)
    return dict(_weights(blocks))


def num_layers(levels: Levels) -> int:
    """Of a backbone."""
    return 1 + sum(_ENTRY_LAYERS[x.entry] + _block_layers(x) for x in levels.levels)


def second_index(levels: Levels, index: int) -> int:
    """A layer's number in backbone 2 from that in backbone 1.

    The connections' convolutions come first, one for each source; a layer that sums follows each
    point where they are added. Space-to-depth, which has no weights, is done once.
    """
    num_sources = len(levels.levels) - levels.first_injected
    skipped = 0 if levels.stem else 1
    sums = sum(first <= index for first in _injection_points(levels))
    return index - skipped + num_sources + sums


def _injection_points(levels: Levels) -> list[int]:
    """Number in backbone 1 of the first layer behind each point where connections are added."""
    points, index = [], 1
    for level in levels.levels:
        index += _ENTRY_LAYERS[level.entry]
        points.append(index)
        index += _block_layers(level)
    return points[levels.first_injected :]


def _block_layers(level: Level) -> int:
    return level.depth + _ELAN_LAYERS if level.width else level.depth


def tail_weights(
    variant: Variant, first: int, *, implicit: bool = True, auxiliary: bool = False
) -> WeightNames:
    """Of neck and heads (``neck``, ``head``, ``auxiliary_head``).

    Args:
        variant: widths do not matter.
        first: number of the neck's first layer.
        implicit: whether there are implicit vectors.
        auxiliary: whether there is an auxiliary head.
    """
    blocks, index = _neck(variant.neck, _levels(variant), first)
    weights = {f"neck.{ours}": theirs for ours, theirs in _weights(blocks)}
    levels = _levels(variant)
    for number, level in enumerate(levels, start=index):
        ours, theirs = f"head.convs.n{level}", str(number)
        pairs = _rep_conv(ours, theirs) if variant.head.rep_conv else _weights({ours: theirs})
        weights |= dict(pairs)
    detection = index + len(levels)
    if auxiliary:
        names = {f"auxiliary_head.convs.t{x}": str(detection + i) for i, x in enumerate(levels)}
        detection += len(levels)
        weights |= dict(_weights(names))
        weights |= _predictors("auxiliary_head.predictors.t{}", levels, f"{detection}.m2")
    if implicit:
        weights |= _implicit_vectors(levels, detection)
    return weights | _predictors("head.predictors.n{}.conv", levels, f"{detection}.m")


def _neck(size: NeckSize, levels: list[str], first: int) -> tuple[WeightNames, int]:
    """Convolutions of a neck that begins with layer ``first``, and the number after the last."""
    own = ("before.0", "side", "before.1", "before.2", "after.0", "after.1", "fuse")
    blocks = {f"pooling.{part}": f"{first}.cv{i}" for i, part in enumerate(own, start=1)}
    index = first + 1
    for level in reversed(levels[:-1]):
        blocks |= {f"reduce.t{level}": str(index), f"lateral.t{level}": str(index + 2)}
        blocks |= _elan(f"top_down.t{level}", index + 4, size.depth)
        index += 4 + size.depth + _ELAN_LAYERS
    for level in levels[1:]:
        if size.down == "pool":
            blocks |= _pooled_down(f"down.n{level}", index)
            index += 5
        else:  # and a concatenation
            blocks[f"down.n{level}"] = str(index)
            index += 2
        blocks |= _elan(f"bottom_up.n{level}", index, size.depth)
        index += size.depth + _ELAN_LAYERS
    return blocks, index


def _levels(variant: Variant) -> list[str]:
    return [name[1:] for name in variant.backbone.names[-len(variant.neck.channels) :]]


def _elan(ours: str, first: int, depth: int) -> WeightNames:
    blocks = {f"{ours}.side": str(first), f"{ours}.entry": str(first + 1)}
    blocks |= {f"{ours}.chain.{i}": str(first + 2 + i) for i in range(depth)}
    return {**blocks, f"{ours}.fuse": str(first + depth + 3)}


def _pooled_down(ours: str, first: int) -> WeightNames:
    return {
        f"{ours}.pooled": str(first + 1),
        f"{ours}.strided.0": str(first + 2),
        f"{ours}.strided.1": str(first + 3),
    }


def _predictors(ours: str, levels: list[str], theirs: str) -> WeightNames:
    """Predictions; ``{}`` in our name stands for the level."""
    return {
        f"{ours.format(level)}.{kind}": f"{theirs}.{i}.{kind}"
        for i, level in enumerate(levels)
        for kind in ("weight", "bias")
    }


def _implicit_vectors(levels: list[str], detection: int) -> WeightNames:
    return {
        f"head.predictors.n{level}.{own}.implicit": f"{detection}.{other}.{i}.implicit"
        for i, level in enumerate(levels)
        for own, other in (("add", "ia"), ("multiply", "im"))
    }


def _weights(blocks: WeightNames) -> Iterator[tuple[str, str]]:
    """Weights of convolutions with their norms."""
    for ours, theirs in blocks.items():
        yield f"{ours}.weight", f"{theirs}.conv.weight"
        for kind in _NORM:
            yield f"{ours}.norm.{kind}", f"{theirs}.bn.{kind}"


def _rep_conv(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for own, other in (("dense", "rbr_dense"), ("pointwise", "rbr_1x1")):
        yield f"{ours}.{own}.weight", f"{theirs}.{other}.0.weight"
        for kind in _NORM:
            yield f"{ours}.{own}.norm.{kind}", f"{theirs}.{other}.1.{kind}"

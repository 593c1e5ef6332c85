# SPDX-License-Identifier: Apache-2.0
"""Names of weights in the published files of YOLOv7 and Dy-YOLOv7, beside ours. Pure.

These files number the layers of a model one after the other: every convolution, pooling,
upsampling and concatenation has a number. A static model has one list, a dynamic one a list for
each backbone and for each neck with its head.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dynamicdet_d2.checkpoint.names.yolo_layers import (
    backbone_weights,
    num_layers,
    second_index,
    tail_weights,
)
from dynamicdet_d2.modeling.backbone.elan import Levels
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, Variant

_NO_WEIGHT = re.compile(r"\.num_batches_tracked$|\.anchors$|\.anchor_grid$")


@dataclass(frozen=True)
class Source:
    """Where a weight of ours comes from.

    Attributes:
        name: in the published file.
        rows: its first output channel and the one behind its last, of a weight that the file has
            as a part of a larger one; None: all.
        negated: whether the sign changes. The published router scores 1 - difficulty.
        flat: whether a 1x1 convolution becomes a linear layer.
    """

    name: str
    rows: tuple[int, int] | None = None
    negated: bool = False
    flat: bool = False


Sources = dict[str, Source]
"""By our names."""


@dataclass(frozen=True)
class Layout:
    """What a published file holds.

    Attributes:
        variant: a name of ``VARIANTS``.
        dynamic: two detectors, or one.
        implicit: whether there are implicit vectors; files for deployment have them folded.
        auxiliary: whether there is an auxiliary head.
    """

    variant: str
    dynamic: bool = False
    implicit: bool = True
    auxiliary: bool = False

    def sources(self) -> Sources:
        """Where each of our weights is in the file."""
        variant = VARIANTS[self.variant]
        if self.dynamic:
            return dynamic_sources(variant)
        return static_sources(variant, implicit=self.implicit, auxiliary=self.auxiliary)


def recognise(names: Iterable[str]) -> Layout:
    """What a file with these names holds.

    Counters and anchors may be there or not: they are no weights.

    Raises:
        ValueError: if it is none of the published layouts; it says how the nearest differs.
    """
    found = {name for name in names if not _NO_WEIGHT.search(name)}
    differences = {}
    for layout in _layouts():
        known = {source.name for source in layout.sources().values()}
        known = {name for name in known if not _NO_WEIGHT.search(name)}
        if known == found:
            return layout
        differences[layout] = (sorted(known - found), sorted(found - known))
    nearest, (missing, more) = min(differences.items(), key=lambda item: sum(map(len, item[1])))
    kind = "two detectors" if nearest.dynamic else "one detector"
    raise ValueError(
        f"its names are those of no published YOLOv7, -X or -W6; of {nearest.variant} with {kind} "
        f"it lacks {_examples(missing)} and has {_examples(more)} besides."
    )


def _layouts() -> Iterator[Layout]:
    for name, variant in VARIANTS.items():
        yield Layout(name)
        yield Layout(name, implicit=False)
        yield Layout(name, dynamic=True)
        if variant.head.auxiliary:
            yield Layout(name, auxiliary=True)


def _examples(names: list[str]) -> str:
    if len(names) < 4:
        return ", ".join(names) or "nothing"
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def static_sources(variant: Variant, *, implicit: bool = True, auxiliary: bool = False) -> Sources:
    """Of ``YOLOv7``.

    Args:
        variant: widths do not matter.
        implicit: whether the file has implicit vectors (files for deployment have them folded).
        auxiliary: whether it has an auxiliary head.
    """
    weights = {f"backbone.{k}": v for k, v in backbone_weights(variant.backbone).items()}
    first = num_layers(variant.backbone)
    weights |= tail_weights(variant, first, implicit=implicit, auxiliary=auxiliary)
    return {ours: Source(f"model.{theirs}") for ours, theirs in weights.items()}


def dynamic_sources(variant: Variant) -> Sources:
    """Of ``DynamicYOLO``; there are no files of it with folded or auxiliary heads."""
    levels = variant.backbone
    sources = _connections(levels) | _router()
    for ours, theirs in backbone_weights(levels).items():
        number, _, rest = theirs.partition(".")
        second = f"{second_index(levels, int(number))}.{rest}"
        sources[f"backbone.bottom_up1.{ours}"] = Source(f"model_b.{theirs}")
        sources[f"backbone.bottom_up2.{ours}"] = Source(f"model_b2.{second}")
    for detector, own_list in ((1, "model_h"), (2, "model_h2")):
        for ours, theirs in tail_weights(variant, 0).items():
            part, _, rest = ours.partition(".")
            sources[f"{part}{detector}.{rest}"] = Source(f"{own_list}.{theirs}")
    return sources


def _connections(levels: Levels) -> Sources:
    """The file has one convolution for each source level, with the targets' outputs stacked."""
    names, widths = levels.names, [level.channels for level in levels.levels]
    sources, first = {}, levels.first_injected
    for number, source in enumerate(range(first, len(names))):
        start = 0
        for target in range(first, source + 1):
            rows = (start, start + widths[target])
            link = f"backbone.connections.links.{names[target]}_from_{names[source]}"
            for kind in ("weight", "bias"):
                sources[f"{link}.{kind}"] = Source(f"model_b2.{number}.conv.{kind}", rows)
            start = rows[1]
    return sources


def _router() -> Sources:
    hidden = {
        "router.hidden.weight": Source("router.layer1.weight", flat=True),
        "router.hidden.bias": Source("router.layer1.bias"),
    }
    return hidden | {
        "router.score.weight": Source("router.layer2.weight", negated=True, flat=True),
        "router.score.bias": Source("router.layer2.bias", negated=True),
    }

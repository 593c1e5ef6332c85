# SPDX-License-Identifier: Apache-2.0
"""Names of EfficientNet-Lites of other projects. Pure.

The converted weights number all blocks in one row, so the number of blocks tells the member (or
one of equal depth) and so the group of each. Head convolution and classifier are left over.
"""

import re

from dynamicdet_d2.modeling.backbone.efficientnet_lite import GROUPS_OF_STAGE
from dynamicdet_d2.modeling.backbone.lite_sizes import GROUP_NAMES, SCALES, blocks_of

SIGN = re.compile(r"^_blocks\.0\._depthwise_conv\.")

# Only the larger relatives have this: their weights are of no use without it.
_SQUEEZE = re.compile(r"^_blocks\.\d+\._se_")
_BLOCK = re.compile(r"^_blocks\.(\d+)\.(.+)$")
_STEM = (("_conv_stem.", "stem.conv."), ("_bn0.", "stem.conv.norm."))
_PARTS = {"_expand_conv": "expand", "_depthwise_conv": "depthwise", "_project_conv": "project"}
_NORMS = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}


def from_lite(names: list[str]) -> list[str]:
    """Names of the PyTorch conversion -> those of ``StagedEfficientNetLite``.

    Names of what is no Lite, but looks like one, stay as they are and fit no model.
    """
    numbers = [int(found[1]) for found in map(_BLOCK.match, names) if found]
    places = _places(max(numbers, default=-1) + 1)
    if not places or any(map(_SQUEEZE.match, names)):
        return names
    return [_renamed(name, places) for name in names]


def _places(count: int) -> list[str]:
    """Where each of a number of blocks is in the backbone; empty where no member has so many."""
    depths = (blocks_of(size) for size in range(len(SCALES)))
    blocks = next((depth for depth in depths if sum(depth) == count), ())
    return [
        f"{stage}.{GROUP_NAMES[group]}_{index}"
        for stage, groups in GROUPS_OF_STAGE.items()
        for group in groups
        if blocks
        for index in range(blocks[group])
    ]


def _renamed(name: str, places: list[str]) -> str:
    found = _BLOCK.match(name)
    if found is None:
        for theirs, ours in _STEM:
            if name.startswith(theirs):
                return ours + name.removeprefix(theirs)
        return name
    part, _, rest = found[2].partition(".")
    # Blocks that do not expand have no first norm; the others number theirs alike.
    return f"{places[int(found[1])]}.{(_PARTS | _NORMS).get(part, part)}.{rest}"

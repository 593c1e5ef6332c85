# SPDX-License-Identifier: Apache-2.0
"""Names of Swin Transformers of other projects, and tables of other window sizes. Pure.

Three projects have given names: the Swin authors, timm (theirs, but newer versions put patch
merging in front of a stage's blocks instead of behind them) and torchvision. Their tensors are
alike: merging joins the four positions in the same order, and attention keeps q, k, v in one
matrix. The classifier and its norm are left over, as in the detection recipe, where the norms of
the four stages' outputs start alike.
"""

import math
import re

import torch.nn.functional as F
from torch import Tensor

# The backbone may be bare, that of a detector of the Swin authors, or that of a Detectron2 one.
_PLACE = r"^(?:backbone\.)?(?:bottom_up\.)?"

SWIN_SIGN = re.compile(_PLACE + r"layers\.0\.blocks\.0\.")
TORCHVISION_SIGN = re.compile(_PLACE + r"features\.1\.0\.attn\.")

TABLE = "relative_position_bias_table"

_MERGING_BEHIND = re.compile(_PLACE + r"layers\.0\.downsample\.")

_SWIN_RULES = (
    (re.compile(_PLACE + r"(layers\.\d|patch_embed|norm\d)\."), r"\1."),
    (re.compile(r"^layers\.(\d)\.blocks\."), lambda found: f"stage{int(found[1]) + 1}.blocks."),
    (re.compile(r"^norm(\d)\."), lambda found: f"stage{int(found[1]) + 1}.norm."),
    (re.compile(r"^(stage.*)\.mlp\.fc1\."), r"\1.mlp.0."),
    (re.compile(r"^(stage.*)\.mlp\.fc2\."), r"\1.mlp.3."),
)

_TORCHVISION_RULES = (
    (re.compile(_PLACE + r"features\.0\.0\."), "patch_embed.proj."),
    (re.compile(_PLACE + r"features\.0\.2\."), "patch_embed.norm."),
    # Stages have odd numbers, the patch merging before each of them the even ones.
    (re.compile(_PLACE + r"features\.([1357])\."), lambda n: f"stage{int(n[1]) // 2 + 1}.blocks."),
    (re.compile(_PLACE + r"features\.([246])\."), lambda n: f"stage{int(n[1]) // 2 + 1}.merge."),
)


def from_swin(names: list[str]) -> list[str]:
    """Names of the Swin authors or of timm -> those of ``StagedSwin``."""
    behind = any(_MERGING_BEHIND.match(name) for name in names)
    first = 2 if behind else 1
    merging = re.compile(r"^layers\.(\d)\.downsample\.")
    rules = (*_SWIN_RULES, (merging, lambda found: f"stage{int(found[1]) + first}.merge."))
    return _apply(rules, names)


def from_torchvision(names: list[str]) -> list[str]:
    """Names of torchvision's Swin -> those of ``StagedSwin``."""
    return _apply(_TORCHVISION_RULES, names)


def _apply(rules: tuple, names: list[str]) -> list[str]:
    for pattern, replacement in rules:
        names = [pattern.sub(replacement, name) for name in names]
    return names


def fitted_table(table: Tensor, rows: int) -> Tensor | None:
    """A table of relative positions for windows of another size, by bicubic interpolation.

    Args:
        table: ((2 w - 1)^2, heads), one row for each offset in windows of side w.
        rows: (2 v - 1)^2 for windows of side v.

    Returns:
        (rows, heads), float32; None where either is not of this form, or one number of a file is
        expanded to a table.
    """
    if table.dim() != 2 or not table.is_contiguous():
        return None
    side, new_side = (math.isqrt(n) for n in (len(table), rows))
    if side**2 != len(table) or new_side**2 != rows or not side % 2 or not new_side % 2:
        return None
    grid = table.float().t().reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False)
    return grid.reshape(-1, rows).t().contiguous()

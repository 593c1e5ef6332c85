# SPDX-License-Identifier: Apache-2.0
"""What a detector consists of: cost, optimisation and export read it."""

from dynamicdet_d2.parts.description import (
    BOTH,
    EASY,
    HARD,
    Part,
    Parts,
    Regions,
    Takes,
    is_described,
    layers_of,
    parts_of,
    rounded_up,
    undescribed,
)
from dynamicdet_d2.parts.stock import (
    backbone_parts,
    dense_head_part,
    roi_parts,
    rpn_parts,
    rpn_regions,
    run_dense_head,
    run_rpn_head,
)

__all__ = [
    "BOTH",
    "EASY",
    "HARD",
    "Part",
    "Parts",
    "Regions",
    "Takes",
    "backbone_parts",
    "dense_head_part",
    "is_described",
    "layers_of",
    "parts_of",
    "roi_parts",
    "rounded_up",
    "rpn_parts",
    "rpn_regions",
    "run_dense_head",
    "run_rpn_head",
    "undescribed",
]

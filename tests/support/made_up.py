# SPDX-License-Identifier: Apache-2.0
"""A made-up loss table of images whose detections are known, shared by the tests."""

import numpy as np
import torch
from torch import Tensor

from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.evaluation.coco.matched_sweep import as_rows
from dynamicdet_d2.evaluation.coco.set_gains import Boxes, match_image, set_gains

SIDE, OBJECTS = 20.0, 3


def boxes(kept: list[int], score: float) -> Boxes:
    """Of the objects of an image, which stand in a row."""
    corners = [[40.0 * number, 0.0, SIDE, SIDE] for number in kept]
    count = len(kept)
    return Boxes(
        np.array(corners).reshape(-1, 4), np.zeros(count, dtype=np.int64), np.full(count, score)
    )


def made_up_table(count: int, *, helps: bool, informed: bool = True, seed: int = 0) -> LossTable:
    """Images with three objects, of which detector1 finds three, or one in a hard image.

    The router sees, as its seven numbers of detections, which images are hard. The loss gap says
    the opposite of what is worth while: it is large where detector2 finds nothing more.

    Args:
        helps: whether detector2 finds all objects of hard images; else as many as detector1.
        informed: whether the router's numbers know which images are hard.
    """
    generator = np.random.default_rng(seed)
    hard = generator.random(count) < 0.5
    everything = list(range(OBJECTS))
    images = []
    for is_hard in hard:
        first = boxes([0] if is_hard else everything, 0.9)
        second = boxes(everything, 0.9) if helps else first
        images.append(match_image((first, second), boxes(everything, 0.0)))
    sign = torch.from_numpy(np.where(hard, 1.0, -1.0)).float()
    shown = sign if informed else torch.zeros(count)
    noise = torch.from_numpy(generator.normal(size=(count, 7))).float()
    return LossTable(
        {
            "detections": noise + 3 * shown[:, None],
            "losses": torch.stack([2 - sign, torch.ones(count)], dim=1),
            "ap": -sign,
            "gain": _gains(images),
            "matched": torch.from_numpy(as_rows(images)),
        }
    )


def _gains(images: list) -> Tensor:
    return torch.from_numpy(len(images) * set_gains(images)).float()

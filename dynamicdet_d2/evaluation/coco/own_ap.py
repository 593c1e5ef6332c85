# SPDX-License-Identifier: Apache-2.0
"""AP of each image alone, of both exits.

Letters: I images, K classes, C cells: a class and an image that shows objects of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dynamicdet_d2.evaluation.coco.arrays import stable_argsort
from dynamicdet_d2.evaluation.coco.influence import ObjectPlaces
from dynamicdet_d2.evaluation.coco.matching import NUM_AREAS
from dynamicdet_d2.evaluation.coco.ranking import RankedDetections, Ranking

# Cells looked at together; the precision of one takes some 30 kB.
_CHUNK = 1000


def own_ap(ranked: RankedDetections, objects: ObjectPlaces, num_images: int) -> np.ndarray:
    """COCO's AP of every image on its own, over the classes that it shows (section 4.4.2).

    Returns:
        (I, 2) float64 in percent, of detector1 and of detector2; NaN for images without objects.
    """
    cells, wanted = np.unique(objects.label * num_images + objects.image, return_counts=True)
    ap = np.empty((len(cells), 2))
    for start in range(0, len(cells), _CHUNK):
        part = slice(start, start + _CHUNK)
        ap[part] = _ap_of_cells(ranked, cells[part], wanted[part], num_images)
    image = cells % num_images
    sums = [np.bincount(image, values, minlength=num_images) for values in ap.T]
    with np.errstate(invalid="ignore"):
        return 100 * np.stack(sums, axis=1) / np.bincount(image, minlength=num_images)[:, None]


def _ap_of_cells(
    ranked: RankedDetections, cells: np.ndarray, wanted: np.ndarray, num_images: int
) -> np.ndarray:
    """(C, 2) AP of each cell by each exit: every cell is ranked as a class of its own."""
    own = ranked.label * num_images + ranked.source // 2
    place = np.searchsorted(cells, own).clip(max=len(cells) - 1)
    chosen = np.flatnonzero(cells[place] == own)
    chosen = chosen[stable_argsort(place[chosen])]
    by_cell = replace(
        ranked,
        source=ranked.source[chosen] % 2,
        label=place[chosen],
        **{
            name: getattr(ranked, name)[chosen]
            for name in ("score", "score_order", "rank", "positive", "counted")
        },
    )
    ranking = Ranking.build(by_cell, len(cells))
    everywhere = np.tile(wanted, (NUM_AREAS, 1))
    exits = np.eye(2, dtype=bool)
    precision = [ranking.precision_and_recall(kept, everywhere)[0][0] for kept in exits]
    return np.stack([values.mean(axis=(0, 2)) for values in precision], axis=1)

# SPDX-License-Identifier: Apache-2.0
"""How much each image moves the data set's AP: the standard error of AP without resampling.

AP is no mean over images, but it is a smooth function of the weights that images count with. Its
derivative by an image's weight is the image's influence; the sum of the squares over the images
estimates the variance that AP has over data sets of the same size and kind (the infinitesimal
jackknife). The difference of two routings' AP on the same images is treated in the same way: its
influence is the difference of theirs, so that what both share cancels.

Letters: N detections (of both exits), P true positives of the exits taken, I images, K classes,
G objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamicdet_d2.evaluation.coco.matching import NUM_THRESHOLDS, SETTING_BITS
from dynamicdet_d2.evaluation.coco.ranking import RankedDetections


@dataclass(frozen=True)
class ObjectPlaces:
    """Objects of all sizes that are to be found.

    Attributes:
        label, image: (G,) int64.
    """

    label: np.ndarray
    image: np.ndarray


def ap_influence(
    ranked: RankedDetections,
    kept: np.ndarray,
    objects: ObjectPlaces,
    shape: tuple[int, int],
) -> np.ndarray:
    """Derivative of each class's part of AP by the weight of each image, all weights being 1.

    At one IoU threshold and class with n objects, AP is 1/n times the sum over the true positives
    j of the best precision at or after j, that of the true positive e(j): C_e / N_e, where C and N
    count the true positives and all detections down to e. (COCO reads the same curve at 101
    recalls.) An image's weight stands in front of its own true positives, in C, in N and in n, so
    the derivative is 1/n times

        sum over its true positives j of C_e(j) / N_e(j)
        + sum over its true positives k of the sum of 1 / N_e(j) over j with e(j) at or after k
        - sum over its detections k of the sum of C_e(j) / N_e(j)^2 over the same j
        - AP times its objects.

    Args:
        kept: (2 I,) bool, the sources whose detections count.
        shape: K and I.

    Returns:
        (K, I) float64, shares of AP, which is their parts' sum; the sum over the images is 0, since
        AP does not change when all of them count twice.
    """
    chosen = np.flatnonzero(kept[ranked.source])
    label, image = ranked.label[chosen], ranked.source[chosen] // 2
    wanted = np.bincount(objects.label, minlength=shape[0])
    positive, counted = ranked.positive[chosen], ranked.counted[chosen]
    influence = np.zeros(shape)
    for bit in SETTING_BITS[0]:
        true = (positive & bit) != 0
        influence += _at_one_threshold(
            true, (counted & bit) != 0, label, image, wanted, objects, shape
        )
    return influence / (NUM_THRESHOLDS * max(int(np.count_nonzero(wanted)), 1))


def _at_one_threshold(
    true: np.ndarray,
    counted: np.ndarray,
    label: np.ndarray,
    image: np.ndarray,
    wanted: np.ndarray,
    objects: ObjectPlaces,
    shape: tuple[int, int],
) -> np.ndarray:
    """(K, I) derivative of each class's AP; detections in the order of the ranking."""
    place = np.flatnonzero(true)
    if not len(place):
        return np.zeros(shape)

    def sums(label: np.ndarray, image: np.ndarray, values: np.ndarray) -> np.ndarray:
        cell = label.astype(np.int64) * shape[1] + image
        return np.bincount(cell, values, minlength=shape[0] * shape[1]).reshape(shape)

    classes = label[place]
    found = _count_in_class(true, place, label)
    seen = _count_in_class(counted, place, label)
    best = _best_from_here(found / seen, classes)
    share = 1 / wanted[classes]
    precision = found[best] / seen[best]
    # How often each true positive is the best of others, and the sums from each place on.
    chosen = np.bincount(best, share, minlength=len(place))
    lift, drop = (
        _sums_from_here(chosen * each, classes) for each in (1 / seen, found / np.square(seen))
    )
    ap = np.bincount(classes, precision * share, minlength=len(wanted))
    own = sums(classes, image[place], precision * share + lift)
    # A false positive counts at the true positives of its class from the next one on.
    after = np.cumsum(true) - true
    counts = counted & (after < len(place))
    counts[counts] = classes[after[counts]] == label[counts]
    own -= sums(label[counts], image[counts], drop[after[counts]])
    loss = ap[objects.label] / np.maximum(wanted, 1)[objects.label]
    return own - sums(objects.label, objects.image, loss)


def _count_in_class(flags: np.ndarray, place: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(P,) how many flags of its class are set down to each place, itself included."""
    total = np.append(0, np.cumsum(flags))
    start = np.searchsorted(label, label[place])
    return total[place + 1] - total[start]


def _best_from_here(precision: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(P,) for each true positive, the one of its class at or after it with the best precision."""
    backwards = (precision - 2.0 * classes)[::-1]
    best = np.maximum.accumulate(backwards)
    index = np.where(backwards == best, np.arange(len(best)), 0)
    return (len(best) - 1 - np.maximum.accumulate(index))[::-1]


def _sums_from_here(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(P,) sum of the values of the same class from each place on."""
    total = np.append(0.0, np.cumsum(values))
    end = np.searchsorted(classes, classes, side="right")
    return total[end] - total[:-1]

# SPDX-License-Identifier: Apache-2.0
"""The target of a largest AP drop: on the images of the data set, or promised of new ones."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.calibration.target import FRACTIONS, Choice, Measured, Promise, Target
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.exit_records import ExitRecord, coco_results
from dynamicdet_d2.evaluation.ground_truth import GroundTruth
from dynamicdet_d2.evaluation.tradeoff.verdict import NEAR_ZERO
from dynamicdet_d2.operating_point import hard_fraction_for_ap_drop
from dynamicdet_d2.operating_point.guarantee import (
    LARGE_SAMPLE,
    Guarantee,
    check_number,
    images_needed,
    leading,
    share_is_below,
    share_upper_bound,
    upper_bound,
)
from dynamicdet_d2.operating_point.hard_fraction import least_ap

logger = logging.getLogger(__name__)


class ApDrop(Target):
    """Points of box AP that may be lost against all images hard."""

    name = "ap_drop"
    option = "--max-ap-drop"
    metavar = "AP"
    help = "points of box AP that may be lost against all images hard, in [0, 100]"
    largest = 100.0
    needs_detections = True
    needs_ground_truth = True
    promises = ("ap", "finite")

    def choose(self, measured: Measured) -> Choice:
        routings = routings_at(measured, FRACTIONS)
        sweep = box_sweep(measured.observation.records, measured.ground_truth)
        best = sweep.evaluate(routings[-1]).ap
        say_near_zero(best)
        if self.guarantee is None:
            return Choice(point_estimate(sweep, routings, self.value))
        choose = {"ap": of_the_set, "finite": of_images}[self.guarantee.mode]
        return choose(sweep, routings, self.value, self.guarantee)


def say_near_zero(best: float) -> None:
    """Say where any threshold is within a drop of AP; ``best``: of all images hard, in percent."""
    if best < NEAR_ZERO:
        logger.warning(
            "With all images hard AP is %.2f: the detectors find next to nothing on these "
            "images, so that a drop of it says nothing.",
            best,
        )


def box_sweep(records: Sequence[ExitRecord], truth: GroundTruth | None) -> CocoSweep:
    """Of the boxes of both exits.

    Raises:
        ValueError: without ground truth, or where the model knows more classes than it.
    """
    if truth is None:
        raise ValueError("AP needs the data set's ground truth.")
    exits = coco_results(records, truth.category_ids)
    return CocoSweep(truth.coco, exits, "bbox", [record.image_id for record in records])


# R: hard fractions, I: images.


def routings_at(measured: Measured, hard_fractions: Sequence[float]) -> list[NDArray[np.bool_]]:
    """R masks (I,) of the hard images, by the calibration's thresholds."""
    difficulties = np.array(measured.observation.difficulties)
    return [difficulties > measured.calibration.threshold(k) for k in hard_fractions]


def point_estimate(sweep: CocoSweep, routings: list[NDArray[np.bool_]], drop: float) -> float:
    """The smallest hard fraction whose AP on these images is within the drop.

    Args:
        routings: R masks (I,) of the hard images, evenly from none to all.
        drop: points of AP.
    """
    aps = [sweep.evaluate(hard).ap for hard in routings]
    return hard_fraction_for_ap_drop(_fractions(routings), aps, drop)


def of_the_set(
    sweep: CocoSweep, routings: list[NDArray[np.bool_]], drop: float, guarantee: Guarantee
) -> Choice:
    """Mode "ap": with this confidence AP over all images like these falls by at most ``drop``.

    The walk goes from all hard to all easy. The error of AP(all hard) - AP(t) is estimated from
    each image's influence on each class's part. Thresholds are quantiles of the same images; how
    far they are from those of all images changes the error by less than itself, the less the more
    images there are.

    Raises:
        ValueError: too few images for a normal distribution of the error.
    """
    num_images = len(routings[0])
    check_number(num_images, LARGE_SAMPLE, "images")
    fixed = point_estimate(sweep, routings, drop)
    best, reference = sweep.evaluate(routings[-1]).ap, sweep.influence(routings[-1])
    shown = sweep.class_images()
    found = [(0.0, 0.0)]

    def tests() -> Iterator[bool]:
        for hard in reversed(routings[:-1]):
            lost = best - sweep.evaluate(hard).ap
            moved = 100 * (reference - sweep.influence(hard))
            found.append((lost, upper_bound(lost, moved, shown, guarantee.confidence)))
            yield found[-1][1] <= drop

    passed = leading(tests())
    lost, bound = found[passed]
    return _promised(
        routings,
        passed,
        guarantee,
        fixed,
        (lost, bound),
        f"box AP over images like these falls by at most {drop:g}: it falls by {lost:.2f} on the "
        f"{num_images} images, {bound:.2f} at most",
    )


def of_images(
    sweep: CocoSweep, routings: list[NDArray[np.bool_]], drop: float, guarantee: Guarantee
) -> Choice:
    """Mode "finite": at most a share of images like these lose more than ``drop`` of their own AP.

    An image's own AP is over the classes that it shows; one without objects loses nothing.

    Raises:
        ValueError: fewer images than would show the share if none of them lost that much, or none
            with an object.
    """
    num_images = len(routings[0])
    share, confidence = guarantee.share, guarantee.confidence
    check_number(num_images, images_needed(share, confidence), "images")
    own = sweep.own_ap()
    if np.isnan(own).all():
        raise ValueError("No image has an AP of its own: these images may have no object.")
    worse = own[:, 0] < least_ap(own[:, 1], drop)
    counts = [int((worse & ~hard).sum()) for hard in reversed(routings)]
    fixed = leading(count / num_images <= share for count in counts) - 1
    passed = leading(share_is_below(n, num_images, share, confidence) for n in counts[1:])
    seen, bound = (
        counts[passed] / num_images,
        share_upper_bound(counts[passed], num_images, confidence),
    )
    return _promised(
        routings,
        passed,
        guarantee,
        _fractions(routings)[-1 - fixed],
        (seen, bound),
        f"at most {share:g} of images like these lose more than {drop:g} of their own AP: "
        f"{seen:.3f} of the {num_images} images do, {bound:.3f} at most",
    )


def _promised(
    routings: list[NDArray[np.bool_]],
    passed: int,
    guarantee: Guarantee,
    fixed: float,
    figures: tuple[float, float],
    says: str,
) -> Choice:
    """The place where the walk from all hard ended after so many passed tests."""
    promise = Promise(
        mode=guarantee.mode,
        confidence=guarantee.confidence,
        share=guarantee.share if guarantee.mode == "finite" else None,
        estimate=figures[0],
        bound=figures[1],
        hard_fraction_without=fixed,
        says=f"with confidence {guarantee.confidence:g}, {says}",
    )
    return Choice(_fractions(routings)[-1 - passed], promise)


def _fractions(routings: list[NDArray[np.bool_]]) -> list[float]:
    """The hard fractions of R routings, evenly from 0 to 1."""
    last = len(routings) - 1
    return [k / last for k in range(last + 1)]

# SPDX-License-Identifier: Apache-2.0
"""What an operating point can be chosen for: one class per target, each an option of calibrate.py.

To add a target, write a subclass of ``Target`` here and put it into ``TARGETS``: the command line,
the pass over the data set and the calibration file follow from it.
"""

import argparse
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from detectron2.config import CfgNode

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.evaluation.exit_records import coco_results
from dynamicdet_d2.evaluation.ground_truth import GroundTruth
from dynamicdet_d2.evaluation.observe import Observation
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.operating_point import (
    Calibration,
    hard_fraction_for_ap_drop,
    hard_fraction_for_cost,
)

# Hard fractions that AP is looked at for a largest AP drop.
AP_FRACTIONS = tuple(k / 100 for k in range(101))


@dataclass(frozen=True)
class Measured:
    """What a target may be met by.

    Attributes:
        cfg: that the model was built from.
        model: the dynamic detector.
        calibration: its thresholds and latencies.
        observation: the images of the data set; with both exits' boxes if the target needs them.
        ground_truth: of the data set; None if the target needs none.
    """

    cfg: CfgNode
    model: DynamicDetector
    calibration: Calibration
    observation: Observation
    ground_truth: GroundTruth | None = None


@dataclass(frozen=True)
class Target(ABC):
    """A target with its value.

    Attributes:
        name: of the target in the calibration file.
        option: of calibrate.py.
        metavar: the value's symbol in the help.
        help: what the value means, with its unit.
        largest: value allowed; the smallest is 0.
        needs_detections: the pass keeps both exits' boxes, which makes it about twice as long.
        needs_ground_truth: the data set's annotations are read before the pass.
        value: in the unit that ``help`` names.
    """

    name: ClassVar[str]
    option: ClassVar[str]
    metavar: ClassVar[str]
    help: ClassVar[str]
    largest: ClassVar[float] = math.inf
    needs_detections: ClassVar[bool] = False
    needs_ground_truth: ClassVar[bool] = False

    value: float

    def __post_init__(self) -> None:
        if not 0 <= self.value <= self.largest:
            allowed = "0 or more" if math.isinf(self.largest) else f"in [0, {self.largest:g}]"
            raise ValueError(f"A target for {self.name} must be {allowed}, not {self.value:g}.")

    @abstractmethod
    def hard_fraction(self, measured: Measured) -> float:
        """The hard fraction, in [0, 1], that meets the target.

        Raises:
            ValueError: the target cannot be reached; with the range that can.
        """


class HardFraction(Target):
    """The hard fraction itself."""

    name = "hard_fraction"
    option = "--hard-fraction"
    metavar = "K"
    help = "share of images on the hard route, in [0, 1]"
    largest = 1.0

    def hard_fraction(self, measured: Measured) -> float:
        return self.value


class Latency(Target):
    """Mean latency per image on this machine, by eq. 14."""

    name = "latency_ms"
    option = "--target-latency-ms"
    metavar = "MS"
    help = "mean milliseconds per image on this machine"

    def hard_fraction(self, measured: Measured) -> float:
        return measured.calibration.hard_fraction_for_latency(self.value)


class Gflops(Target):
    """Mean multiply-adds per image, at the sizes that the images really have."""

    name = "gflops"
    option = "--target-gflops"
    metavar = "G"
    help = "mean 10^9 multiply-adds per image"

    def hard_fraction(self, measured: Measured) -> float:
        keys, sizes = measured.cfg, measured.observation.sizes
        cost = RouteCost(measured.model, keys.TEST.DYNAMIC.ATTENTION_MATMUL)
        easy, hard = (cost.average(sizes, [route] * len(sizes)) for route in (False, True))
        return hard_fraction_for_cost(easy, hard, self.value, "cost", "GFLOPs")


class ApDrop(Target):
    """Points of box AP that may be lost on the images of the data set, against all hard."""

    name = "ap_drop"
    option = "--max-ap-drop"
    metavar = "AP"
    help = "points of box AP that may be lost against all images hard, in [0, 100]"
    largest = 100.0
    needs_detections = True
    needs_ground_truth = True

    def hard_fraction(self, measured: Measured) -> float:
        aps = box_ap(measured, AP_FRACTIONS)
        return hard_fraction_for_ap_drop(AP_FRACTIONS, aps, self.value)


def box_ap(measured: Measured, hard_fractions: Sequence[float]) -> list[float]:
    """Box AP in points at each of the hard fractions, by the calibration's thresholds.

    Raises:
        ValueError: without ground truth, or where the model knows more classes than it.
    """
    records, truth = measured.observation.records, measured.ground_truth
    if truth is None:
        raise ValueError("AP needs the data set's ground truth.")
    exits = coco_results(records, truth.category_ids)
    sweep = CocoSweep(truth.coco, exits, "bbox", [record.image_id for record in records])
    difficulties = np.array(measured.observation.difficulties)
    thresholds = map(measured.calibration.threshold, hard_fractions)
    return [sweep.evaluate(difficulties > x).ap for x in thresholds]


# The options of calibrate.py, in the order of its help.
TARGETS: tuple[type[Target], ...] = (HardFraction, Latency, Gflops, ApDrop)


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option per target, of which at most one can be given."""
    group = parser.add_mutually_exclusive_group()
    for target in TARGETS:
        group.add_argument(target.option, type=float, metavar=target.metavar, help=target.help)


def target_of(arguments: argparse.Namespace) -> Target | None:
    """The target that was given, if any.

    Raises:
        ValueError: its value is out of range.
    """
    for target in TARGETS:
        value = getattr(arguments, target.option.removeprefix("--").replace("-", "_"))
        if value is not None:
            return target(value)
    return None

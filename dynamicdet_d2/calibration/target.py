# SPDX-License-Identifier: Apache-2.0
"""What every target of a calibration is made of."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypedDict

from detectron2.config import CfgNode

from dynamicdet_d2.config.ranges import between, number
from dynamicdet_d2.evaluation.ground_truth import GroundTruth
from dynamicdet_d2.evaluation.latency import Latency
from dynamicdet_d2.evaluation.observe import Observation
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.operating_point.guarantee import Guarantee
from dynamicdet_d2.operating_point.thresholds import SHARE
from dynamicdet_d2.utils.plain import checked

# Hard fractions that are looked at one by one, where there is no formula.
FRACTIONS = tuple(k / 100 for k in range(101))


@dataclass(frozen=True)
class Measured:
    """What a target may be met by.

    Attributes:
        cfg: that the model was built from.
        model: the dynamic detector.
        calibration: its thresholds and latencies.
        observation: the images of the data set; with both exits' boxes if the target needs them.
        ground_truth: of the data set; None if the target needs none.
        latencies: of both routes ("easy", "hard"), in the order of the observation's sample.
    """

    cfg: CfgNode
    model: DynamicDetector
    calibration: Calibration
    observation: Observation
    ground_truth: GroundTruth | None = None
    latencies: Mapping[str, Latency] = field(default_factory=dict)


class Promise(TypedDict):
    """What is promised of an operating point, as the calibration file has it.

    Attributes:
        mode: of ``guarantee.MODES``.
        confidence: chance that it holds, over draws of the images.
        share: of new images that may miss the target; None in mode "ap".
        estimate, bound: what was seen on these images, and what it is at most.
        hard_fraction_without: that would be chosen with nothing promised.
        says: the promise, for people.
    """

    mode: str
    confidence: float
    share: float | None
    estimate: float
    bound: float
    hard_fraction_without: float
    says: str


@dataclass(frozen=True)
class Choice:
    """An operating point.

    Attributes:
        hard_fraction: in [0, 1].
        guarantee: what is promised of it; None: nothing.

    Raises:
        ValueError: the hard fraction is none.
    """

    hard_fraction: float
    guarantee: Promise | None = None

    def __post_init__(self) -> None:
        found = SHARE.number(self.hard_fraction, "The hard fraction of a Choice")
        object.__setattr__(self, "hard_fraction", found)


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
        promises: of ``guarantee.MODES``, those that can be had of it.
        share: of new images that may miss it, where a promise leaves no choice of it.
        value: in the unit that ``help`` names.
        guarantee: what is to be promised of new images; None: the target is met on these images.
    """

    name: ClassVar[str]
    option: ClassVar[str]
    metavar: ClassVar[str]
    help: ClassVar[str]
    largest: ClassVar[float] = math.inf
    needs_detections: ClassVar[bool] = False
    needs_ground_truth: ClassVar[bool] = False
    promises: ClassVar[tuple[str, ...]] = ()
    share: ClassVar[float | None] = None

    value: float
    guarantee: Guarantee | None = None

    def __post_init__(self) -> None:
        allowed = number(at_least=0) if math.isinf(self.largest) else between(0, self.largest)
        object.__setattr__(self, "value", allowed.number(self.value, self.option))
        if self.guarantee is None:
            return
        checked(Guarantee, self.guarantee, "The guarantee", "None or a Guarantee.")
        if self.guarantee.mode not in self.promises:
            modes = f" --mode {self.guarantee.mode}" if self.promises else " --confidence"
            raise ValueError(f"{self.option} cannot be had with{modes}.")

    @abstractmethod
    def choose(self, measured: Measured) -> Choice:
        """The operating point that meets the target.

        Raises:
            ValueError: the target cannot be reached; with the range that can.
        """

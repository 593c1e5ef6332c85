# SPDX-License-Identifier: Apache-2.0
"""What a stream's threshold is to achieve, as a user says it, and what a config becomes by it."""

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode

from dynamicdet_d2.budget import BudgetController, DriftMonitor
from dynamicdet_d2.config.ranges import above
from dynamicdet_d2.modeling.architecture import is_dynamic
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.operating_point.thresholds import SHARE

# Keys that say what the options do, in the options' order.
_KEYS = tuple(f"MODEL.DYNAMIC.{x}" for x in ("THRESHOLD", "HARD_FRACTION", "TARGET_LATENCY_MS"))
_CALIBRATION = "MODEL.DYNAMIC.CALIBRATION"
_OPTIONS = "--threshold", "--hard-fraction", "--target-latency-ms"


@dataclass(frozen=True)
class Aim:
    """At most one of the three; none: what the config says.

    Attributes:
        threshold: in [0, 1].
        hard_fraction: the calibrated threshold of this share of hard images, in [0, 1].
        target_ms: milliseconds per image, > 0, kept by moving the threshold while the stream runs.
        percentile: of the images that are to keep ``target_ms``, in [1, 100); None: their mean.
    """

    threshold: float | None = None
    hard_fraction: float | None = None
    target_ms: float | None = None
    percentile: float | None = None

    def check(self) -> None:
        """
        Raises:
            ValueError: a number is out of range; names the option.
        """
        for option, share in (
            ("--threshold", self.threshold),
            ("--hard-fraction", self.hard_fraction),
        ):
            if share is not None:
                SHARE.number(share, option)
        if self.target_ms is not None:
            above(0).number(self.target_ms, "--target-latency-ms")
        if self.percentile is not None and not 1 <= self.percentile < 100:
            raise ValueError(
                f"--percentile is {self.percentile:g}; it must be from 1 to below 100, such as 95."
            )
        if self.percentile is not None and self.target_ms is None:
            raise ValueError("--percentile is one of times, and needs --target-latency-ms.")

    def apply(self, cfg: CfgNode, calibration: str | None, typed: Sequence[str] = ()) -> None:
        """Set the config's operating point, in place.

        Args:
            calibration: file; None: that of the config.
            typed: keys and values in turn that the user has set in the config.

        Raises:
            ValueError: as ``check``; a static detector has none, there is no calibration, or a key
                was typed that says the same thing.
        """
        self.check()
        keys = cfg.MODEL.DYNAMIC
        if calibration and _CALIBRATION in typed[::2]:
            raise ValueError(f"--calibration and {_CALIBRATION} both name a file; give one.")
        keys.CALIBRATION = calibration or keys.CALIBRATION
        if self == Aim():
            if calibration and keys.HARD_FRACTION is None and keys.TARGET_LATENCY_MS is None:
                raise ValueError(
                    f"--calibration {calibration} sets no threshold by itself, whatever target it "
                    "was made for: give --hard-fraction beside it, such as 0.5."
                )
            return
        values = zip(_OPTIONS, (self.threshold, self.hard_fraction, self.target_ms), strict=True)
        option = next(name for name, value in values if value is not None)
        for key in typed[::2]:
            if key in _KEYS:
                raise ValueError(f"{option} and {key} both say which images are hard; give one.")
        if not is_dynamic(cfg):
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}, which has no threshold."
            )
        keys.HARD_FRACTION = keys.TARGET_LATENCY_MS = None
        if self.threshold is not None:
            file = calibration or (keys.CALIBRATION if _CALIBRATION in typed[::2] else None)
            if file:
                name = "--calibration" if calibration else _CALIBRATION
                raise ValueError(
                    f"{name} {file} is for shares and milliseconds, such as --hard-fraction 0.5; "
                    "--threshold needs none."
                )
            keys.THRESHOLD, keys.CALIBRATION = self.threshold, ""
            return
        if not keys.CALIBRATION:
            option = "--hard-fraction" if self.target_ms is None else "--target-latency-ms"
            raise ValueError(
                f"{option} needs a calibration: name the file that 'dynamicdet calibrate' writes "
                "with --calibration or MODEL.DYNAMIC.CALIBRATION."
            )
        # Of a budget only so that the calibration is read and compared with the model.
        keys.HARD_FRACTION = 0.5 if self.hard_fraction is None else self.hard_fraction

    def governor(self, calibration: Calibration | None) -> BudgetController | DriftMonitor | None:
        """What looks after the stream.

        Args:
            calibration: of the model that runs; None: it has none.

        Raises:
            ValueError: target or percentile is out of range, which ``check`` would have said.
        """
        if calibration is None:
            return None
        if self.target_ms is None:
            return DriftMonitor(calibration.grid, calibration.num_images)
        return BudgetController(calibration, target_ms=self.target_ms, percentile=self.percentile)

# SPDX-License-Identifier: Apache-2.0
"""Where a threshold comes from: the pure part of calibration, below the model that reads it."""

from dynamicdet_d2.operating_point.fingerprint import (
    check_fingerprint,
    differences,
    fingerprint,
    input_fingerprint,
    weights_fingerprint,
)
from dynamicdet_d2.operating_point.hard_fraction import (
    hard_fraction_for_ap_drop,
    hard_fraction_for_cost,
    hard_fraction_for_latency,
)
from dynamicdet_d2.operating_point.milliseconds import (
    box_counts,
    check_milliseconds,
    inference_settings,
)
from dynamicdet_d2.operating_point.point import OperatingPoint
from dynamicdet_d2.operating_point.record import Calibration
from dynamicdet_d2.operating_point.thresholds import (
    ENOUGH_IMAGES,
    TABLE,
    held_out,
    realised_hard_fraction,
    realised_interval,
    threshold_for_hard_fraction,
    threshold_grid,
    threshold_interval,
    threshold_table,
)

__all__ = [
    "Calibration",
    "ENOUGH_IMAGES",
    "OperatingPoint",
    "TABLE",
    "box_counts",
    "check_fingerprint",
    "check_milliseconds",
    "differences",
    "fingerprint",
    "hard_fraction_for_ap_drop",
    "hard_fraction_for_cost",
    "hard_fraction_for_latency",
    "held_out",
    "inference_settings",
    "input_fingerprint",
    "realised_hard_fraction",
    "realised_interval",
    "threshold_for_hard_fraction",
    "threshold_grid",
    "threshold_interval",
    "threshold_table",
    "weights_fingerprint",
]

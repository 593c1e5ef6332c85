# SPDX-License-Identifier: Apache-2.0
"""Calibration: from difficulties and the routes' costs to a threshold, and the record of it."""

from dynamicdet_d2.calibration.summary import latency_interval, remarks, summary
from dynamicdet_d2.operating_point.fingerprint import (
    check_fingerprint,
    fingerprint,
    input_fingerprint,
    weights_fingerprint,
)
from dynamicdet_d2.operating_point.hard_fraction import (
    hard_fraction_for_ap_drop,
    hard_fraction_for_cost,
    hard_fraction_for_latency,
)
from dynamicdet_d2.operating_point.milliseconds import check_milliseconds, inference_settings
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
    "ENOUGH_IMAGES",
    "TABLE",
    "Calibration",
    "check_fingerprint",
    "check_milliseconds",
    "fingerprint",
    "hard_fraction_for_ap_drop",
    "hard_fraction_for_cost",
    "hard_fraction_for_latency",
    "held_out",
    "inference_settings",
    "input_fingerprint",
    "latency_interval",
    "realised_hard_fraction",
    "realised_interval",
    "remarks",
    "summary",
    "threshold_for_hard_fraction",
    "threshold_grid",
    "threshold_interval",
    "threshold_table",
    "weights_fingerprint",
]

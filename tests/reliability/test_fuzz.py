# SPDX-License-Identifier: Apache-2.0
"""The properties of fuzzing.py, on a few examples each that are always the same."""

import pytest

from tests.reliability.fuzzing import TARGETS, fuzz

EXAMPLES = {
    **{"calibration": 100, "data set": 150, "config": 100, "predictor": 60, "measured": 100},
    **{"by code": 100, "report": 20, "YOLO": 100, "VOC": 100, "checkpoint": 100},
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_property(name: str) -> None:
    fuzz(TARGETS[name], EXAMPLES[name])

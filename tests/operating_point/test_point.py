# SPDX-License-Identifier: Apache-2.0
"""Another threshold for a while: the operating point behind it comes back, with its check."""

from types import SimpleNamespace

import pytest

from dynamicdet_d2.calibration import fingerprint
from dynamicdet_d2.operating_point import OperatingPoint, at_threshold
from tests.support.toy import toy_cfg, toy_inputs, toy_model


def test_the_same_operating_point_comes_back() -> None:
    model, cfg, inputs = toy_model(), toy_cfg(), toy_inputs(1)
    record = SimpleNamespace(fingerprint={**fingerprint(model, cfg), "weights": "of another"})
    point = OperatingPoint(threshold=0.25, calibration=record, cfg=cfg)
    model.operating_point = point
    for threshold, route in ((0.0, "hard"), (1.0, "easy")):
        with at_threshold(model, threshold):
            assert model.threshold == threshold
            assert model.inference(inputs)[0]["route"] == route
    assert model.operating_point is point and point.calibration is record
    with pytest.raises(ValueError, match="made with weights of another"):
        model.inference(inputs)


def test_an_error_inside_changes_nothing() -> None:
    model = toy_model()
    point = model.operating_point
    with pytest.raises(ZeroDivisionError), at_threshold(model, 1.0):
        raise ZeroDivisionError
    assert model.operating_point is point
    with pytest.raises(ValueError, match="must lie in"), at_threshold(model, 1.5):
        pass
    assert model.operating_point is point


def test_a_calibrated_threshold_needs_its_config() -> None:
    with pytest.raises(ValueError, match="needs the config"):
        OperatingPoint(threshold=0.25, calibration=SimpleNamespace(fingerprint={}))

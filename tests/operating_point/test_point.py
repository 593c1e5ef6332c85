# SPDX-License-Identifier: Apache-2.0
"""An operating point knows the calibration behind its threshold, and comes back with it."""

from types import SimpleNamespace
from unittest import mock

import pytest

from dynamicdet_d2.calibration import fingerprint
from dynamicdet_d2.operating_point import OperatingPoint, point
from dynamicdet_d2.operating_point.point import at_threshold
from tests.support.toy import toy_cfg, toy_inputs, toy_model


def test_a_calibration_of_the_model_is_checked_once_and_kept() -> None:
    model, cfg = toy_model(), toy_cfg()
    record = SimpleNamespace(fingerprint=fingerprint(model, cfg))
    own = OperatingPoint(threshold=0.25, calibration=record, cfg=cfg)
    with mock.patch.object(point, "fingerprint", wraps=fingerprint) as taken:
        own.check(model)
        own.check(model)
    taken.assert_called_once_with(model, cfg)
    assert own.calibration is record


def test_a_calibration_of_another_model_is_refused_every_time() -> None:
    model, cfg = toy_model(), toy_cfg()
    record = SimpleNamespace(fingerprint={**fingerprint(model, cfg), "weights": "of another"})
    own = OperatingPoint(threshold=0.25, calibration=record, cfg=cfg)
    for _ in range(2):
        with pytest.raises(ValueError, match="made with weights of another"):
            own.check(model)


def test_a_threshold_set_by_hand_has_nothing_to_check() -> None:
    own = OperatingPoint(threshold=0.25)
    own.check(toy_model())
    assert own.calibration is None


def test_a_calibrated_threshold_needs_its_config() -> None:
    with pytest.raises(ValueError, match="needs the config"):
        OperatingPoint(threshold=0.25, calibration=SimpleNamespace(fingerprint={}))


def test_another_threshold_for_a_while_forgets_no_calibration() -> None:
    model, cfg, inputs = toy_model(), toy_cfg(), toy_inputs(1)
    record = SimpleNamespace(fingerprint={**fingerprint(model, cfg), "weights": "of another"})
    own = OperatingPoint(threshold=0.25, calibration=record, cfg=cfg)
    model.operating_point = own
    for threshold, route in ((0.0, "hard"), (1.0, "easy")):
        with at_threshold(model, threshold):
            assert model.threshold == threshold
            assert model.inference(inputs)[0]["route"] == route
    assert model.operating_point is own
    with pytest.raises(ValueError, match="made with weights of another"):
        model.inference(inputs)


def test_an_error_at_another_threshold_changes_nothing() -> None:
    model = toy_model()
    own = model.operating_point
    with pytest.raises(ZeroDivisionError), at_threshold(model, 1.0):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="must lie in"), at_threshold(model, 1.5):
        pass
    assert model.operating_point is own

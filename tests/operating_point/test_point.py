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


def said(own: OperatingPoint, *batches: list[float]) -> list[str]:
    with mock.patch.object(point.logger, "warning") as warn:
        for difficulties in batches:
            own.note(difficulties)
    return [call.args[0] % call.args[1:] for call in warn.call_args_list]


def test_a_threshold_that_sends_all_one_way_is_said_once() -> None:
    (line,) = said(OperatingPoint(threshold=0.5), [0.6] * 12, [0.75] * 12, [0.7] * 40)
    assert line.startswith("The first 24 images all took the hard route: their difficulties lie ")
    assert "between 0.600 and 0.750, and MODEL.DYNAMIC.THRESHOLD is 0.5." in line
    (line,) = said(OperatingPoint(threshold=0.5), [0.5] * 20)
    assert "the easy route" in line


def test_a_threshold_that_is_meant_so_is_not() -> None:
    for threshold in (0.0, 1.0):
        assert not said(OperatingPoint(threshold=threshold), [0.5] * 50)
    assert not said(OperatingPoint(threshold=0.5), [0.6] * 19)  # too few
    assert not said(OperatingPoint(threshold=0.5), [0.6] * 19, [0.4], [0.6] * 50)
    # One that a measurement tries is nobody's key.
    tried = OperatingPoint(threshold=0.5, easy_proposals=7).tried(0.4)
    assert (tried.threshold, tried.easy_proposals) == (0.4, 7) and not said(tried, [0.6] * 50)
    record = SimpleNamespace(fingerprint={})
    calibrated = OperatingPoint(threshold=0.5, calibration=record, cfg=toy_cfg())
    assert not said(calibrated, [0.6] * 50)

# SPDX-License-Identifier: Apache-2.0
"""The keys of a planned calibration: what may stand in a file, and configs that differ."""

import pytest

from dynamicdet_d2.operating_point.knobs import KEYS, are_knobs, as_pairs, check_knobs, knobs_of
from tests.support.toy import toy_cfg

SIZE, LIMIT = "INPUT.MIN_SIZE_TEST", "MODEL.DYNAMIC.EASY_PROPOSALS"


def test_a_config_has_all_of_them() -> None:
    knobs = knobs_of(toy_cfg(LIMIT, 300, SIZE, 640, "INPUT.MAX_SIZE_TEST", 1066))
    assert list(knobs) == list(KEYS)
    assert are_knobs(knobs)
    assert as_pairs(knobs) == (
        "MODEL.DYNAMIC.EASY_PROPOSALS 300 INPUT.MIN_SIZE_TEST 640 INPUT.MAX_SIZE_TEST 1066 "
        "MODEL.INFERENCE.PRECISION float32"
    )


def test_only_what_differs_is_named() -> None:
    cfg = toy_cfg(SIZE, 640)
    check_knobs({"keys": knobs_of(cfg)}, "c.json", cfg)
    check_knobs({"hard_fraction": 0.5}, "c.json", cfg)
    check_knobs(None, "c.json", cfg)
    with pytest.raises(ValueError) as error:
        check_knobs({"keys": {**knobs_of(cfg), SIZE: 480, LIMIT: 100}}, "c.json", cfg)
    assert str(error.value) == (
        "Calibration c.json has an operating point that was planned with other values of some "
        "keys: set MODEL.DYNAMIC.EASY_PROPOSALS 100 INPUT.MIN_SIZE_TEST 480 (here "
        "MODEL.DYNAMIC.EASY_PROPOSALS 0 INPUT.MIN_SIZE_TEST 640)."
    )


@pytest.mark.parametrize(
    "value",
    [
        *(None, 3, [], "x", {"MODEL.WEIGHTS": "x"}),
        *({SIZE: value} for value in (1.5, True, None, -1, 10**400, [], "a b", "", "a" * 21)),
    ],
)
def test_other_things_are_no_knobs(value: object) -> None:
    assert not are_knobs(value)

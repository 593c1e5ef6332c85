# SPDX-License-Identifier: Apache-2.0
"""Fixed-sequence testing: the walk, the exact test of a share, and the bound of a smooth figure."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mapie.risk_control.fwer_control import control_fwer
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

from dynamicdet_d2.operating_point.guarantee import (
    Guarantee,
    binomial_cdf,
    check_number,
    images_needed,
    leading,
    share_is_below,
    share_upper_bound,
    upper_bound,
)


def test_the_walk_ends_at_the_first_failure() -> None:
    asked = []

    def tests() -> Iterator[bool]:
        for place, passed in enumerate([True, True, False, True]):
            asked.append(place)
            yield passed

    assert leading(tests()) == 2
    assert asked == [0, 1, 2]
    assert leading([]) == 0


def test_binomial_by_hand() -> None:
    assert binomial_cdf(0, 3, 0.5) == pytest.approx(1 / 8)
    assert binomial_cdf(1, 3, 0.5) == pytest.approx(4 / 8)
    assert binomial_cdf(3, 3, 0.5) == pytest.approx(1)
    assert binomial_cdf(0, 5000, 0.9) == pytest.approx(0)


def test_a_share_by_hand() -> None:
    # None of 10: the bound b has (1 - b)^10 = 0.05.
    assert share_upper_bound(0, 10, 0.95) == pytest.approx(1 - 0.05**0.1)
    assert share_upper_bound(10, 10, 0.95) == 1.0
    # 0.9^28 = 0.0523 and 0.9^29 = 0.0471.
    assert images_needed(0.1, 0.95) == 29
    assert not share_is_below(0, 28, 0.1, 0.95)
    assert share_is_below(0, 29, 0.1, 0.95)
    assert images_needed(0.05, 0.95) == 59


def mapies_p_values(counts: list[int], num_images: int, share: float) -> np.ndarray:
    """Of a binary loss MAPIE's are exact too; it rounds the number of losses up."""
    risks = np.nextafter(np.array(counts) / num_images, 0)
    return compute_hoeffding_bentkus_p_value(risks, num_images, share, binary=True)[:, 0]


@given(st.data(), st.integers(1, 400), st.floats(0.01, 0.99))
def test_chances_are_those_of_mapie(data: st.DataObject, num_images: int, share: float) -> None:
    count = data.draw(st.integers(0, num_images - 1))
    (theirs,) = mapies_p_values([count], num_images, share)
    assert binomial_cdf(count, num_images, share) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=20),
    st.floats(0.05, 0.5),
    st.floats(0.5, 0.99),
)
def test_a_walk_goes_as_far_as_that_of_mapie(
    counts: list[int], share: float, confidence: float
) -> None:
    """Fixed-sequence testing of a share of 100 images."""
    chances = mapies_p_values(counts, 100, share)
    assume(np.abs(chances - (1 - confidence)).min() > 1e-9)
    theirs = control_fwer(chances, 1 - confidence, "fixed_sequence")
    passed = leading(share_is_below(count, 100, share, confidence) for count in counts)
    assert list(theirs) == list(range(passed))


# scipy.stats.beta.ppf(confidence, count + 1, number - count), scipy 1.17.1.
PUBLISHED = {
    (0, 59, 0.95): 0.049507609888,
    (3, 100, 0.95): 0.075710793750,
    (25, 500, 0.9): 0.064914659423,
    (199, 200, 0.99): 0.999949749583,
    (250, 5000, 0.95): 0.055368119641,
}


@pytest.mark.parametrize(("case", "expected"), PUBLISHED.items(), ids=str)
def test_bounds_are_those_of_the_beta_distribution(case: tuple, expected: float) -> None:
    assert share_upper_bound(*case) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 400), st.data())
def test_the_bound_is_where_the_test_turns(number: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, number - 1))
    bound = share_upper_bound(count, number, 0.9)
    assert count / number < bound <= 1
    if bound + 1e-6 < 1:
        assert share_is_below(count, number, bound + 1e-6, 0.9)
    assert not share_is_below(count, number, bound - 1e-6, 0.9)


def test_the_bound_of_a_mean() -> None:
    """A mean's influences are the deviations by the number: the bound is mean + z s / sqrt(n)."""
    values = np.array([1.0, 2.0, 4.0, 5.0])
    influence = (values - 3)[None] / 4
    expected = 3 + 1.6448536 * values.std(ddof=1) / math.sqrt(4)
    assert upper_bound(3.0, influence, [4], 0.95) == pytest.approx(expected)
    assert upper_bound(3.0, np.zeros((1, 4)), [4], 0.95) == 3.0


def test_the_bound_of_a_mean_of_classes_by_hand() -> None:
    """Class a is shown by four images, b by two that agree, c by one and d by none.

    The squares are 4, 0 and 0. The spread of an image is 4 * 4^2 / (3 + 1) = 16, so that the
    variances are not taken to be less than 16 / 4, 16 / 2 and 16 / 1. Of a its own is more: 16 / 3.
    """
    influence = np.zeros((4, 6))
    influence[0, :4] = [1, -1, 1, -1]
    expected = 1.6448536 * math.sqrt(16 / 3 + 8 + 16)
    assert upper_bound(0.0, influence, [4, 2, 1, 0], 0.95) == pytest.approx(expected)
    # What two classes share in an image adds up before it is squared.
    both = np.array([[1.0, -1.0], [1.0, -1.0]])
    assert upper_bound(0.0, both, [2, 2], 0.95) == pytest.approx(
        1.6448536 * math.sqrt(8 + (4 - 2) + (4 - 2))
    )


def test_classes_of_one_image_each_show_nothing() -> None:
    assert upper_bound(1.0, np.zeros((3, 3)), [1, 1, 1], 0.5) == math.inf


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"confidence": 1.0}, r"^--confidence is 1; it must be a number in \[0.5, 1\)"),
        ({"confidence": float("nan")}, "^--confidence is nan; it must be a number"),
        ({"confidence": 0.95, "share": 0.0}, r"^--share is 0; it must be a number in \[1e-06, 1\)"),
    ],
)
def test_refused(given_: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Guarantee(**given_)


def test_too_few_images_are_told_the_number_needed() -> None:
    check_number(29, 29, "images")
    with pytest.raises(ValueError, match="28 images are too few .* at least 29 are needed"):
        check_number(28, 29, "images")

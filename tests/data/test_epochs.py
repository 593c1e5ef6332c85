# SPDX-License-Identifier: Apache-2.0
"""Which image stands where in the training stream, with and without repeated images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.data.loading.epochs import Epochs, epoch_order
from dynamicdet_d2.data.loading.loaders import repeat_factors
from tests.support.toy import toy_cfg

REPEATED = ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler")


def test_repeated_images_by_hand() -> None:
    epochs = Epochs(3, seed=1, repeats=np.array([1.0, 2.0, 1.5]))
    counts = [np.bincount(epochs.order(epoch)).tolist() for epoch in range(40)]
    assert {tuple(count[:2]) for count in counts} == {(1, 2)}
    # The half is an image more in about half of the epochs.
    thirds = [count[2] for count in counts]
    assert set(thirds) == {1, 2}
    assert 10 < thirds.count(2) < 30
    lengths = [sum(count) for count in counts]
    assert [epochs.start(epoch) for epoch in range(40)] == [0, *np.cumsum(lengths)[:-1].tolist()]


def test_factors_of_one_change_nothing() -> None:
    plain, repeated = Epochs(5, seed=3), Epochs(5, seed=3, repeats=np.ones(5))
    assert [plain.image(p) for p in range(17)] == [repeated.image(p) for p in range(17)]
    assert [plain.image(p) for p in range(5, 10)] == epoch_order(3, 1, 5).tolist()


@given(
    st.lists(st.floats(1, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 60), min_size=1, max_size=9),
)
def test_positions_can_be_asked_for_in_any_order(
    factors: list[float], positions: list[int]
) -> None:
    """As by workers, and after a resumption."""
    repeats = np.array(factors)
    whole = Epochs(len(factors), seed=2, repeats=repeats)
    stream = np.concatenate([whole.order(epoch) for epoch in range(61)])
    fresh = Epochs(len(factors), seed=2, repeats=repeats)
    assert [fresh.image(p) for p in positions] == stream[positions].tolist()


def test_factors_of_rare_classes_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    """Class 0 in all four images, class 1 in one: sqrt(threshold / frequency)."""
    images = [{"annotations": [{"category_id": 0}]} for _ in range(4)]
    images[2]["annotations"].append({"category_id": 1})
    cfg = toy_cfg(*REPEATED, "DATALOADER.REPEAT_THRESHOLD", 1.0)
    assert repeat_factors(cfg, images).tolist() == [1, 1, 2, 1]
    assert repeat_factors(toy_cfg(), images) is None
    assert not caplog.text
    assert repeat_factors(toy_cfg(*REPEATED), images).tolist() == [1, 1, 1, 1]
    assert "no image is repeated by DATALOADER.REPEAT_THRESHOLD 0," in caplog.text

# SPDX-License-Identifier: Apache-2.0
"""Smoothed scalars of a phase are of its own steps."""

from detectron2.utils.events import EventStorage

from dynamicdet_d2.engine.history import begin_phase


def test_values_stay_and_medians_are_of_the_phase() -> None:
    with EventStorage(0) as storage:
        for value in (9.0, 8.0, 7.0):
            storage.put_scalar("total_loss", value)
            storage.put_scalar("loss_of_before", value)
            storage.step()
        begin_phase(storage)
        for value in (1.0, 3.0, 2.5):
            storage.put_scalar("total_loss", value)
            storage.put_scalar("loss_of_the_phase", value)
            storage.step()
    history = storage.history("total_loss")
    assert [value for value, _ in history.values()] == [9, 8, 7, 1, 3, 2.5]
    assert [at for _, at in history.values()] == [*range(6)]
    assert history.median(20) == 2.5 and history.median(2) == 2.75 and history.latest() == 2.5
    assert history.avg(20) == 6.5 / 3 and history.global_avg() == 30.5 / 6
    smoothed = storage.latest_with_smoothing_hint(20)
    assert smoothed == {
        "total_loss": (2.5, 5),
        "loss_of_the_phase": (2.5, 5),
        "loss_of_before": (7.0, 2),  # written long ago
    }

# SPDX-License-Identifier: Apache-2.0
"""AP of single images under each exit, and a router that learns from it."""

import math
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.config import read_config
from dynamicdet_d2.engine.checks import check_training_keys
from dynamicdet_d2.engine.loss_table import LossTableFile, measure_losses
from dynamicdet_d2.engine.phases import Stream, router_phase
from dynamicdet_d2.evaluation.image_ap import ap_gains
from tests.support.toy import toy_inputs, toy_model


class TwoExits:
    """A stand-in whose exits are given; it keeps the sizes that it was asked for."""

    def __init__(self, *exits: dict) -> None:
        self._exits = exits

    def exits(self, batched_inputs: list[dict]) -> list[dict]:
        self.sizes = [(x["height"], x["width"]) for x in batched_inputs]
        return list(self._exits)


def detections(boxes: list[list[float]], classes: list[int]) -> Instances:
    found = Instances((64, 96))
    found.pred_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    found.scores = torch.linspace(0.9, 0.5, len(boxes))
    found.pred_classes = torch.tensor(classes, dtype=torch.long)
    return found


def image(boxes: list[list[float]], classes: list[int]) -> dict:
    truth = Instances((64, 96))
    truth.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    truth.gt_classes = torch.tensor(classes, dtype=torch.long)
    return {"image": torch.zeros(3, 64, 96), "height": 640, "width": 960, "instances": truth}


def test_gains_by_hand() -> None:
    box, other = [10.0, 10.0, 50.0, 50.0], [60.0, 10.0, 90.0, 40.0]
    right, nothing = detections([box], [1]), detections([], [])
    one_of_two = detections([box], [0])
    model = TwoExits(
        {"detector1": nothing, "detector2": right},
        {"detector1": right, "detector2": nothing},
        {"detector1": right, "detector2": right},
        {"detector1": nothing, "detector2": one_of_two},
    )
    images = [image([box], [1])] * 3 + [image([box, other], [0, 2])]
    # A class found whole has AP 100, one not found 0; the last image shows two classes.
    assert ap_gains(model, images) == pytest.approx([100, -100, 0, 50])
    assert model.sizes == [(64, 96)] * 4


def test_an_image_without_objects_has_no_gain() -> None:
    exits = {"detector1": detections([], []), "detector2": detections([[1.0, 1, 9, 9]], [0])}
    assert ap_gains(TwoExits(exits), [image([], [])]) == [0.0]


@torch.no_grad()
def test_the_table_carries_gains_and_comes_back_with_them(tmp_path: Path) -> None:
    model = toy_model()
    batches = [[{**x, "dataset_index": i}] for i, x in enumerate(toy_inputs(3))]
    table = measure_losses(model, batches, with_gains=True)
    assert table.gains.shape == (3,)
    assert all(math.isfinite(gain) for gain in table.gains.tolist())
    file = LossTableFile(str(tmp_path))
    file.save(table, model)
    assert torch.equal(file.load(model, with_gains=True).gains, table.gains)
    file.save(measure_losses(model, batches), model)
    assert file.load(model, with_gains=True) is None
    assert file.load(model) is not None


def test_the_router_learns_which_detector_has_the_better_ap() -> None:
    model = toy_model()
    batches = [[{**x, "dataset_index": i}] for i, x in enumerate(toy_inputs(4))]
    table = measure_losses(model, batches)
    table = type(table)(table.pooled, table.losses, torch.tensor([9.0, 9.0, -9.0, -9.0]))
    overrides = ["SOLVER.ROUTER.OBJECTIVE", "ap", "SOLVER.ROUTER.BASE_LR", "0.003"]
    cfg = read_config("configs/quickstart.yaml", [*overrides, "SOLVER.ROUTER.IMS_PER_BATCH", "4"])
    phase = router_phase(cfg, model, Stream([], seed=0, step=0), table)
    for _, batch in zip(range(150), phase.loader, strict=False):
        phase.optimizer.zero_grad()
        phase.module(batch)["loss_router"].backward()
        phase.optimizer.step()
    scores = model.router.difficulty(table.pooled).tolist()
    assert min(scores[:2]) > max(scores[2:])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["SOLVER.ROUTER.OBJECTIVE", "luck"], "must be 'loss' or 'ap'"),
        (["SOLVER.ROUTER.OBJECTIVE", "ap", "SOLVER.ROUTER.MODE", "online"], "found 'online'"),
    ],
)
def test_objectives_that_cannot_be_are_refused(overrides: list[str], sentence: str) -> None:
    cfg = read_config("configs/quickstart.yaml", ["DATASETS.TEST", "()", *overrides])
    with pytest.raises(ValueError, match=sentence):
        check_training_keys(cfg)

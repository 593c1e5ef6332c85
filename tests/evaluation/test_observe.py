# SPDX-License-Identifier: Apache-2.0
"""One pass over a data set: every image once, what was asked for, and images at fault named."""

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from dynamicdet_d2.evaluation.exit_records import ExitRecord, merged
from dynamicdet_d2.evaluation.observe import BothExits, Difficulties, observe
from dynamicdet_d2.modeling import DynamicRCNN
from tests.support.toy import toy_inputs, toy_model

RECORD = ExitRecord(3, "3.png", 0.5, (64, 96), ([], []))


@pytest.mark.parametrize("detections", [False, True])
def test_one_pass_sees_every_image(detections: bool) -> None:
    model = toy_model()
    batches = [toy_inputs(2, 64, 96, seed=1), toy_inputs(1, 32, 64, seed=2)]
    batches[1][0]["image_id"] = 7
    observation = observe(model, batches, sample_size=1, detections=detections)
    alone = [d for batch in batches for d in model.difficulties(batch)]
    assert observation.difficulties == pytest.approx(alone, abs=1e-6)
    assert observation.sizes == [(64, 96), (64, 96), (32, 64)]
    assert [record.image_id for record in observation.records] == [1, 2, 7]
    assert len(observation.sample) == 1
    found = [sum(map(len, record.results)) for record in observation.records]
    assert all(found) if detections else not any(found)


def test_what_else_a_mapper_gives_is_kept_for_the_timing() -> None:
    inputs = [{**toy_inputs(1)[0], "depth": 3.0}]
    [kept] = observe(toy_model(), [inputs], sample_size=1, detections=False).sample
    assert kept["depth"] == 3.0 and "instances" not in kept


def test_no_readable_image_is_refused() -> None:
    with pytest.raises(ValueError, match="No image of the data set"):
        observe(toy_model(), [], sample_size=1, detections=False)


class OwnInference(DynamicRCNN):
    def inference(self, *arguments: Any, **options: Any) -> list:
        return super().inference(*arguments, **options)


def test_an_inference_that_no_figure_is_of(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_model()
    BothExits(model)
    assert not caplog.messages
    model.__class__ = OwnInference
    BothExits(model)
    assert caplog.messages == [
        "inference() of OwnInference is not asked where both exits of every image are: what it "
        "changes is in no figure and in no results; detections() is the place for it."
    ]


class OwnViews(DynamicRCNN):
    def difficulties(self, batched_inputs: list[dict]) -> list[float]:
        return [x**2 for x in super().difficulties(batched_inputs)]

    def exits(self, batched_inputs: list[dict]) -> list[dict]:
        return super().exits(batched_inputs)


@pytest.mark.parametrize(("view", "name"), [(Difficulties, "difficulties"), (BothExits, "exits")])
def test_what_figures_alone_ask(
    view: type[nn.Module], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = toy_model()
    view(model)
    assert not caplog.messages
    model.__class__ = OwnViews
    view(model)
    assert caplog.messages == [
        f"{name}() of OwnViews is asked for figures and not for predictions: what it changes is in "
        "these figures alone; detections(), and the router, are the places for it."
    ]


def test_a_function_in_the_place_of_inference(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_model()
    model.inference = lambda *arguments, **options: []
    BothExits(model)
    assert [x.partition(" is not asked")[0] for x in caplog.messages] == [
        "inference() of DynamicRCNN"
    ]


def test_both_exits_have_the_routed_output_too() -> None:
    model, inputs = toy_model(), toy_inputs(2)
    model.threshold = sum(model.difficulties(inputs)) / 2  # one image easy, one hard
    outputs = BothExits(model)(inputs)
    assert {x["route"] for x in outputs} == {"easy", "hard"}
    for output in outputs:
        taken = "detector1" if output["route"] == "easy" else "detector2"
        assert output["instances"] is output[taken]
        assert output["model"] is model


@pytest.mark.parametrize("difficulty", [float("nan"), float("inf")])
def test_an_image_without_a_difficulty_is_named(difficulty: float) -> None:
    model, inputs = toy_model(), [{**image, "file_name": "a.png"} for image in toy_inputs(2)]
    found = mock.patch.object(model, "difficulties", return_value=[0.5, difficulty])
    with found, pytest.raises(ValueError, match=r"difficulty of image a.png \(id 2\) is (nan|inf)"):
        observe(model, [inputs], sample_size=1, detections=False)


def test_only_dynamic_detectors_have_exits() -> None:
    with pytest.raises(TypeError, match="A dynamic detector is needed; found a Identity"):
        BothExits(nn.Identity())
    assert BothExits(nn.DataParallel(toy_model())).model.training is False


def test_an_image_without_an_id_is_named() -> None:
    image = {"image": torch.zeros(3, 4, 4), "file_name": "a.png"}
    with pytest.raises(ValueError, match="Image a.png has no 'image_id'"):
        ExitRecord.of(image, {"difficulty": 0.5})


@pytest.mark.parametrize("with_masks", [False, True])
def test_masks_are_kept_where_they_are_wanted(with_masks: bool) -> None:
    found = Instances(
        (4, 4),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 2, 2]])),
        scores=torch.tensor([0.5]),
        pred_classes=torch.tensor([0]),
        pred_masks=torch.ones(1, 4, 4, dtype=torch.bool),
    )
    image = {"image": torch.zeros(3, 4, 4), "image_id": 1}
    output = {"difficulty": 0.5, "detector1": found, "detector2": found}
    record = ExitRecord.of(image, output, with_masks)
    for (result,) in record.results:
        assert result["bbox"] == [0, 0, 2, 2]
        assert ("segmentation" in result) is with_masks
    assert found.has("pred_masks")


def test_records_of_processes_are_merged() -> None:
    first = replace(RECORD, image_id=1, file_name="1.png")
    assert merged([[RECORD, first], [RECORD]]) == [first, RECORD]
    assert merged([[], []]) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"file_name": "other.png"}, "Images 3.png and other.png have the same id 3"),
        ({"image_id": "4"}, "must all be of one type; found int and str"),
    ],
)
def test_ids_that_tell_no_images_apart_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        merged([[RECORD, replace(RECORD, **changes)]])

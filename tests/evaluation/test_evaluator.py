# SPDX-License-Identifier: Apache-2.0
"""The evaluator on a tiny real model: exact APs, files, processes, and nothing left changed."""

import contextlib
import copy
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.events import EventStorage
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from dynamicdet_d2.calibration import threshold_for_hard_fraction
from dynamicdet_d2.calibration.ap_drop import box_sweep, routings_at
from dynamicdet_d2.calibration.target import Measured
from dynamicdet_d2.evaluation import evaluator as module
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator, names_file
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from dynamicdet_d2.evaluation.observe import BothExits, observe
from dynamicdet_d2.evaluation.report import pictures
from dynamicdet_d2.evaluation.tradeoff.build import operating_points
from dynamicdet_d2.utils.remarks import remark, remarks_kept
from tests.support.toy import toy_cfg, toy_model

NAME = "tradeoff_test"
CATEGORIES = {3: "disc", 7: "ring", 9: "star"}  # no object is a star
HEIGHT, WIDTH = 64, 96
IMAGE_IDS = (40, 8, 15, 16, 23, 4)  # not in order; the last has no objects


OVERRIDES = (
    *("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 2, 1, 1]),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]]),
    *("MODEL.MASK_ON", True),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
    *("TEST.DETECTIONS_PER_IMAGE", 20),
    *("TEST.DYNAMIC.HARD_FRACTIONS", [0.3, 0.5]),
    *("TEST.DYNAMIC.LATENCY_IMAGES", 2),
    *("TEST.DYNAMIC.LATENCY_WARMUP", 1),
    *("TEST.DYNAMIC.RANDOM_DRAWS", 4),
)


@pytest.fixture(scope="module")
def cfg() -> CfgNode:
    return toy_cfg(*OVERRIDES)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Exits that differ much, with scores and boxes that are not all alike."""
    model = toy_model(*OVERRIDES)
    with torch.no_grad():
        for parameter in model.backbone.connections.parameters():
            parameter.add_(torch.rand_like(parameter))
        model.roi_heads.box_predictor.cls_score.weight.mul_(20)
    return model


@pytest.fixture(scope="module")
def images() -> list[dict]:
    """Input dicts of noise in two sizes."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for i, image_id in enumerate(IMAGE_IDS):
        size = (3, HEIGHT, WIDTH + 32 * (i % 2))
        pixels = torch.rand(size, generator=generator) * 255 * (i + 1) / len(IMAGE_IDS)
        inputs.append(
            {
                "image": pixels,
                **{"height": HEIGHT, "width": WIDTH, "image_id": image_id},
                "file_name": f"{image_id}.png",
            }
        )
    return inputs


@pytest.fixture(scope="module")
def json_file(
    model: nn.Module, images: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Ground truth near to what one or the other exit detects, so that AP is not zero."""
    annotations = []
    for i, (image, output) in enumerate(zip(images[:-1], model.exits(images[:-1]), strict=True)):
        found = instances_to_coco_json(output[f"detector{1 + i % 2}"], image["image_id"])
        for result in found[i % 3 : 12 : 3]:
            annotations.append(_annotation(len(annotations) + 1, result))
    annotations[-1]["iscrowd"] = 1
    content = {
        "images": [
            {
                **{"id": image_id, "height": HEIGHT, "width": WIDTH},
                **{"file_name": f"{image_id}.png", "difficulty": i / 10},
            }
            for i, image_id in enumerate(IMAGE_IDS)
        ],
        "annotations": annotations,
        "categories": [{"id": id_, "name": name} for id_, name in CATEGORIES.items()],
    }
    path = tmp_path_factory.mktemp("data") / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def _annotation(id_: int, result: dict) -> dict:
    """An object just like a detection; what is detected as a star is a disc."""
    keys = ("image_id", "bbox", "segmentation")
    return {
        **{key: result[key] for key in keys},
        **{"id": id_, "category_id": (3, 7, 3)[result["category_id"]], "iscrowd": 0},
        "area": result["bbox"][2] * result["bbox"][3],
    }


@pytest.fixture(scope="module", autouse=True)
def dataset(json_file: Path) -> Iterator[None]:
    metadata = {
        "json_file": str(json_file),
        "thing_classes": list(CATEGORIES.values()),
        "thing_dataset_id_to_contiguous_id": {id_: i for i, id_ in enumerate(CATEGORIES)},
    }
    MetadataCatalog.get(NAME).set(**metadata)
    yield
    MetadataCatalog.remove(NAME)


@pytest.fixture(scope="module")
def run(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One evaluation, and what it left."""
    folder = tmp_path_factory.mktemp("inference")
    threshold = float(np.median([model.difficulties([x])[0] for x in images]))
    model.threshold = threshold
    model.train()
    evaluator = TradeoffEvaluator(NAME, cfg, model, str(folder))
    results = inference_on_dataset(BothExits(model), [[x] for x in images], evaluator)
    assert model.threshold == threshold and model.training
    model.eval()
    folder /= "dynamic"
    tradeoff = json.loads((folder / "tradeoff.json").read_text(), parse_constant=pytest.fail)
    return SimpleNamespace(folder=folder, results=results, tradeoff=tradeoff, threshold=threshold)


def fresh_figures(ground_truth: COCO, results: list[dict], iou_type: str) -> list[float | None]:
    """AP, AP50, AP75, APs, APm, APl by pycocotools itself, in percent."""
    results = [{k: v for k, v in r.items() if iou_type == "bbox" or k != "bbox"} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(results), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * float(s) if s > -1 else None for s in evaluation.stats[:6]]


def routed_results(model: nn.Module, images: list[dict], threshold: float) -> list[dict]:
    """COCO results of the routed model itself."""
    ids = list(CATEGORIES)
    before, model.threshold = model.threshold, threshold
    results = []
    with torch.no_grad():
        for image in images:
            instances = model([image])[0]["instances"]
            results += instances_to_coco_json(instances, image["image_id"])
    model.threshold = before
    return [{**r, "category_id": ids[r["category_id"]]} for r in results]


def test_every_point_is_a_fresh_coco_evaluation_of_the_routed_model(
    run: SimpleNamespace, model: nn.Module, images: list[dict], json_file: Path
) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(json_file)
    seen = {"box": set(), "mask": set()}
    for point in [*run.tradeoff["points"], run.tradeoff["operating_point"]]:
        results = routed_results(model, images, point["threshold"])
        for task, iou_type in (("box", "bbox"), ("mask", "segm")):
            expected = fresh_figures(ground_truth, results, iou_type)
            found = [point[task][name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
            assert found == expected, (point["hard_fraction"], task)
            seen[task].add(point[task]["AP"])
    assert min(map(len, seen.values())) > 2, "the points are all the same: this test could not fail"


@pytest.mark.usefixtures("undrawn")
def test_points_of_merged_exits_are_fresh_evaluations_too(
    model: nn.Module, images: list[dict], json_file: Path, tmp_path: Path
) -> None:
    keys = (*OVERRIDES, "MODEL.MASK_ON", False, "MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6)
    merging = toy_model(*keys)
    merging.load_state_dict(model.state_dict(), strict=False)
    evaluator = TradeoffEvaluator(NAME, toy_cfg(*keys), merging, str(tmp_path))
    inference_on_dataset(BothExits(merging), [[x] for x in images], evaluator)
    tradeoff = read(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(json_file)
    for point in tradeoff["points"]:
        results = routed_results(merging, images, point["threshold"])
        found = [point["box"][name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
        assert found == fresh_figures(ground_truth, results, "bbox"), point["hard_fraction"]
    assert "merged (MODEL.DYNAMIC.MERGE_EXITS_IOU 0.6)" in tradeoff["notes"]["gflops"]
    both, alone = (routed_results(own, images, 0.0) for own in (merging, model))
    assert [x["score"] for x in both] != [x["score"] for x in alone]


def test_points_and_routes(run: SimpleNamespace) -> None:
    points = run.tradeoff["points"]
    assert [p["hard_fraction"] for p in points] == [0, 0.1, 0.3, 0.5, 0.9, 1]
    # Six images: a tenth of them is rounded to one.
    assert [p["realised_hard_fraction"] for p in points] == [x / 6 for x in (0, 1, 2, 3, 5, 6)]
    routes = [json.loads(line) for line in (run.folder / "routes.jsonl").read_text().splitlines()]
    assert [r["image_id"] for r in routes] == sorted(IMAGE_IDS)
    for route in routes:
        assert route["route"] == ("hard" if route["difficulty"] > run.threshold else "easy")
        assert route["file_name"] == f"{route['image_id']}.png"
    own = run.tradeoff["operating_point"]
    assert own["threshold"] == run.threshold
    assert own["realised_hard_fraction"] == 0.5


def test_flops_are_those_of_the_routes_at_the_padded_sizes(
    run: SimpleNamespace, cfg: CfgNode, model: nn.Module
) -> None:
    from dynamicdet_d2.evaluation.cost import count_flops

    sizes = [(HEIGHT, WIDTH), (HEIGHT, WIDTH + 32)]
    small, large = (count_flops(model, *s, cfg.MODEL.RPN.POST_NMS_TOPK_TEST) for s in sizes)
    for point, route in ((run.tradeoff["points"][0], "easy"), (run.tradeoff["points"][-1], "hard")):
        assert point["gflops"] == pytest.approx((small[route] + large[route]) / 2e9)


@pytest.mark.usefixtures("undrawn")
def test_what_was_said_of_the_data_set_stands_above_its_figures(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    with remarks_kept():
        remark(NAME, "w.pth has learnt 2 of its 6 images.")
        remark("another", "not of this one")
        evaluator = TradeoffEvaluator(NAME, cfg, model, str(tmp_path))
        inference_on_dataset(BothExits(model), [[x] for x in images], evaluator)
    said = read(tmp_path)["warnings"]
    assert said[0] == "w.pth has learnt 2 of its 6 images." and "not of this one" not in said
    assert said[0] in (tmp_path / "dynamic" / "report.html").read_text()


def test_what_is_returned(run: SimpleNamespace) -> None:
    assert list(run.results) == ["bbox", "segm", "dynamic"]
    assert all(type(x) is float for task in run.results.values() for x in task.values())
    own = run.tradeoff["operating_point"]
    assert run.results["bbox"]["AP"] == own["box"]["AP"]
    assert run.results["segm"]["AP"] == own["mask"]["AP"]
    assert math.isnan(run.results["bbox"]["AP-star"])
    dynamic = run.results["dynamic"]
    assert dynamic["AP_at_0.5"] == run.tradeoff["points"][3]["box"]["AP"]
    assert math.isnan(dynamic["loss_offset"])
    assert dynamic["difficulty_std"] > 0
    print_csv_format(run.results)


def test_files_and_figures_around_the_points(run: SimpleNamespace) -> None:
    names = {path.name for path in run.folder.iterdir()}
    written = {f"tradeoff.{ending}" for ending in ("json", "csv", "md", "png")}
    assert names == written | {"routes.jsonl", "report.html"}  # no image files, so no pictures
    tradeoff = run.tradeoff
    assert tradeoff["loss_offset"] is None
    assert tradeoff["latency"]["images"] == 2
    assert tradeoff["image_sizes"] == {"min": [HEIGHT, WIDTH], "max": [HEIGHT, WIDTH + 32]}
    for point in tradeoff["points"]:
        assert point["fps"] == pytest.approx(1000 / point["latency_ms"])
        assert point["box_classes"]["star"] is None
        images = [point["routes"][route]["images"] for route in ("easy", "hard")]
        assert sum(images) == 6
    first, last = tradeoff["points"][0], tradeoff["points"][-1]
    for end, exit_name, route in ((first, "detector1", "easy"), (last, "detector2", "hard")):
        assert end["routes"][route][f"AP_{exit_name}"] == end["box"]["AP"] == end["random_AP"]
        assert end["oracle_share"] is None
    assert [row["hard_fraction"] for row in tradeoff["curve"]] == [k / 20 for k in range(21)]
    assert -1 <= tradeoff["rank_correlation"]["drawn_difficulty"] <= 1
    curves = {(c["task"], c["hard_fraction"], c["iou"]) for c in tradeoff["precision_curves"]}
    assert curves == {(t, k, i) for t in ("box", "mask") for k in (0, 0.5, 1) for i in (0.5, 0.75)}


@pytest.mark.parametrize("error", [AssertionError, IndexError])  # without and with python -O
def test_pictures_are_not_drawn_for_no_training(
    error: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise error

    monkeypatch.setattr(module, "get_event_storage", none)
    module._show("name", SimpleNamespace(both_exits=pytest.fail), [])


def test_pictures_have_the_ground_truth_and_go_to_tensorboard(
    cfg: CfgNode,
    model: nn.Module,
    images: list[dict],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = []
    for image in images:
        files.append(str(tmp_path / image["file_name"]))
        Image.new("RGB", (WIDTH, HEIGHT)).save(files[-1])
    named = [{**image, "file_name": file} for image, file in zip(images, files, strict=True)]
    drawn: list[list[dict]] = []
    monkeypatch.setattr(pictures, "draw", lambda pixels, x, _: drawn.append(list(x)) or pixels)
    cfg = cfg.clone()
    cfg.merge_from_list(["TEST.DYNAMIC.GALLERY", 2, "TEST.DYNAMIC.LATENCY_IMAGES", 0])
    evaluator = TradeoffEvaluator(NAME, cfg, model, str(tmp_path))
    with EventStorage() as storage:
        inference_on_dataset(BothExits(model), [[x] for x in named], evaluator)
    [(name, picture, _)] = storage._vis_data
    assert name == f"{NAME}/both_exits" and picture.shape[0] == 3 and picture.dtype == np.uint8
    # Its last row: the objects of two images, with masks, without the crowd.
    truth = read_ground_truth(NAME).coco.imgToAnns
    shown = [sorted(IMAGE_IDS)[place] for place in (0, 3)]
    objects = [[a["bbox"] for a in truth[i] if not a["iscrowd"]] for i in shown]
    assert [[x["bbox"] for x in row] for row in drawn[-2:]] == objects and objects[1]
    assert all(x["segmentation"] for row in drawn[-2:] for x in row)
    kinds = {x["category_id"] for row in drawn[-2:] for x in row}
    assert kinds <= {0, 1} and kinds  # classes as the model counts them
    assert (tmp_path / "dynamic" / pictures.GALLERY).is_file()


def evaluate(
    cfg: CfgNode, model: nn.Module, folder: Path, images: list[dict], outputs: list[dict]
) -> dict:
    """Results of an evaluator that was given these outputs, without latency."""
    cfg = cfg.clone()
    cfg.TEST.DYNAMIC.LATENCY_IMAGES = 0
    evaluator = TradeoffEvaluator(NAME, cfg, model, str(folder))
    evaluator.reset()
    evaluator.process(images, outputs)
    return evaluator.evaluate()


def read(folder: Path) -> dict:
    return json.loads(
        (folder / "dynamic" / "tradeoff.json").read_text(), parse_constant=pytest.fail
    )


@pytest.mark.usefixtures("undrawn")
def test_processes_are_gathered_and_repeated_images_dropped(
    run: SimpleNamespace,
    cfg: CfgNode,
    model: nn.Module,
    images: list[dict],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = TradeoffEvaluator(NAME, cfg, model, str(tmp_path))
    other.reset()
    outputs = [model.exits([image])[0] for image in images]
    other.process(images[2:], outputs[2:])  # what another rank has; two images are in both
    monkeypatch.setattr(module.comm, "gather", lambda mine, dst: [mine, other._records])
    evaluate(cfg, model, tmp_path, images[:4], outputs[:4])
    tradeoff = read(tmp_path)
    assert tradeoff["num_images"] == 6 and tradeoff["images_missing"] == 0
    for alone, together in zip(run.tradeoff["points"], tradeoff["points"], strict=True):
        assert together == {**alone, "latency_ms": None, "fps": None, "latency": None}


def test_only_the_main_process_evaluates(
    cfg: CfgNode, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.comm, "is_main_process", lambda: False)
    monkeypatch.setattr(module.comm, "gather", lambda mine, dst: [])
    assert evaluate(cfg, model, tmp_path, [], []) == {}
    assert not list(tmp_path.iterdir())


def nothing_found(difficulty: float) -> dict:
    empty = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
    )
    return {"difficulty": difficulty, "detector1": empty, "detector2": empty}


def test_nothing_detected_and_equal_difficulties(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    results = evaluate(cfg, model, tmp_path, images, [nothing_found(0.3)] * 6)
    # Also of masks, which a training may be judged by from its first evaluation on.
    assert results["bbox"]["AP"] == results["segm"]["AP"] == 0
    tradeoff = read(tmp_path)
    assert {p["realised_hard_fraction"] for p in tradeoff["points"]} == {0, 1}
    assert "No gain" in tradeoff["verdict"]
    assert any("collapsed" in warning for warning in tradeoff["warnings"])
    unknown = {"gain": None, "loss_gap": None, "drawn_difficulty": None}
    assert tradeoff["rank_correlation"] == unknown


@pytest.mark.parametrize("place", [0, 5], ids=["with objects", "without objects"])
def test_one_image(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path, place: int
) -> None:
    results = evaluate(cfg, model, tmp_path, [images[place]], model.exits([images[place]]))
    tradeoff = read(tmp_path)
    assert tradeoff["num_images"] == 1 and tradeoff["images_missing"] == 5
    assert any("5 images" in warning for warning in tradeoff["warnings"])
    assert math.isnan(results["bbox"]["AP"]) == (place == 5)
    assert (tmp_path / "dynamic" / "tradeoff.png").stat().st_size > 10_000


def test_no_image(
    cfg: CfgNode, model: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate(cfg, model, tmp_path, [], []) == {}


@pytest.mark.usefixtures("undrawn")
def test_data_set_without_a_json_file_is_converted(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    box = {"bbox": [4, 4, 40, 40], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    dicts = [
        {k: v for k, v in image.items() if k != "image"} | {"annotations": [dict(box)]}
        for image in images
    ]
    name = "tradeoff_test_dicts"
    DatasetCatalog.register(name, lambda: dicts)
    MetadataCatalog.get(name).set(thing_classes=list(CATEGORIES.values()))
    try:
        evaluator = TradeoffEvaluator(name, cfg, model, str(tmp_path))
        evaluator.reset()
        evaluator.process(images, [found_box((i + 1) / 9) for i in range(6)])
        results = evaluator.evaluate()
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    # detector2 finds the only object of every image, detector1 of none; half of them are hard.
    assert results["dynamic"]["AP_easy_end"] == 0
    assert results["dynamic"]["AP_hard_end"] == pytest.approx(100)
    assert results["bbox"]["AP-ring"] == results["bbox"]["AP"] > 0


def found_box(difficulty: float) -> dict:
    """detector1 finds nothing, detector2 finds the box [4, 4, 40, 40] of class 1."""
    found = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor([[4.0, 4, 40, 40]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([1]),
    )
    return {**nothing_found(difficulty), "detector2": found}


def test_an_unknown_class_is_refused(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    output = found_box(0.5)
    output["detector2"].pred_classes[0] = 3
    with pytest.raises(ValueError, match="class 3 in image 40.*3 classes.*NUM_CLASSES"):
        evaluate(cfg, model, tmp_path, images[:1], [output])


def test_wrong_hard_fractions_and_missing_annotations_are_refused(
    cfg: CfgNode, model: nn.Module, tmp_path: Path
) -> None:
    wrong = cfg.clone()
    wrong.TEST.DYNAMIC.HARD_FRACTIONS = [0.5, 1.5]
    with pytest.raises(ValueError, match="TEST.DYNAMIC.HARD_FRACTIONS has 1.5"):
        TradeoffEvaluator(NAME, wrong, model, str(tmp_path))
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"images": [], "categories": []}))
    name = "tradeoff_test_unannotated"
    MetadataCatalog.get(name).json_file = str(path)
    try:
        with pytest.raises(ValueError, match="no 'annotations'"):
            TradeoffEvaluator(name, cfg, model, str(tmp_path))
    finally:
        MetadataCatalog.remove(name)


def test_calibration_sees_the_same_images_and_ap(
    run: SimpleNamespace, cfg: CfgNode, model: nn.Module, images: list[dict]
) -> None:
    observation = observe(model, [[x] for x in images], 2, detections=True)
    routes = [json.loads(line) for line in (run.folder / "routes.jsonl").read_text().splitlines()]
    assert observation.difficulties == [route["difficulty"] for route in routes]
    assert [r.image_id for r in observation.records] == [route["image_id"] for route in routes]
    # Of all that a calibration has, its thresholds.
    calibration = SimpleNamespace(
        threshold=lambda k: threshold_for_hard_fraction(observation.difficulties, k)
    )
    measured = Measured(cfg, model, calibration, observation, read_ground_truth(NAME))
    points = run.tradeoff["points"]
    routings = routings_at(measured, [point["hard_fraction"] for point in points])
    found = [
        box_sweep(measured.observation.records, measured.ground_truth).evaluate(hard).ap
        for hard in routings
    ]
    assert found == [point["box"]["AP"] for point in points]
    assert len(set(found)) > 2


class CountByRoute(DatasetEvaluator):
    """A user's own evaluator of the routed detector."""

    def reset(self) -> None:
        self.found = {"easy": 0.0, "hard": 0.0}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for output in outputs:
            self.found[output["route"]] += len(output["instances"])

    def evaluate(self) -> dict:
        return {"count": self.found}


@pytest.mark.usefixtures("undrawn")
def test_evaluators_of_build_evaluator_need_no_model_and_may_be_several(
    run: SimpleNamespace, cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    cfg = cfg.clone()
    cfg.TEST.DYNAMIC.LATENCY_IMAGES = 0
    evaluator = TradeoffEvaluator(NAME, cfg, output_dir=str(tmp_path))
    both = DatasetEvaluators([evaluator, CountByRoute()])
    model.threshold = run.threshold
    results = inference_on_dataset(BothExits(model), [[x] for x in images], both)
    assert results["bbox"] == pytest.approx(run.results["bbox"], nan_ok=True)
    expected = {"easy": 0, "hard": 0}
    with torch.no_grad():
        for image in images:
            output = model([image])[0]
            expected[output["route"]] += len(output["instances"])
    assert results["count"] == expected and min(expected.values()) > 0


def test_a_routed_output_is_refused(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="needs the detections of both exits"):
        evaluate(cfg, model, tmp_path, images[:1], [{"difficulty": 0.5, "instances": None}])


def test_detections_of_another_model_are_refused(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    """Threshold, GFLOPs and milliseconds of one stood beside AP of the other."""
    other = BothExits(copy.deepcopy(model))([images[0]])
    with pytest.raises(ValueError, match="the cost of one model and is given detections of anoth"):
        evaluate(cfg, model, tmp_path, images[:1], other)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_loop_of_a_user_s_own(
    cfg: CfgNode,
    model: nn.Module,
    images: list[dict],
    caplog: pytest.LogCaptureFixture,
    elsewhere: bool,
) -> None:
    """Without ``reset``, over images of the data set or over those of another with the same ids."""
    evaluator = TradeoffEvaluator(NAME, cfg, model)
    for image in images[:2]:
        name = f"other_{image['file_name']}" if elsewhere else image["file_name"]
        evaluator.process([{**image, "file_name": name}], model.exits([image]))
    assert len(evaluator.observation().records) == 2
    assert caplog.text.count("is a loader of another data set, the figures are wrong") == elsewhere


@pytest.mark.usefixtures("undrawn")
def test_a_second_pass_begins_with_a_reset(
    cfg: CfgNode, model: nn.Module, images: list[dict], tmp_path: Path
) -> None:
    """Records of the first one, by other weights, were taken."""
    cfg = cfg.clone()
    cfg.TEST.DYNAMIC.LATENCY_IMAGES = 0
    evaluator = TradeoffEvaluator(NAME, cfg, model, str(tmp_path))
    for image in images[:2]:  # images may come after an evaluation, too
        evaluator.process([image], model.exits([image]))
        evaluator.evaluate()
    assert read(tmp_path)["num_images"] == 2
    with pytest.raises(
        ValueError, match=r"was evaluated before: reset\(\) of TradeoffEvaluator be"
    ):
        evaluator.process([images[0]], model.exits([images[0]]))
    evaluator.reset()
    evaluator.process([images[0]], model.exits([images[0]]))
    assert len(evaluator.observation().records) == 1


@pytest.mark.parametrize(
    ("root", "given", "same"),
    [
        ("", "anywhere/images/1.png", True),
        ("", "anywhere/other/1.png", False),
        ("", "1.png", False),
        ("real", "linked/images/1.png", True),
        ("real", "copied/images/1.png", False),
    ],
)
def test_a_path_of_an_image_of_the_data_set(
    tmp_path: Path, root: str, given: str, same: bool
) -> None:
    (tmp_path / "real" / "images").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    paths = str(tmp_path / root) if root else "", str(tmp_path / given)
    assert names_file(paths[0], "images/1.png", paths[1]) == same


@pytest.mark.parametrize(("given", "said"), [({}, True), ({"losses": (1.0, 0.5)}, False)])
def test_a_mapper_of_training_is_said_once(
    cfg: CfgNode,
    model: nn.Module,
    images: list[dict],
    caplog: pytest.LogCaptureFixture,
    given: dict,
    said: bool,
) -> None:
    evaluator = TradeoffEvaluator(NAME, cfg, model)
    for image in images[:2]:
        annotated = {**image, "instances": Instances((HEIGHT, WIDTH))}
        evaluator.process([annotated], [{**nothing_found(0.5), **given}])
    assert caplog.text.count("come with 'instances', as by a mapper of training: where") == said


def test_a_mapper_that_gives_no_sizes_is_refused(
    cfg: CfgNode, model: nn.Module, images: list[dict]
) -> None:
    """The second image is 128 pixels wide to the network, and 96 in the data set."""
    evaluator = TradeoffEvaluator(NAME, cfg, model)
    without = {k: v for k, v in images[1].items() if k not in ("height", "width")}
    says = (
        rf"^Image 8.png \(id 8\) of data set {NAME} has 64 x 96 pixels, and its detections are of "
        r"64 x 128: the loader must give its 'height' and 'width'\.$"
    )
    with pytest.raises(ValueError, match=says):
        evaluator.process([without], model.exits([without]))


def test_an_image_of_another_data_set_is_refused(
    cfg: CfgNode, model: nn.Module, images: list[dict]
) -> None:
    evaluator = TradeoffEvaluator(NAME, cfg, model)
    other = {**images[1], "image_id": 999}
    says = rf"^Image 8.png \(id 999\) is none of data set {NAME}: is the loader that of another one"
    with pytest.raises(ValueError, match=says):
        evaluator.process([other], model.exits([other]))


def test_what_is_no_config_and_no_data_set(cfg: CfgNode) -> None:
    with pytest.raises(ValueError, match=r"^The config is of type str; it must be a CfgNode"):
        TradeoffEvaluator(NAME, "config.yaml")
    with pytest.raises(ValueError, match=r"^The evaluation names 'gone', which is not registered"):
        TradeoffEvaluator("gone", cfg)
    for given in (None, [NAME], (NAME,)):  # as cfg.DATASETS.TEST
        says = re.escape(f"The evaluation names {given!r}; it must be the name of one data set.")
        with pytest.raises(ValueError, match=f"^{says}$"):
            TradeoffEvaluator(given, cfg)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^5 is no path of a folder.$"):
        TradeoffEvaluator(NAME, cfg, output_dir=5)  # type: ignore[arg-type]


def test_both_exits_leave_the_mode_of_a_model_at_rest(model: nn.Module) -> None:
    wrapper = BothExits(model)
    assert wrapper.training is model.training is False
    assert BothExits(wrapper.model).model is model


def test_hard_fractions_have_the_digits_that_their_rows_are_called_by() -> None:
    cfg = toy_cfg("TEST.DYNAMIC.HARD_FRACTIONS", [0.33333333, 0.3333334, 0.1])
    assert operating_points(cfg) == [0.0, 0.1, 0.333333, 0.5, 0.9, 1.0]

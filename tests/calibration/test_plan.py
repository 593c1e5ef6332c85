# SPDX-License-Identifier: Apache-2.0
"""calibrate.py --plan: the grid, exactness of its points, the choice, its files, and refusals."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import build_model
from pycocotools.cocoeval import COCOeval
from torch import nn

from dynamicdet_d2.calibration import Calibration, run
from dynamicdet_d2.calibration.ap_drop import ApDrop
from dynamicdet_d2.calibration.plan.choice import Plan, check_target, choose, front_of, gains
from dynamicdet_d2.calibration.plan.curves import PlanPoint, curves_of
from dynamicdet_d2.calibration.plan.exits import measure_limits
from dynamicdet_d2.calibration.plan.files import markdown
from dynamicdet_d2.calibration.plan.grid import Pass, passes_of
from dynamicdet_d2.calibration.plan.plot import plan_png
from dynamicdet_d2.calibration.targets import Gflops, Latency
from dynamicdet_d2.commands import calibrate, main
from dynamicdet_d2.data import register_coco_json
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.evaluation.ground_truth import GroundTruth, read_ground_truth
from dynamicdet_d2.model_folder import load, write_model
from dynamicdet_d2.operating_point.knobs import knobs_of
from dynamicdet_d2.utils.words import rounded_inward
from tests.modeling.test_easy_proposals import rcnn
from tests.modeling.test_limited_exits import seeing_rcnn
from tests.support.coco_files import CATEGORIES, clean_catalogs, image_entry, write_coco
from tests.support.toy import dense_cfg, dense_model, toy_cfg, toy_inputs
from tests.support.toy_yolo import DYNAMIC, dynamic_yolo, yolo_cfg

NUM_IMAGES = 6
KINDS = {
    "rcnn": (toy_cfg, rcnn, ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)),
    "fcos": (
        lambda *keys: dense_cfg("FCOS", *keys),
        lambda *keys: dense_model("FCOS", *keys),
        ("MODEL.FCOS.SCORE_THRESH_TEST", 0.0),
    ),
    "yolo": (
        lambda *keys: yolo_cfg(*DYNAMIC, *keys),
        dynamic_yolo,
        ("MODEL.YOLO.SCORE_THRESH_TEST", 0.0, "MODEL.YOLO.TOPK_CANDIDATES_TEST", 100),
    ),
}


def config_of(kind: str, folder: Path) -> CfgNode:
    """Images of 96x64 whose objects are some of what both exits detect, so that AP is above 0."""
    cfg_of, model_of, keys = KINDS[kind]
    model = model_of(*keys)
    weights = folder / "model.pth"
    torch.save({"model": model.state_dict()}, weights)
    cfg = cfg_of(*keys, "MODEL.WEIGHTS", str(weights))
    name = f"plan_toy_{folder.name}"  # keeps its meaning beside the others
    cfg.DATASETS.TEST, cfg.DATALOADER.NUM_WORKERS = (name,), 0
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    cfg.TEST.DYNAMIC.LATENCY_IMAGES, cfg.TEST.DYNAMIC.LATENCY_WARMUP = 2, 0
    images = [image_entry(i, width=96, height=64) for i in range(1, NUM_IMAGES + 1)]
    categories = [*CATEGORIES, {"id": 3, "name": "disk"}]
    cfg.DATASETS.COCO_JSON = [[name, *write_coco(folder, images, [], categories=categories)]]
    register_coco_json(cfg.DATASETS.COCO_JSON)
    objects = list(objects_of(model, cfg))
    write_coco(folder, images, objects, categories=categories, draw=False)
    return cfg


def objects_of(model: nn.Module, cfg: CfgNode) -> Iterator[dict]:
    number = 0
    for batch in run.calibration_loader(cfg, None):
        exits = model.exits(batch)[0]
        for name, kept in (("detector1", slice(2, 4)), ("detector2", slice(0, 3))):
            for found in instances_to_coco_json(exits[name].to("cpu")[kept], batch[0]["image_id"]):
                number += 1
                _, _, width, height = found["bbox"]
                more = {"id": number, "category_id": found["category_id"] + 1, "iscrowd": 0}
                box = {"image_id": found["image_id"], "bbox": found["bbox"]}
                yield {**box, **more, "area": max(width * height, 1.0)}


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "setup_logger", lambda **_: logging.getLogger("unused"))


GRID = (
    *("TEST.DYNAMIC.PLAN.EASY_PROPOSALS", [3, 10]),
    *("TEST.DYNAMIC.PLAN.INPUT_SIZES", [48, 64]),
    *("TEST.DYNAMIC.PLAN.PRECISIONS", ["bfloat16"]),
)
OPTIMIZED = ("MODEL.INFERENCE.OPTIMIZE", True)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A run of the command over four passes, twelve curves."""
    folder = tmp_path_factory.mktemp("plan")
    with clean_catalogs(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "setup_logger", lambda **_: logging.getLogger("unused"))
        cfg = config_of("rcnn", folder)
        cfg.merge_from_list([*OPTIMIZED, *GRID])
        assert calibrated(cfg, folder, "--plan", "--max-ap-drop", "12") == 0
        yield SimpleNamespace(
            cfg=cfg,
            folder=folder,
            record=Calibration.from_json(folder / "calibration.json"),
            plan=json.loads((folder / "plan.json").read_text()),
            truth=read_ground_truth(cfg.DATASETS.TEST[0]),
        )


def calibrated(cfg: CfgNode, folder: Path, *more: str) -> int:
    config = folder / "config.yaml"
    config.write_text(cfg.dump())
    paths = ["--config-file", str(config), "--weights", cfg.MODEL.WEIGHTS]
    output = ["--output", str(folder / "calibration.json")]
    return main.run("calibrate.py", "calibrate", [*paths, *output, *more])


def built(cfg: CfgNode, *keys: object) -> tuple[nn.Module, CfgNode]:
    """A model with these keys set, and its weights."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(keys))
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(cfg.MODEL.WEIGHTS)["model"])
    return model, cfg


@torch.no_grad()
def evaluated(model: nn.Module, cfg: CfgNode, truth: GroundTruth) -> tuple[float, float, float]:
    """AP by pycocotools, GFLOPs, and share of hard images of the routed model."""
    results, sizes, hard = [], [], []
    for batch in run.calibration_loader(cfg, None):
        output = model(batch)[0]
        results += instances_to_coco_json(output["instances"].to("cpu"), batch[0]["image_id"])
        sizes.append(tuple(batch[0]["image"].shape[-2:]))
        hard.append(output["route"] == "hard")
    for result in results:
        result["category_id"] = truth.category_ids[result["category_id"]]
    evaluation = COCOeval(truth.coco, truth.coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    gflops = RouteCost(model, cfg.TEST.DYNAMIC.ATTENTION_MATMUL).average(sizes, hard)
    return 100 * float(evaluation.stats[0]), gflops, float(np.mean(hard))


# --- exactness


def test_the_grid_has_the_configs_own_values_first(planned: SimpleNamespace) -> None:
    points, own = planned.plan["points"], knobs_of(planned.cfg)
    assert len(points) == 12 * 101
    settings = list(dict.fromkeys(tuple(point["keys"].values()) for point in points))
    assert settings[0] == tuple(own.values()) == (0, 64, 96, "float32")
    assert set(settings) == {
        (limit, *size, precision)
        for limit in (0, 3, 10)
        for size in ((64, 96), (48, 72))
        for precision in ("float32", "bfloat16")
    }
    assert planned.plan["reference"] == 100


def test_every_curve_is_a_fresh_evaluation_with_its_keys(planned: SimpleNamespace) -> None:
    aps = set()
    for start in range(0, len(planned.plan["points"]), 101):
        point = planned.plan["points"][start + (33, 50, 67)[start // 101 % 3]]
        keys = [part for pair in point["keys"].items() for part in pair]
        model, cfg = built(planned.cfg, *keys, "MODEL.DYNAMIC.THRESHOLD", point["threshold"])
        ap, gflops, hard = evaluated(model, cfg, planned.truth)
        assert 0 < hard < 1
        assert (point["ap"], point["realised"]) == (ap, hard)
        assert point["gflops"] == pytest.approx(gflops, rel=1e-12)
        assert point["ms"] is None
        aps.add(ap)
    assert len(aps) > 6 and min(aps) > 0


@pytest.mark.parametrize("kind", ["fcos", "yolo"])
def test_other_kinds_are_planned_as_exactly(kind: str, tmp_path: Path) -> None:
    """Their easy proposals are candidates before NMS."""
    with clean_catalogs():
        cfg = config_of(kind, tmp_path)
        cfg.merge_from_list(
            ["TEST.DYNAMIC.PLAN.EASY_PROPOSALS", [1], "TEST.DYNAMIC.PLAN.INPUT_SIZES", [96]]
        )
        truth, aps = read_ground_truth(cfg.DATASETS.TEST[0]), []
        for own in passes_of(cfg):
            loader = run.calibration_loader(own.cfg, None)
            model, _ = built(own.cfg)
            curves = curves_of(own, model, loader, truth, latency=False, step=lambda: None)
            assert len(curves) == 2
            for curve in curves:
                point = curve.points[50]
                model, set_ = built(curve.cfg, "MODEL.DYNAMIC.THRESHOLD", point.threshold)
                ap, gflops, _ = evaluated(model, set_, truth)
                assert (point.ap, point.gflops) == (ap, pytest.approx(gflops, rel=1e-12))
            aps.append([[point.ap for point in curve.points] for curve in curves])
    # At the size that the objects were made at; what is found at another one may miss them all.
    own_size = aps[0]
    assert own_size[0] != own_size[1] and max(own_size[0]) > 0


# --- the calibration


def test_the_calibration_realises_the_chosen_point(
    planned: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan, record = planned.plan, planned.record
    chosen, reference = plan["points"][plan["chosen"]], plan["points"][plan["reference"]]
    assert chosen["ap"] >= reference["ap"] - 12
    assert chosen["gflops"] < reference["gflops"]
    cheaper = [p for p in plan["points"] if p["gflops"] < chosen["gflops"]]
    assert cheaper and all(p["ap"] < reference["ap"] - 12 for p in cheaper)
    point = record.operating_point
    assert point["keys"] == chosen["keys"] != plan["points"][0]["keys"]
    assert point["target"] == {"ap_drop": 12.0}
    assert (point["threshold"], point["hard_fraction"]) == (
        chosen["threshold"],
        chosen["hard_fraction"],
    )
    # As printed: a model with these keys is at the point.
    path = str(planned.folder / "calibration.json")
    keys = ["MODEL.DYNAMIC.CALIBRATION", path, "MODEL.DYNAMIC.HARD_FRACTION"]
    keys += [chosen["hard_fraction"]]
    realised = [*(part for pair in chosen["keys"].items() for part in pair), *keys]
    model, cfg = built(planned.cfg, *realised)
    assert model.threshold == chosen["threshold"]
    assert evaluated(model, cfg, planned.truth)[0] == chosen["ap"]
    # Without them every model says which are missing.
    with pytest.raises(ValueError, match=r"calibration.json has an .* set MODEL.DYNAMIC.EASY_PR"):
        built(planned.cfg, *keys)
    # A model folder carries them.
    write_model(cfg, tmp_path / "model")
    predictor = load(tmp_path / "model", device="cpu")
    assert knobs_of(predictor.cfg) == chosen["keys"]
    assert predictor.model.threshold == chosen["threshold"]
    assert (
        predictor.model.operating_point.limit(1) == chosen["keys"]["MODEL.DYNAMIC.EASY_PROPOSALS"]
    )


def test_the_files(planned: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    text = (planned.folder / "plan.md").read_text()
    chosen = planned.plan["points"][planned.plan["chosen"]]
    assert f"MODEL.DYNAMIC.THRESHOLD {chosen['threshold']!r}" in text
    assert "## Chosen for ap_drop 12" in text and "| ms" not in text
    front, _ = text.split("## What a drop of AP buys")
    assert front.count("| chosen |") == 1
    assert (planned.folder / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_a_target_out_of_reach_keeps_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Over the config's own setting alone, since nothing else is asked for."""
    with clean_catalogs():
        cfg = config_of("rcnn", tmp_path)
        with pytest.raises(SystemExit) as stop:
            calibrated(cfg, tmp_path, "--plan", "--target-gflops", "1e-6", "--num-images", "4")
    assert stop.value.code == 2
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert (len(plan["points"]), plan["num_images"], plan["chosen"]) == (101, 4, None)
    least = plan["points"][plan["front"][0]]
    gflops, _ = rounded_inward(least["gflops"], 1)
    assert capsys.readouterr().err == (
        "calibrate.py: error: No point of the plan has 1e-06 GFLOPs or less; the nearest has "
        f"{gflops} GFLOPs and {least['ap']:.2f} AP: MODEL.DYNAMIC.EASY_PROPOSALS 0 "
        "INPUT.MIN_SIZE_TEST 64 INPUT.MAX_SIZE_TEST 96 MODEL.INFERENCE.PRECISION float32 "
        f"MODEL.DYNAMIC.THRESHOLD {least['threshold']:.6g}. {tmp_path / 'plan.md'} is written, and "
        "no calibration.\n"
    )
    assert not (tmp_path / "calibration.json").exists()


@pytest.mark.parametrize("kind", [rcnn, seeing_rcnn], ids=lambda kind: kind.__name__)
def test_latency_of_every_limit(kind: type) -> None:
    """The hard route is timed once, unless it has seen detections of as many proposals."""
    model, seen = kind(), []
    model.register_forward_pre_hook(
        lambda m, _: seen.append((m.operating_point.easy_proposals, m.threshold))
    )
    easy, few = measure_limits(model, toy_inputs(1), [0, 3], warmup=0)
    once = kind is rcnn
    assert seen == [(0, 1.0), (3, 1.0), (0, 0.0), *([] if once else [(3, 0.0)])]
    assert (easy["hard"] == few["hard"]) == once
    assert easy["easy"] != few["easy"]
    assert model.operating_point.easy_proposals == 0


# --- the choice, by hand


def point(limit: int, hard: float, ap: float, gflops: float, ms: float | None = None) -> PlanPoint:
    keys = {**knobs_of(toy_cfg()), "MODEL.DYNAMIC.EASY_PROPOSALS": limit}
    return PlanPoint(keys, hard, 1 - hard, hard, ap, gflops, ms)


POINTS = (
    *(point(0, 0.0, 30, 10, 5), point(0, 0.5, 36, 15, 6), point(0, 1.0, 40, 20, 7)),
    *(point(9, 0.0, 30, 8, 6), point(9, 0.5, 36, 14, 6), point(9, 1.0, 40, 20, 8)),
)


def plan_of(cost: str, chosen: int | None = None) -> Plan:
    front = front_of(POINTS, cost)
    return Plan("own", 9, "a device", "today", cost, {"x": 1.0}, POINTS, 2, front, chosen)


def test_fronts_by_hand() -> None:
    assert plan_of("gflops").front == (3, 4, 2)
    assert plan_of("ms").front == (0, 1, 2)


@pytest.mark.parametrize(
    ("target", "cost", "place"),
    [
        (Gflops(8), "gflops", 3),
        (Gflops(13.9), "gflops", 3),
        (Gflops(15), "gflops", 4),
        # Two points have 40 AP and 20 GFLOPs: the config's own setting comes first.
        (Gflops(99), "gflops", 2),
        # Points 1 and 4 have 36 AP and 6 ms.
        (Latency(6), "ms", 1),
        (ApDrop(0), "gflops", 2),
        (ApDrop(4), "gflops", 4),
        (ApDrop(4), "ms", 1),
        (ApDrop(100), "gflops", 3),
    ],
)
def test_choices_by_hand(target: Gflops, cost: str, place: int) -> None:
    assert choose(plan_of(cost), target) == place


def test_a_loss_of_just_the_drop_is_within_it() -> None:
    # In floating point 40.1 - 0.8 is 39.300000000000004.
    points = tuple(dataclasses.replace(p, ap={30: 39.3, 36: 39.3, 40: 40.1}[p.ap]) for p in POINTS)
    plan = dataclasses.replace(plan_of("gflops"), points=points)
    assert choose(plan, ApDrop(0.8)) == 3
    assert gains(plan, [0.8, 0.7]) == [(0.8, points[3], 2.5), (0.7, points[2], 1.0)]


def test_a_plan_where_nothing_is_found_is_said(caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_of("gflops")
    nothing = tuple(dataclasses.replace(point, ap=0.0) for point in plan.points)
    choose(dataclasses.replace(plan, points=nothing), Gflops(100))
    assert caplog.messages[0].startswith("With all images hard AP is 0.00: the detectors find")


def test_the_nearest_is_named() -> None:
    with pytest.raises(ValueError, match=r"has 4 ms or less; the nearest has 5 ms and 30.00 AP: "):
        choose(plan_of("ms"), Latency(4))


def test_what_a_drop_buys() -> None:
    rows = gains(plan_of("gflops"), [0, 4, 10])
    assert [(drop, place.gflops) for drop, place, _ in rows] == [(0, 20), (4, 14), (10, 8)]
    assert [times for *_, times in rows] == pytest.approx([1, 20 / 14, 2.5])


def test_tables_and_chart_with_milliseconds() -> None:
    plan = plan_of("ms", chosen=1)
    text = markdown(plan)
    assert "| ms" in text and "beats in AP and ms" in text
    assert plan_png(plan).startswith(b"\x89PNG")
    alone = dataclasses.replace(plan, points=POINTS[:3], chosen=None)
    assert "Chosen" not in markdown(alone)
    assert plan_png(alone).startswith(b"\x89PNG")


# --- refusals


def test_what_can_be_planned_for() -> None:
    assert check_target(Gflops(1), latency=True)[1] == "gflops"
    assert check_target(Latency(1), latency=False)[1] == "ms"
    assert check_target(ApDrop(1), latency=False)[1] == "gflops"
    assert check_target(ApDrop(1), latency=True)[1] == "ms"


NEEDS = "--plan needs --target-latency-ms, --target-gflops or --max-ap-drop."


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--plan"], NEEDS),
        (["--plan", "--hard-fraction", "0.5"], NEEDS),
        (["--plan", "--target-p95-latency-ms", "5"], NEEDS),
        (["--latency", "--max-ap-drop", "1"], "--latency goes with --plan."),
        (
            ["--plan", "--max-ap-drop", "1", "--confidence", "0.9"],
            "--confidence promises nothing of a point that was chosen among many settings",
        ),
        (
            ["--plan", "--max-ap-drop", "1", "--output", "plan.json"],
            "--output plan.json has the name of one of the plan's own files.",
        ),
        (
            ["--plan", "--max-ap-drop", "1", "TEST.DYNAMIC.PLAN.PRECISIONS", "['bfloat16']"],
            "TEST.DYNAMIC.PLAN, at 64 pixels in bfloat16: MODEL.INFERENCE.PRECISION, COMPILE and",
        ),
        (
            ["--plan", "--max-ap-drop", "1", "TEST.DYNAMIC.PLAN.EASY_PROPOSALS", "[-1]"],
            "TEST.DYNAMIC.PLAN.EASY_PROPOSALS has -1; each must be a whole number in [0, 100000].",
        ),
        (
            [
                *("--plan", "--max-ap-drop", "1", "TEST.DYNAMIC.PLAN.INPUT_SIZES", "[32]"),
                *("INPUT.MIN_SIZE_TEST", "0"),
            ],
            "TEST.DYNAMIC.PLAN.INPUT_SIZES is [32], but INPUT.MIN_SIZE_TEST is 0",
        ),
    ],
)
def test_refused_by_one_sentence(
    planned: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    more: list[str],
    says: str,
) -> None:
    cfg = planned.cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(["MODEL.INFERENCE.OPTIMIZE", False])
    cfg.TEST.DYNAMIC.PLAN.PRECISIONS = []
    with pytest.raises(SystemExit) as stop:
        calibrated(cfg, tmp_path, *more)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_links_are_not_written_through(
    planned: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "plan.md").symlink_to(tmp_path / "kept")
    with pytest.raises(SystemExit):
        calibrated(planned.cfg, tmp_path, "--plan", "--max-ap-drop", "1")
    assert "plan.md, which is a link" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


def test_a_pass_with_nothing_asked_for() -> None:
    cfg = toy_cfg("INPUT.MIN_SIZE_TEST", 64)
    assert passes_of(cfg) == [Pass(cfg, (0,))]

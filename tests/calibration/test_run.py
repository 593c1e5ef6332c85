# SPDX-License-Identifier: Apache-2.0
"""calibrate.py: a whole run on a toy detector, each kind of target, and what is refused."""

import argparse
import contextlib
import copy
import dataclasses
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2 import calibration as cal
from dynamicdet_d2.calibration import run, targets
from dynamicdet_d2.calibration.ap_drop import ApDrop
from dynamicdet_d2.calibration.plot import plot_path
from dynamicdet_d2.calibration.target import Choice, Measured, Target
from dynamicdet_d2.calibration.targets import (
    TARGETS,
    Gflops,
    HardFraction,
    Latency,
    add_options,
    target_of,
)
from dynamicdet_d2.commands import calibrate, main
from dynamicdet_d2.data import register_coco_json
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from dynamicdet_d2.evaluation.exit_records import ExitRecord
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from dynamicdet_d2.evaluation.observe import Observation
from dynamicdet_d2.evaluation.passes import evaluate
from tests.support import runs
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg, toy_inputs, toy_model

DATASET = "calibrate_toy"
NUM_IMAGES = 6
PLAIN_BACKBONE = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.RESNETS.DEPTH", "50"]


@pytest.fixture
def cfg(tmp_path: Path) -> Iterator[CfgNode]:
    """Six images of 96x64 with an object each, and the toy detector's weights."""
    images = [image_entry(i, width=96, height=64) for i in range(1, NUM_IMAGES + 1)]
    objects = [object_entry(i, i) for i in range(1, NUM_IMAGES + 1)]
    json_file, root = write_coco(tmp_path, images, objects)
    weights = tmp_path / "model.pth"
    torch.save({"model": toy_model("MODEL.ROI_HEADS.NUM_CLASSES", 2).state_dict()}, weights)
    cfg = toy_cfg("MODEL.ROI_HEADS.NUM_CLASSES", 2, "MODEL.WEIGHTS", str(weights))
    cfg.DATASETS.COCO_JSON = [[DATASET, json_file, root]]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (DATASET,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 96
    cfg.TEST.DYNAMIC.LATENCY_IMAGES, cfg.TEST.DYNAMIC.LATENCY_WARMUP = 2, 0
    with clean_catalogs():
        register_coco_json(cfg.DATASETS.COCO_JSON)
        yield cfg


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectron2 keeps its handlers for good, and with them one test's captured output."""
    monkeypatch.setattr(calibrate, "setup_logger", lambda **_: logging.getLogger("unused"))


def calibrated(arguments: list[str]) -> int:
    """The exit status of calibrate.py."""
    return main.run("calibrate.py", "calibrate", arguments)


def command(cfg: CfgNode, tmp_path: Path, *more: str) -> list[str]:
    config = tmp_path / "config.yaml"
    config.write_text(cfg.dump())
    output = tmp_path / "calibration.json"
    paths = ["--config-file", str(config), "--weights", cfg.MODEL.WEIGHTS, "--output", str(output)]
    return [*paths, *more]


def test_run_writes_what_the_model_reads(
    cfg: CfgNode, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert calibrated(command(cfg, tmp_path, "--hard-fraction", "0.5")) == 0
    path = tmp_path / "calibration.json"
    assert "MODEL.DYNAMIC.HARD_FRACTION 0.5" in capsys.readouterr().out
    record = cal.Calibration.from_json(path)
    assert record.num_images == sum(record.histogram["counts"]) == NUM_IMAGES
    assert record.operating_point["target"] == {"hard_fraction": 0.5}
    assert record.operating_point["realised_hard_fraction"] == 0.5
    assert record.measured["dataset"] == DATASET
    assert (record.measured["mean_height"], record.measured["mean_width"]) == (64, 96)
    assert record.measured["latency_images"] == 2

    cfg.MODEL.DYNAMIC.CALIBRATION, cfg.MODEL.DYNAMIC.HARD_FRACTION = str(path), 0.5
    model = build_model(cfg).eval()
    assert model.threshold == record.operating_point["threshold"]
    with torch.no_grad(), pytest.raises(ValueError, match="made with weights"):
        model(toy_inputs(1))
    model.load_state_dict(torch.load(cfg.MODEL.WEIGHTS)["model"])
    with torch.no_grad():
        assert model(toy_inputs(1))[0]["route"] in ("easy", "hard")

    cfg.INPUT.MIN_SIZE_TEST = 32
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(cfg.MODEL.WEIGHTS)["model"])
    with torch.no_grad(), pytest.raises(ValueError, match=r"min_size_test 64 \(here 32\)"):
        model(toy_inputs(1))


def test_an_image_that_stands_twice_is_said(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, json_file, root = cfg.DATASETS.COCO_JSON[0]
    content = json.loads(Path(json_file).read_text())
    first = content["images"][0]
    content["images"].append({**first, "id": 999})
    (tmp_path / "twice.json").write_text(json.dumps(content))
    cfg.DATASETS.COCO_JSON = [["twice", str(tmp_path / "twice.json"), root]]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("twice",)
    assert calibrated(command(cfg, tmp_path)) == 0
    twice = f"have several entries ({Path(root) / first['file_name']} has 2)"
    assert f"Data sets ['twice']: 1 image file(s) {twice}" in caplog.text


def test_milliseconds_hold_for_the_model_as_it_was_run(cfg: CfgNode, tmp_path: Path) -> None:
    assert calibrated(command(cfg, tmp_path)) == 0
    path = tmp_path / "calibration.json"
    record = cal.Calibration.from_json(path)
    assert record.measured["inference"] == {"optimize": False, "compile": False}
    # In place of what this machine happened to take.
    routes = {"easy": 5.0, "hard": 9.0}
    latency = {name: dict.fromkeys(("p50", "p95", "mean"), ms) for name, ms in routes.items()}
    dataclasses.replace(record, latency_ms=latency).to_json(path)

    cfg.MODEL.DYNAMIC.CALIBRATION = str(path)
    cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS = 5.0
    assert build_model(cfg).threshold == record.grid[0]
    cfg.MODEL.INFERENCE.OPTIMIZE = True
    with pytest.raises(ValueError, match=r"measured with .*OPTIMIZE False \(here True\)"):
        build_model(cfg)
    cfg.MODEL.INFERENCE.OPTIMIZE, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = False, 51
    with pytest.raises(ValueError, match=r"measured with .*_NMS_TOPK_TEST 50 \(here 51\), which"):
        build_model(cfg)
    # A share of hard images does not depend on them.
    cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS, cfg.MODEL.DYNAMIC.HARD_FRACTION = None, 0.5
    assert build_model(cfg).threshold == record.threshold(0.5)


def test_unreachable_target_keeps_the_measurement(cfg: CfgNode, tmp_path: Path) -> None:
    # As users call it, with its log.
    arguments = command(cfg, tmp_path, "--target-gflops", "900")
    done = runs.run("calibrate.py", arguments, tmp_path / "called")
    assert done.status == 2
    assert re.fullmatch(
        r"calibrate.py: error: The target cost of 900 GFLOPs cannot be reached; \S+ to \S+ GFLOPs "
        r"can\. \S+/calibration\.json is written, without an operating point\.\n",
        done.err,
    )
    assert "Loading" in done.out and "Traceback" not in done.out
    assert cal.Calibration.from_json(tmp_path / "calibration.json").operating_point is None


def test_a_calibrated_config_can_be_calibrated_anew(cfg: CfgNode, tmp_path: Path) -> None:
    cfg.MODEL.DYNAMIC.CALIBRATION, cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS = "is_gone.json", 5.0
    assert calibrated(command(cfg, tmp_path, "--max-ap-drop", "100", "--num-images", "4")) == 0
    record = cal.Calibration.from_json(tmp_path / "calibration.json")
    assert record.num_images == 4
    assert record.operating_point["target"] == {"ap_drop": 100.0}
    assert record.operating_point["hard_fraction"] == 0.0


@pytest.mark.parametrize("names", [(DATASET,), (DATASET, "other")])
def test_a_second_data_set_is_not_passed_over_in_silence(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...]
) -> None:
    cfg.DATASETS.TEST = names
    with contextlib.suppress(ValueError):  # the other one is none
        run.calibration_config(*command(cfg, tmp_path)[1:4:2], [])
    assert (f"only the first, {DATASET}, is calibrated on." in caplog.text) == (len(names) > 1)


def test_drawn_images_are_always_the_same(cfg: CfgNode) -> None:
    def drawn() -> list[int]:
        return [batch[0]["image_id"] for batch in run.calibration_loader(cfg, 3)]

    assert len(drawn()) == 3
    assert drawn() == drawn()
    assert set(drawn()) <= set(range(1, NUM_IMAGES + 1))


@pytest.mark.usefixtures("undrawn")
def test_a_data_set_without_a_coco_file_is_calibrated_and_evaluated(
    cfg: CfgNode, tmp_path: Path
) -> None:
    """Of dicts, with names as image ids, as Detectron2's own VOC sets have them."""
    dicts = [{**image, "image_id": f"image {i}"} for i, image in enumerate(_dicts(cfg))]
    DatasetCatalog.register("dicts", lambda: dicts)
    MetadataCatalog.get("dicts").set(thing_classes=["disc", "ring"])
    cfg.DATASETS.TEST = ("dicts",)
    record = run.calibrate(cfg, tmp_path / "c.json", ApDrop(100.0))  # a path as well as text
    assert record.num_images == NUM_IMAGES
    assert record.operating_point["hard_fraction"] == 0

    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(cfg.MODEL.WEIGHTS)["model"])
    evaluator = TradeoffEvaluator("dicts", cfg, output_dir=str(tmp_path))
    evaluate(cfg, "dicts", model, evaluator)
    lines = (tmp_path / "dynamic" / "routes.jsonl").read_text().splitlines()
    difficulties = [json.loads(line)["difficulty"] for line in lines]
    assert cal.threshold_grid(difficulties) == record.grid


def _dicts(cfg: CfgNode) -> list[dict]:
    return copy.deepcopy(DatasetCatalog.get(cfg.DATASETS.TEST[0]))


# --- targets


def test_every_target_is_an_option() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    for target in TARGETS:
        assert target_of(parser.parse_args([target.option, "0.5"])) == target(0.5)
    assert target_of(parser.parse_args([])) is None
    assert len({target.name for target in TARGETS}) == len(TARGETS)


HAND = [0.1, 0.2, 0.3, 0.4]


def hand_record() -> cal.Calibration:
    return cal.Calibration(
        num_images=4,
        fingerprint={},
        latency_ms={
            "easy": {"p50": 1.0, "p95": 1.0, "mean": 20.0},
            "hard": {"p50": 1.0, "p95": 1.0, "mean": 30.0},
        },
        device="a device",
        thresholds=[],
        grid=cal.threshold_grid(HAND),
        histogram={"edges": [0, 1], "counts": [1]},
        measured={},
        held_out=[],
    )


def test_hard_fraction_and_latency_targets(cfg: CfgNode) -> None:
    measured = Measured(cfg, nn.Identity(), hand_record(), Observation([], []))
    assert HardFraction(0.3).choose(measured).hard_fraction == 0.3
    # By the means: the medians are equal here.
    assert Latency(24.0).choose(measured).hard_fraction == pytest.approx(0.4)


# 10 and 20 G of 64x64, 30 and 60 of 64x192: 20 on average, 40 with both hard, and 35 where the
# larger image alone is hard, or 25 where the smaller one is.
@pytest.mark.parametrize(
    ("larger", "target", "hard_fraction"),
    [(0.8, 35.0, 0.5), (0.2, 25.0, 0.5), (0.8, 23.0, 0.1), (0.2, 40.0, 1.0), (0.2, 20.0, 0.0)],
)
def test_gflops_target_is_of_the_images_that_turn_hard(
    cfg: CfgNode, larger: float, target: float, hard_fraction: float
) -> None:
    class Cost:
        """10 and 20 G an image of 64x64, in proportion to the area."""

        def __init__(self, *_: object, **__: object) -> None: ...

        def of_images(self, sizes: list[tuple[int, int]]) -> np.ndarray:
            return np.array([[h * w / 64**2 * each for each in (10, 20)] for h, w in sizes])

    images = [(0.5, (64, 64)), (larger, (64, 192))]
    records = [ExitRecord(i, "", d, size, ([], [])) for i, (d, size) in enumerate(images)]
    measured = Measured(cfg, nn.Identity(), hand_record(), Observation(records, []))
    with mock.patch("dynamicdet_d2.calibration.targets.RouteCost", Cost):
        chosen = Gflops(target).choose(measured).hard_fraction
        assert chosen == pytest.approx(hard_fraction, abs=1e-12)
        with pytest.raises(ValueError, match="20 to 40 GFLOPs can"):
            Gflops(41.0).choose(measured)


def test_a_target_that_equal_difficulties_miss_is_said() -> None:
    # 80 of 1000 images are alike: of the hardest 110 to 190 none can be chosen.
    difficulties = [*np.linspace(0.1, 0.5, 810), *[0.6] * 80, *np.linspace(0.7, 0.9, 110)]
    table = [{**row, "interval": [0, 1]} for row in cal.threshold_table(difficulties)]
    grid = cal.threshold_grid(difficulties)
    record = dataclasses.replace(hand_record(), num_images=1000, thresholds=table, grid=grid)
    assert not [said for said in cal.remarks(record) if "out of reach" in said]
    point = {"hard_fraction": 0.15, "threshold": record.threshold(0.15), "interval": [0, 1]}
    point["realised_hard_fraction"] = cal.realised_hard_fraction(difficulties, point["threshold"])
    said = cal.remarks(dataclasses.replace(record, operating_point=point))
    assert any("brackets) are out of reach: 0.15 (0.110)." in sentence for sentence in said)


@pytest.mark.parametrize(("drop", "hard_fraction"), [(0.0, 0.38), (30.0, 0.13), (60.0, 0.0)])
def test_ap_drop_target_by_hand(cfg: CfgNode, drop: float, hard_fraction: float) -> None:
    # detector2 finds the object of every image, detector1 those of the two easiest. AP is 50, 75
    # and 100 (a little more, by its 101 recall points) with 0, 1 and 2 images hard. One is hard
    # from 0.125 on, two from 0.375; the first hundredths above are 0.13 and 0.38.
    def found(image_id: int) -> list[dict]:
        box = [5, 6, 10, 8]
        return [{"image_id": image_id, "category_id": 0, "bbox": box, "score": 0.9}]

    records = [
        ExitRecord(i, "", HAND[i - 1], (64, 96), (found(i) if i <= 2 else [], found(i)))
        for i in range(1, 5)
    ]
    observation, truth = Observation(records, []), read_ground_truth(DATASET)
    measured = Measured(cfg, nn.Identity(), hand_record(), observation, truth)
    assert ApDrop(drop).choose(measured).hard_fraction == hard_fraction


def test_a_drop_where_nothing_is_found_is_said(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    records = [ExitRecord(i, "", HAND[i - 1], (64, 96), ([], [])) for i in range(1, 5)]
    observation, truth = Observation(records, []), read_ground_truth(DATASET)
    measured = Measured(cfg, nn.Identity(), hand_record(), observation, truth)
    assert ApDrop(1.0).choose(measured).hard_fraction == 0.0
    assert caplog.messages == [
        "With all images hard AP is 0.00: the detectors find next to nothing on these images, so "
        "that a drop of it says nothing."
    ]


# --- refusals


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--hard-fraction", "1.5"], "--hard-fraction is 1.5; it must lie in [0, 1]."),
        (["--max-ap-drop", "-1"], "--max-ap-drop is -1; it must lie in [0, 100]."),
        (
            ["--target-latency-ms", "nan"],
            "--target-latency-ms is nan; it must be a number at",
        ),
        (
            ["--num-images", "7"],
            f"--num-images of {DATASET} is 7; it must be a whole number in [1, 6].",
        ),
        (["--weights", "gone.pth"], "--weights gone.pth does not exist."),
        (["--weights", ""], "--weights is empty."),
        (["--config-file", "gone.yaml"], "--config-file gone.yaml does not exist."),
        (["--output", "/gone/c.json"], "--output /gone/c.json is in /gone, which is no folder"),
        (["--output", "/"], "--output '/' names no file."),
        (["--output", "c.png"], "c.png has the name of a picture; a calibration is a JSON file"),
        (["--output", "C.PNG"], "C.PNG has the name of a picture"),
        (["--output", "/dev/null"], "--output /dev/null would replace /dev/null, which is no"),
        (["TEST.DYNAMIC.LATENCY_IMAGES", "0"], "LATENCY_IMAGES is 0; a calibration measures"),
        (
            ["MODEL.ROI_HEADS.NUM_CLASSES", "5"],
            "random values, so there is nothing to measure: roi",
        ),
        (
            ["--num-images", "1", "DATASETS.TEST", "('gone',)"],
            "names 'gone', which is not registered",
        ),
        (["DATASETS.TEST", "()"], "DATASETS.TEST names no data set to calibrate on."),
        (["DATASETS.TEST", "('gone',)"], "DATASETS.TEST names 'gone', which is not registered"),
        (["GONE.KEY", "1"], "GONE.KEY"),
        (
            ["MODEL.META_ARCHITECTURE", "ProposalNetwork", *PLAIN_BACKBONE],
            "MODEL.META_ARCHITECTURE is ProposalNetwork; calibrate.py is for DynamicRCNN and",
        ),
    ],
)
def test_refused_by_one_sentence(
    cfg: CfgNode, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        calibrated(command(cfg, tmp_path, *more))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("calibrate.py: error: ")
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "calibration.json").exists()


@pytest.mark.parametrize(
    ("name", "plot"),
    [("c.json", "c.png"), ("c", "c.png"), ("v1.2", "v1.2.png"), ("c.v2.json", "c.v2.png")],
)
def test_every_calibration_has_a_plot_of_its_own(name: str, plot: str) -> None:
    assert plot_path(Path("there") / name) == Path("there") / plot


@pytest.mark.parametrize("name", ["calibration.json", "calibration.png"])
def test_links_are_not_written_through(
    cfg: CfgNode, tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("a user's own")
    (tmp_path / name).symlink_to(kept)
    with pytest.raises(SystemExit):
        calibrated(command(cfg, tmp_path))
    assert f"would replace {tmp_path / name}, which is a link" in capsys.readouterr().err
    assert (tmp_path / name).is_symlink() and kept.read_text() == "a user's own"


def test_weights_without_a_router_are_refused(
    cfg: CfgNode, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = torch.load(cfg.MODEL.WEIGHTS)["model"]
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("router.")}
    torch.save({"model": kept}, cfg.MODEL.WEIGHTS)
    with pytest.raises(SystemExit):
        calibrated(command(cfg, tmp_path))
    assert "nothing to measure: router (4)." in capsys.readouterr().err
    assert not (tmp_path / "calibration.json").exists()


class Half(HardFraction):
    option = "--half"

    def choose(self, measured: Measured) -> Any:
        return 0.5


class SameOption(HardFraction):
    """Has the option of its parent."""


class WithoutDashes(HardFraction):
    option = "half"


class Nameless(Target):
    option, metavar, help = "--nameless", "X", "nothing"


@pytest.mark.parametrize("share", [None, 1.5, float("nan"), "0.5"])
def test_a_choice_of_no_share(share: Any) -> None:
    """As a target of one's own computes it; a tensor's number is one."""
    assert Choice(torch.tensor(0.5)) == Choice(0.5)
    with pytest.raises(ValueError, match="^The hard fraction of a Choice is .*; it must "):
        Choice(share)


def test_a_choice_that_is_none(cfg: CfgNode, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        run.calibrate(cfg, tmp_path / "calibration.json", Half(0.5))
    assert str(error.value) == "choose() of Half is 0.5; it must be a Choice."


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (HardFraction(0.5), "TARGETS has HardFraction(value=0.5, guarantee=None); each must be a "),
        (Nameless, "Nameless, a target, has no name."),
        (
            WithoutDashes,
            "WithoutDashes, a target, has the option 'half'; an option begins with '--'.",
        ),
        (SameOption, "SameOption, a target, has the option --hard-fraction; another has it."),
    ],
)
def test_targets_of_a_program(target: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TARGETS", (*TARGETS, target))
    with pytest.raises(ValueError, match="^" + re.escape(says)):
        add_options(argparse.ArgumentParser())


def test_a_percent_sign_in_the_help_of_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    class Percent(HardFraction):
        option, help = "--percent", "100% of the images"

    monkeypatch.setattr(targets, "TARGETS", (*TARGETS, Percent))
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert "100% of the images" in parser.format_help()


def test_two_targets_are_refused(cfg: CfgNode, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        calibrated(command(cfg, tmp_path, "--hard-fraction", "0.5", "--target-gflops", "200"))
    assert stop.value.code == 2


def test_config_keys_may_follow_the_options(cfg: CfgNode, tmp_path: Path) -> None:
    assert calibrated(command(cfg, tmp_path, "TEST.DYNAMIC.LATENCY_IMAGES", "3")) == 0
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert content["measured"]["latency_images"] == 3
    assert content["operating_point"] is None

# SPDX-License-Identifier: Apache-2.0
"""Dy-RetinaNet and Dy-FCOS through every command: trained, calibrated, evaluated, predicting."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor

from dynamicdet_d2.calibration.run import calibrate
from dynamicdet_d2.calibration.targets import HardFraction
from dynamicdet_d2.commands.train import evaluate, trainer_of
from dynamicdet_d2.config import Use, read_config
from dynamicdet_d2.engine.setup import checked
from dynamicdet_d2.engine.static import StaticTrainer
from tests.support.coco_files import clean_catalogs
from tests.support.runs import differing, weights, write_toy
from tests.support.toy import dense_keys

pytestmark = pytest.mark.usefixtures("undrawn_file")

HEADS = ["RetinaNet", "FCOS"]
Config = Callable[..., CfgNode]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Six training and six test images; ``config(head, output, KEY, VALUE, ...)``."""
    folder = tmp_path_factory.mktemp("dense")
    file = write_toy(folder)

    def build(head: str, output: str, *overrides: object) -> CfgNode:
        keys = [*dense_keys(head, num_classes=6), "SOLVER.MAX_ITER", 4]
        keys += ["TEST.DYNAMIC.GALLERY", 0, "TEST.DYNAMIC.RANDOM_DRAWS", 2]
        keys += [f"MODEL.{head.upper()}.SCORE_THRESH_TEST", 0.0]
        keys += ["OUTPUT_DIR", str(folder / output), *overrides]
        return checked(read_config(file, keys, shared=True), Use.EVALUATE)

    with clean_catalogs():
        yield build


@pytest.mark.parametrize("head", HEADS)
def test_from_training_to_prediction(head: str, config: Config) -> None:
    cfg = config(head, head)
    trainer = trainer_of(cfg)(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    folder = Path(cfg.OUTPUT_DIR)
    joint, final = weights(folder, "model_detectors"), weights(folder)
    changed = {name.split(".")[0] for name in differing(joint, final)}
    assert changed == {"router", "loss_offset"}
    before_training = {"RetinaNet": 100.0, "FCOS": 300.0}[head]
    assert all(x < before_training for x in final["loss_normalizers"].tolist())

    tradeoff = json.loads((folder / "inference/dynamic/tradeoff.json").read_text())
    ends = [point["gflops"] for point in tradeoff["points"]]
    assert ends[0] < ends[-1]
    assert "proposals" not in tradeoff["notes"]["gflops"]

    trained = ("MODEL.WEIGHTS", str(folder / "model_final.pth"))
    record = folder / "calibration.json"
    calibrate(config(head, head, *trained), str(record), HardFraction(0.5))
    point = ("MODEL.DYNAMIC.CALIBRATION", str(record), "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    results = evaluate(config(head, f"{head}_eval", *trained, *point), resume=False)
    assert results["dynamic"]["realised_hard_fraction"] == pytest.approx(0.5, abs=1 / 6)

    predictor = DefaultPredictor(config(head, head, *trained, *point))
    output = predictor(torch.zeros(64, 96, 3).byte().numpy())
    assert output["route"] in ("easy", "hard") and len(output["instances"]) > 0


@pytest.mark.parametrize("head", HEADS)
def test_static_baselines_are_trained_and_measured(head: str, config: Config) -> None:
    backbone = ("MODEL.BACKBONE.NAME", "build_resnet_dense_fpn_backbone")
    levels = ("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"])
    width = ("MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "SOLVER.MAX_ITER", 2)
    static = ("MODEL.META_ARCHITECTURE", head, "MODEL.INFERENCE.OPTIMIZE", True)
    cfg = config(head, f"{head}_static", *static, *backbone, *levels, *width)
    assert trainer_of(cfg) is StaticTrainer
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
    trainer = StaticTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    results = trainer._last_eval_results
    assert "AP50" in results["bbox"] and results["static"]["gflops"] > 0
    assert results["static"]["latency_ms"] > 0

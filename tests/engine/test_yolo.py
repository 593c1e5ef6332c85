# SPDX-License-Identifier: Apache-2.0
"""Dy-YOLOv7 through every command, from training to prediction; and the static YOLOv7."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model

from dynamicdet_d2.calibration.run import calibrate
from dynamicdet_d2.calibration.targets import HardFraction
from dynamicdet_d2.commands.train import evaluate, trainer_of
from dynamicdet_d2.config import Use, read_config
from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset
from dynamicdet_d2.engine.setup import checked
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.evaluation.cost import count_flops
from tests.support.coco_files import clean_catalogs
from tests.support.runs import differing, weights

pytestmark = pytest.mark.usefixtures("undrawn_file")

Config = Callable[..., CfgNode]

NUM_IMAGES = 6
TINY = (
    *("MODEL.YOLO.WIDTH", 0.0625, "MODEL.YOLO.SCORE_THRESH_TEST", 0.0),
    *("MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1, 1, 1, 1], "MODEL.YOLO.DEPTHS", [1, 1, 1, 1, 1]),
    *("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 2, 2, 2, 2]),
    *("DATASETS.TRAIN", ("toy_train",), "DATASETS.TEST", ("toy_test",)),
    *("INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MAX_SIZE_TRAIN", 96),
    *("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 2),
    *("SOLVER.ROUTER.IMS_PER_BATCH", 2, "SOLVER.ROUTER.BASE_LR", 1e-3),
    *("TEST.DYNAMIC.LATENCY_IMAGES", 2, "TEST.DYNAMIC.LATENCY_WARMUP", 0),
    *("TEST.DYNAMIC.GALLERY", 0, "TEST.DYNAMIC.RANDOM_DRAWS", 2, "TEST.DETECTIONS_PER_IMAGE", 20),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """The quickstart, tiny, on six images each; ``config(output, KEY, VALUE, ...)``."""
    folder = tmp_path_factory.mktemp("yolo")
    sets = []
    for seed, name in enumerate(("toy_train", "toy_test"), start=1):
        draw_dataset(folder / name, Recipe(NUM_IMAGES, seed, width=96, height=64))
        sets.append([name, str(folder / name / "instances.json"), str(folder / name / "images")])

    def build(output: str, *overrides: object) -> CfgNode:
        keys = ["DATASETS.COCO_JSON", sets, *TINY, "OUTPUT_DIR", str(folder / output), *overrides]
        cfg = read_config("configs/quickstart_yolo.yaml", keys, shared=True)
        return checked(cfg, Use.EVALUATE)

    with clean_catalogs():
        yield build


def test_from_training_to_prediction(config: Config) -> None:
    cfg = config("dynamic")
    trainer = trainer_of(cfg)(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    folder = Path(cfg.OUTPUT_DIR)
    joint, final = weights(folder, "model_detectors"), weights(folder)
    assert {name.split(".")[0] for name in differing(joint, final)} == {"router", "loss_offset"}
    logged = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    kinds = ("loss_box", "loss_obj", "loss_cls")
    assert {f"detector{d}/{kind}" for d in (1, 2) for kind in kinds} <= set().union(*logged)

    tradeoff = json.loads((folder / "inference/dynamic/tradeoff.json").read_text())
    ends = [point["gflops"] for point in tradeoff["points"]]
    assert ends[0] < ends[-1]
    assert "proposals" not in tradeoff["notes"]["gflops"]

    trained = ("MODEL.WEIGHTS", str(folder / "model_final.pth"))
    record = folder / "calibration.json"
    calibrate(config("dynamic", *trained), str(record), HardFraction(0.5))
    point = ("MODEL.DYNAMIC.CALIBRATION", str(record), "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    results = evaluate(config("evaluated", *trained, *point), resume=False)
    assert results["dynamic"]["realised_hard_fraction"] == pytest.approx(0.5, abs=1 / NUM_IMAGES)

    predictor = DefaultPredictor(config("dynamic", *trained, *point))
    output = predictor(torch.zeros(64, 96, 3).byte().numpy())
    assert output["route"] in ("easy", "hard") and len(output["instances"]) > 0


def test_phase_detector2_trains_the_second_tail_as_well(config: Config) -> None:
    keys = ("SOLVER.PHASES", ["detector2"], "SOLVER.WARMUP_ITERS", 0, "DATASETS.TEST", [])
    cfg = config("second", *keys, "SOLVER.MAX_ITER", 2)
    trainer = trainer_of(cfg)(cfg)
    before = {name: tensor.clone() for name, tensor in trainer.detector.state_dict().items()}
    trainer.train()
    changed = differing(before, trainer.detector.state_dict())
    parts = {".".join(name.split(".")[: 1 + name.startswith("backbone")]) for name in changed}
    assert parts == {"backbone.connections", "backbone.bottom_up2", "neck2", "head2"}


@pytest.mark.parametrize("placement", ["corner", "letterbox"])
def test_the_static_detector_is_trained_and_measured(config: Config, placement: str) -> None:
    static = ("MODEL.META_ARCHITECTURE", "YOLOv7", "MODEL.BACKBONE.NAME", "build_elan_backbone")
    keys = ("MODEL.COMPOSITE.NUM_BLOCKS1", [], "MODEL.COMPOSITE.NUM_BLOCKS2", [])
    padding = ("MODEL.YOLO.PADDING", placement, "MODEL.INFERENCE.SIZE_MULTIPLE", 64)
    cfg = config(placement, *static, *keys, *padding, "SOLVER.MAX_ITER", 2)
    assert trainer_of(cfg) is StaticTrainer
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
    trainer = StaticTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    results = trainer._last_eval_results
    assert "AP50" in results["bbox"] and results["static"]["latency_ms"] > 0
    # 64 x 96 becomes 64 x 128; with a letterbox 96 x 128, and then 128 x 128.
    size = {"corner": (64, 128), "letterbox": (128, 128)}[placement]
    plain = build_model(config("plain", *static, *keys))
    expected = count_flops(plain, *size)["easy"] / 1e9
    assert results["static"]["gflops"] == pytest.approx(expected)

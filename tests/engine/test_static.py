# SPDX-License-Identifier: Apache-2.0
"""Static baselines: trained by Detectron2's own trainer, measured by the project's tools."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicCheckpointer

from dynamicdet_d2.engine import static
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.static import StaticCost, StaticTrainer
from dynamicdet_d2.evaluation.cost import count_flops
from tests.support.coco_files import clean_catalogs
from tests.support.runs import NUM_IMAGES, differing, train, weights, write_toy

STATIC = [
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "SOLVER.MAX_ITER", "2"),
]
ALL_FOUND = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CfgNode]:
    folder = tmp_path_factory.mktemp("static")
    config = write_toy(folder)
    yield load_config(config, [*STATIC, "OUTPUT_DIR", str(folder / "output")])
    for name in ("toy_train", "toy_test"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="module")
def trained(cfg: CfgNode) -> StaticTrainer:
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)  # of a test that evaluated before
    trainer = StaticTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def test_a_static_detector_is_trained_and_measured(cfg: CfgNode, trained: StaticTrainer) -> None:
    results = trained._last_eval_results
    assert "AP50" in results["bbox"]
    cost = count_flops(trained.model, 64, 96, num_proposals=50)
    assert cost["easy"] == cost["hard"]
    assert results["static"]["gflops"] == pytest.approx(cost["easy"] / 1e9)
    written = json.loads((Path(cfg.OUTPUT_DIR) / "inference/static_toy_test.json").read_text())
    assert written["latency_ms"] == results["static"]["latency_ms"] > 0


def test_its_checkpoint_holds_the_optimizer_and_resumes(
    cfg: CfgNode, trained: StaticTrainer
) -> None:
    saved = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    assert saved["trainer"]["_trainer"]["optimizer"]["state"]
    resumed = StaticTrainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, trained.model.state_dict()[name]), name


def test_another_model_is_named_before_the_steps_that_it_would_be_too_few_for(
    cfg: CfgNode, trained: StaticTrainer
) -> None:
    other = cfg.clone()
    other.defrost()
    other.merge_from_list(["MODEL.FPN.OUT_CHANNELS", 24, "SOLVER.MAX_ITER", 1])
    was = cfg.MODEL.FPN.OUT_CHANNELS
    says = rf"cannot be resumed: MODEL\.FPN\.OUT_CHANNELS is 24 and was {was} \("
    with pytest.raises(ValueError, match=says):
        StaticTrainer(other).resume_or_load(resume=True)


def test_what_its_weights_had_learnt_before_stays_on_record(
    cfg: CfgNode, trained: StaticTrainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new run from them, and one that goes on, on another split."""
    weights = str(Path(cfg.OUTPUT_DIR, "model_final.pth"))
    swapped = cfg.clone()
    swapped.defrost()
    swapped.DATASETS.TRAIN, swapped.DATASETS.TEST = cfg.DATASETS.TEST, cfg.DATASETS.TRAIN
    for resume in (False, True):
        caplog.clear()
        swapped.MODEL.WEIGHTS = "" if resume else weights
        swapped.OUTPUT_DIR = cfg.OUTPUT_DIR if resume else str(tmp_path)
        trainer = StaticTrainer(swapped)
        trainer.resume_or_load(resume=resume)
        assert f"Data set 'toy_train': {weights} has learnt {NUM_IMAGES} of its" in caplog.text
        files = {image["file_name"] for image in [*trained.images, *trainer.images]}
        known = trainer.state_dict()["images"]["files"]  # their paths, and what is in them
        assert len(known) == 2 * len(files) > 2 * NUM_IMAGES


def test_test_images_that_are_copies_of_the_training_s_are_said(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of_train, copied = MetadataCatalog.get("toy_train"), tmp_path / "copied"
    shutil.copytree(of_train.image_root, copied)
    judged = cfg.clone()
    judged.defrost()
    judged.DATASETS.COCO_JSON = [["copied", of_train.json_file, str(copied)]]
    judged.DATASETS.TEST, judged.OUTPUT_DIR = ("copied",), str(tmp_path / "run")
    with clean_catalogs():
        StaticTrainer(judged).resume_or_load(resume=False)
    assert f"{NUM_IMAGES} of its {NUM_IMAGES} images are copies of images in DATAS" in caplog.text


def test_a_run_goes_on_by_the_keys_that_hold(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The schedule too, which was made of those that are typed: a cosine from 0.01 to 0.001 is in
    the middle of four steps at 0.0055, and momentum has come from 0.5 to 0.9 in two."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(tmp_path), ()
    cfg.merge_from_list(["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.MAX_ITER", 4])
    cfg.merge_from_list(["SOLVER.WARMUP_ITERS", 2, "SOLVER.WARMUP_MOMENTUM", 0.5])
    cfg.SOLVER.BASE_LR, cfg.SOLVER.BASE_LR_END = 0.01, 0.001
    begun = StaticTrainer(cfg)
    begun.max_iter = 1
    begun.train()
    begun.checkpointer.save("model_0000000", iteration=0)
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MOMENTUM, cfg.SOLVER.WARMUP_MOMENTUM = 0.02, 0.1, None
    resumed = StaticTrainer(cfg)
    resumed.resume_or_load(resume=True)
    assert "SOLVER.MOMENTUM is 0.1, and the run began with 0.9, which holds" in caplog.text
    resumed.max_iter = 2
    resumed.train()
    group = resumed.optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.0055) and group["momentum"] == pytest.approx(0.9)


def test_its_initial_weights_follow_from_the_seed(cfg: CfgNode) -> None:
    one, other = (StaticTrainer(cfg).model.state_dict() for _ in range(2))
    assert differing(one, other) == []


def test_what_a_subclass_gives_it_is_refused_by_name(cfg: CfgNode) -> None:
    class Own(StaticTrainer):
        @classmethod
        def build_train_loader(cls, cfg: CfgNode) -> None:
            return None

    with pytest.raises(ValueError, match="build_train_loader of Own returns nothing; it must be"):
        Own(cfg)


def test_hooks_of_a_users_own_stand_beside_its(cfg: CfgNode) -> None:
    """Alone, the learning rate would stay at the beginning of its warm-up."""

    class Own(StaticTrainer):
        alone = False

        def build_hooks(self) -> list[HookBase]:
            own = PeriodicCheckpointer(self.checkpointer, 1)  # which Detectron2's has by then
            return [own] if self.alone else [own, *super().build_hooks()]

    assert Own(cfg)._hooks[0].checkpointer.model is not None
    Own.alone = True
    says = "^build_hooks of Own gives no StepSeed, without which no run resumes as it was, nor has"
    with pytest.raises(ValueError, match=says):
        Own(cfg)


def test_fewer_steps_than_are_done_are_refused(cfg: CfgNode) -> None:
    """As of a dynamic detector: the log said that all of them were made, and no more."""
    trainer = StaticTrainer(cfg)
    state = {**trainer.state_dict(), "iteration": 4}
    says = r"^SOLVER.MAX_ITER is 2; the run to resume has done 5 iterations, so that at least 5 m"
    with pytest.raises(ValueError, match=says):
        trainer.load_state_dict(state)


class InEvaluation(HookBase):
    """Norms that keep their statistics."""

    def before_train(self) -> None:
        self.trainer.model.backbone.eval()


def test_an_evaluation_leaves_modes_as_they_are(cfg: CfgNode, tmp_path: Path) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.TEST.EVAL_PERIOD = str(tmp_path), 1
    trainer = StaticTrainer(cfg)
    trainer.register_hooks([InEvaluation()])
    trainer.train()
    assert not trainer.model.backbone.training
    assert trainer.model.roi_heads.training
    means = [x for name, x in trainer.model.named_buffers() if name.endswith("running_mean")]
    assert means and not any(mean.any() for mean in means)


def test_its_evaluation_registers_the_data_sets_of_the_config(cfg: CfgNode, tmp_path: Path) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(tmp_path)
    model = StaticTrainer.build_model(cfg)
    DatasetCatalog.remove("toy_test")
    MetadataCatalog.remove("toy_test")
    assert "bbox" in StaticTrainer.test(cfg, model)
    with pytest.raises(ValueError, match="^test is given 2 for its evaluators; it must be a list"):
        StaticTrainer.test(cfg, model, [StaticTrainer.build_evaluator(cfg, "toy_test")] * 2)


def test_precise_statistics_are_of_the_same_images_over_a_resume(
    cfg: CfgNode, tmp_path: Path
) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(tmp_path), ()
    cfg.TEST.EVAL_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD = 1, 1
    cfg.TEST.PRECISE_BN.ENABLED, cfg.TEST.PRECISE_BN.NUM_ITER = True, 1
    StaticTrainer(cfg).train()
    whole = weights(tmp_path)
    (tmp_path / "last_checkpoint").write_text("model_0000000.pth")
    resumed = StaticTrainer(cfg)
    resumed.resume_or_load(resume=True)
    resumed.train()
    assert differing(whole, weights(tmp_path)) == []


def test_a_one_stage_detector_is_measured_as_well(cfg: CfgNode) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RETINANET.NUM_CLASSES = 6
    model = StaticTrainer.build_model(cfg)
    results = StaticTrainer.test(cfg, model)
    cost = count_flops(model, 64, 96)
    assert results["static"]["gflops"] == pytest.approx(cost["easy"] / 1e9)
    assert results["static"]["latency_ms"] > 0
    given = StaticTrainer.test(cfg, model, [StaticTrainer.build_evaluator(cfg, "toy_test")])
    assert given["static"]["gflops"] == results["static"]["gflops"]


def test_several_data_sets_have_a_folder_each(cfg: CfgNode, trained: StaticTrainer) -> None:
    """The results of one were replaced by those of the next."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = ("toy_test", "toy_train")
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "several")
    StaticTrainer.test(cfg, trained.model)
    for name in cfg.DATASETS.TEST:
        folder = Path(cfg.OUTPUT_DIR, "inference", name)
        assert (folder / "coco_instances_results.json").is_file()
        assert (folder / f"static_{name}.json").is_file()


def test_gflops_are_of_the_images_of_all_processes(
    cfg: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has consecutive ones of a data set, which may be sorted by size."""
    model = StaticTrainer.build_model(cfg)
    small, large = (count_flops(model, 64, side, num_proposals=50)["easy"] for side in (64, 128))
    cost = StaticCost(cfg, str(tmp_path / "static.json"))
    cost.reset()
    cost.process([{"image": torch.zeros(3, 64, 64)}], [{"model": model, "fast": model}])
    monkeypatch.setattr(static.comm, "gather", lambda mine, dst: [mine, [(64, 128)]])
    assert cost.evaluate()["static"]["gflops"] == pytest.approx((small + large) / 2e9)


def test_a_data_set_of_code_is_judged_by_the_annotations_that_it_has_now(
    cfg: CfgNode, tmp_path: Path
) -> None:
    images = [{"file_name": "1.png", "image_id": 1, "height": 9, "width": 9, "annotations": []}]
    with clean_catalogs():
        DatasetCatalog.register("by_code", lambda: images)
        MetadataCatalog.get("by_code").set(thing_classes=["a"])
        for count in (1, 2):
            StaticTrainer.build_evaluator(cfg, "by_code", str(tmp_path))
            written = json.loads((tmp_path / "by_code_coco_format.json").read_text())
            assert len(written["images"]) == count
            images.append({**images[0], "image_id": 2})


def test_two_processes_learn_as_one_model(tmp_path: Path) -> None:
    """Over gloo, whose processes Detectron2's own wrapper would not take; and again on a resume."""
    config_file, output = write_toy(tmp_path), tmp_path / "output"
    for steps, options in ((2, ""), (3, "--resume")):
        keys = (*STATIC, *ALL_FOUND, "SOLVER.MAX_ITER", steps)
        done = train(config_file, output, *keys, options=f"--num-gpus 2 --dist-url auto {options}")
        assert done.status == 0, done.out + done.err
        saved = torch.load(output / "model_final.pth", weights_only=True)
        assert saved["trainer"]["iteration"] == steps - 1
    # What they have measured together is of the weights that were saved: statistics are not shared.
    keys = (*STATIC, *ALL_FOUND, "MODEL.WEIGHTS", output / "model_final.pth")
    again = tmp_path / "again"
    assert train(config_file, again, *keys, options="--eval-only").status == 0
    first, second = (
        json.loads((folder / "inference/coco_instances_results.json").read_text())
        for folder in (output, again)
    )
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def test_a_kind_whose_parts_nobody_has_described_is_measured_without_gflops(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.DYNAMIC.LATENCY_IMAGES = 0
    cost, model = StaticCost(cfg, str(tmp_path / "static.json")), torch.nn.Linear(1, 1)
    cost.reset()
    cost.process([{"image": torch.zeros(3, 4, 5)}], [{"model": model, "fast": model}])
    assert cost.evaluate() == {}
    assert "the parts of a Linear are not described" in caplog.text


def test_without_a_step_it_is_evaluated(cfg: CfgNode, tmp_path: Path) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.MAX_ITER, cfg.OUTPUT_DIR = 0, str(tmp_path)
    trainer = StaticTrainer(cfg)
    trainer.train()
    assert "AP" in trainer._last_eval_results["bbox"]

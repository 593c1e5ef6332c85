# SPDX-License-Identifier: Apache-2.0
"""The trainer is extended as Detectron2's is: what a subclass overrides is asked."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import HookBase
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from dynamicdet_d2.data import ResumableLoader
from dynamicdet_d2.engine.doubtful import warn_of_doubtful_keys
from dynamicdet_d2.engine.learnt_classes import check_classes
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from tests.support.coco_files import clean_catalogs
from tests.support.runs import NUM_IMAGES

STEPS = 2


@pytest.fixture
def cfg(config_file: str, tmp_path: Path) -> CfgNode:
    keys = ["OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", STEPS, "SOLVER.ROUTER.EPOCHS", 1]
    return load_config(config_file, [str(word) for word in keys])


class Counted(HookBase):
    """A hook of a user's own."""

    steps = 0

    def after_step(self) -> None:
        self.steps += 1


class UsersTrainer(DynamicTrainer):
    """Overrides everything that Detectron2's documentation says can be; counts who is asked."""

    asked: Counter

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        cls.asked = Counter(build_model=1)
        return super().build_model(cfg)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> object:
        cls.asked["build_train_loader"] += 1
        return build_detection_train_loader(cfg, mapper=DatasetMapper(cfg, is_train=True))

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        cls.asked["build_optimizer"] += 1
        return torch.optim.Adam(model.parameters(), lr=0.125)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LambdaLR:
        cls.asked["build_lr_scheduler"] += 1
        return LambdaLR(optimizer, lambda step: 0.0)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> object:
        cls.asked["build_test_loader"] += 1
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        cls.asked["build_evaluator"] += 1
        return COCOEvaluator(dataset_name, use_fast_impl=False, output_dir=cfg.OUTPUT_DIR)

    def build_hooks(self) -> list[HookBase]:
        self.counted = Counted()
        assert isinstance(self.optimizer, torch.optim.Adam)  # what hooks are given at first
        return [*super().build_hooks(), self.counted]


def test_weights_that_are_not_finite_are_not_trained_on(cfg: CfgNode, tmp_path: Path) -> None:
    keys = cfg.clone()
    keys.defrost()
    keys.MODEL.WEIGHTS = str(tmp_path / "w.pth")
    trainer = DynamicTrainer(keys)
    weights = trainer.model.state_dict()
    weights["router.score.weight"][0] = float("inf")
    torch.save({"model": weights}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth has values in router.score.weight that are not"):
        trainer.resume_or_load(resume=False)


def test_a_subclass_is_asked_as_detectron2_asks_it(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = UsersTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    methods = {name for name in vars(UsersTrainer) if name.startswith("build_")} - {"build_hooks"}
    assert methods == {name for name, times in UsersTrainer.asked.items() if times}
    assert trainer.counted.steps == trainer.max_iter == STEPS + NUM_IMAGES // 2
    # The user's schedule: a rate of zero, from the first step on.
    assert [rate for rate, _ in trainer.storage.history("lr").values()][:STEPS] == [0, 0]
    # The user's evaluator sees the routed detections.
    results = trainer._last_eval_results
    assert set(results) == {"bbox"}
    assert (Path(cfg.OUTPUT_DIR) / "coco_instances_results.json").exists()
    assert "a resumed run begins it anew" in caplog.text


class BothEvaluators(DynamicTrainer):
    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        ours = super().build_evaluator(cfg, dataset_name, output_folder)
        return DatasetEvaluators([ours, Ids()])


class Ids(DatasetEvaluator):
    """Any further evaluator."""

    def reset(self) -> None:
        self.routes = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        self.routes.extend(output["route"] for output in outputs)

    def evaluate(self) -> dict:
        return {"ids": {"images": len(self.routes)}}


def test_the_trade_off_stands_beside_other_evaluators(cfg: CfgNode) -> None:
    results = BothEvaluators.test(cfg, BothEvaluators.build_model(cfg))
    assert results["ids"]["images"] == NUM_IMAGES
    assert "AP_hard_end" in results["dynamic"]
    given = DynamicTrainer.test(cfg, BothEvaluators.build_model(cfg), [Ids()])
    assert given == {"ids": {"images": NUM_IMAGES}}


class OwnMapper(DynamicTrainer):
    """Our loader with a mapper of the user's own, which a run still resumes exactly with."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> ResumableLoader:
        return ResumableLoader(cfg, DatasetMapper(cfg, is_train=True, augmentations=[]))


def test_our_loader_takes_another_mapper_and_goes_on_exactly(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    def images(step: int) -> list[torch.Tensor]:
        trainer = OwnMapper(cfg)
        trainer.enter(trainer.plan.phases[0], step)
        batches = itertools.islice(trainer.training.loader, 3 - step)
        return [image["image"] for batch in batches for image in batch]

    whole, rest = images(step=0), images(step=2)
    assert all(image.shape == (3, 64, 96) for image in whole)  # not augmented
    assert all(torch.equal(a, b) for a, b in zip(whole[4:], rest, strict=True))
    assert "gives a mapper or images of its own: a router learns from DATASETS.TRAIN" in caplog.text


def test_hooks_without_the_switch_of_phases_are_refused(cfg: CfgNode) -> None:
    """They would train the first phase to the end of the run."""

    class Own(DynamicTrainer):
        def build_hooks(self) -> list[HookBase]:
            return [Counted()]

    with pytest.raises(ValueError, match="build_hooks of Own gives no PhaseSwitch, without which"):
        Own(cfg)


@pytest.mark.parametrize("cfg", ["configs/quickstart.yaml", None, {}])
def test_what_is_no_config_of_a_trainer(cfg: object) -> None:
    with pytest.raises(ValueError, match="it must be a CfgNode, as dynamicdet_d2.config.read_co"):
        DynamicTrainer(cfg)


@pytest.mark.parametrize("name", ["build_evaluator", "build_test_loader"])
def test_an_evaluation_without_evaluator_or_loader_is_none(cfg: CfgNode, name: str) -> None:
    """Nothing would be measured, and the run would end well."""
    own = type("Own", (DynamicTrainer,), {name: classmethod(lambda *_: None)})
    with pytest.raises(ValueError, match=f"^There is no .* of toy_test: {name} returns nothing"):
        own.test(cfg, own.build_model(cfg).eval())


def test_an_evaluator_is_an_instance(cfg: CfgNode) -> None:
    own = type("Own", (DynamicTrainer,), {"build_evaluator": classmethod(lambda *_: Ids)})
    with pytest.raises(
        ValueError, match="^The evaluator of toy_test is <class .*Ids'>; it must be an"
    ):
        own.test(cfg, own.build_model(cfg).eval())


def test_an_evaluator_gives_figures_by_task(cfg: CfgNode) -> None:
    class Number(Ids):
        def evaluate(self) -> float:
            return 0.5

    own = type("Own", (DynamicTrainer,), {"build_evaluator": classmethod(lambda *_: Number())})
    with pytest.raises(ValueError, match="^The evaluator of toy_test is a Number and gives 0.5; "):
        own.test(cfg, own.build_model(cfg).eval())


def given(name: str, returned: object) -> type[DynamicTrainer]:
    """A trainer of which a method that builds something gives this."""
    return type("Own", (DynamicTrainer,), {name: lambda *_: returned})


def test_without_writers_there_is_a_folder_for_checkpoints(cfg: CfgNode, tmp_path: Path) -> None:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(tmp_path / "gone"), ()
    given("build_writers", [])(cfg).train()
    assert (tmp_path / "gone" / "model_final.pth").is_file()


class LeftInEvaluation(HookBase):
    """As where it looks at detections of its own."""

    def before_step(self) -> None:
        self.trainer.model.eval()


def test_a_model_that_a_hook_left_in_evaluation_and_a_second_training(cfg: CfgNode) -> None:
    trainer = DynamicTrainer(cfg)
    trainer.register_hooks([LeftInEvaluation()])
    with pytest.raises(
        ValueError, match=r"left it in evaluation mode; after model.eval\(\) belong"
    ):
        trainer.train()
    with pytest.raises(ValueError, match="^This DynamicTrainer has trained, to the end or not; a "):
        trainer.train()


@pytest.mark.parametrize(("classes", "says"), [(6, False), (2, True)])
def test_another_number_of_classes_by_code_is_said(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture, classes: int, says: bool
) -> None:
    with clean_catalogs():
        MetadataCatalog.get("by_code").set(thing_classes=[f"c{i}" for i in range(classes)])
        keys = cfg.clone()
        keys.defrost()
        keys.DATASETS.TRAIN = ("by_code", "not_known")
        check_classes(keys, [])
    said = "'by_code' has 2 classes by its metadata, and MODEL.ROI_HEADS.NUM_CLASSES is 6."
    assert (said in caplog.text) == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("TEST.EVAL_PERIOD", 5, "DATASETS.TEST", ()),
            "DATASETS.TEST names no data set: nothing",
        ),
        (
            ("MODEL.PIXEL_STD", [0.229, 0.224, 0.225]),
            "MODEL.PIXEL_STD is [0.229, 0.224, 0.225],",
        ),
        (
            ("MODEL.PIXEL_MEAN", [0.485, 0.456, 0.406], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]),
            "MODEL.PIXEL_MEAN is [0.485, 0.456, 0.406], which looks like shares of 255",
        ),
        (
            ("INPUT.MIN_SIZE_TRAIN", (640, 2000)),
            "INPUT.MIN_SIZE_TRAIN is 2000 and INPUT.MAX_SIZE_TRAIN 1333: images get no longer",
        ),
        (("INPUT.MAX_SIZE_TEST", 32), "and INPUT.MAX_SIZE_TEST 32: images get no longer side"),
        (
            ("MODEL.WEIGHTS", "efficientnet-lite0", "INPUT.FORMAT", "BGR"),
            "efficientnet-lite0 were trained on pixels under INPUT.FORMAT RGB, MODEL.PIXEL_MEAN "
            "[127.0, 127.0, 127.0] and MODEL.PIXEL_STD [128.0, 128.0, 128.0]; here they are BGR, "
            "[103.53, 116.28, 123.675] and [58.0, 57.0, 57.0].",
        ),
        (
            ("MODEL.WEIGHTS", "efficientnet-lite0", "INPUT.FORMAT", "RGB")
            + ("MODEL.PIXEL_MEAN", [127.0] * 3, "MODEL.PIXEL_STD", [128.0] * 3),
            "",
        ),
        (("SOLVER.BASE_LR", 0.0), "SOLVER.BASE_LR is 0: no weight of a detector changes."),
        (
            ("MODEL.DYNAMIC.LOSS_WEIGHTS", [1.0, 0.0]),
            "LOSS_WEIGHTS are [1.0, 0.0]: nothing is learnt from detector2's loss.",
        ),
        (
            ("SOLVER.ROUTER.EPOCHS", 0),
            "SOLVER.ROUTER.EPOCHS is 0: no weight of the router",
        ),
        (("SOLVER.ROUTER.BASE_LR", 0.0), "SOLVER.ROUTER.BASE_LR is 0: no weight of the router"),
        (
            ("SOLVER.BEST.METRIC", "bbox/AP", "SOLVER.PHASES", ["router"]),
            "SOLVER.BEST.METRIC is 'bbox/AP', but no phase trains detectors",
        ),
        (("SOLVER.BEST.METRIC", "bbox/AP"), ""),
        (("SOLVER.ROUTER.BASE_LR", 0.0, "SOLVER.ROUTER.OBJECTIVE", "auto"), ""),
        (("SOLVER.ROUTER.EPOCHS", 0, "SOLVER.PHASES", ["detectors"]), ""),
        (("SOLVER.BASE_LR", 0.0, "SOLVER.PHASES", ["router"]), ""),
        (("MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], "MODEL.PIXEL_STD", [255.0, 255.0, 255.0]), ""),
        (("INPUT.MAX_SIZE_TRAIN", 320, "INPUT.MOSAIC.ENABLED", True), ""),
        (("MODEL.PIXEL_STD", [1.0, 1.0, 1.0], "DATASETS.TEST", ()), ""),
        (("TEST.EVAL_PERIOD", 5), ""),
    ],
)
def test_keys_that_cannot_do_what_they_are_for_are_said(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture, words: tuple, says: str
) -> None:
    keys = cfg.clone()
    keys.defrost()
    keys.DATASETS.TEST = ("some",)
    keys.merge_from_list(list(words))
    warn_of_doubtful_keys(keys)
    assert (says in caplog.text) if says else not caplog.text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "build_train_loader of Own returns nothing; it must be"),
        (5, "build_train_loader of Own returns 5; it must be an iterable of batches."),
        (ResumableLoader, "ResumableLoader'>; it must be an iterable of batches."),
    ],
)
def test_what_is_no_training_loader(cfg: CfgNode, given: object, says: str) -> None:
    class Own(DynamicTrainer):
        @classmethod
        def build_train_loader(cls, cfg: CfgNode) -> object:
            return given

    with pytest.raises(ValueError) as refused:
        Own(cfg)
    assert says in str(refused.value)


def test_a_test_loader_without_a_length(cfg: CfgNode) -> None:
    class Own(DynamicTrainer):
        @classmethod
        def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> object:
            return iter([])

    with pytest.raises(ValueError, match="loader of toy_test is of type list_iterator, without a "):
        Own.test(cfg, Own.build_model(cfg))


def test_images_without_an_id_are_named(cfg: CfgNode) -> None:
    class Own(DynamicTrainer):
        @classmethod
        def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> object:
            return [[{"image": torch.rand(3, 64, 96) * 255, "file_name": "a.jpg"}]]

    with pytest.raises(ValueError, match=r"Image a.jpg has no 'image_id', which its figures need"):
        Own.test(cfg, Own.build_model(cfg))

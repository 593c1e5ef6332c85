# SPDX-License-Identifier: Apache-2.0
"""What a dense detector divides its losses by, in several processes and over a resume."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from torch import Tensor, nn

from dynamicdet_d2.config import Use, read_config
from dynamicdet_d2.engine import step
from dynamicdet_d2.engine.replay import replay
from dynamicdet_d2.engine.running import (
    normalizer_of,
    running_quantities,
    set_normalizer,
    share_running,
)
from dynamicdet_d2.engine.setup import checked
from dynamicdet_d2.engine.static import StaticTrainer
from tests.support.coco_files import clean_catalogs
from tests.support.runs import differing, train, weights, write_toy
from tests.support.toy import dense_keys

pytestmark = pytest.mark.usefixtures("undrawn_file")

Config = Callable[[str, int], CfgNode]
STATIC = (
    *("MODEL.BACKBONE.NAME", "build_resnet_dense_fpn_backbone", "DATASETS.TEST", ()),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
)


class Dense(DenseDetector):
    """With nothing but what Detectron2 keeps in an attribute."""

    def __init__(self) -> None:
        nn.Module.__init__(self)


def test_norms_are_left_out() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), Dense())
    model.register_buffer("own", model[0].weight.detach().clone())
    (found,) = running_quantities(model)
    assert found is model.own


def test_it_is_read_and_set_where_there_is_one() -> None:
    model = Dense()
    assert normalizer_of(model) is None and normalizer_of(nn.Linear(1, 1)) is None
    set_normalizer(model, None)
    assert normalizer_of(model) is None
    set_normalizer(model, 7.5)
    share_running(model)  # with itself
    assert normalizer_of(model) == 7.5


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """Of a static detector, for so many steps."""
    with clean_catalogs():
        file = write_toy(tmp_path)

        def build(head: str, steps: int) -> CfgNode:
            keys = [*dense_keys(head, num_classes=6), *STATIC, "OUTPUT_DIR", str(tmp_path)]
            keys += ["MODEL.META_ARCHITECTURE", head, "SOLVER.MAX_ITER", steps]
            return checked(read_config(file, keys, shared=True), Use.EVALUATE)

        yield build


@pytest.mark.parametrize("head", ["RetinaNet", "FCOS"])
def test_a_static_detector_goes_on_with_its_own(head: str, config: Config) -> None:
    """Its weights do not have it: a run that resumed divided by 100, or 300, once more."""
    cfg = config(head, 2)
    trainer = StaticTrainer(cfg)
    trainer.train()
    reached = normalizer_of(trainer.plain_model)
    assert reached is not None and reached < {"RetinaNet": 100, "FCOS": 300}[head]
    resumed = StaticTrainer(cfg)
    resumed.resume_or_load(resume=True)
    assert normalizer_of(resumed.plain_model) == reached


def test_a_step_of_a_static_detector_is_repeated_by_its_own(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, looked = StaticTrainer(config("RetinaNet", 2)), []

    def look(losses: dict[str, Tensor]) -> None:
        looked.append(losses)
        if len(looked) == 2:
            raise FloatingPointError("as a loss that is not finite")

    monkeypatch.setattr(step, "check_finite", look)
    with pytest.raises(FloatingPointError, match="diverged at iteration 1"):
        trainer.train()
    found = replay(str(tmp_path / "diverged_0000001.pth"))
    assert found.again == pytest.approx(found.before, rel=1e-5)


def test_evaluations_in_between_change_no_weight_of_two_processes(tmp_path: Path) -> None:
    """They measure with the main process's buffers, those that losses are divided by among them."""
    file = write_toy(tmp_path)
    keys = [*dense_keys("RetinaNet", num_classes=6), "SOLVER.PHASES", "('detectors',)"]
    keys += ["SOLVER.MAX_ITER", 3, "TEST.DYNAMIC.LATENCY_IMAGES", 0, "TEST.DYNAMIC.GALLERY", 0]
    for period in (0, 1):
        more = ("TEST.EVAL_PERIOD", period)
        run = train(file, tmp_path / str(period), *keys, *more, options="--num-gpus 2")
        assert run.status == 0, run.out + run.err
    assert differing(weights(tmp_path / "0"), weights(tmp_path / "1")) == []

# SPDX-License-Identifier: Apache-2.0
"""Whole small trainings of detectors with parts of a program's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.evaluation.cost import count_parts
from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.modeling.batch import Batch
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import RouterInput
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.parts import HARD, Part
from tests.support.trained import trained

Config = Any


@pytest.fixture
def config(config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two steps of the first phase and one epoch of the router, of a kind of detector."""

    def build(kind: type[nn.Module], *overrides: object) -> CfgNode:
        monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, kind.__name__, kind)
        keys = ["OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", 2, "SOLVER.ROUTER.EPOCHS", 1]
        words = [*keys, "DATASETS.TEST", "()", "MODEL.META_ARCHITECTURE", kind.__name__]
        return load_config(config_file, [str(word) for word in (*words, *overrides)])

    return build


class Uncertain(DynamicRCNN):
    """Losses that are weighted by a learnt uncertainty of each detector."""

    @configurable
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.log_variance = nn.Parameter(torch.zeros(2))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return super().from_config(cfg)

    def losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        own = self.log_variance[detector - 1]
        found = super().losses(detector, batch, pyramid)
        return {**{k: x * (-own).exp() for k, x in found.items()}, "loss_variance": own}


def test_weights_that_a_detector_keeps_itself_are_trained(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    model = trained(config(Uncertain, "SOLVER.BASE_LR", 0.1)).detector
    assert (model.log_variance != 0).all()
    assert "losses() of Uncertain is its own, and image_losses() is not: a router" in caplog.text


# What detector2 has for itself

SECOND = ("SOLVER.PHASES", "['detector2']", "SOLVER.BASE_LR", 0.1, "SOLVER.ROUTER.EPOCHS", 0)


class Refined(DynamicRCNN):
    """detector2's pyramid gets a residual convolution."""

    @configurable
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.refine = nn.Conv2d(16, 16, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return super().from_config(cfg)

    def pyramid(self, detector: int, features: Features) -> Features:
        levels = super().pyramid(detector, features)
        return levels if detector == 1 else {k: x + self.refine(x) for k, x in levels.items()}


class Described(Refined):
    def tail_parts(self) -> tuple[Part, ...]:
        return *super().tail_parts(), Part("refine", self.refine, routes=HARD, step="pyramid")


@pytest.mark.parametrize("kind", [Refined, Described])
def test_phase_detector2_trains_what_the_hard_route_alone_passes(
    config: Config, kind: type[DynamicRCNN], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(kind, *SECOND)
    before = DynamicTrainer(cfg).detector.refine.weight.clone()
    moved = not torch.equal(before, trained(cfg).detector.refine.weight)
    said = (
        "Phase detector2 leaves 'refine.weight' as it is, as neither second_parts() nor "
        "tail_parts() of Refined names it as detector2's."
    )
    assert (moved, said in caplog.text) == ((True, False) if kind is Described else (False, True))


@pytest.mark.parametrize("given", [None, [None]])
def test_phase_detector2_has_modules(config: Config, given: Any) -> None:
    class Forgot(Refined):
        def second_parts(self) -> Any:
            return given

    says = r"^second_parts\(\) of Forgot gives \[?None\]?; it must be a list of modules\.$"
    with pytest.raises(ValueError, match=says):
        DynamicTrainer(config(Forgot, *SECOND))


def test_phase_detector2_does_not_move_what_detector1_has_too(config: Config) -> None:
    class OneBoxHead(DynamicTrainer):
        @classmethod
        def build_model(cls, cfg: CfgNode) -> Any:
            model: Any = super().build_model(cfg)
            model.tail2.roi_heads.box_head = model.roi_heads.box_head
            return model

    says = r"^Phase detector2 would train 'roi_heads.box_head.fc1.weight', which detector1 has, too"
    with pytest.raises(ValueError, match=says):
        OneBoxHead(config(DynamicRCNN, *SECOND, "MODEL.COMPOSITE.SHARE_HEADS", False))


# Routers


class Squared(AdaptiveRouter):
    def forward(self, *results: Any) -> Tensor:
        return super().forward(*results).square()


class Cubic(AdaptiveRouter):
    def logit(self, numbers: Tensor) -> Tensor:
        return super().logit(numbers) ** 3


class Deeper(AdaptiveRouter):
    """More layers in the place of one."""

    @configurable
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        units = self.hidden.out_features
        self.hidden = nn.Sequential(self.hidden, nn.ReLU(), nn.Linear(units, units))

    @classmethod
    def from_config(cls, cfg: CfgNode, *given: Any) -> dict:
        return super().from_config(cfg, *given)


class Strongest(RouterInput):
    """The largest values of a convolution of the pyramid."""

    reads = "pyramid"
    count = 4

    def __init__(self, trains: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(16, 4, 1, bias=False).requires_grad_(trains)

    def forward(self, pyramid: Features) -> Tensor:
        return self.convolution(pyramid["p4"]).amax(dim=(2, 3))


def with_router(build: Any) -> type[DynamicRCNN]:
    class Routed(DynamicRCNN):
        @classmethod
        def from_config(cls, cfg: CfgNode) -> dict:
            arguments = super().from_config(cfg)
            shapes = arguments["backbone"].output_shape()
            return {**arguments, "router": build(cfg, shapes, cls)}

    return Routed


AUTO = ("SOLVER.ROUTER.OBJECTIVE", "auto")
TWO_LAYERS = "SOLVER.ROUTER.OBJECTIVE is 'auto', which tries routers of two linear layers"


@pytest.mark.parametrize(
    ("build", "keys", "says"),
    [
        (Squared, (), "Squared has forward() of its own, which no training asks: routers learn by"),
        (Cubic, AUTO, f"{TWO_LAYERS}, and Cubic has logit() of its own: it must be one of loss"),
        (Deeper, AUTO, f"{TWO_LAYERS}, and Deeper has hidden of its own: it must be one of loss"),
        (
            lambda *_: AdaptiveRouter(inputs={"strongest": Strongest(trains=True)}),
            (),
            "Strongest, an input of the router, has 'convolution.weight', which nothing trains: a ",
        ),
    ],
)
def test_a_router_that_would_not_learn_what_it_gives(
    config: Config, build: Any, keys: tuple, says: str
) -> None:
    with pytest.raises(ValueError) as refused:
        DynamicTrainer(config(with_router(build), *keys))
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize("build", [Cubic, Deeper])
def test_a_router_with_layers_of_its_own_learns(config: Config, build: Any) -> None:
    before = DynamicTrainer(config(with_router(build))).detector.router.state_dict()
    after = trained(config(with_router(build))).detector.router.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_inputs_of_ones_own_are_measured_by_their_names(config: Config) -> None:
    model = trained(
        config(with_router(lambda *_: AdaptiveRouter(inputs={"own": Strongest(trains=False)})))
    ).detector
    # At 64 x 64 p4 has 4 x 4 positions: 16 * 16 * 4; and 4 * 8 + 8 of the two layers.
    assert count_parts(model, 64, 64)["router"] == 16 * 16 * 4 + 4 * 8 + 8


def test_dropout_is_off_while_images_are_told_apart() -> None:
    class Dropped(AdaptiveRouter):
        def logit(self, numbers: Tensor) -> Tensor:
            return super().logit(numbers) * (0 if self.training else 1)

    router = Dropped(inputs={"own": Strongest(trains=False)}).train()
    nn.init.zeros_(router.score.weight)
    nn.init.constant_(router.score.bias, 32.0)
    router.tell_apart(torch.zeros(1, 4))
    assert router.training and float(router.score.bias) == 8.0

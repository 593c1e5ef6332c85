# SPDX-License-Identifier: Apache-2.0
"""Models of which an export would be another detector, and is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from torch import nn

from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.export import export, open_exported
from dynamicdet_d2.export.kinds import kind_of
from dynamicdet_d2.export.manifest import route_settings
from dynamicdet_d2.export.pieces import image_pieces
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.modeling.exit_merging import ExitMerging
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import PooledFeatures
from dynamicdet_d2.modeling.router_inputs.detection_numbers import DetectionNumbers
from dynamicdet_d2.modeling.router_inputs.proposal_numbers import ProposalNumbers
from tests.support.optimized import MASK, STATIC
from tests.support.toy import toy_cfg, toy_model
from tests.support.toy_yolo import yolo_cfg, yolo_model

OPTIMIZED = ("MODEL.INFERENCE.OPTIMIZE", True, "MODEL.INFERENCE.SIZE_MULTIPLE")
OWN_HEADS = ("MODEL.COMPOSITE.SHARE_HEADS", False)
SWIN = (
    *("MODEL.BACKBONE.NAME", "build_composite_swin_backbone", "MODEL.SWIN.WINDOW_SIZE", 8),
    *("MODEL.FPN.IN_FEATURES", ["stage1", "stage2", "stage3", "stage4"]),
    *("MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1, 1, 1]),
)
PANOPTIC = (
    *(*STATIC, "MODEL.META_ARCHITECTURE", "PanopticFPN", "MODEL.SEM_SEG_HEAD.NORM", ""),
    *("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["p2", "p3", "p4", "p5"], *MASK),
)


class OwnMasks(MaskRCNNConvUpsampleHead):
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


class OwnPooler(ROIPooler):
    pass


class OwnMerging(ExitMerging):
    pass


class OwnRouter(AdaptiveRouter):
    def numbers(self, *results: Any) -> torch.Tensor:
        return -super().numbers(*results)


class OwnCounts(DetectionNumbers):
    pass


class OwnSecond(DynamicRCNN):
    def second_pass(self, *args: Any) -> Any:
        return super().second_pass(*args)


def refused(model: nn.Module, cfg: Any, folder: Path) -> str:
    with pytest.raises(ValueError) as said:
        export(model, cfg, folder / "exported", Request("torch"))
    assert not list(folder.iterdir())
    return str(said.value)


def changed(
    change: Callable[[Any], None], folder: Path, *keys: object, model: nn.Module | None = None
) -> str:
    """What is said of a toy detector after a change."""
    own = toy_model(*keys) if model is None else model
    change(own)
    return refused(own, toy_cfg(*keys), folder)


def is_of(name: str, kind: type) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.get_submodule(name).__class__ = kind

    return change


def seeing(*inputs: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        known = {
            "features": PooledFeatures(model.backbone.output_shape()),
            **{"rpn": ProposalNumbers(), "detections": DetectionNumbers(), "own": OwnCounts()},
        }
        model.router = AdaptiveRouter(inputs={name: known[name] for name in inputs})

    return change


def seven_detections(model: Any) -> None:
    model.tail2["roi_heads"].box_predictor.test_topk_per_image = 7


LOOKING = ("MODEL.ROUTER.INPUTS", ["rpn"])


@pytest.mark.parametrize(
    ("keys", "change", "says"),
    [
        (MASK, is_of("roi_heads.mask_head", OwnMasks), "OwnMasks has forward() of its own, which"),
        ((), is_of("roi_heads.box_pooler", OwnPooler), "OwnPooler pools regions in a way not ex"),
        ((), lambda x: setattr(x, "exit_merging", OwnMerging(0.5, 9)), "OwnMerging merges exits i"),
        (LOOKING, is_of("router", OwnRouter), "OwnRouter has numbers() of its own, which an exp"),
        ((), is_of("", OwnSecond), "OwnSecond has second_pass() of its own, which an export wou"),
        ((), seeing("own"), "The router's input 'own' is OwnCounts; of proposals and detections o"),
        ((), seeing("rpn", "features"), "The router's inputs are ['rpn', 'features']; to be exp"),
        ((), seeing("detections", "rpn"), "The router's inputs are ['detections', 'rpn']; to be "),
        (OWN_HEADS, seven_detections, "The heads of detector1 and of detector2 have other setti"),
        ((), lambda x: x.pixel_mean.add_(1), "MODEL.PIXEL_MEAN of the config is [103.53, 116.28,"),
        ((), lambda x: x.half(), "The model has weights of torch.float16; what is exported is fl"),
        (
            (),
            lambda x: nn.init.constant_(x.router.score.bias, float("nan")),
            "The model has values in router.score.bias that are not finite.",
        ),
        (SWIN, lambda x: None, "A Swin shifts its windows by the size of the image, and a trace"),
        ((*OPTIMIZED, 48), lambda x: None, "MODEL.INFERENCE.SIZE_MULTIPLE is 48; it must be a m"),
    ],
)
def test_what_a_runner_would_do_otherwise(
    keys: tuple, change: Callable[[Any], None], says: str, tmp_path: Path
) -> None:
    assert changed(change, tmp_path, *keys).startswith(says)


def test_where_a_model_cannot_be_exported_from(tmp_path: Path) -> None:
    model = toy_model()
    for other, says in (
        (
            optimize_for_inference(model),
            "The model is a copy that optimize_for_inference has made; the model that the copy is "
            "of can be exported.",
        ),
        (
            model.to("meta"),
            "The model is on meta, and is exported from the CPU: model.to('cpu') comes first.",
        ),
    ):
        with pytest.raises(ValueError) as error:
            export(other, toy_cfg(), tmp_path / "folder", Request("torch"))
        assert str(error.value) == says


def test_what_is_no_object(tmp_path: Path) -> None:
    cfg = toy_cfg(*PANOPTIC)
    said = refused(build_model(cfg).eval(), cfg, tmp_path)
    assert said.startswith("PanopticFPN segments what is no object as well, which cannot")


@pytest.mark.parametrize("placement", ["center", "letterbox"])
def test_padding_in_two_steps(placement: str, tmp_path: Path) -> None:
    keys = ("MODEL.YOLO.PADDING", placement, *OPTIMIZED, 64)
    assert refused(yolo_model(*keys), yolo_cfg(*keys), tmp_path).startswith(
        f"MODEL.INFERENCE.SIZE_MULTIPLE is 64 and MODEL.YOLO.PADDING '{placement}': a runner pads o"
    )


def test_what_is_made_of_features_is_in_a_piece_whoever_wrote_it(tmp_path: Path) -> None:
    class Twice(PooledFeatures):
        def forward(self, features: Any) -> torch.Tensor:
            return 2 * super().forward(features)

    model = toy_model()
    model.router = AdaptiveRouter(inputs={"own": Twice(model.backbone.output_shape())})
    assert route_settings(model)["router_inputs"] == ["features"]
    export(model.eval(), toy_cfg(), tmp_path / "exported", Request("torch"))
    assert open_exported(tmp_path / "exported").dynamic


def test_a_neck_that_is_told_whose_features_it_has_is_in_a_piece_of_each_route() -> None:
    class HalfForHard(DynamicRCNN):
        def pyramid(self, detector: int, features: Any) -> Any:
            return {k: x / detector for k, x in super().pyramid(detector, features).items()}

    model = toy_model()
    model.__class__ = HalfForHard
    *_, tail1, tail2 = image_pieces(model, kind_of(model), (64, 64), fixed=False).pieces
    assert (tail1.name, tail2.name) == ("tail1", "tail2")
    easy, hard = (own(tail1.example)["p2"] for own in (tail1, tail2))
    assert easy.any() and torch.equal(hard, easy / 2)

# SPDX-License-Identifier: Apache-2.0
"""The YOLO configs: the published models, the published training in its mean form."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2 import add_dynamicdet_config
from dynamicdet_d2.checkpoint.convert import config_keys
from dynamicdet_d2.checkpoint.names.yolo import Layout
from dynamicdet_d2.config import read_config
from dynamicdet_d2.config.leaves import leaves
from dynamicdet_d2.evaluation.cost import count_flops, count_parts
from dynamicdet_d2.evaluation.paper import PAPER, system_name
from dynamicdet_d2.modeling.yolo.blocks import ImplicitConv
from dynamicdet_d2.modeling.yolo.variants import VARIANTS

FOLDER = Path(__file__).parents[3] / "configs"
STATIC = {"yolov7": 37_622_682, "yolov7x": 71_347_394, "yolov7_w6": 82_312_436}
END = {"yolov7": 0.1, "yolov7x": 0.1, "yolov7_w6": 0.2}
DYNAMIC = {"yolov7": 80_621_333, "yolov7x": 151_093_149, "yolov7_w6": 147_364_049}


def config(name: str) -> CfgNode:
    cfg = read_config(str(FOLDER / f"{name}.yaml"))
    cfg.MODEL.DEVICE = "meta"
    return cfg


@pytest.mark.parametrize("variant", VARIANTS)
def test_static_models_have_the_published_parameters(variant: str) -> None:
    with torch.device("meta"):
        model = build_model(config(variant))
    assert type(model).__name__ == "YOLOv7"
    assert sum(weight.numel() for weight in model.parameters()) == STATIC[variant]


def outline(name: str) -> nn.Module:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return build_model(config(name))


@pytest.mark.parametrize("variant", VARIANTS)
def test_dynamic_models_have_the_published_parameters(variant: str) -> None:
    model = outline(f"dy_{variant}")
    assert type(model).__name__ == "DynamicYOLO"
    assert sum(weight.numel() for weight in model.parameters()) == DYNAMIC[variant]
    assert model.router.inputs["features"].in_features == VARIANTS[variant].backbone.names


COSTS = {
    "yolov7": (33.0695, 0.0021, 5.5312, 33.0695, 12.7926, 6.3934),
    "yolov7x": (50.3349, 0.0032, 8.6426, 50.3349, 34.7406, 9.7613),
    "yolov7_w6": (110.7296, 0.0019, 10.2760, 110.7296, 44.9708, 24.1582),
}
"""10^9 multiply-adds of backbone 1, router, connections, backbone 2, a neck and a folded head."""
ROUTER = {"yolov7": 2_074_320, "yolov7x": 3_240_900, "yolov7_w6": 1_894_064}
ENDS = {
    "yolov7": (52.2555, 90.8562),
    "yolov7x": (94.8368, 153.8143),
    "yolov7_w6": (179.8586, 300.8643),
}
"""Of the two routes, without the router."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_costs_by_part_and_route(variant: str) -> None:
    side = 1280 if variant == "yolov7_w6" else 640
    model = outline(f"dy_{variant}")
    parts, found = count_parts(model, side, side), count_flops(model, side, side)
    names = ("bottom_up1", "router", "connections", "bottom_up2", "neck1", "head1")
    assert [round(parts[name] / 1e9, 4) for name in names] == list(COSTS[variant])
    assert (parts["neck2"], parts["head2"]) == (parts["neck1"], parts["head1"])
    assert found["router"] == ROUTER[variant]
    ends = [round((found[route] - found["router"]) / 1e9, 4) for route in ("easy", "hard")]
    assert ends == list(ENDS[variant])
    static = count_flops(outline(variant), side, side)
    assert static == {"easy": static["easy"], "hard": static["easy"], "router": 0}
    assert static["easy"] == found["easy"] - found["router"]
    # Counting leaves the model as it trains.
    assert type(model.head1.predictors["n3"]) is ImplicitConv


@pytest.mark.parametrize("variant", VARIANTS)
def test_twice_the_multiply_adds_is_what_the_paper_prints(variant: str) -> None:
    cfg = config(f"dy_{variant}")
    published = PAPER[system_name(cfg)]
    setting = published.setting
    ends = count_flops(outline(f"dy_{variant}"), setting.height, setting.width)
    assert published.per_multiply_add == 2 and len(published.rows) == 5
    for row, printed in published.rows.items():
        k = {"route easy": 0.0, "route hard": 1.0}.get(row)
        k = float(row.removeprefix("average at ")) if k is None else k
        mixed = (1 - k) * ends["easy"] + k * ends["hard"]
        assert 2 * mixed == pytest.approx(printed, rel=0.003), row
    static = count_flops(outline(variant), setting.height, setting.width)
    printed = PAPER[system_name(config(variant))].rows["total"]
    assert 2 * static["easy"] == pytest.approx(printed, rel=0.003)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dynamic_and_static_differ_in_the_architecture_alone(variant: str) -> None:
    static, dynamic = (dict(leaves(config(name))) for name in (variant, f"dy_{variant}"))
    auxiliary = {"MODEL.YOLO.AUXILIARY", "MODEL.YOLO.LOSS.TOP_K"}
    expected = {"MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "OUTPUT_DIR"}
    found = {key for key in static if static[key] != dynamic[key]}
    assert found == expected | (auxiliary if variant == "yolov7_w6" else set())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mean_loss_has_the_published_steps(variant: str) -> None:
    """SGD on the loss times 128 images at 0.01 with a decay of 1e-3, as on the mean at 1.28."""
    solver = config(variant).SOLVER
    images = solver.IMS_PER_BATCH
    assert solver.BASE_LR / images == pytest.approx(0.01)
    assert solver.WARMUP_BIAS_LR / images == pytest.approx(0.1)
    fraction = 0.2 if variant == "yolov7_w6" else 0.1
    assert solver.BASE_LR_END / solver.BASE_LR == pytest.approx(fraction)
    assert (solver.WARMUP_MOMENTUM, solver.MOMENTUM, solver.NESTEROV) == (0.8, 0.937, True)
    assert solver.EMA.ENABLED and config(variant).INPUT.MOSAIC.ENABLED
    assert solver.WEIGHT_DECAY * images == pytest.approx(5e-4 * 128 / 64)
    assert solver.MAX_ITER == 300 * 925 and solver.WARMUP_ITERS == 3 * 925  # of 118,287 images


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_converted_models_have_the_same_settings(variant: str, dynamic: bool) -> None:
    """What a converter writes beside weights is the config of the repository, but for training."""
    layout = Layout(variant, dynamic=dynamic, auxiliary=not dynamic and variant == "yolov7_w6")
    bias = torch.zeros(3 * 85)
    name = "head1" if dynamic else "head"
    weights = {f"{name}.predictors.n3.conv.bias": bias}
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(config_keys(layout, weights, None)))
    cfg.MODEL.DEVICE = "meta"
    shipped = config(f"dy_{variant}" if dynamic else variant)
    if dynamic and variant == "yolov7x":
        shipped.MODEL.YOLO.STRIDED_FROM_BACKBONE1 = ["p3"]
    found, expected = (dict(leaves(c)) for c in (cfg, shipped))
    differing = {key for key in expected if found[key] != expected[key]}
    training = (
        "SOLVER.",
        "DATASETS.",
        "DATALOADER.",
        "INPUT.MOSAIC",
        "OUTPUT_DIR",
        "MODEL.WEIGHTS",
    )
    assert all(key.startswith(training) for key in differing)

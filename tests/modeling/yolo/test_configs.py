# SPDX-License-Identifier: Apache-2.0
"""The YOLO configs: the published models, the published training in its mean form."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from dynamicdet_d2 import add_dynamicdet_config
from dynamicdet_d2.checkpoint.convert import config_keys
from dynamicdet_d2.checkpoint.names.yolo import Layout
from dynamicdet_d2.config import read_config
from dynamicdet_d2.modeling.yolo.build import dynamic_parts
from dynamicdet_d2.modeling.yolo.variants import VARIANTS

FOLDER = Path(__file__).parents[3] / "configs"
STATIC = {"yolov7": 37_622_682, "yolov7x": 71_347_394, "yolov7_w6": 82_312_436}
DYNAMIC = {"yolov7": 80_621_333, "yolov7x": 151_093_149, "yolov7_w6": 147_364_049}


def config(name: str) -> CfgNode:
    cfg = read_config(str(FOLDER / f"{name}.yaml"))
    cfg.MODEL.DEVICE = "meta"
    return cfg


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("variant", VARIANTS)
def test_static_models_have_the_published_parameters(variant: str) -> None:
    with torch.device("meta"):
        model = build_model(config(variant))
    assert type(model).__name__ == "YOLOv7"
    assert sum(weight.numel() for weight in model.parameters()) == STATIC[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_dynamic_models_have_the_published_parameters(variant: str) -> None:
    with torch.device("meta"):
        parts = dynamic_parts(config(f"dy_{variant}"))
    weights = [weight for part in parts.values() for weight in part.parameters()]
    assert sum(weight.numel() for weight in weights) == DYNAMIC[variant]


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
    training = ("SOLVER.", "DATASETS.", "DATALOADER.", "OUTPUT_DIR", "MODEL.WEIGHTS")
    assert all(key.startswith(training) for key in differing)

# SPDX-License-Identifier: Apache-2.0
"""Every yaml loads and builds; the paper's systems cost what its tables say."""

from pathlib import Path

import detectron2
import pytest
import torch
from detectron2.config import CfgNode, LazyConfig, instantiate
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from torch import nn
from torchvision.models import ResNet101_Weights, resnet101, swin_s, swin_t

from dynamicdet_d2.checkpoint import conventions, names
from dynamicdet_d2.config import read_config
from dynamicdet_d2.config.leaves import leaves
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.engine.upgrade import dynamic_keys
from dynamicdet_d2.evaluation.cost import count_flops, count_parts
from dynamicdet_d2.evaluation.paper import PAPER, system_name
from dynamicdet_d2.modeling.architecture import is_dynamic

FOLDER = Path(__file__).parents[1] / "configs"
# Without data of a user's own, own_data.yaml has no classes: tests/config/test_classes.py
CONFIGS = sorted(p.name for p in FOLDER.glob("*.yaml") if p.name != "own_data.yaml")
STATIC = [n for n in CONFIGS if n.startswith(("faster_", "mask_", "retinanet_", "fcos_"))]
DENSE = [n for n in CONFIGS if any(kind in n for kind in ("retinanet", "fcos", "Dense"))]
YOLO = [name for name in CONFIGS if "yolo" in name.lower()]  # tests/modeling/yolo/test_configs.py
SCHEDULES = {"1x": (90_000, (60_000, 80_000)), "3x": (270_000, (210_000, 250_000))}


def config(name: str, device: str = "cpu") -> CfgNode:
    cfg = read_config(str(FOLDER / name))
    cfg.MODEL.DEVICE = device
    return cfg


def outline(name: str) -> nn.Module:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return build_model(config(name, "meta"))


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in YOLO])
def test_loads_and_builds(name: str) -> None:
    cfg, model = config(name), outline(name)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    if name not in DENSE:
        assert model.roi_heads.mask_on == cfg.MODEL.MASK_ON
    assert is_dynamic(cfg) == (name not in STATIC)
    if name not in STATIC:
        assert model.router.hidden.in_features == sum(
            shape.channels for shape in model.backbone.output_shape().values()
        )


def test_runs_do_not_write_over_each_other() -> None:
    folders = [config(name).OUTPUT_DIR for name in CONFIGS if not name.startswith("Base")]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", STATIC)
def test_static_baselines_differ_in_the_architecture_alone(name: str) -> None:
    larger = name in ("faster_rcnn_lite1.yaml", "faster_rcnn_lite2.yaml")
    twin = "dy_faster_rcnn_lite0.yaml" if larger else f"dy_{name}"
    static, dynamic = (dict(leaves(config(n))) for n in (name, twin))
    differing = {key for key in static if static[key] != dynamic[key]}
    size = {"MODEL.EFFICIENTNET_LITE.SIZE", "MODEL.WEIGHTS"} if larger else set()
    assert differing == {
        "MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "OUTPUT_DIR", *size
    }  # fmt: skip


D2_FOLDER = Path(detectron2.__file__).parent / "model_zoo"


@pytest.mark.parametrize("name", [n for n in CONFIGS if n.startswith("dy_") and "d2zoo" in n])
def test_detectors_of_detectron2s_zoo_keep_their_conventions(name: str) -> None:
    """All but what makes a detector dynamic is the zoo's own config, and the weights are there."""
    own = config(name)
    in_zoo = own.MODEL.WEIGHTS.removeprefix("detectron2://").split("/")
    assert in_zoo[1] == name.removeprefix("dy_").removesuffix("_d2zoo.yaml")
    listed = (D2_FOLDER / "model_zoo.py").read_text()
    assert f'"{in_zoo[0]}/{in_zoo[1]}": "{in_zoo[2]}/{in_zoo[3]}"' in listed
    theirs = read_config(str(D2_FOLDER / "configs" / in_zoo[0] / f"{in_zoo[1]}.yaml"))
    ours, expected = dict(leaves(own)), dict(leaves(theirs))
    differing = {key for key in ours if ours[key] != expected[key]} - {"MODEL.DEVICE"}
    assert differing == {"OUTPUT_DIR", "MODEL.WEIGHTS", *dynamic_keys(theirs)}
    dynamic, static = outline(name).state_dict(), theirs.clone()
    static.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        weights = build_model(static).state_dict()
    match = names.match(dynamic, weights)
    assert not match.unmatched
    left = {n.partition(".")[0] for n in dynamic if n not in match.sources}
    assert left <= {"router", "loss_offset", "backbone"}
    for target, source in match.sources.items():
        assert dynamic[target].shape == weights[source].shape


@pytest.mark.parametrize("name", [n for n in CONFIGS if n[-7:-5] in SCHEDULES])
def test_schedules_are_the_baselines(name: str) -> None:
    solver = config(name).SOLVER
    iterations, steps = SCHEDULES[name[-7:-5]]
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH) == (iterations, 16)
    if "swin" in name:  # 27 and 33 of 36 epochs
        assert solver.STEPS == (iterations * 27 // 36, iterations * 33 // 36)
        assert (solver.OPTIMIZER, solver.BASE_LR) == ("ADAMW", 1e-4)
    else:
        assert solver.STEPS == steps
        rate = 0.01 if name in DENSE else 0.02
        assert (solver.OPTIMIZER, solver.BASE_LR) == ("SGD", rate)


def test_cosine_schedule_of_adamw_warms_up_and_ends_at_zero() -> None:
    cfg = config("dy_faster_rcnn_lite0.yaml")
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.WARMUP_ITERS = 20, 5
    optimizer = build_detectors_optimizer(cfg, nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    peak = rates.index(max(rates))
    assert peak in (4, 5, 6) and rates[0] < 1e-5
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[10] == pytest.approx(2.5e-4)  # half of 5e-4, half-way through the cosine
    assert rates[-1] < 5e-6


def test_swin_recipe_decays_neither_norms_nor_position_tables() -> None:
    name = "dy_mask_rcnn_swin_T_FPN_3x.yaml"
    cfg, model = config(name), outline(name)
    assert (min(cfg.INPUT.MIN_SIZE_TRAIN), max(cfg.INPUT.MIN_SIZE_TRAIN)) == (480, 800)
    optimizer = build_detectors_optimizer(cfg, model)
    assert type(optimizer) is torch.optim.AdamW
    decays = {p: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        free = "norm" in name or name.endswith("relative_position_bias_table")
        assert decays[parameter] == (0.0 if free else 0.05), name


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("dy_faster_rcnn_R_101_FPN_3x.yaml", resnet101),
        ("dy_mask_rcnn_swin_T_FPN_3x.yaml", swin_t),
        ("dy_mask_rcnn_swin_S_FPN_3x.yaml", swin_s),
    ],
)
def test_backbones_have_the_depth_of_their_weights(name: str, source: type) -> None:
    with torch.device("meta"):
        weights = source().state_dict()
    match = names.match(outline(name).state_dict(), weights)
    classifier = {"fc.weight", "fc.bias", "head.weight", "head.bias", "norm.weight", "norm.bias"}
    assert set(match.unmatched) <= classifier
    assert {n.split(".")[1] for n in match.sources} == {"bottom_up1", "bottom_up2"}
    assert config("dy_faster_rcnn_R_101_FPN_3x.yaml").MODEL.WEIGHTS == (
        ResNet101_Weights.IMAGENET1K_V1.url
    )


@pytest.mark.parametrize(
    ("name", "easy", "hard", "router"),
    [
        ("dy_faster_rcnn_R_50_FPN_1x.yaml", 207.1, 283.7, 3.7),
        ("dy_mask_rcnn_swin_T_FPN_3x.yaml", 263.8, 357.4, 0.5),
        ("mask_rcnn_swin_S_FPN_3x.yaml", 353.8, 353.8, 0.0),
        ("faster_rcnn_R_101_FPN_3x.yaml", 283.1, 283.1, 0.0),
    ],
)
def test_costs_are_the_papers(name: str, easy: float, hard: float, router: float) -> None:
    """Tables 2 and 3, 10^9 and for the router 10^6 multiply-adds, without attention's products."""
    cfg = config(name)
    assert system_name(cfg) in PAPER
    model = build_model(cfg)
    found = count_flops(model, 800, 1280, attention_matmul=False)
    assert found["easy"] == pytest.approx(easy * 1e9, rel=0.01)
    assert found["hard"] == pytest.approx(hard * 1e9, rel=0.01)
    # The paper prints one decimal.
    assert found["router"] == pytest.approx(router * 1e6, abs=0.05e6)
    if "swin_T" in name:
        # 49 x 49 products over windows of 32-channel heads, twice, in 12 blocks a backbone.
        full = count_flops(model, 800, 1280)
        windows = [29 * 46 * 2 * 3, 15 * 23 * 2 * 6, 8 * 12 * 6 * 12, 4 * 6 * 2 * 24]
        products = sum(windows) * 2 * 49 * 49 * 32
        assert full["easy"] - found["easy"] == products
        assert full["hard"] - found["hard"] == 2 * products


@pytest.mark.parametrize(
    ("name", "neck", "head", "millions"),
    [
        ("retinanet_R_50_FPN_1x.yaml", 17.324, 137.801, 37.9),
        ("fcos_R_50_FPN_1x.yaml", 16.251, 104.825, 32.2),
    ],
)
def test_costs_of_dense_detectors(name: str, neck: float, head: float, millions: float) -> None:
    """10^9 multiply-adds of convolutions, by hand, and 10^6 parameters."""
    static, dynamic = outline(name), outline(f"dy_{name}")
    own = {"bottom_up1": 83.411, "neck": neck, "head": head}
    twice = {"connections": 8.913, "bottom_up2": 67.371}
    expected = {part: giga * 1e9 for part, giga in own.items()}
    assert count_parts(static, 800, 1280) == pytest.approx(expected, abs=1e6)
    assert sum(p.numel() for p in static.parameters()) == pytest.approx(millions * 1e6, abs=5e4)
    found = count_flops(dynamic, 800, 1280)
    assert found["easy"] == pytest.approx(sum(own.values()) * 1e9 + found["router"], abs=1e6)
    assert found["hard"] - found["easy"] == pytest.approx(sum(twice.values()) * 1e9, abs=1e6)
    assert found["router"] == 3840 * 960 + 960


def test_anchors_of_retinanet_are_three_of_an_octave() -> None:
    sizes = config("retinanet_R_50_FPN_1x.yaml").MODEL.ANCHOR_GENERATOR.SIZES
    for level, of_level in enumerate(sizes):
        assert of_level == pytest.approx([2 ** (5 + level + i / 3) for i in range(3)], abs=1e-4)


def test_the_lazy_config_is_the_yaml() -> None:
    name = "dy_faster_rcnn_R_50_FPN"
    with torch.device("meta"):
        lazy = instantiate(LazyConfig.load(str(FOLDER / "lazy" / f"{name}.py")).model)
    model = outline(f"{name}_1x.yaml")
    shapes, expected = (
        {n: (tuple(w.shape), w.requires_grad) for n, w in m.named_parameters()}
        for m in (lazy, model)
    )
    assert shapes == expected
    assert lazy.state_dict().keys() == model.state_dict().keys()
    assert conventions.of_model(lazy.to_empty(device="cpu")).stride_in_1x1 is False

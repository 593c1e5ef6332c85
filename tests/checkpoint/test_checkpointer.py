# SPDX-License-Identifier: Apache-2.0
"""Weights of single detectors in both backbones: equal to Detectron2's and torchvision's models."""

import logging
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from torch import Tensor, nn
from torchvision.models import resnet as torchvision_resnet

from dynamicdet_d2 import add_dynamicdet_config
from dynamicdet_d2.checkpoint import DynamicCheckpointer, LoadReport, ShapeMismatch, load_weights

BASE = str(Path(__file__).parents[2] / "configs" / "Base-Dynamic-RCNN-FPN.yaml")
STOCK = {"MODEL.META_ARCHITECTURE": "GeneralizedRCNN"}
STOCK["MODEL.BACKBONE.NAME"] = "build_resnet_fpn_backbone"
SHALLOW = {"MODEL.COMPOSITE.NUM_BLOCKS1": [1, 1, 1, 1]}
State = dict[str, Tensor]


def config(**keys: object) -> CfgNode:
    """A ResNet-18 detector with small neck and heads."""
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.merge_from_file(BASE)
    small = {
        "MODEL.DEVICE": "cpu",
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_HEADS.NUM_CLASSES": 3,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
        "MODEL.PIXEL_STD": [58.0, 58.0, 58.0],
    }
    for key, value in {**small, **keys}.items():
        cfg.merge_from_list([key, value])
    return cfg


def build(keys: dict | None = None, seed: int = 0) -> nn.Module:
    """A model in evaluation mode, at the initial values of a seed."""
    torch.manual_seed(seed)
    return build_model(config(**(keys or {}))).eval()


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Norms with statistics as after training, and predictors that tell boxes apart."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith(("norm.weight", "running_var")) or ".bn" in name:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.endswith(("norm.bias", "running_mean")):
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
        elif "box_predictor" in name and name.endswith("weight"):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model


def image(seed: int = 0) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    pixels = 255 * torch.rand(3, 96, 128, generator=generator)
    return [{"image": pixels, "height": 96, "width": 128}]


def assert_same_detections(found: dict, expected: dict) -> None:
    found, expected = found["instances"], expected["instances"]
    assert len(expected) > 0
    assert torch.isfinite(expected.scores).all()
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)


def load(model: nn.Module, path: Path) -> LoadReport:
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(path)
    return checkpointer.report


@pytest.fixture(scope="module")
def stock() -> nn.Module:
    """A complete single-backbone Detectron2 detector."""
    return randomise(build(STOCK), seed=1)


@pytest.fixture(scope="module")
def stock_file(stock: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    DetectionCheckpointer(stock, str(folder)).save("detector", iteration=7)
    return folder / "detector.pth"


@pytest.fixture(scope="module")
def model(stock_file: Path) -> nn.Module:
    """A dynamic detector started from the single-backbone one."""
    model = build(seed=2)
    load(model, stock_file)
    return model


def test_easy_route_equals_the_stock_detector(stock: nn.Module, model: nn.Module) -> None:
    with torch.no_grad():
        for seed in range(2):
            expected = stock(image(seed))[0]
            for threshold, route in ((1.0, "easy"), (0.0, "hard")):
                # At the connections' initial zero, detector2 is the same detector too.
                model.threshold = threshold
                found = model(image(seed))[0]
                assert found["route"] == route
                assert_same_detections(found, expected)


def test_both_backbones_equal_the_plain_one(stock: nn.Module, model: nn.Module) -> None:
    pixels = model.preprocess_image(image()).tensor
    with torch.no_grad():
        plain_features = stock.backbone.bottom_up(pixels)
        features1, shared = model.backbone.first(pixels)
        features2 = model.backbone.second(features1, shared)
    for level, expected in plain_features.items():
        assert torch.equal(features1[level], expected)
        assert torch.equal(features2[level], expected)


def test_report_of_a_detector(stock_file: Path, stock: nn.Module) -> None:
    model = build(seed=3)
    report = load(model, stock_file)
    assert (report.unmatched, report.mismatched) == ((), ())
    assert report.file_format == "Detectron2"
    own = ("backbone.connections.", "router.", "loss_offset")
    rest = {n for n in model.state_dict() if not n.startswith(own)}
    assert set(report.loaded) == rest
    shared = "backbone.bottom_up.", "backbone.bottom_up.stem.", "backbone.bottom_up.res2."
    twice = [n for n in stock.state_dict() if n.startswith(shared[0])]
    twice = [n for n in twice if not n.startswith(shared[1:])]
    assert set(report.duplicated) == set(twice)
    # 3 + 2 + 1 connections of a convolution, BN's affine and its statistics.
    lines = [text for _, text in report.messages()]
    assert lines[1] == (
        "Left at initial value (35): backbone.connections (30), loss_offset, router (4)."
    )
    assert f"{len(twice)} of the file's went into both detectors" in lines[0]


def test_torchvision_resnet18_gives_its_features(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = randomise(torchvision_resnet.resnet18(), seed=5).eval()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    assert_torchvision_features(source, build(), tmp_path / "resnet18.pth")


def test_torchvision_bottlenecks_stride_in_their_3x3(tmp_path: Path) -> None:
    torch.manual_seed(6)
    bottleneck = torchvision_resnet.Bottleneck
    source = randomise(torchvision_resnet.ResNet(bottleneck, [1, 1, 1, 1]), seed=6).eval()
    wrapped = {
        "epoch": 90,
        "state_dict": {f"module.{k}": v for k, v in source.state_dict().items()},
    }
    torch.save(wrapped, tmp_path / "resnet14.pth")
    keys = {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.RES2_OUT_CHANNELS": 256}
    keys |= {"MODEL.RESNETS.STRIDE_IN_1X1": False, "MODEL.RESNETS.NORM": "BN", **SHALLOW}
    assert_torchvision_features(source, build(keys), tmp_path / "resnet14.pth")


def assert_torchvision_features(source: nn.Module, model: nn.Module, path: Path) -> None:
    report = load(model, path)
    assert report.file_format == "torchvision"
    assert set(report.unmatched) == {"fc.weight", "fc.bias"}
    assert report.mismatched == ()
    assert not any(name.startswith("backbone.bottom_up") for name in report.initial)
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features1, shared = model.backbone.first(pixels)
        features2 = model.backbone.second(features1, shared)
        x = source.maxpool(source.relu(source.bn1(source.conv1(pixels))))
        for number in range(1, 5):
            x = getattr(source, f"layer{number}")(x)
            for features in (features1, features2):
                torch.testing.assert_close(features[f"res{number + 1}"], x)


def caffe2_name(name: str) -> str:
    """Detectron2's name of a ResNet's weight -> Detectron's, written the other way round."""
    parts = name.split(".")
    kind = parts[-1]
    if parts[0] == "stem":
        stem = {"weight": "s", "bias": "b", "running_mean": "running_mean"}
        return f"res_conv1_bn_{stem.get(kind, kind)}" if "norm" in parts else "conv1_w"
    branch = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    head = f"{parts[0]}_{parts[1]}_{branch.get(parts[2], 'branch1')}"
    bn = {"weight": "bn_gamma", "bias": "bn_beta", "running_mean": "bn_rm", "running_var": "bn_riv"}
    return f"{head}_{bn[kind]}" if "norm" in parts else f"{head}_w"


@pytest.mark.parametrize(("protocol", "statistics"), [(2, True), (4, False), (5, True)])
def test_caffe2_pickle_loads_as_detectron2_loads_it(
    stock: nn.Module, tmp_path: Path, protocol: int, statistics: bool
) -> None:
    """Older files have the statistics folded into the affine, and none of their own."""
    weights = {
        caffe2_name(name): tensor.numpy()
        for name, tensor in stock.backbone.bottom_up.state_dict().items()
        if statistics or "running" not in name
    }
    weights |= {"fc1000_w": np.ones((10, 512), "f4"), "conv1_w_momentum": np.ones(3)}
    weights["conv1_b"] = np.zeros(64, "f4")
    (tmp_path / "R-18.pkl").write_bytes(pickle.dumps(weights, protocol=protocol))
    expected = build(STOCK, seed=7)
    DetectionCheckpointer(expected).load(str(tmp_path / "R-18.pkl"))
    model = build(seed=8)
    report = load(model, tmp_path / "R-18.pkl")
    assert report.file_format == "Caffe2"
    assert set(report.unmatched) == {"fc1000_w", "conv1_b"}
    assert_backbones_equal(model, expected.backbone.bottom_up.state_dict())
    assert not any(name.startswith("backbone.bottom_up") for name in report.initial)


def assert_backbones_equal(model: nn.Module, expected: State) -> None:
    for number in (1, 2):
        state = getattr(model.backbone, f"bottom_up{number}").state_dict()
        assert len(state) > 0
        for name, tensor in state.items():
            assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up."])
def test_converted_resnet_in_a_pickle(stock: nn.Module, tmp_path: Path, prefix: str) -> None:
    """What Detectron2's own converter writes from torchvision, class layer included."""
    state = stock.backbone.bottom_up.state_dict()
    weights = {prefix + name: tensor.numpy() for name, tensor in state.items()}
    weights[prefix + "stem.fc.bias"] = np.zeros(10, "f4")
    weights[prefix + "res2.0.conv1.norm.num_batches_tracked"] = np.int64(3)
    content = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-18.pkl").write_bytes(pickle.dumps(content))
    model = build(seed=9)
    report = load(model, tmp_path / "R-18.pkl")
    assert report.unmatched == (f"{prefix}stem.fc.bias",)
    assert_backbones_equal(model, state)


def test_zoo_detector_in_a_pickle(stock: nn.Module, tmp_path: Path) -> None:
    weights = OrderedDict((name, t.numpy()) for name, t in stock.state_dict().items())
    weights["pixel_mean"] = np.zeros((3, 1, 1), "f4")
    content = {"model": weights, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content))
    model = build(seed=10)
    report = load(model, tmp_path / "model_final.pkl")
    assert report.unmatched == ()
    with torch.no_grad():
        model.threshold = 1.0
        assert_same_detections(model(image())[0], stock(image())[0])


def test_a_plain_detector_loads_too(stock: nn.Module, stock_file: Path) -> None:
    plain_model = build(STOCK, seed=11)
    report = load(plain_model, stock_file)
    assert (report.initial, report.unmatched, report.duplicated) == ((), (), ())
    for name, tensor in plain_model.state_dict().items():
        assert torch.equal(tensor, stock.state_dict()[name])


def test_wrapped_model(tmp_path: Path, model: nn.Module) -> None:
    """As a model for several devices: the wrapper's prefix is neither saved nor needed."""
    wrapped = nn.DataParallel(model)
    DynamicCheckpointer(wrapped, str(tmp_path)).save("model_final")
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert list(saved) == list(model.state_dict())
    torch.save({"model": wrapped.state_dict()}, tmp_path / "wrapped.pth")
    fresh = build(seed=15)
    report = load(nn.DataParallel(fresh), tmp_path / "wrapped.pth")
    assert (report.initial, report.unmatched) == ((), ())
    assert report.file_format == "DynamicDet"
    for name, tensor in fresh.state_dict().items():
        torch.testing.assert_close(tensor, saved[name], rtol=0, atol=0, equal_nan=True)


def test_detectron2s_own_checkpointer_reads_ours(tmp_path: Path, model: nn.Module) -> None:
    """``DefaultPredictor`` loads with it."""
    changed = randomise(build(seed=16), seed=16)
    changed.loss_offset.fill_(0.25)
    DynamicCheckpointer(changed, str(tmp_path)).save("model_final", iteration=9)
    keys = {"MODEL.WEIGHTS": str(tmp_path / "model_final.pth"), "DATASETS.TEST": ()}
    keys |= {"INPUT.MIN_SIZE_TEST": 96, "MODEL.DYNAMIC.THRESHOLD": 0.0}
    predictor = DefaultPredictor(config(**keys))
    pixels = image()[0]["image"].permute(1, 2, 0).numpy().astype("uint8")
    found = predictor(pixels)
    assert float(predictor.model.loss_offset) == 0.25
    changed.threshold = 0.0
    given_image = torch.as_tensor(pixels.astype("float32").transpose(2, 0, 1))
    with torch.no_grad():
        expected = changed([{"image": given_image, "height": 96, "width": 128}])[0]
    assert_same_detections(found, expected)
    assert (found["route"], found["difficulty"]) == ("hard", expected["difficulty"])


def test_deeper_backbone2_keeps_its_own_blocks(stock_file: Path) -> None:
    model = build({"MODEL.COMPOSITE.NUM_BLOCKS2": [2, 2, 4, 2]}, seed=12)
    before = {n: t.clone() for n, t in model.backbone.bottom_up2.res4.state_dict().items()}
    report = load(model, stock_file)
    new = [n for n in report.initial if n.startswith("backbone.bottom_up2")]
    # Two blocks of two convolutions with FrozenBN: a weight and four buffers each.
    assert len(new) == 2 * 2 * 5
    assert all(
        n.startswith(("backbone.bottom_up2.res4.2.", "backbone.bottom_up2.res4.3.")) for n in new
    )
    assert "backbone.bottom_up2.res4.{2, 3} (20)" in report.messages()[1][1]
    for name, tensor in model.backbone.bottom_up2.res4.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith(("2.", "3."))


def test_other_classes_are_named_and_left(
    stock_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build({"MODEL.ROI_HEADS.NUM_CLASSES": 1}, seed=13)
    before = model.roi_heads.box_predictor.cls_score.weight.clone()
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        report = load(model, stock_file)
    assert torch.equal(model.roi_heads.box_predictor.cls_score.weight, before)
    shapes = {m.name.split(".", 2)[2]: (m.file_shape, m.model_shape) for m in report.mismatched}
    # Three classes and background against one and background; four numbers a class for boxes.
    assert shapes == {
        "cls_score.weight": ((4, 32), (2, 32)),
        "cls_score.bias": ((4,), (2,)),
        "bbox_pred.weight": ((12, 32), (4, 32)),
        "bbox_pred.bias": ((12,), (4,)),
    }
    assert not set(report.initial) & {m.name for m in report.mismatched}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len([w for w in warnings if "because the shapes differ" in w]) == 4
    assert any("cls_score.weight (4, 32) in the file, (2, 32) in the model" in w for w in warnings)


def test_of_many_other_shapes_the_first_ones_are_said() -> None:
    """As of a ResNet of another depth: a line each were hundreds."""
    other = tuple(ShapeMismatch(f"w{i}", (1,), (2,)) for i in range(12))
    report = LoadReport("a.pth", "torchvision", ("x",), (), (), (), (), other, (), ())
    said = [text for level, text in report.messages() if level == logging.WARNING]
    start = "Left at initial value, because the shapes differ:"
    assert said[0] == f"{start} w0 (1,) in the file, (2,) in the model."
    assert said[9:] == [f"{start} w9 (1,) in the file, (2,) in the model.", f"{start} 2 more."]


def test_own_checkpoint_that_does_not_fit_is_a_warning(model: nn.Module) -> None:
    state = dict(model.state_dict())
    state["neck.new.weight"] = torch.ones(2)
    del state["roi_heads.box_head.fc1.bias"]
    report = load_weights(build(seed=14), state, "own.pth")
    assert "roi_heads.box_head.fc1.bias" in report.initial
    assert report.unmatched == ("neck.new.weight",)
    assert [level for level, _ in report.messages()] == [logging.INFO] + 2 * [logging.WARNING]


def test_nothing_fits(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    torch.save({"encoder.w": torch.ones(1), "encoder.v": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"other\.pth fits .* encoder\.w, encoder\.v.* weight, bias"
    ):
        load(model, tmp_path / "other.pth")
    torch.save({"weight": torch.ones(5, 2)}, tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"weight \(5, 2\) in the file, \(3, 2\) in the model"):
        load(model, tmp_path / "wide.pth")


@pytest.mark.parametrize("keys", [STOCK, {}], ids=["static", "dynamic"])
def test_what_a_detector_has_and_the_model_does_not_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, keys: dict
) -> None:
    """All weights of the model are there, and it is another detector; a backbone has no heads."""
    deeper = build({**STOCK, "MODEL.RESNETS.DEPTH": 34}).state_dict()
    torch.save({"model": deeper}, tmp_path / "deeper.pth")
    load(build(keys), tmp_path / "deeper.pth")
    # (3 + 4 + 6 + 3) - 4 * 2 blocks of two convolutions with FrozenBN, five tensors each.
    (said,) = [r.getMessage() for r in caplog.records if "Not used from" in r.getMessage()]
    assert said.startswith("Not used from the file (80): backbone.bottom_up.res2.2 (10), ")
    assert said.endswith(
        " The model has no part for them: where they are of the detector, it will not detect what "
        "it did."
    )
    caplog.clear()
    alone = {name: deeper[name] for name in deeper if name.startswith("backbone.bottom_up")}
    torch.save({"model": alone}, tmp_path / "backbone.pth")
    load(build(keys), tmp_path / "backbone.pth")
    assert "Not used from" not in caplog.text

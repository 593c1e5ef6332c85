# SPDX-License-Identifier: Apache-2.0
"""Conventions of a complete detector, and Detectron2's own checkpointer called on our models."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.checkpoint.conventions import (
    confirming_config,
    keys_of,
    of_config,
    of_model,
    say_other_boxes,
    say_other_classes,
)
from dynamicdet_d2.checkpoint.learnt import in_checkpoint
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.engine.resuming import recorded
from dynamicdet_d2.modeling.yolo.variants import VARIANTS
from dynamicdet_d2.prediction.class_names import class_names_of
from tests.checkpoint.test_checkpointer import STOCK, build, config, image, randomise
from tests.support.coco_files import clean_catalogs, image_entry, write_coco
from tests.support.optimized import STATIC
from tests.support.toy import dense_cfg, toy_cfg, toy_model
from tests.support.toy_yolo import DYNAMIC, yolo_cfg

EASY = {"MODEL.DYNAMIC.THRESHOLD": 1.0}


@pytest.fixture(scope="module")
def stock() -> nn.Module:
    return randomise(build(STOCK), seed=1)


@pytest.fixture
def stock_file(stock: nn.Module, tmp_path: Path) -> str:
    torch.save({"model": stock.state_dict()}, tmp_path / "stock.pth")
    return str(tmp_path / "stock.pth")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# Conventions


def test_of_a_model_and_of_its_config_are_the_same() -> None:
    keys = {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.RES2_OUT_CHANNELS": 256}
    for first in (True, False):
        own = {**keys, "MODEL.RESNETS.STRIDE_IN_1X1": first}
        assert of_model(build(own)) == of_config(config(**own))
        assert of_model(build(own)).stride_in_1x1 is first
    assert of_model(build()).stride_in_1x1 is None  # a ResNet-18 has no 1x1 convolutions
    assert of_model(nn.Identity()) is None


def test_nothing_confirms(stock_file: str, caplog: pytest.LogCaptureFixture) -> None:
    DynamicCheckpointer(build()).load(stock_file)
    (said,) = warnings(caplog)
    assert "nothing confirms that it was trained with INPUT.FORMAT BGR, MODEL.PIXEL_MEAN" in said
    assert "STRIDE_IN_1X1" not in said


def test_nothing_confirms_a_detector_of_another_projects_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backbone by the names of the Swin authors, and heads by Detectron2's."""
    model = build()
    model.backbone.bottom_up1.stage1 = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2)])})
    heads = {n: w for n, w in model.state_dict().items() if n.startswith("roi_heads.")}
    swin = {f"backbone.bottom_up.layers.0.blocks.0.{x}": torch.zeros(2, 2) for x in ("weight",)}
    torch.save({"model": {**swin, **heads}}, tmp_path / "swin.pth")
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(str(tmp_path / "swin.pth"))
    assert checkpointer.report is not None and checkpointer.report.file_format == "Swin"
    (said,) = warnings(caplog)
    assert "swin.pth is a complete detector, and nothing confirms that it was trained" in said


def test_a_config_beside_the_file_confirms_or_contradicts(
    stock_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    beside = Path(stock_file).with_name("config.yaml")
    beside.write_text(config(**STOCK).dump())
    with caplog.at_level(logging.INFO):
        DynamicCheckpointer(build()).load(stock_file)
    assert not warnings(caplog)
    assert f"are confirmed by {beside}." in caplog.text
    beside.write_text(config(**STOCK, **{"INPUT.FORMAT": "RGB"}).dump())
    DynamicCheckpointer(build()).load(stock_file)
    (said,) = warnings(caplog)
    assert "INPUT.FORMAT is BGR, and it was trained with RGB (by " in said
    assert "PIXEL" not in said


def test_a_backbone_and_our_own_checkpoints_need_no_confirmation(
    stock: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build()
    torch.save({"model": model.state_dict()}, tmp_path / "own.pth")
    DynamicCheckpointer(model).load(str(tmp_path / "own.pth"))
    torch.save(stock.backbone.bottom_up.state_dict(), tmp_path / "backbone.pth")
    DynamicCheckpointer(model).load(str(tmp_path / "backbone.pth"))
    assert not warnings(caplog)


def test_a_config_beside_our_own_checkpoint_contradicts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build()
    torch.save({"model": model.state_dict()}, tmp_path / "own.pth")
    (tmp_path / "config.yaml").write_text(config().dump())
    with caplog.at_level(logging.INFO):
        DynamicCheckpointer(model).load(str(tmp_path / "own.pth"))
    assert "confirmed" not in caplog.text and not warnings(caplog)
    other = build({"MODEL.PIXEL_STD": [1.0, 2.0, 3.0]})
    DynamicCheckpointer(other).load(str(tmp_path / "own.pth"))
    (said,) = warnings(caplog)
    assert "own.pth will not detect what it did: MODEL.PIXEL_STD is (1.0, 2.0, 3.0), and" in said


@pytest.mark.parametrize("kind", ["RetinaNet", "FCOS", "YOLO"])
def test_heads_of_one_stage_are_known_by_their_own_names(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """``dense.head``, and ``head1`` and ``head2``: what has them is a complete detector, and each
    knows the order of its channels.
    """
    cfg = yolo_cfg(*DYNAMIC) if kind == "YOLO" else dense_cfg(kind)
    record = {"trainer": {"config": recorded(cfg)}}
    torch.save({"model": build_model(cfg).state_dict(), **record}, tmp_path / "own.pth")
    learnt = cfg.INPUT.FORMAT
    cfg.INPUT.FORMAT = {"RGB": "BGR", "BGR": "RGB"}[learnt]
    checkpointer = DynamicCheckpointer(build_model(cfg))
    checkpointer.load(str(tmp_path / "own.pth"))
    assert checkpointer.report is not None and checkpointer.report.has_heads
    (said,) = warnings(caplog)
    wrong = f"INPUT.FORMAT is {cfg.INPUT.FORMAT}, and it was trained with {learnt} (by its own"
    assert f"own.pth will not detect what it did: {wrong} record)." in said


@pytest.mark.parametrize(
    ("learnt", "says"),
    [(["disc", "ring"], []), (["ring", "disc"], ["'own' are disc, ring, but those of"])],
)
def test_weights_of_other_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, learnt: list[str], says: list[str]
) -> None:
    categories = [{"id": i, "name": name} for i, name in enumerate(learnt)]
    then = ["then", *write_coco(tmp_path / "then", [image_entry(1)], [], categories=categories)]
    own = ["own", *write_coco(tmp_path / "own", [image_entry(1)], [])]
    cfg = toy_cfg("DATASETS.COCO_JSON", [then], "DATASETS.TRAIN", ("then",))
    (tmp_path / "config.yaml").write_text(cfg.dump())
    (tmp_path / "model.pth").touch()
    with clean_catalogs():
        register_coco_json([own])
        say_other_classes(str(tmp_path / "model.pth"), ["own", "gone"])
        found = warnings(caplog)
        assert len(found) == len(says) and all(map(str.__contains__, found, says))
        caplog.clear()
        # What names are drawn and exported by.
        sets = ("DATASETS.COCO_JSON", [own], "DATASETS.TEST", ("own",))
        weights = ("MODEL.WEIGHTS", str(tmp_path / "model.pth"), "MODEL.ROI_HEADS.NUM_CLASSES", 2)
        assert class_names_of(toy_cfg(*sets, *weights)) == ["disc", "ring"]
        assert warnings(caplog) == found
        caplog.clear()
        Path(then[1]).unlink()
        for path in (str(tmp_path / "model.pth"), str(tmp_path / "own" / "model.pth"), ""):
            say_other_classes(path, ["own"])
        assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("key", "now"),
    [
        ("MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64], [128], [256]]),
        ("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (1.0, 1.0, 1.0, 1.0)),
        ("MODEL.FPN.FUSE_TYPE", "avg"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlign"),
        ("MODEL.ROI_HEADS.IN_FEATURES", ["p3", "p4"]),
        ("MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.9),  # may be another one
        ("MODEL.RETINANET.IN_FEATURES", ["p3"]),  # of another kind of detector
    ],
)
def test_weights_of_other_boxes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, now: object
) -> None:
    """Every tensor has its shape, and detections are elsewhere."""
    (tmp_path / "config.yaml").write_text(toy_cfg().dump())
    (tmp_path / "model.pth").touch()
    say_other_boxes(str(tmp_path / "model.pth"), toy_cfg())
    say_other_boxes("", toy_cfg(key, now))
    assert warnings(caplog) == []
    say_other_boxes(str(tmp_path / "model.pth"), toy_cfg(key, now))
    # By a config elsewhere, as an upgrade is told of.
    (tmp_path / "config.yaml").rename(tmp_path / "stock.yaml")
    say_other_boxes(str(tmp_path / "model.pth"), toy_cfg(key, now))
    say_other_boxes(str(tmp_path / "model.pth"), toy_cfg(key, now), str(tmp_path / "stock.yaml"))
    found = f"model.pth will not detect what it did: {key} is {now!r}, and it was trained with"
    expected = [] if "NMS" in key or "RETINANET" in key else [found] * 2
    said = warnings(caplog)
    assert len(said) == len(expected) and all(map(str.__contains__, said, expected))


def test_a_checkpoint_that_was_moved_says_itself_what_it_expects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its run's config beside it; the keys are in the state of the trainer."""
    path, model = str(tmp_path / "moved.pth"), toy_model()
    key = "MODEL.ANCHOR_GENERATOR.SIZES"
    kept = recorded(toy_cfg(key, [[8], [16], [32], [64], [128]]))
    torch.save({"model": model.state_dict(), "trainer": {"config": kept}}, path)
    say_other_boxes(path, toy_cfg(key, ((8,), (16,), (32,), (64,), (128,))))
    DynamicCheckpointer(model).load(path)
    assert warnings(caplog) == []
    say_other_boxes(path, toy_cfg())
    DynamicCheckpointer(build_model(toy_cfg("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]))).load(path)
    boxes, pixels = warnings(caplog)
    assert f"{key} is [[32], [64], [128], [256], [512]], and it was trained with [[8], " in boxes
    assert "MODEL.PIXEL_STD is (1.0, 1.0, 1.0), and it was trained with (58.0, 57.0, " in pixels
    assert boxes.endswith("(by its own record).") and pixels.endswith("(by its own record).")


@pytest.mark.parametrize("head", ["RetinaNet", "FCOS"])
def test_static_dense_detectors_know_the_order_of_their_channels(head: str) -> None:
    backbone = ("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone")
    keys = (*STATIC, *backbone, "MODEL.META_ARCHITECTURE", head, "INPUT.FORMAT", "RGB")
    own = of_model(build_model(dense_cfg(head, *keys)))
    assert own is not None and own.input_format == "RGB"


def test_detectron2s_predictor_says_other_boxes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "own.pth")
    torch.save(
        {"model": toy_model().state_dict(), "trainer": {"config": recorded(toy_cfg())}}, path
    )
    DefaultPredictor(toy_cfg("MODEL.WEIGHTS", path, "MODEL.DYNAMIC.THRESHOLD", 1.0))
    assert warnings(caplog) == []
    keys = ("MODEL.WEIGHTS", path, "MODEL.FPN.FUSE_TYPE", "avg", "MODEL.DYNAMIC.THRESHOLD", 1.0)
    DefaultPredictor(toy_cfg(*keys))
    assert warnings(caplog) == [
        f"{path} will not detect what it did: MODEL.FPN.FUSE_TYPE is 'avg', and it was trained "
        "with 'sum' (by its own record)."
    ]


def test_anchors_that_the_zoo_has_to_more_digits_are_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """40.31747359663594 there, and 40.3175 here."""
    name = "detectron2://COCO-Detection/retinanet_R_50_FPN_1x/190397773/model_final_bfca0b.pkl"
    cfg = read_config("configs/retinanet_R_50_FPN_1x.yaml")
    say_other_boxes(name, cfg)
    assert warnings(caplog) == []
    cfg.MODEL.ANCHOR_GENERATOR.SIZES[0][1] = 40.33
    say_other_boxes(name, cfg)
    assert len(warnings(caplog)) == 1


def test_files_of_the_zoo_say_which_model_they_are() -> None:
    name = "COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl"
    for path in (f"detectron2://{name}", f"/cache/detectron2/{name}"):
        file = confirming_config(path)
        assert file is not None and file.name == "faster_rcnn_R_50_FPN_1x.yaml"
        own = read_config("configs/dy_faster_rcnn_R_50_FPN_1x_d2zoo.yaml")
        assert of_config(read_config(str(file))) == of_config(own)
        assert of_config(read_config("configs/dy_faster_rcnn_R_50_FPN_1x.yaml")) != of_config(own)
    assert confirming_config("detectron2://gone/gone/1/model_final_0.pkl") is None


# Detectron2's own checkpointer, which its scripts use


def by_detectron2(path: object, **keys: object) -> nn.Module:
    model = build({**EASY, **keys})
    DetectionCheckpointer(model).load(str(path))
    return model


@pytest.mark.parametrize("kind", [".pth", ".pkl"])
def test_it_loads_a_stock_detector_as_our_commands_do(
    stock: nn.Module, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / f"stock{kind}"
    if kind == ".pth":
        torch.save({"model": stock.state_dict()}, file)
    else:  # as Detectron2's zoo has them
        weights = {name: tensor.numpy() for name, tensor in stock.state_dict().items()}
        file.write_bytes(pickle.dumps({"model": weights, "__author__": "zoo"}))
    ours = DynamicCheckpointer(build())
    ours.load(str(file))
    model = by_detectron2(file)
    theirs = model.state_dict()
    expected = ours.model.state_dict()
    filled = set(ours.report.loaded)
    assert all(torch.equal(theirs[name], expected[name]) for name in filled)
    with torch.no_grad():
        found = model(image())[0]["instances"]
        same = stock(image())[0]["instances"]
    assert len(same) and torch.equal(found.scores, same.scores)


def test_its_router_is_at_random_values(stock_file: str) -> None:
    model = by_detectron2(stock_file)
    model.threshold = 0.0
    with pytest.raises(ValueError, match="^The checkpoint has no weights of the router, and the t"):
        model.threshold = 0.5


def test_it_refuses_what_is_not_whole(stock: nn.Module, stock_file: str) -> None:
    with pytest.raises(ValueError, match=r"leaves parts of the model at random .*router \(4\)"):
        by_detectron2(stock_file, **{"MODEL.DYNAMIC.THRESHOLD": 0.5})
    with pytest.raises(ValueError, match=r"random values.*roi_heads.box_predictor"):
        by_detectron2(stock_file, **{"MODEL.ROI_HEADS.NUM_CLASSES": 5})
    part = {n: w for n, w in stock.state_dict().items() if "fpn_output4" not in n}
    torch.save({"model": part}, stock_file)
    with pytest.raises(ValueError, match=r"random values.*neck.fpn_output4"):
        by_detectron2(stock_file)
    torch.save({"model": {"a": torch.zeros(1)}}, stock_file)
    with pytest.raises(ValueError, match="No tensor of The checkpoint fits the model"):
        by_detectron2(stock_file)


def test_a_model_in_training_takes_a_backbone(stock: nn.Module, tmp_path: Path) -> None:
    torch.save({"model": stock.backbone.bottom_up.state_dict()}, tmp_path / "b.pth")
    model = build().train()
    DetectionCheckpointer(model).load(str(tmp_path / "b.pth"))
    expected = stock.backbone.bottom_up.res3[0].conv1.weight
    for bottom_up in (model.backbone.bottom_up1, model.backbone.bottom_up2):
        assert torch.equal(bottom_up.res3[0].conv1.weight, expected)


def test_caffe2_weights_of_a_backbone_are_refused(tmp_path: Path) -> None:
    """Detectron2 matches them by suffixes, and two backbones have the same."""
    weights = {"res3_0_branch2a_w": torch.zeros(128, 64, 3, 3).numpy()}
    (tmp_path / "r.pkl").write_bytes(pickle.dumps(weights))
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    del before["loss_offset"]  # NaN
    with pytest.raises(ValueError):
        DetectionCheckpointer(model).load(str(tmp_path / "r.pkl"))
    assert all(torch.equal(w, model.state_dict()[n]) for n, w in before.items())


def test_own_names_are_torchs_affair() -> None:
    model = toy_model()
    part = {n: w for n, w in model.state_dict().items() if not n.startswith("router.")}
    missing, unexpected = model.load_state_dict(part, strict=False)
    assert missing and all(name.startswith("router.") for name in missing) and not unexpected
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(part)


def test_a_config_in_the_working_folder_is_of_no_address_or_package(
    stock: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be of another run: nothing lies beside what is no file."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("INPUT: {FORMAT: RGB}\nVERSION: 2\n")
    for path in ("efficientnet-lite0", "The checkpoint", "detectron2://R-50.pkl", "gone.pth"):
        assert confirming_config(path) is None
    Path("there.pth").touch()
    assert confirming_config("there.pth") == Path("config.yaml")


def test_a_checkpoint_is_believed_before_a_config_that_lies_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which may be that of another run, as where weights were copied."""
    path, model = str(tmp_path / "copied.pth"), toy_model()
    torch.save({"model": model.state_dict(), **in_checkpoint({}, keys_of(toy_cfg()))}, path)
    weights = ("MODEL.RPN.BBOX_REG_WEIGHTS", (2.0, 2.0, 1.0, 1.0), "INPUT.FORMAT", "RGB")
    other = toy_cfg(*weights)
    (tmp_path / "config.yaml").write_text(other.dump())
    say_other_boxes(path, toy_cfg())
    DynamicCheckpointer(model).load(path)
    assert warnings(caplog) == []
    say_other_boxes(path, other)
    DynamicCheckpointer(build_model(other)).load(path)
    boxes, pixels = warnings(caplog)
    assert "BBOX_REG_WEIGHTS is (2.0, 2.0, 1.0, 1.0), and it was trained with (1.0, " in boxes
    assert "INPUT.FORMAT is RGB, and it was trained with BGR (by its own record)." in pixels


@pytest.mark.parametrize(
    ("cfg", "key", "values"),
    [
        (toy_cfg, "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", ([[0.5, 1.0]], [[0.5, 1.0]] * 5)),
        (yolo_cfg, "MODEL.YOLO.ANCHORS", ([], VARIANTS["yolov7"].anchors)),
    ],
)
def test_what_is_spelt_otherwise_and_means_the_same(
    cfg: Callable[..., CfgNode],
    key: str,
    values: tuple,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = str(tmp_path / "w.pth")
    for now, then in (values, values[::-1]):
        record = in_checkpoint({}, {**keys_of(cfg()), key: then})
        torch.save({"model": {}, **record}, path)
        say_other_boxes(path, cfg(key, [*map(list, now)]))
    assert warnings(caplog) == []
    say_other_boxes(path, cfg(key, [[0.7, 1.0]] if cfg is toy_cfg else [[[9, 9]]] * 3))
    assert len(warnings(caplog)) == 1

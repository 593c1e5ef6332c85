# SPDX-License-Identifier: Apache-2.0
"""Published YOLO files: names, numbers, safe reading; converted models give what they gave."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.checkpoint.conventions import say_other_boxes
from dynamicdet_d2.checkpoint.convert import _marked, config_keys, convert, renamed
from dynamicdet_d2.checkpoint.names.yolo import Layout, recognise
from dynamicdet_d2.checkpoint.names.yolo_layers import second_index
from dynamicdet_d2.checkpoint.pickled_modules import read_pickled_weights
from dynamicdet_d2.checkpoint.published_anchors import anchors_of
from dynamicdet_d2.config import read_config
from dynamicdet_d2.modeling.yolo.build import dynamic_parts, static_parts
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, scaled
from tests.support.published_yolo import (
    PublishedYOLO,
    foreign_classes,
    published_weights,
    save_module,
    save_state_dict,
)
from tests.support.toy_yolo import yolo_cfg

# Names


@pytest.mark.parametrize(
    ("variant", "training", "deployed", "dynamic"),
    [("yolov7", 566, 560, 1146), ("yolov7x", 644, 638, 1302), ("yolov7_w6", 668, 628, 1286)],
)
def test_files_have_as_many_entries_as_the_published(
    variant: str, training: int, deployed: int, dynamic: int
) -> None:
    """Two of them are anchors, of each detector."""
    auxiliary = variant == "yolov7_w6"
    assert len(names_of(Layout(variant, auxiliary=auxiliary))) == training - 2
    assert len(names_of(Layout(variant, implicit=False))) == deployed - 2
    assert len(names_of(Layout(variant, dynamic=True))) == dynamic - 4


def names_of(layout: Layout) -> set[str]:
    return {source.name for source in layout.sources().values()}


@pytest.mark.parametrize(
    ("variant", "ranges"),
    [
        (
            "yolov7",
            {(0, 1): 5, (2, 3): 8, (4, 16): 11, (17, 29): 25, (30, 42): 39, (43, 50): 53},
        ),
        (
            "yolov7x",
            {(0, 1): 5, (2, 3): 8, (4, 18): 11, (19, 33): 27, (34, 48): 43, (49, 58): 59},
        ),
        (
            "yolov7_w6",
            {(1, 2): 5, (3, 11): 8, (12, 20): 18, (21, 29): 28, (30, 38): 38, (39, 46): 48},
        ),
    ],
)
def test_layers_of_backbone_2(variant: str, ranges: dict) -> None:
    levels = VARIANTS[variant].backbone
    for (first, last), start in ranges.items():
        found = [second_index(levels, index) for index in range(first, last + 1)]
        assert found == list(range(start, start + last + 1 - first))


@pytest.mark.parametrize(
    ("layout", "ours", "theirs"),
    [
        (Layout("yolov7"), "backbone.p5.blocks.0.fuse.weight", "model.50.conv.weight"),
        (Layout("yolov7"), "neck.pooling.side.norm.bias", "model.51.cv2.bn.bias"),
        (Layout("yolov7"), "head.convs.n4.dense.norm.weight", "model.103.rbr_dense.1.weight"),
        (Layout("yolov7"), "head.predictors.n5.conv.bias", "model.105.m.2.bias"),
        (Layout("yolov7x"), "head.predictors.n3.add.implicit", "model.121.ia.0.implicit"),
        (
            Layout("yolov7_w6", auxiliary=True),
            "auxiliary_head.predictors.t6.weight",
            "model.122.m2.3.weight",
        ),
        (Layout("yolov7_w6"), "head.predictors.n6.multiply.implicit", "model.118.im.3.implicit"),
        (
            Layout("yolov7", dynamic=True),
            "backbone.bottom_up2.p4.blocks.0.side.weight",
            "model_b2.39.conv.weight",
        ),
        (Layout("yolov7x", dynamic=True), "head2.convs.n5.weight", "model_h2.61.conv.weight"),
    ],
)
def test_names_by_the_published_numbers(layout: Layout, ours: str, theirs: str) -> None:
    assert layout.sources()[ours].name == theirs


def test_layouts_are_recognised() -> None:
    for variant in VARIANTS:
        for layout in (
            Layout(variant),
            Layout(variant, implicit=False),
            Layout(variant, dynamic=True),
        ):
            names = names_of(layout)
            assert recognise(names | {"model.105.anchors"}) == layout
            assert recognise(n for n in names if "num_batches" not in n) == layout
    with pytest.raises(
        ValueError, match="of yolov7 with one detector it lacks model.0.conv.weight"
    ):
        recognise(names_of(Layout("yolov7")) - {"model.0.conv.weight"})
    with pytest.raises(ValueError, match="it lacks nothing and has fc.bias, fc.weight besides"):
        recognise(names_of(Layout("yolov7x", dynamic=True)) | {"fc.weight", "fc.bias"})


# Converted models, a sixteenth as wide


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variant in list(VARIANTS.items()):
        monkeypatch.setitem(VARIANTS, name, scaled(variant, 1 / 16))


def parts_of(layout: Layout, classes: int) -> nn.ModuleDict:
    """A model's parts with random weights, statistics included."""
    torch.manual_seed(0)
    cfg = yolo_cfg(
        *("MODEL.YOLO.VARIANT", layout.variant, "MODEL.YOLO.WIDTH", 1.0),
        *("MODEL.YOLO.NUM_CLASSES", classes, "MODEL.YOLO.AUXILIARY", layout.auxiliary),
    )
    if layout.dynamic:
        cfg.MODEL.BACKBONE.NAME = "build_composite_elan_backbone"
    if layout == Layout("yolov7x", dynamic=True):
        cfg.MODEL.YOLO.STRIDED_FROM_BACKBONE1 = ["p3"]
    parts = dynamic_parts(cfg) if layout.dynamic else static_parts(cfg)
    modules = nn.ModuleDict({k: part for k, part in parts.items() if part is not None})
    for name, tensor in modules.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.1, 0.4)
        elif name.endswith(("norm.weight", "norm.bias", "running_mean", "implicit")):
            tensor.uniform_(0.2, 0.9)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
    return modules.eval()


def file_of(layout: Layout, path: Path, classes: int = 3, **keys: object) -> dict[str, Tensor]:
    """Write a published file of random weights.

    Returns:
        what it holds.
    """
    weights = parts_of(layout, classes).state_dict()
    anchors = VARIANTS[layout.variant].anchors
    published = published_weights(weights, layout.sources(), anchors) | keys
    save = save_state_dict if layout.dynamic else save_module
    save(published, str(path))
    return published


def converted_parts(layout: Layout, weights: Path, classes: int) -> nn.ModuleDict:
    """Parts with the weights of a converted file, all of them, in float64."""
    parts = parts_of(layout, classes)
    state = torch.load(weights, weights_only=True)["model"]
    parts.load_state_dict(state)
    return parts.double()


def image() -> Tensor:
    return torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(1)).double()


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-9 * max(1.0, other.abs().max())


STATIC = [
    *(
        (Layout(variant, implicit=implicit), 3)
        for variant in VARIANTS
        for implicit in (True, False)
    ),
    (Layout("yolov7_w6", auxiliary=True), 3),
    (Layout("yolov7"), 80),
]


@pytest.mark.parametrize(("layout", "classes"), STATIC, ids=str)
@torch.no_grad()
def test_static_models_give_what_they_gave(layout: Layout, classes: int, tmp_path: Path) -> None:
    published = file_of(layout, tmp_path / "published.pt", classes)
    result = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth"))
    assert (result.layout, result.num_classes) == (layout, classes)
    parts = converted_parts(layout, result.weights, classes)
    maps = parts["neck"](parts["backbone"](image()))
    expected = PublishedYOLO(published, layout.variant).static(image(), layout.auxiliary)
    assert_same(parts["head"](maps), expected[0])
    if layout.auxiliary:
        assert_same(parts["auxiliary_head"](maps), expected[1])
    assert expected[0][0].shape == (2, 3, 8, 16, 5 + classes)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_dynamic_models_give_what_they_gave(variant: str, tmp_path: Path) -> None:
    layout = Layout(variant, dynamic=True)
    published = file_of(layout, tmp_path / "published.pt")
    result = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth"))
    assert (result.layout, result.num_classes) == (layout, 3)
    parts = converted_parts(layout, result.weights, classes=3)
    features1, start = parts["backbone"].first(image())
    features2 = parts["backbone"].second(features1, start)
    score, first, second = PublishedYOLO(published, variant).dynamic(image())
    assert_same(parts["head1"](parts["neck1"](features1)), first)
    assert_same(parts["head2"](parts["neck2"](features2)), second)
    pooled = torch.cat([x.mean(dim=(2, 3)) for x in features1.values()], dim=1)
    difficulty = parts["router"].difficulty(pooled)
    assert (difficulty - (1 - score)).abs().max() < 1e-12


def test_the_config_builds_the_model_that_the_weights_fill(tmp_path: Path) -> None:
    layout = Layout("yolov7_w6", auxiliary=True)
    file_of(layout, tmp_path / "published.pt")
    result = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth"))
    cfg = read_config(str(result.config))
    assert cfg.MODEL.WEIGHTS == str(tmp_path / "ours.pth")
    assert (cfg.MODEL.YOLO.AUXILIARY, cfg.MODEL.YOLO.LOSS.TOP_K) == (True, 20)
    assert (cfg.MODEL.YOLO.LOSS.TRAIN_SIZE, cfg.INPUT.MIN_SIZE_TEST) == (1280, 1280)
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    report = checkpointer.report
    assert not report.initial and not report.unmatched and not report.mismatched
    state = torch.load(cfg.MODEL.WEIGHTS, weights_only=True)["model"]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert {x.dtype for x in state.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_x_oddity_is_a_key_of_its_config(variant: str, tmp_path: Path) -> None:
    file_of(Layout(variant, dynamic=True), tmp_path / "published.pt")
    config = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth")).config
    yolo = read_config(str(config)).MODEL.YOLO
    assert yolo.STRIDED_FROM_BACKBONE1 == (["p3"] if variant == "yolov7x" else [])
    assert yolo.VARIANT == variant


def test_converted_weights_say_what_they_need_under_another_config(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the config that is shipped for the variant, every tensor has its place as well."""
    file_of(Layout("yolov7x", dynamic=True), tmp_path / "published.pt")
    result = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth"))
    say_other_boxes(str(result.weights), read_config(str(result.config)))
    assert not caplog.messages
    say_other_boxes(str(result.weights), read_config("configs/dy_yolov7x.yaml"))
    assert caplog.messages == [
        f"{result.weights} will not detect what it did: MODEL.YOLO.STRIDED_FROM_BACKBONE1 is [], "
        "and it was trained with ['p3'] (by its own record)."
    ]


# Anchors


def grid(*pairs: tuple) -> Tensor:
    """Three levels of three equal anchors, as files have them in pixels."""
    levels = [[pair] * 3 for pair in pairs]
    return torch.tensor(levels, dtype=torch.float32).view(3, 1, 3, 1, 1, 2)


def cells(pixels: Tensor) -> Tensor:
    return pixels.view(3, 3, 2) / torch.tensor([8.0, 16.0, 32.0]).view(3, 1, 1)


def test_other_anchors_are_kept(tmp_path: Path) -> None:
    pixels = grid((8, 9), (20, 21), (50, 60))
    own = {"model.105.anchor_grid": pixels, "model.105.anchors": cells(pixels)}
    file_of(Layout("yolov7"), tmp_path / "published.pt", **own)
    config = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth")).config
    expected = [[[8, 9]] * 3, [[20, 21]] * 3, [[50, 60]] * 3]
    assert read_config(str(config)).MODEL.YOLO.ANCHORS == expected


def test_published_anchors_are_no_key(tmp_path: Path) -> None:
    file_of(Layout("yolov7"), tmp_path / "published.pt")
    config = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth")).config
    assert "ANCHORS" not in config.read_text()


def test_anchors_that_disagree_are_refused(tmp_path: Path) -> None:
    path, output = str(tmp_path / "published.pt"), str(tmp_path / "ours.pth")
    pixels = grid((8, 9), (20, 21), (50, 60))
    file_of(Layout("yolov7"), Path(path), **{"model.105.anchor_grid": pixels})
    with pytest.raises(ValueError, match="model.105.anchor_grid and its anchors in cells disagree"):
        convert(path, output)
    own = {"model_h2.54.anchor_grid": pixels, "model_h2.54.anchors": cells(pixels)}
    file_of(Layout("yolov7", dynamic=True), Path(path), **own)
    with pytest.raises(ValueError, match="two detectors have different anchors"):
        convert(path, output)
    assert not Path(output).exists()


@pytest.mark.parametrize("kind", ["anchors", "anchor_grid"])
def test_anchors_in_cells_or_in_pixels_are_enough(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cell is 8, 16, 32 and, of W6 alone, 64 pixels wide."""
    pixels = torch.tensor([[[8.0, 12], [16, 20]], [[32, 40], [48, 64]], [[96, 128], [160, 192]]])
    in_cells = torch.tensor([[[1.0, 1.5], [2, 2.5]], [[2, 2.5], [3, 4]], [[3, 4], [5, 6]]])
    file = {f"model.105.{kind}": in_cells if kind == "anchors" else pixels.view(3, 1, 2, 1, 1, 2)}
    assert anchors_of(file, Layout("yolov7")) == pixels.tolist()
    own = pixels.new_tensor(VARIANTS["yolov7_w6"].anchors)
    strides = pixels.new_tensor([8.0, 16.0, 32.0, 64.0])[:, None, None]
    own_file = {f"model.118.{kind}": (own / strides if kind == "anchors" else own).half()}
    assert anchors_of(own_file, Layout("yolov7_w6")) is None
    assert not caplog.messages
    both = {**file, f"model_h2.54.{kind}": 2 * file[f"model.105.{kind}"]}
    with pytest.raises(ValueError, match="two detectors have different anchors"):
        anchors_of(both, Layout("yolov7", dynamic=True))


def test_anchors_in_cells_alone_are_kept(tmp_path: Path) -> None:
    pixels = grid((8, 9), (20, 21), (50, 60))
    published = file_of(Layout("yolov7"), tmp_path / "published.pt")
    left = {name: x for name, x in published.items() if not name.endswith(".anchor_grid")}
    save_module({**left, "model.105.anchors": cells(pixels)}, str(tmp_path / "published.pt"))
    config = convert(str(tmp_path / "published.pt"), str(tmp_path / "ours.pth")).config
    expected = [[[8, 9]] * 3, [[20, 21]] * 3, [[50, 60]] * 3]
    assert read_config(str(config)).MODEL.YOLO.ANCHORS == expected


def test_a_file_without_anchors_is_said_to_be_that(caplog: pytest.LogCaptureFixture) -> None:
    assert anchors_of({"model.0.conv.weight": torch.ones(1)}, Layout("yolov7x")) is None
    (said,) = caplog.messages
    assert "has no anchors, in pixels or in cells: those of yolov7x are taken" in said


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"anchors": torch.ones(2, 3, 2)}, r"anchors is of shape \(2, 3, 2\), where yolov7 has pa"),
        ({"anchors": torch.ones(3, 3)}, r"anchors is of shape \(3, 3\), where yolov7 has pairs of"),
        ({"anchors": torch.ones(3, 0, 2)}, r"anchors is of shape \(3, 0, 2\), where yolov7 has"),
        (
            {"anchor_grid": torch.tensor(9.0)},
            r"anchor_grid is of shape \(\), where yolov7 has pair",
        ),
        ({"anchors": torch.ones(3, 3, 2, dtype=torch.long)}, "anchors has values of type torch.in"),
        (
            {"anchors": torch.full((3, 3, 2), float("nan"))},
            "of model.105.anchors in pixels is .*nan",
        ),
        ({"anchor_grid": torch.zeros(3, 3, 2)}, r"of model.105.anchor_grid in pixels is \[\[0.0"),
        (
            {"anchor_grid": torch.ones(3, 1, 3, 1, 1, 2), "anchors": torch.ones(3, 4, 2)},
            "model.105.anchor_grid has 3 anchors per level, and model.105.anchors has 4",
        ),
    ],
)
def test_what_are_no_anchors_is_named(file: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        anchors_of({f"model.105.{name}": x for name, x in file.items()}, Layout("yolov7"))


@pytest.mark.parametrize(
    ("outputs", "anchors", "classes"),
    [
        (24, None, 3),
        (24, 4, 1),
        (15, None, None),
        (25, None, None),
        (0, None, None),
        (255, 4, None),
    ],
)
def test_classes_are_what_outputs_leave(
    outputs: int, anchors: int | None, classes: int | None
) -> None:
    """Of three anchors, or of others, with five outputs each beside the classes."""
    weights = {"head.predictors.n3.conv.bias": torch.zeros(outputs)}
    own = anchors and [[[8, 9]] * anchors] * 3
    if classes is not None:
        keys = config_keys(Layout("yolov7"), weights, own)
        assert keys["MODEL"]["YOLO"]["NUM_CLASSES"] == classes
        return
    said = f"model.105.m.0.bias has {outputs} outputs for the {anchors or 3} anchors of a position"
    with pytest.raises(ValueError, match=said):
        config_keys(Layout("yolov7"), weights, own)


# Averaged weights


def trained(path: Path, **content: object) -> str:
    torch.save({"epoch": 3, "updates": 100, "optimizer": {}, **content}, path / "last.pt")
    return str(path / "last.pt")


@pytest.mark.parametrize("model", [{"a": torch.zeros(2)}, None])
def test_averaged_weights_are_taken(
    model: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = trained(tmp_path, model=model, ema={"a": torch.ones(2)})
    assert read_pickled_weights(path)["a"].tolist() == [1, 1]
    (said,) = caplog.messages
    assert "last.pt holds averaged weights under 'ema': they are taken, " in said


def test_averaged_modules_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As trainings save them, beside the module itself; without an average nothing is said."""
    with foreign_classes() as (model, _):
        root, ema = model(), model()
        root.inner, ema.inner = nn.Linear(2, 1), nn.Linear(2, 1)
        read = {
            kept: read_pickled_weights(trained(tmp_path, model=root, ema=average))
            for kept, average in (("raw", None), ("averaged", ema))
        }
    assert torch.equal(read["raw"]["inner.weight"], root.inner.weight)
    assert torch.equal(read["averaged"]["inner.weight"], ema.inner.weight)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("ema", "message"),
    [
        (0.9999, "^'ema' of .*last.pt holds an object of type float, where weights or a module"),
        ({}, "^'ema' of .*last.pt holds no weights"),
        ({"decay": 0.9999}, "^'ema' of .*last.pt holds under 'decay' what is of type float"),
    ],
)
def test_averages_that_are_no_weights_are_refused(
    ema: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_pickled_weights(trained(tmp_path, model={"a": torch.ones(2)}, ema=ema))


# Files that are not what they seem


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.0.conv.weight", float("nan"), "model.0.conv.weight has values that are not finite"),
        (
            "model.0.bn.running_var",
            -0.5,
            "model.0.bn.running_var has values that are negative, and",
        ),
        (
            "model.0.bn.running_mean",
            1e300,
            "model.0.bn.running_mean has values that are not finite",
        ),
        ("model.0.bn.bias", 2, "model.0.bn.bias has values of type torch.int64, where floating"),
        ("model.0.bn.bias", -0.5, None),
        ("model.0.bn.num_batches_tracked", 7, None),
    ],
)
def test_values_that_nothing_can_be_detected_by_are_named(
    name: str, value: float, message: str | None
) -> None:
    """1e300 is infinite in float32."""
    layout = Layout("yolov7")
    weights = {source.name: torch.ones(2, 2) for source in layout.sources().values()}
    kind = torch.float64 if isinstance(value, float) else torch.long
    weights[name] = torch.tensor([[1, value]], dtype=kind)
    if message is None:
        assert len(renamed(weights, layout)) == len(weights)
        return
    with pytest.raises(ValueError, match=message):
        renamed(weights, layout)


class Payload:
    """Would make a folder if a pickle of it were loaded by Python's own pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


class Getter:
    def __reduce__(self) -> tuple[Callable, tuple]:
        return getattr, ("text", "upper")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    for payload, name in ((Payload(tmp_path / "made"), r"posix\.mkdir"), (Getter(), "getattr")):
        torch.save({"model": {"a": torch.ones(1)}, "more": payload}, path)
        with pytest.raises(ValueError, match=rf"evil\.pt refers to .*{name}, which is not loaded"):
            read_pickled_weights(str(path))
    assert not (tmp_path / "made").exists()


def test_a_newer_pickle_protocol_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"model": {"a": torch.ones(1)}}, path, pickle_protocol=4)
    with pytest.raises(ValueError, match=r"w\.pt was saved with pickle_protocol 4, which torch"):
        read_pickled_weights(str(path))


def test_modules_are_not_made_from_their_classes(tmp_path: Path) -> None:
    """Neither the classes of the file nor torch's own come into being."""
    path, seen = tmp_path / "module.pt", []
    with foreign_classes() as (model, block):
        for kind in (model, block):
            kind.__setstate__ = lambda self, state: seen.append(state)
        root = model()
        root.add_module("inner", nn.Sequential(nn.Linear(2, 1), block()))
        torch.save({"model": root}, path)
        weights = read_pickled_weights(str(path))
        assert not seen
    assert list(weights) == ["inner.0.weight", "inner.0.bias"]
    assert torch.equal(weights["inner.0.weight"], root.inner[0].weight)
    assert not weights["inner.0.weight"].requires_grad


def test_names_come_as_in_the_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    with foreign_classes() as (model, _):
        root = model()
        root.block = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        root.block.register_buffer("fleeting", torch.ones(1), persistent=False)
        root.none = None
        root.half()
        torch.save(root, path)  # alone, not under "model"
    weights = read_pickled_weights(str(path))
    expected = root.state_dict()
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_module_within_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "loop.pt"
    with foreign_classes() as (model, _):
        root = model()
        root._modules["again"] = root
        torch.save({"model": root}, path)
    with pytest.raises(ValueError, match="no module, or one within itself"):
        read_pickled_weights(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "holds no weights"),
        ({"model": {"a": "text"}}, "under 'a' what is of type str"),
        ({"model": {"a": np.ones(2)}}, "under 'a' what is of type _StandIn"),
        ({"model": {"a": torch.ones(1).expand(2)}}, "does not hold every value of 'a', as plain"),
        ({"model": {"a": torch.eye(2).to_sparse()}}, "does not hold every value of 'a', as plain"),
        ({"model": [torch.ones(1)]}, "holds an object of type list, where weights or a module"),
        ([1, 2], "holds an object of type list, where weights or a module"),
        (torch.ones(2), "holds an object of type Tensor, where weights or a module"),
    ],
)
def test_other_contents_are_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=message):
        read_pickled_weights(str(tmp_path / "file.pt"))


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(1000)}}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    files = {
        "cut.pt": whole[: len(whole) // 2],
        "empty.pt": b"",
        "text.pt": b"hello, this is no file of weights",
        "plain.pt": pickle.dumps({"model": {}}),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is no file of torch\.save") as caught:
            read_pickled_weights(str(tmp_path / name))
        assert caught.value.__suppress_context__
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(ValueError, match=r"zip\.pt is no file of torch\.save"):
        read_pickled_weights(str(tmp_path / "zip.pt"))
    with pytest.raises(ValueError, match=r"nowhere\.pt does not exist"):
        read_pickled_weights(str(tmp_path / "nowhere.pt"))


def test_old_versions_of_torch_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    with pytest.raises(ValueError, match="needs PyTorch 2.6 or newer; this is "):
        read_pickled_weights(str(tmp_path / "file.pt"))


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    path, output = str(tmp_path / "published.pt"), str(tmp_path / "ours.pth")
    torch.save({"model": {"fc.weight": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match="cannot be converted: its names are those of no"):
        convert(path, output)
    name = "model.50.conv.weight"
    file_of(Layout("yolov7"), Path(path), **{name: torch.ones(5, 4, 1, 1)})
    with pytest.raises(
        ValueError, match=r"for backbone\.p5\.blocks\.0\.fuse\.weight, where yolov7"
    ):
        convert(path, output)
    file_of(Layout("yolov7", dynamic=True), Path(path), **{"model_b2.3.conv.bias": torch.ones(2)})
    with pytest.raises(ValueError, match="model_b2.3.conv.bias has only 2 output channels"):
        convert(path, output)
    for name, shape, least in (("0.bias", (), 1), ("0.weight", (255,), 2)):
        name = f"model.105.m.{name}"
        file_of(Layout("yolov7"), Path(path), **{name: torch.ones(shape)})
        says = f"of dimensions: {name} has the shape {shape}, with less than {least}."
        with pytest.raises(ValueError, match=re.escape(f"its weights have other numbers {says}")):
            convert(path, output)
    with pytest.raises(ValueError, match=r"The output is ours\.pt; its name must end in \.pth"):
        convert(path, "ours.pt")
    assert os.listdir(tmp_path) == ["published.pt"]


def test_a_config_that_was_changed_or_is_somebodys_is_not_replaced(tmp_path: Path) -> None:
    weights, config = tmp_path / "best.pth", tmp_path / "best.yaml"
    weights.write_bytes(b"trained for a week")
    text = "MODEL:\n  WEIGHTS: out/best.pth\n"
    marked = _marked(text, weights)
    for own in (text, marked + "INPUT: {MIN_SIZE_TEST: 320}\n", ""):
        config.write_text(own)
        with pytest.raises(
            ValueError, match=r"best\.pth, which no conversion has written as it is"
        ):
            convert(str(tmp_path / "gone.pt"), str(weights))
    config.write_text(marked)
    with pytest.raises(ValueError, match=r"gone\.pt does not exist"):
        convert(str(tmp_path / "gone.pt"), str(weights))
    weights.write_bytes(b"trained for another week")
    with pytest.raises(ValueError, match=r"best\.pth, which no conversion has written as it is"):
        convert(str(tmp_path / "gone.pt"), str(weights))

# SPDX-License-Identifier: Apache-2.0
"""Exported detectors beside PyTorch's, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from torch import nn

from dynamicdet_d2.commands.check_export import check_model
from dynamicdet_d2.export import export, open_exported
from dynamicdet_d2.export.check import check_pieces
from dynamicdet_d2.export.kinds import checked_kind_of, kind_of
from dynamicdet_d2.export.pieces import image_pieces
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.operating_point import Calibration, fingerprint, threshold_grid, threshold_table
from dynamicdet_d2.runner import Detections, Runner
from dynamicdet_d2.runner.folder import Folder
from tests.support.exported import DETECTORS, Exported
from tests.support.optimized import decided
from tests.support.toy import toy_cfg, toy_model

RUNTIMES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torch": ()}


def needs(runtime: str) -> None:
    for package in RUNTIMES[runtime]:
        pytest.importorskip(package)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Of different sizes, RGB."""
    generator = np.random.default_rng(seed)
    sizes = [(70, 100), (90, 80), (64, 64), (50, 120)]
    return [
        generator.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8)
        for i in range(count)
    ]


def expected(own: Exported, images: list[np.ndarray], threshold: float | None) -> list[dict]:
    """What the model says of each image, by Detectron2's own preparation."""
    predictor = DefaultPredictor(own.cfg)
    inputs = []
    for image in images:
        ordered = image if own.cfg.INPUT.FORMAT == "RGB" else image[:, :, ::-1]
        resized = predictor.aug.get_transform(ordered).apply_image(ordered)
        tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        inputs.append({"image": tensor, "height": image.shape[0], "width": image.shape[1]})
    if threshold is not None:
        own.model.threshold = threshold
    with torch.no_grad():
        return [own.model([one])[0] for one in inputs]


def assert_equal(found: Detections, theirs: dict) -> None:
    """The same detections; those of nearly equal scores in any order."""
    instances = theirs["instances"]
    boxes, classes = instances.pred_boxes.tensor.numpy(), instances.pred_classes.numpy()
    assert len(found) == len(instances) > 0
    assert found.route == theirs.get("route")
    if found.difficulty is not None:
        assert found.difficulty == pytest.approx(theirs["difficulty"], abs=1e-5)
    apart = np.abs(found.boxes[None] - boxes[:, None]).max(axis=2)
    apart += 100 * np.abs(found.scores[None] - instances.scores.numpy()[:, None])
    apart[found.classes[None] != classes[:, None]] = np.inf
    order = []
    for row in apart:  # the nearest that is not taken yet
        order.append(int(row.argmin()))
        assert row[order[-1]] < 2e-3
        apart[:, order[-1]] = np.inf
    np.testing.assert_allclose(found.scores[order], instances.scores, atol=1e-5)
    if instances.has("pred_masks"):
        assert np.mean(found.masks[order] != instances.pred_masks.numpy()) < 1e-4


def middle(own: Exported, images: list[np.ndarray]) -> float:
    difficulties = sorted(output["difficulty"] for output in expected(own, images, 1.0))
    return float(np.mean(difficulties[len(images) // 2 - 1 : len(images) // 2 + 1]))


@pytest.mark.parametrize("name", [name for name in DETECTORS if "static" not in name])
def test_each_route_in_onnxruntime(exported: Callable, name: str) -> None:
    needs("onnx")
    own = exported(name)
    images = pictures(4)
    detector = Runner(own.folder)
    assert detector.dynamic and detector.class_names == ["disc", "ring", "bar"]
    for threshold in (1.0, 0.0, middle(own, images)):
        detector.threshold = threshold
        found, theirs = detector(images), expected(own, images, threshold)
        for one, other in zip(found, theirs, strict=True):
            assert_equal(one, other)
    assert {one.route for one in found} == {"easy", "hard"}


@pytest.mark.parametrize("name", ["static rcnn", "static yolo"])
def test_static_detectors(exported: Callable, name: str) -> None:
    needs("onnx")
    own = exported(name)
    detector = Runner(own.folder)
    images = pictures(2)
    for one, other in zip(detector(images), expected(own, images, None), strict=True):
        assert_equal(one, other)
    assert detector.threshold is None
    with pytest.raises(ValueError, match="A static detector has one route"):
        detector.threshold = 0.5


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_other_runtimes(exported: Callable, runtime: str) -> None:
    needs(runtime)
    own = exported("rcnn", runtime)
    opened = Runner if runtime == "openvino" else open_exported
    images = pictures(4)
    threshold = middle(own, images)
    detector = opened(own.folder, threshold=threshold)
    for one, other in zip(detector(images), expected(own, images, threshold), strict=True):
        assert_equal(one, other)
    if runtime == "torch":
        with pytest.raises(ValueError, match="exported for 'torch', which this runner cannot open"):
            Runner(own.folder)


def test_pieces_for_given_sizes(tmp_path: Path) -> None:
    model, cfg = toy_model(), toy_cfg("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 128)
    request = Request("torch", sides=[(128, 96), (64, 96)])
    folder = export(model, cfg, tmp_path / "sizes", request)
    detector = open_exported(folder, threshold=0.0)
    assert [found.route for found in detector(pictures(1))] == ["hard"]
    # 64 high and 128 wide after the resize.
    with pytest.raises(ValueError, match="64x128, which fits none of the sizes .*: 64x96, 128x96"):
        detector([np.zeros((50, 100, 3), np.uint8)])
    with pytest.raises(ValueError, match="--sizes has 64x90; .* multiples of 32"):
        export(model, cfg, tmp_path / "more", Request("torch", sides=[(64, 90)]))


def test_it_runs_where_there_is_no_torch(exported: Callable, tmp_path: Path) -> None:
    """In a process that refuses to import torch and Detectron2."""
    needs("onnx")
    own = exported("rcnn")
    image = pictures(1)[0]
    np.save(tmp_path / "image.npy", image)
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "torchvision", "detectron2", "fvcore"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
from dynamicdet_d2.runner import Runner
found = Runner({str(own.folder)!r}, threshold=0.0)([np.load({str(tmp_path / "image.npy")!r})])[0]
assert "torch" not in sys.modules
print(found.route, len(found), float(found.boxes.sum()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    theirs = expected(own, [image], 0.0)[0]
    route, count, total = done.stdout.split()
    assert (route, int(count)) == ("hard", len(theirs["instances"]))
    assert float(total) == pytest.approx(
        float(theirs["instances"].pred_boxes.tensor.sum()), abs=0.1
    )


def calibration_of(model: nn.Module, path: Path, cfg: CfgNode) -> list[float]:
    difficulties = [0.2, 0.4, 0.6, 0.8]
    ms = dict.fromkeys(("p50", "p95", "mean"), 1.0)
    Calibration(
        num_images=4,
        fingerprint=fingerprint(model, cfg),
        latency_ms={"easy": ms, "hard": ms},
        device="a device",
        thresholds=threshold_table(difficulties),
        grid=threshold_grid(difficulties),
        histogram={"edges": [0, 1], "counts": [4]},
        measured={},
        held_out=[],
    ).to_json(path)
    return threshold_grid(difficulties)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_export_is_of_its_own_model(exported: Callable, name: str) -> None:
    """By fingerprint and heads, which check-export looks at first."""
    own = exported(name, "torch")
    folder = Folder.read(own.folder)
    check_model(folder, own.model, own.cfg)
    folder.manifest["heads"]["kind"] = "other"
    with pytest.raises(ValueError, match=r"it was made with kind other \(here [a-z_]+\)\."):
        check_model(folder, own.model, own.cfg)


def test_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cfg, path = toy_model(), toy_cfg(), tmp_path / "calibration.json"
    grid = calibration_of(model, path, cfg)
    folder = export(model, cfg, tmp_path / "folder", Request("torch", str(path)))
    detector = open_exported(folder, hard_fraction=0.5)
    assert detector.threshold == grid[500] == pytest.approx(0.5)
    monkeypatch.setattr(Runner, "measure", lambda *_: (10.0, 20.0))
    detector.latency(12.5, pictures(1))
    assert detector.threshold == grid[250]
    with pytest.raises(ValueError, match=r"9 ms .* cannot be reached; 10.00 .* to 20.00 ms"):
        detector.latency(9.0, pictures(1))
    with pytest.raises(ValueError, match="hard fraction must be a number in"):
        detector.hard_fraction(1.5)
    with pytest.raises(ValueError, match="threshold must be a number in"):
        detector.threshold = 1.5
    other = toy_model(seed=1)
    with pytest.raises(ValueError, match="belongs to another model"):
        export(other, cfg, tmp_path / "other", Request("torch", str(path)))


def test_measuring_leaves_the_threshold(exported: Callable) -> None:
    detector = open_exported(exported("rcnn", "torch").folder, threshold=0.3)
    easy, hard = detector.measure(pictures(2))
    assert easy > 0 and hard > 0
    assert detector.threshold == 0.3
    with pytest.raises(ValueError, match="exported without a calibration"):
        detector.hard_fraction(0.5)


# What is refused


def test_the_whole_detector_is_not_traced() -> None:
    model = toy_model()

    class Whole(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return model([{"image": image}])[0]["instances"].scores

    with pytest.raises(RuntimeError, match="cannot be traced as a whole.*'dynamicdet export'"):
        torch.jit.trace(Whole(), torch.zeros(3, 64, 96))


def test_inference_is_not_traced_either() -> None:
    """Which is what scripts of Detectron2's own trace and export."""
    model = toy_model()

    class Raw(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return model.inference([{"image": image}], do_postprocess=False)[0].scores

    with pytest.raises(RuntimeError, match="one route for all images.*'dynamicdet cost'"):
        torch.jit.trace(Raw(), torch.zeros(3, 64, 96))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"), "MODEL.ROI_HEADS.NAME must be"),
        (("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"), "Only ROIAlign can be exported"),
        (("INPUT.FORMAT", "HSV"), "INPUT.FORMAT is 'HSV'; what is exported needs 'RGB' or 'BGR'"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, keys: tuple, says: str) -> None:
    more = ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True) if "Cascade" in str(keys) else ()
    model, cfg = toy_model(*keys, *more), toy_cfg(*keys, *more)
    with pytest.raises(ValueError, match=says):
        export(model, cfg, tmp_path / "folder", Request("torch"))
    assert not list(tmp_path.iterdir())


def test_another_detector_and_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Linear is a kind of detector that cannot be exported"):
        export(nn.Linear(1, 1), toy_cfg(), tmp_path / "folder", Request("torch"))
    with pytest.raises(ValueError, match="exists; an export makes a folder of its own"):
        export(toy_model(), toy_cfg(), tmp_path, Request("torch"))


class OwnDetections(DynamicRCNN):
    def detections(self, *arguments: object) -> list:
        return [x[:1] for x in super().detections(*arguments)]


class OwnPyramid(DynamicRCNN):
    def pyramid(self, *arguments: object) -> dict:
        return super().pyramid(*arguments)


def test_methods_that_no_piece_holds() -> None:
    model = toy_model()
    model.__class__ = OwnDetections
    with pytest.raises(ValueError) as error:
        checked_kind_of(model)
    assert str(error.value) == (
        "OwnDetections has detections() of its own, which an export would leave out: a runner does "
        "by itself what it does."
    )
    model.__class__ = OwnPyramid  # is traced
    assert checked_kind_of(model).heads == kind_of(toy_model()).heads


class HalvedFor2(DynamicRCNN):
    def pyramid(self, detector: int, features: dict) -> dict:
        own = super().pyramid(detector, features)
        return {name: level / detector for name, level in own.items()}


def test_a_pyramid_of_ones_own_is_traced_for_either_detector(tmp_path: Path) -> None:
    keys = ("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 128)
    model = decided(toy_model(*keys))
    model.__class__ = HalvedFor2
    own = Exported(model, toy_cfg(*keys), tmp_path / "folder")
    export(model, own.cfg, own.folder, Request("torch"))
    images = pictures(2)
    for threshold in (0.0, 1.0):
        found = open_exported(own.folder, threshold=threshold)(images)
        for ours, theirs in zip(found, expected(own, images, threshold), strict=True):
            assert_equal(ours, theirs)


def test_a_piece_that_differs_is_named() -> None:
    model = toy_model()
    pieces = image_pieces(model, kind_of(model), (96, 128), fixed=False)
    images = torch.rand(1, 3, 96, 128)

    def wrong(inputs: dict, wanted: tuple[str, ...]) -> dict:
        found = {k: v.numpy() for k, v in pieces.pieces[0]({"images": images}).items()}
        return found | {"difficulty": found["difficulty"] + 1}

    with pytest.raises(ValueError, match="'first' gives 'difficulty', which differs .* by 1 for"):
        check_pieces(pieces, {"first": wrong}, images)


def test_a_changed_folder_is_refused(exported: Callable, tmp_path: Path) -> None:
    own = exported("rcnn", "torch")
    for file in own.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tail.pt").write_bytes(b"another")
    with pytest.raises(ValueError, match="tail.pt is not the file that the manifest was written"):
        open_exported(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for change, says in (
        (
            {"format": 1},
            "is of format 1, and this version reads format 3; export the detector anew",
        ),
        ({"heads": 1}, "heads is 1; it must be an object"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ValueError, match=says):
            open_exported(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file"):
        Runner(tmp_path)


def test_pictures_of_another_kind_are_refused(exported: Callable) -> None:
    detector = open_exported(exported("rcnn", "torch").folder)
    with pytest.raises(ValueError, match=r"uint8, RGB; found float64 \(4, 4, 3\)"):
        detector([np.zeros((4, 4, 3))])
    with pytest.raises(ValueError, match="no pictures"):
        detector([])

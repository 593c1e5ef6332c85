# SPDX-License-Identifier: Apache-2.0
"""Manifests of exported detectors that were changed by hand: what each sentence names."""

import copy
import io
import json
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynamicdet_d2.export import open_exported
from dynamicdet_d2.model_folder.manifest import verified
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.budget import Budget
from dynamicdet_d2.runner.folder import Folder, sealed, sha256
from dynamicdet_d2.runner.images import prepare
from dynamicdet_d2.runner.two_stage import TwoStageHead

NAN = float("nan")
_bmp = io.BytesIO()
Image.new("RGB", (9, 9)).save(_bmp, "bmp")
BMP = _bmp.getvalue()
INPUT = {"format": "BGR", "min_size": 64, "max_size": 128, "mean": [0, 0, 0], "std": [1, 1, 1]} | {
    **{"divisibility": 32, "placement": "corner", "pad_value": None}
}
ANCHORS = {"cell_anchors": [[[-8, -8, 8, 8]]], "strides": [4], "offset": 0.0}
TWO_STAGE = {
    "kind": "two_stage",
    "rpn": {**ANCHORS, "weights": [1, 1, 1, 1], "scale_clamp": 4.1, "pre_nms_topk": 10}
    | {"post_nms_topk": 5, "nms_threshold": 0.7, "min_box_size": 0},
    "boxes": {"levels": ["p2"], "scales": [0.25], "size": [7, 7], "sampling_ratio": 0}
    | {"aligned": True, "min_level": 2, "canonical_level": 4, "canonical_size": 224}
    | {"weights": [10, 10, 5, 5], "scale_clamp": 4.1, "score_threshold": 0.05}
    | {"nms_threshold": 0.5, "max_detections": 100},
    "masks": None,
}
CANDIDATES = {"score_threshold": 0.0, "nms_threshold": 0.5, "max_candidates": 9}
DENSE = {**ANCHORS, **CANDIDATES, "max_detections": 9, "num_classes": 3} | {
    **{"kind": "retinanet", "weights": [1, 1, 1, 1], "scale_clamp": 4.1}
}
YOLO = {"kind": "yolo", "anchors": [[[8, 8]]], "strides": [8], "multi_label": True} | {
    **CANDIDATES,
    "max_detections": 9,
}
PIECES = {
    "first": (["images"], ["f1_res2", "start", "difficulty"]),
    "second": (["f1_res2", "start"], ["f2_res2"]),
    "tail": (["f1_res2"], ["p2", "logits_0", "deltas_0"]),
    "boxes": (["pooled"], ["scores", "box_deltas"]),
}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As an export leaves it, with files that no runtime could open."""
    manifest = {
        **{"format": 3, "version": "0", "runtime": "onnx", "dynamic": True, "shared_tail": True},
        **{"levels": ["res2"], "second_levels": ["res2"], "sides": None, "input": INPUT},
        **{"heads": TWO_STAGE, "class_names": [], "easy_proposals": 0, "threshold": 0.5},
        **{"calibration": {"grid": [1.0, 0.0]}, "fingerprint": {}, "pieces": {}},
        **{"router_inputs": ["features"], "merge_exits": None},
    }
    for name, (inputs, outputs) in PIECES.items():
        file = tmp_path / f"{name}.onnx"
        file.write_text(name)
        files = {file.name: sha256(file)}
        manifest["pieces"][name] = {"files": files, "inputs": inputs, "outputs": outputs}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def opened(path: Path) -> Callable[[object, list[str]], dict[str, np.ndarray]]:
    """In the place of a runtime."""
    if path.read_text() not in PIECES:
        raise RuntimeError("no such graph\nand a page of text")
    return lambda inputs, wanted: {name: np.zeros(1) for name in wanted}


def said_of(folder: Path, change: Change) -> str:
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError) as refused:
        Runner(folder, opener=opened)
    said = str(refused.value)
    assert "\n" not in said and len(said) < 500 and str(folder) in said
    return said


def put(path: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        *sections, last = path.split(".")
        for section in sections:
            content = content[section]
        content[last] = copy.deepcopy(value)

    return change


def gone(path: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        *sections, last = path.split(".")
        for section in sections:
            content = content[section]
        del content[last]

    return change


CASES: list[tuple[Change, str]] = [
    (put("format", True), "is no manifest of format 3"),
    (put("format", "1"), "is no manifest of format 3"),
    (put("runtime", 3), "runtime is 3; it must be a string."),
    (put("dynamic", 1), "dynamic is 1; it must be true or false."),
    (put("dynamic", False), "has no piece 'whole', which the detector needs."),
    (put("shared_tail", False), "has no piece 'tail1', which the detector needs."),
    (put("pieces", []), "pieces is []; it must be an object."),
    (put("pieces", {}), "has no piece 'first', which the detector needs."),
    (put("pieces.first", None), "pieces.first is None; it must be an object."),
    (put("pieces.first.files", {}), "pieces.first: files is empty"),
    (put("pieces.first.files", {"../first.onnx": "x"}), "is no file of the folder."),
    (put("pieces.first.files", {"/etc/passwd": "x"}), "manifest.json names '/etc/passwd', which"),
    (put("pieces.first.files", {"": "x"}), "is no file of the folder."),
    (put("pieces.first.files", {"first.onnx": None}), "first.onnx is None; it must be a string."),
    (put("pieces.first.files", {"tail.onnx": "x"}), "is not the file that the manifest was"),
    (put("pieces.first.outputs", ["start"]), "the piece 'first' has no output 'f1_res2'"),
    (gone("pieces.second"), "has no piece 'second'"),
    (gone("pieces.boxes"), "'boxes'"),
    (gone("pieces.first.inputs"), "pieces.first.inputs is missing."),
    (put("levels", ["res9"]), "the piece 'first' has no output 'f1_res9'"),
    (put("levels", [1]), "levels[0] is 1; it must be a string."),
    (gone("second_levels"), "second_levels is missing."),
    (put("sides", ["a"]), "sides[0] is 'a'; it must be a list."),
    (put("sides", []), "sides is empty"),
    (put("sides", [[64]]), "sides has 1 numbers; it must have 2."),
    (put("sides", [[64, 64]]), "has no piece 'first@64x64'"),
    (put("threshold", 5), "threshold is 5; it must be from 0 to 1."),
    (put("threshold", None), "threshold is None; a dynamic detector has one."),
    (put("threshold", True), "threshold is True; it must be a number."),
    (put("threshold", NAN), "threshold is nan; it must be a number."),
    (put("calibration", {}), "calibration.grid is missing."),
    (put("calibration.grid", [2.0, 0.0]), "calibration: grid[0] is 2; it must be from 0 to 1."),
    (put("class_names", [1]), "class_names[0] is 1; it must be a string."),
    (put("easy_proposals", -1), "easy_proposals is -1; it must be at least 0."),
    (put("easy_proposals", True), "easy_proposals is True; it must be a whole number."),
    (gone("router_inputs"), "router_inputs is missing."),
    (put("router_inputs", []), "router_inputs is empty; a dynamic detector's router sees"),
    (put("router_inputs", ["area"]), "router_inputs[0] is 'area'; it must be 'features'"),
    (put("router_inputs", ["rpn"]), "has no piece 'router', which the detector needs."),
    (put("router_inputs", ["map", "rpn"]), "the piece 'first' has no output 'numbers'"),
    (gone("merge_exits"), "merge_exits is missing."),
    (put("merge_exits", {"least_iou": 0.6}), "merge_exits.limit is missing."),
    (put("merge_exits", {"least_iou": 2, "limit": 9}), "least_iou is 2; it must be from 0 to 1."),
    (put("merge_exits", {"least_iou": 0.6, "limit": -1}), "limit is -1; it must be at least 0."),
    (put("input", {}), "input.format is missing."),
    (put("input.format", "GBR"), "input.format is 'GBR'; it must be 'RGB' or 'BGR'."),
    (put("input.min_size", -1), "input: min_size is -1; it must be at least 0."),
    (put("input.max_size", 0), "input: max_size is 0; it must be at least 1."),
    (put("input.mean", [1]), "input: mean has 1 numbers; it must have 3."),
    (put("input.std", [0, 1, 1]), "input: std has 0; each must be above 0."),
    (put("input.std", [NAN, 1, 1]), "input.std[0] is nan; it must be a number."),
    (put("input.divisibility", 0), "input: divisibility is 0; it must be from 1 to 4096."),
    (put("input.divisibility", 10**9), "divisibility is 1e+09; it must be from 1 to 4096."),
    (put("input.placement", "left"), "input.placement is 'left'; it must be 'corner'"),
    (put("heads", {}), "heads.kind is None; it must be one of two_stage"),
    (put("heads", 3), "heads is 3; it must be an object"),
    (put("heads.kind", "ssd"), "heads.kind is 'ssd'"),
    (put("heads.kind", "yolo"), "heads.anchors is missing."),
    (put("heads.kind", ["yolo"]), "heads.kind is ['yolo']"),
    (gone("heads.rpn"), "heads.rpn is missing."),
    (put("heads.rpn.strides", [0]), "heads.rpn: strides[0] is 0; it must be at least 1."),
    (put("heads.rpn.strides", [4, 8]), "cell_anchors has 1 levels and strides 2."),
    (put("heads.rpn.cell_anchors", [[[1]]]), "cell_anchors has 1 numbers; it must have 4."),
    (put("heads.rpn.weights", [1, 1, 0, 1]), "heads.rpn: weights has 0; each must be above 0."),
    (put("heads.boxes.weights", [-1, 1, 1, 1]), "heads.boxes: weights has -1; each must be above"),
    (put("heads.rpn.nms_threshold", NAN), "heads.rpn.nms_threshold is nan"),
    (put("heads.rpn.pre_nms_topk", 0), "pre_nms_topk is 0; it must be at least 1."),
    (put("heads.rpn.weights", [1]), "heads.rpn: weights has 1 numbers; it must have 4."),
    (put("heads.boxes.levels", []), "heads.boxes: levels is empty."),
    (put("heads.boxes.scales", [0.25, 0.5]), "boxes: scales has 2 numbers; it must have 1."),
    (put("heads.boxes.scales", [-1]), "heads.boxes: scales[0] is -1; it must be from 0 to 1."),
    (put("heads.boxes.size", [7, 10**9]), "heads.boxes: size[1] is 1e+09; it must be from 1 to"),
    (put("heads.boxes.aligned", 1), "heads.boxes.aligned is 1; it must be true or false."),
    (put("heads.boxes.levels", ["p9"]), "the piece 'tail' has no output 'p9'"),
    (put("heads.boxes.max_detections", "x"), "heads.boxes.max_detections is 'x'; it must be a"),
    (put("heads.boxes.score_threshold", 2), "score_threshold is 2; it must be from 0 to 1."),
    (put("heads", {**DENSE, "weights": None}), "heads.weights and heads.scale_clamp are of a"),
    (put("heads", {**DENSE, "num_classes": 0}), "heads: num_classes is 0"),
    (put("heads", {**YOLO, "anchors": []}), "heads: anchors has 0 levels, strides 1."),
    (put("heads", {**YOLO, "multi_label": 1}), "heads.multi_label is 1; it must be true or false."),
    (put("heads", {**YOLO, "max_candidates": 0}), "heads: max_candidates is 0"),
]


def test_a_router_on_proposals_of_heads_without_any(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content.update(heads=DENSE, router_inputs=["rpn"])

    said = said_of(folder, change)
    assert "router_inputs has 'rpn', and heads of kind 'retinanet' have no proposals" in said


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_changed_manifest(folder: Path, number: int) -> None:
    change, says = CASES[number]
    assert says in said_of(folder, change)


def test_a_file_of_the_folder_is_not_the_folder(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest.json is a file; what 'dynamicdet export' writ"):
        Runner(folder / "manifest.json", opener=opened)


def test_a_manifest_as_it_was_written_is_read(folder: Path) -> None:
    assert Runner(folder, opener=opened).threshold == 0.5


def test_a_number_that_could_be_right_is_not_the_one_that_was_written(folder: Path) -> None:
    """Other strides or a mean would be other detections in silence."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()))))
    assert Runner(folder, opener=opened).threshold == 0.5
    said = said_of(folder, put("heads.rpn.strides", [8]))
    assert "manifest.json was changed after it was written" in said


@pytest.mark.parametrize("anchors", [0, 2])
def test_anchors_of_another_network_are_not_indexed(anchors: int) -> None:
    settings = {**TWO_STAGE, "rpn": {**ANCHORS, "cell_anchors": [[[-8, -8, 8, 8]] * anchors]}}
    outputs = {"logits_0": np.zeros((1, 1, 2, 2)), "deltas_0": np.zeros((1, 4, 2, 2))}
    with pytest.raises(ValueError, match=f"has 1 channels, and by manifest.json {anchors} anchors"):
        TwoStageHead(settings, {}, "", None).proposals(outputs, [(8, 8)])


def test_a_piece_that_is_a_link(folder: Path) -> None:
    (folder / "first.onnx").unlink()
    (folder / "first.onnx").symlink_to("tail.onnx")
    says = "names 'first.onnx', which is a link; its files are ordinary ones."
    assert says in said_of(folder, lambda _: None)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("gone")])
def test_pieces_that_are_no_files(folder: Path, make: Callable[[Path], object]) -> None:
    (folder / "first.onnx").unlink()
    make(folder / "first.onnx")
    assert "names 'first.onnx', which is no file of the folder." in said_of(folder, lambda _: None)


def test_a_piece_that_no_runtime_opens_is_named(folder: Path) -> None:
    (folder / "first.onnx").write_text("hello")
    changed = put("pieces.first.files", {"first.onnx": sha256(folder / "first.onnx")})
    said = said_of(folder, changed)
    assert "first.onnx cannot be opened: RuntimeError: no such graph and a page of text." in said


def test_an_export_that_comes_into_the_place_of_another_one_meanwhile(folder: Path) -> None:
    def opener(path: Path) -> Callable:
        os.utime(folder / "tail.onnx", (1, 1))
        return opened(path)

    said = f"^{folder / 'tail.onnx'} was replaced while its folder was read: read it again.$"
    with pytest.raises(ValueError, match=said):
        Runner(folder, opener=opener)
    assert Runner(folder, opener=opened).threshold == 0.5


def test_a_link_that_leads_to_another_export_meanwhile(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    current = tmp_path_factory.mktemp("deployed") / "current"
    current.symlink_to(folder)
    places = []

    def opener(path: Path) -> Callable:
        current.unlink(missing_ok=True)
        places.append(path.parent)
        return opened(path)

    Runner(current, opener=opener)
    assert places == [folder] * 4


def test_a_program_that_waits_no_longer_is_told_so(folder: Path) -> None:
    """By its own error, which a signal's handler raises while a piece runs."""

    def piece(inputs: object, wanted: object) -> dict[str, np.ndarray]:
        signal.raise_signal(signal.SIGALRM)
        return {}

    def late(*_: object) -> None:
        raise TimeoutError("40 ms are over")

    before = signal.signal(signal.SIGALRM, late)
    try:
        with pytest.raises(TimeoutError, match=r"^40 ms are over$"):
            Folder.read(folder).open("tail", lambda _: piece)({}, [])
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_piece_that_cannot_be_run_is_named(folder: Path) -> None:
    piece = Folder.read(folder).open("tail", lambda _: lambda inputs, wanted: {inputs["x"]: 1})
    with pytest.raises(ValueError, match=r"tail.onnx cannot be run: there is no 'x'\."):
        piece({}, [])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "gives an object of type NoneType; it must be a dict of numpy arrays by output."),
        ([np.zeros(1)], "gives an object of type list; it must be a dict of numpy"),
        ({"q2": np.zeros(1)}, "gives no output 'p2', which is wanted of it."),
        ({"p2": [0.0]}, "gives 'p2' as an object of type list; it must be a numpy array."),
    ],
)
def test_a_piece_of_a_programs_own_that_gives_no_arrays(
    folder: Path, given: Any, says: str
) -> None:
    piece = Folder.read(folder).open("tail", lambda _: lambda inputs, wanted: given)
    with pytest.raises(ValueError) as refused:
        piece({}, ["p2"])
    assert f"The piece {folder / 'tail.onnx'} {says}" in str(refused.value)


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        (None, "given as a list, not as NoneType."),
        (np.zeros((9, 9, 3), np.uint8), r"also a single one; found an array \(9, 9, 3\)\."),
        ((x for x in ()), "given as a list, not as generator."),
        ([], "There are no pictures"),
        ([np.zeros((0, 9, 3), np.uint8)], r"no pixels: its shape is \(0, 9, 3\)."),
        ([np.zeros((1, 9000, 3), np.uint8)], "9000x1 pixels: reduced to 128, its shorter side"),
        ([np.zeros((9, 9), np.uint8)], r"found uint8 \(9, 9\)."),
        ("a.jpg", "given as a list, not as str."),
        (BMP, "given as a list, not as bytes."),
        (["a.jpg"], "A picture must be an array .*; found 'a.jpg'."),
        ([np.zeros((9, 9, 3), np.uint8), None], "Picture 2 of 2 must be .*; found None."),
        ([np.zeros((9, 9, 3), np.uint8)] * 2 + [np.zeros((0, 9, 3), np.uint8)], "Picture 3 of 3 h"),
        ([Image.new("HSV", (9, 9))], "A picture has Pillow's mode HSV; it must be RGB."),
        ([[[1], [2, 3]]], "A picture cannot be read: setting an array element with a sequence"),
        ([Image.open(io.BytesIO(BMP[:99]))], "A picture cannot be read: .*truncated"),
        ([Image.new("L", (9, 9))], "has Pillow's mode L"),
        ([np.ma.masked_equal(np.ones((9, 9, 3), np.uint8), 3)], "A picture is a masked array; it"),
    ],
)
def test_what_are_no_pictures(pictures: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prepare(pictures, INPUT, None)


@pytest.mark.parametrize("threads", [0, -1, 10**9, 10**400, "x", True, 2.0, np.float64(2)])
def test_threads_that_no_machine_has(folder: Path, threads: Any) -> None:
    with pytest.raises(
        ValueError, match="^threads is .{1,50}; it must be a whole number from 1 to 4096"
    ):
        Runner(folder, threads=threads)


@pytest.mark.parametrize("opener", ["", 3, [], np.zeros(2)])
def test_what_opens_no_pieces(folder: Path, opener: Any) -> None:
    with pytest.raises(ValueError, match=r"^opener is .{1,20}; it must be a function of the path"):
        Runner(folder, opener=opener)


def test_a_static_detector_has_no_share_of_hard_images() -> None:
    with pytest.raises(ValueError, match="^A static detector has one route and no threshold.$"):
        Budget(None, None, dynamic=False).threshold_for(0.3)


def test_threads_that_numpy_counted(folder: Path) -> None:
    assert Runner(folder, opener=opened, threads=np.int64(2)).threshold == 0.5  # type: ignore


@pytest.mark.parametrize("path", [None, "", b"exported", Path(" "), 3])
def test_what_is_no_path_of_a_folder(path: Any) -> None:
    with pytest.raises(ValueError, match=r"^.{1,11} is no path of a folder that 'dynamicdet exp"):
        Runner(path)  # as it was typed, not as pathlib shows it


@pytest.mark.parametrize("target", ["40", NAN, float("inf"), True, 0, -4, None])
def test_milliseconds_are_looked_at_before_anything_is_timed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    monkeypatch.setattr(Runner, "measure", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(ValueError, match=r"^The milliseconds must be a number above 0, not "):
        Runner(folder, opener=opened).latency(target, [np.zeros((9, 9, 3), np.uint8)])


@pytest.mark.parametrize("share", [float("nan"), "0.5", None, -1, 10**400, np.array([0.5]), True])
def test_what_is_no_threshold(folder: Path, share: Any) -> None:
    runner = Runner(folder, opener=opened)
    with pytest.raises(ValueError, match=r"must be a number in \[0, 1\], not .{1,50}\.$"):
        runner.threshold = share
    with pytest.raises(ValueError, match=r"must be a number in \[0, 1\], not .{1,50}\.$"):
        runner.hard_fraction(share)
    runner.threshold = np.float32(0.5)
    assert runner.threshold == 0.5


def test_two_settings_at_once_and_ones_that_change_nothing(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^threshold and hard_fraction both say .*; give one\.$"):
        Runner(folder, opener=opened, threshold=0.4, hard_fraction=0.9)
    runner: Any = Runner(folder, opener=opened)
    with pytest.raises(AttributeError, match=r"^hard_fraction is a method: hard_fraction\(0.3\) "):
        runner.hard_fraction = 0.3
    for name in ("hard_fraction", "latency", "treshold", "dynamic"):
        with pytest.raises(AttributeError, match=name):
            setattr(runner, name, 0.3)


@pytest.mark.parametrize("pictures", [np.zeros((9, 9, 3), np.uint8), None, iter(())])
def test_what_are_no_pictures_to_measure_on(folder: Path, pictures: Any) -> None:
    with pytest.raises(ValueError, match="^Pictures are given as a list, "):
        Runner(folder, opener=opened).latency(40, pictures)


def test_routes_that_take_the_same_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine: between 20 ms and 10 nothing could lie."""
    monkeypatch.setattr(Runner, "measure", lambda *_: (20.0, 10.0))
    with pytest.raises(ValueError, match=r"^The hard route took 10.00 ms per .* one 20.00, so"):
        Runner(folder, opener=opened).latency(15, [np.zeros((9, 9, 3), np.uint8)])


def test_folders_of_another_kind_are_said_to_be_that(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"was exported for 'onnx', not for 'torch'; .*Runner open"
    ):
        open_exported(folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps({"format": 1, "files": {}, "versions": {}, "date": ""}))
    with pytest.raises(
        ValueError, match=r"is that of a model folder, by 'dynamicdet package'; the"
    ):
        Runner(folder, opener=opened)
    path.write_text(json.dumps({"format": 2, "runtime": "onnx", "pieces": {}}))
    with pytest.raises(ValueError, match=r"is that of an exported detector, .*Runner opens; a mod"):
        verified(folder)


def test_pictures_of_pillow_are_pictures() -> None:
    settings = {**INPUT, "min_size": 0}
    (batch,) = prepare([Image.new("RGB", (96, 64))], settings, None)
    assert batch.originals == [(64, 96)] and batch.tensor.shape == (1, 3, 64, 96)


@pytest.mark.parametrize("orientation", [1, 3, 6, 99])
@pytest.mark.filterwarnings("always:A picture is not turned:UserWarning")
def test_a_picture_as_the_camera_lay_is_said(tmp_path: Path, orientation: int) -> None:
    picture = Image.new("RGB", (96, 64))
    exif = picture.getexif()
    exif[274] = orientation
    picture.save(tmp_path / "1.jpg", exif=exif)
    with warnings.catch_warnings(record=True) as given:
        prepare([Image.open(tmp_path / "1.jpg")], {**INPUT, "min_size": 0}, None)
    said = f"A picture is not turned as it is to be seen (its EXIF orientation is {orientation})"
    assert any(said in str(one.message) for one in given) == (orientation in (3, 6))


@pytest.mark.filterwarnings("error")
def test_a_tiff_is_turned_by_pillow(tmp_path: Path) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "1.tif", tiffinfo={274: 6})
    (batch,) = prepare([Image.open(tmp_path / "1.tif")], {**INPUT, "min_size": 0}, None)
    assert batch.originals == [(96, 64)]


def test_other_threads_do_not_see_a_measurement_s_thresholds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, seen = Runner(folder, opener=opened, threshold=0.7), []
    monkeypatch.setattr(Runner, "_at", lambda self, at, _: seen.append((at, self.threshold)))
    runner.measure([np.zeros((9, 9, 3), np.uint8)])
    assert sorted(seen) == [(0.0, 0.7)] * 2 + [(1.0, 0.7)] * 2


def test_a_picture_is_not_padded_to_the_size_of_others() -> None:
    """Its difficulty, and maybe its route, would depend on what stands beside it."""
    pictures = [np.zeros((*size, 3), np.uint8) for size in ((60, 90), (90, 60), (64, 96))]
    batches = prepare(pictures, {**INPUT, "min_size": 0}, None)
    assert [batch.places for batch in batches] == [[0, 2], [1]]
    assert [batch.tensor.shape for batch in batches] == [(2, 3, 64, 96), (1, 3, 96, 64)]
    assert batches[0].sizes == [(60, 90), (64, 96)]


@pytest.mark.parametrize("width, said", [(90, 1), (120, 0)])
def test_padding_to_an_exported_size_is_said(width: int, said: int) -> None:
    picture = np.full((60, width, 3), 9, np.uint8)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        (batch,) = prepare([picture], {**INPUT, "min_size": 0}, [(64, 128), (128, 128)])
    assert batch.tensor.shape[2:] == (64, 128)
    sentence = "A network input of 64x96 is padded to 64x128, which moves scores"
    assert [str(one.message).startswith(sentence) for one in given] == [True] * said


def two_stage_head() -> TwoStageHead:
    candidates = {"score_threshold": 0.0, "nms_threshold": 0.5, "max_detections": 10}
    boxes = {**candidates, "levels": [], "weights": [1.0, 1.0, 1.0, 1.0], "scale_clamp": 4.0}
    settings = {"rpn": {"strides": []}, "boxes": boxes, "masks": None}
    return TwoStageHead(settings, {}, "", None)


@pytest.mark.parametrize("columns", [4, 12])
def test_an_image_without_a_region_has_no_detections(columns: int) -> None:
    """numpy cannot shape nothing by what is left; every region may be outside the image."""
    nothing = np.zeros((0, columns))
    found = two_stage_head()._image(np.zeros((0, 4)), nothing, np.zeros((0, 4)), (64, 96))
    assert found.boxes.shape == (0, 4) and not len(found.scores)


def test_regions_of_nan_are_damage_and_not_nothing() -> None:
    regions, deltas = np.ones((3, 4)), np.full((3, 4), NAN)
    with pytest.raises(ValueError, match=r"^No region has finite scores and a finite box"):
        two_stage_head()._image(regions, deltas, np.ones((3, 4)), (64, 96))


def test_a_picture_of_terabytes() -> None:
    settings = {"min_size": 64, "max_size": 128, "format": "RGB"}
    picture = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (10**6, 10**6, 3))
    with pytest.raises(ValueError, match=r"has 1000000x1000000 pixels, more than 178956970: cut"):
        prepare([picture], settings, None)

# SPDX-License-Identifier: Apache-2.0
"""Detectors in int8: which nodes stay in float32, what scales are taken from, what comes out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamicdet_d2.export.int8 import Quantisation, export_int8
from dynamicdet_d2.export.quantisation import float_nodes, piece_inputs, without_aliases
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.folder import Folder
from dynamicdet_d2.runner.runtimes import opener_of
from tests.support.exported import Exported

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


def graph(nodes: list[tuple[str, str, list[str], str]], outputs: list[str], weights: str) -> Any:
    """Of (operator, name, inputs, output); the letters of ``weights`` are initializers."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    return helper.make_graph(
        [helper.make_node(op, inputs, [out], name=name) for op, name, inputs, out in nodes],
        "graph",
        [helper.make_tensor_value_info("x", kind, None)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [helper.make_tensor(name, kind, [1], [1.0]) for name in weights],
    )


def test_the_router_stays_in_float() -> None:
    nodes = [
        ("Conv", "stem", ["x", "a"], "f1_res2"),
        ("ReduceMean", "pool", ["f1_res2"], "m"),
        ("Gemm", "hidden", ["m", "b"], "h"),
        ("Gemm", "score", ["h", "c"], "s"),
        ("Sigmoid", "sigmoid", ["s"], "difficulty"),
    ]
    found = float_nodes(graph(nodes, ["f1_res2", "difficulty"], "abc"))
    assert found == {"pool", "hidden", "score", "sigmoid"}


def test_what_is_made_of_features_for_a_router_elsewhere_stays_in_float() -> None:
    nodes = [
        ("Conv", "stem", ["x", "a"], "f1_res2"),
        ("Conv", "map", ["f1_res2", "b"], "m"),
        ("ReduceMean", "sum", ["m"], "numbers"),
    ]
    assert float_nodes(graph(nodes, ["f1_res2", "numbers"], "ab")) == {"map", "sum"}


def test_the_layer_that_predicts_stays_in_float_and_what_follows_it() -> None:
    nodes = [
        ("Conv", "neck", ["x", "a"], "p3"),
        ("Conv", "shared", ["p3", "b"], "t"),
        ("Relu", "relu", ["t"], "r"),
        ("Conv", "logits", ["r", "c"], "l"),
        ("Reshape", "reshape", ["l"], "logits_0"),
        ("Conv", "deltas", ["r", "d"], "deltas_0"),
    ]
    found = float_nodes(graph(nodes, ["p3", "logits_0", "deltas_0"], "abcd"))
    assert found == {"logits", "reshape", "deltas"}


def test_sums_of_layers_are_quantised_and_other_sums_are_not() -> None:
    nodes = [
        ("Conv", "one", ["x", "a"], "y"),
        ("Add", "residual", ["y", "x"], "s"),
        ("MatMul", "product", ["s", "b"], "m"),
        ("Add", "bias", ["m", "c"], "n"),
        ("ConvTranspose", "up", ["n", "d"], "f2_res3"),
    ]
    assert float_nodes(graph(nodes, ["f2_res3"], "abcd")) == {"bias", "up"}


def test_layers_read_initializers_themselves() -> None:
    nodes = [
        ("Identity", "alias", ["b"], "c"),
        ("Identity", "copy", ["x"], "y"),
        ("Conv", "one", ["y", "a", "c"], "f1_res2"),
    ]
    found = graph(nodes, ["f1_res2"], "ab")
    without_aliases(found)
    assert [(node.name, list(node.input)) for node in found.node] == [
        ("copy", ["x"]),
        ("one", ["y", "a", "b"]),
    ]


def noise(count: int, seed: int = 0) -> list[np.ndarray]:
    """RGB, of two sizes."""
    generator = np.random.default_rng(seed)
    sizes = [(70, 100), (90, 80)]
    return [generator.integers(0, 256, (*sizes[i % 2], 3), dtype=np.uint8) for i in range(count)]


def test_every_piece_sees_both_routes(exported: Callable[..., Exported]) -> None:
    folder = Folder.read(exported("rcnn").folder)
    calls = {name: list(piece_inputs(folder, name, noise(2))) for name in folder.manifest["pieces"]}
    counts = {name: len(own) for name, own in calls.items()}
    assert counts == {"first": 2, "second": 2, "tail": 2, "boxes": 2, "masks": 2}
    first = folder.open("first", opener_of("onnx", None))
    seen = first(calls["first"][1], ["start", "f1_res5"])
    np.testing.assert_array_equal(calls["second"][1]["start"], seen["start"])
    easy, hard = calls["tail"][1]["f1_res5"]
    np.testing.assert_array_equal(easy, seen["f1_res5"][0])
    assert np.abs(easy - hard).max() > 0
    rows = calls["boxes"][1]["pooled"]
    easy, hard = np.split(rows, 2)
    assert rows.shape[1] == rows.shape[2] > 1 and np.abs(easy - hard).max() > 0


def test_a_shared_tail_sees_both_passes_of_a_merged_image(exported: Callable) -> None:
    """Easy once, and hard by both detectors; the router's numbers at either threshold."""
    folder = Folder.read(exported("merged").folder)
    (inputs,) = piece_inputs(folder, "tail", noise(1))
    easy, first, second = inputs["f1_res5"]
    np.testing.assert_array_equal(easy, first)
    assert np.abs(first - second).max() > 0
    folder = Folder.read(exported("merged tails").folder)
    (inputs,) = piece_inputs(folder, "router", noise(1))
    assert inputs["numbers"].shape == (2, 21)
    np.testing.assert_array_equal(*inputs["numbers"])


@pytest.fixture(scope="module")
def quantised(
    exported: Callable[..., Exported], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Exported, Path]]:
    """By the name of a detector and the format: as exported, and the folder in int8."""
    made: dict[tuple[str, str], tuple[Exported, Path]] = {}

    def of(name: str, runtime: str = "onnx") -> tuple[Exported, Path]:
        if (name, runtime) not in made:
            own = exported(name)
            folder = tmp_path_factory.mktemp("int8") / "folder"
            how = Quantisation(lambda: noise(6, seed=1), {"dataset": "noise"})
            assert export_int8(own.model, own.cfg, folder, Request(runtime), how) is None
            made[name, runtime] = own, folder
        return made[name, runtime]

    return of


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Length of the difference over that of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_every_piece_gives_nearly_the_same(quantised: Callable) -> None:
    """Within 15 % of each output's length; and not the same, so int8 is at work."""
    own, path = quantised("rcnn")
    before, after = Folder.read(own.folder), Folder.read(path)
    opener = opener_of("onnx", None)
    for name, piece in before.manifest["pieces"].items():
        inputs = next(piece_inputs(before, name, noise(1, seed=2)))
        outputs = [x for x in piece["outputs"] if x != "masks"]
        if not outputs:
            continue
        found, expected = (f.open(name, opener)(inputs, outputs) for f in (after, before))
        off = {output: relative(found[output], expected[output]) for output in outputs}
        assert 1e-4 < max(off.values()) < 0.15, (name, off)


@pytest.mark.parametrize("name", ["rcnn", "merged", "yolo"])
def test_routes_are_those_of_float(quantised: Callable, name: str) -> None:
    """Difficulties within 0.01; images farther from the threshold go the same way."""
    own, path = quantised(name)
    before, after = Runner(own.folder, threshold=0.5), Runner(path, threshold=0.5)
    images = noise(6, seed=3)
    before.threshold = after.threshold = float(np.median([x.difficulty for x in before(images)]))
    for one, other in zip(before(images), after(images), strict=True):
        assert other.difficulty == pytest.approx(one.difficulty, abs=0.01)
        if abs(one.difficulty - before.threshold) > 0.01:
            assert one.route == other.route
        assert len(other) > 0 and np.isfinite(other.boxes).all()


def test_a_router_that_looks_on_is_in_float_and_sees_what_int8_finds(quantised: Callable) -> None:
    own, path = quantised("merged tails")
    about = Folder.read(path).manifest["quantisation"]["pieces"]
    assert about["router"]["int8"] == 0 and len(about["router"]["float32"]) == 2
    before, after = Runner(own.folder, threshold=0.0), Runner(path, threshold=0.0)
    for one, other in zip(before(noise(3)), after(noise(3)), strict=True):
        assert 0 < other.difficulty < 1 and other.route == one.route == "hard"
        assert len(other) > 0 and np.isfinite(other.boxes).all()


def test_a_static_detector(quantised: Callable) -> None:
    _, path = quantised("static rcnn")
    (found,) = Runner(path)(noise(1))
    assert found.route is None and len(found) > 0


def test_openvino_takes_the_same_scales(quantised: Callable) -> None:
    pytest.importorskip("openvino", reason="the package openvino is not installed")
    own, path = quantised("rcnn", "openvino")
    before, after = Runner(own.folder), Runner(path)
    for one, other in zip(before(noise(3)), after(noise(3)), strict=True):
        assert other.difficulty == pytest.approx(one.difficulty, abs=0.01)
    assert Folder.read(path).manifest["runtime"] == "openvino"


def test_the_manifest_says_what_is_quantised(quantised: Callable) -> None:
    own, path = quantised("rcnn")
    assert Folder.read(own.folder).manifest["precision"] == "float32"
    assert Folder.read(own.folder).manifest["quantisation"] is None
    manifest = Folder.read(path).manifest
    about = manifest["quantisation"]
    assert manifest["precision"] == "int8" and about["calibration"] == {"dataset": "noise"}
    assert about["check"] is None and "onnxruntime" in about["method"]
    layers = {name: piece["float32"] for name, piece in about["pieces"].items()}
    assert [name.split("/")[1] for name in layers["first"]] == ["router", "router"]
    assert {name.split("/")[-2] for name in layers["boxes"]} == {"cls_score", "bbox_pred"}
    assert {name.split("/")[-2].split("_")[0] for name in layers["tail"]} == {
        "objectness",
        "anchor",
    }
    assert layers["second"] == []
    assert all(piece["int8"] > 0 for piece in about["pieces"].values())
    # Fewer than half of the bytes: weights, not a copy of them in float32.
    sizes = [(f / "second.onnx").stat().st_size for f in (path, own.folder)]
    assert sizes[0] < 0.5 * sizes[1]


def test_what_is_refused(exported: Callable[..., Exported], tmp_path: Path) -> None:
    own = exported("rcnn")
    folder = tmp_path / "folder"
    with pytest.raises(ValueError, match="--precision int8 is for onnx and openvino, not torch"):
        export_int8(own.model, own.cfg, folder, Request("torch"), Quantisation(list))
    with pytest.raises(ValueError, match="None of the calibration images reaches .* 'first'"):
        export_int8(own.model, own.cfg, folder, Request("onnx"), Quantisation(list))
    assert not list(tmp_path.iterdir())

# SPDX-License-Identifier: Apache-2.0
"""Exported pieces in int8, by onnxruntime's static quantisation.

A layer's weights get a scale per output channel, and what flows between layers one scale and
offset each, from the ranges found while the exported detector itself works on pictures
(quantise and dequantise nodes, which onnxruntime and OpenVINO fuse into integer kernels).

In float32 stay the router, because an image must not change its route by rounding; the layer that
gives a prediction, and all that follows it; and what has no weights and no use of int8. ROIAlign
is not in the pieces.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.folder import Folder
from dynamicdet_d2.runner.runtimes import Arrays, Piece, opener_of

logger = logging.getLogger(__name__)

Pictures = Callable[[], Iterable[np.ndarray]]
"""Gives the same pictures each time: (H, W, 3) uint8, RGB."""

LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators with weights that are quantised."""
# With weights too, but the runtimes have no integer kernel of it.
_OTHER_LAYERS = ("ConvTranspose",)
# Operators between layers that keep to int8 where what they get is int8.
_BETWEEN = ("Relu", "Add", "MaxPool", "Resize")
_OPTIONS = {
    # A product of two activations is attention's.
    "MatMulConstBOnly": True,
    # Ranges are means over the images, of both routes together: single outliers would coarsen the
    # steps of all values.
    "CalibMovingAverage": True,
}
# Beginnings of the names of outputs that are predictions; the others are features.
_DIFFICULTY = "difficulty"
_PREDICTIONS = ("scores", "box_deltas", "masks", "logits_", "deltas_", "centerness_", _DIFFICULTY)
# Of the router: in one piece with F1, or what its own piece is given of F1.
_OF_ROUTER = (_DIFFICULTY, "numbers")


def quantise(folder: Folder, pictures: Pictures, target: Path) -> dict[str, dict[str, Any]]:
    """Write every piece of an exported detector in int8, as ONNX files of the same names.

    Args:
        folder: of a detector exported for "onnx".
        pictures: whose ranges the scales are taken from.
        target: a folder.

    Returns:
        piece -> "int8": the number of its quantised layers; "float32": names of those that are
        not.

    Raises:
        ValueError: none of the pictures reaches a piece.
    """
    written = {}
    for name, piece in folder.manifest["pieces"].items():
        logger.info("Quantising %s", name)
        file = next(iter(piece["files"]))
        inputs = piece_inputs(folder, name, pictures())
        written[name] = _quantise(name, folder.path / file, target / file, inputs)
    return written


def piece_inputs(folder: Folder, name: str, pictures: Iterable[np.ndarray]) -> Iterator[Arrays]:
    """What a piece is called with while the detector works on pictures, one picture at a time.

    A dynamic detector sends every picture down the routes that lead to the piece; all calls of a
    picture are one batch.
    """
    piece = folder.manifest["pieces"][name]
    file = next(iter(piece["files"]))
    open_piece, calls = opener_of("onnx", None), list[Arrays]()

    def opener(path: Path) -> Piece:
        opened = open_piece(path)
        return _recorded(opened, piece["inputs"], calls) if path.name == file else opened

    detector = Runner(folder.path, opener=opener)
    for picture in pictures:
        for threshold in _thresholds(name, detector.dynamic):
            if threshold is not None:
                detector.threshold = threshold
            detector([picture])
        if calls:
            yield {name: np.concatenate([inputs[name] for inputs in calls]) for name in calls[0]}
        calls.clear()


def _recorded(piece: Piece, names: Sequence[str], calls: list[Arrays]) -> Piece:
    """A piece that keeps what it is called with."""

    def run(inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> Arrays:
        calls.append({name: inputs[name] for name in names})
        return piece(inputs, wanted)

    return run


def _thresholds(name: str, dynamic: bool) -> tuple[float | None, ...]:
    """Those whose routes lead to a piece: 1 for the easy, 0 for the hard one."""
    if not dynamic:
        return (None,)
    kind = name.partition("@")[0]
    if kind in ("first", "tail1"):
        return (1.0,)
    return (0.0,) if kind == "second" or kind.endswith("2") else (1.0, 0.0)


class _Reader:
    """As onnxruntime asks for inputs."""

    def __init__(self, inputs: Iterator[Arrays], known: Iterable[str]) -> None:
        """``known``: names of the inputs to give; a written piece has only those that it uses."""
        self._inputs, self._known = inputs, tuple(known)

    def get_next(self) -> Arrays | None:
        """Those of the next call; None after the last one."""
        given = next(self._inputs, None)
        return None if given is None else {name: given[name] for name in self._known}


def _quantise(name: str, source: Path, target: Path, inputs: Iterator[Arrays]) -> dict[str, Any]:
    quantization = import_module("onnxruntime.quantization")
    first = next(inputs, None)
    if first is None:
        raise ValueError(f"None of the calibration images reaches the piece '{name}'.")
    model = import_module("onnx").load(str(source))
    without_aliases(model.graph)
    stays = float_nodes(model.graph)
    with _quiet():
        quantization.quantize_static(
            model,
            str(target),
            _Reader(chain([first], inputs), [entry.name for entry in model.graph.input]),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=[*LAYERS, *_BETWEEN],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=sorted(stays),
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options=_OPTIONS,
        )
    layers = [node for node in model.graph.node if _is_layer(node, _weights(model.graph))]
    in_float = [node.name for node in layers if node.name in stays]
    return {"int8": len(layers) - len(in_float), "float32": in_float}


def without_aliases(graph: Any) -> None:
    """Let nodes of an ONNX graph read initializers themselves, in place.

    The exporter writes equal ones (biases of zeros) once and gives them further names; a layer
    whose bias is not an initializer is not quantised as a whole.
    """
    weights = _weights(graph)
    aliases = [x for x in graph.node if x.op_type == "Identity" and x.input[0] in weights]
    original = {node.output[0]: node.input[0] for node in aliases}
    for node in aliases:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [original.get(name, name) for name in node.input]


def float_nodes(graph: Any) -> set[str]:
    """Names of the nodes of an ONNX graph that stay in float32.

    Args:
        graph: every node has a name.
    """
    maker = {output: node for node in graph.node for output in node.output}
    weights = _weights(graph)
    outputs = [output.name for output in graph.output]
    others = [name for name in outputs if name not in _OF_ROUTER]
    stays = _before(outputs, maker, lambda _: False) - _before(others, maker, lambda _: False)
    predictions = [name for name in outputs if name.startswith(_PREDICTIONS)]
    stays |= _before(predictions, maker, lambda node: _is_layer(node, weights))
    for node in graph.node:
        makers = [maker[name].op_type for name in node.input if name in maker]
        # Of two layers' results; the long sums of transformers lose by it.
        if node.op_type == "Add" and "Conv" not in makers:
            stays.add(node.name)
        if node.op_type in _OTHER_LAYERS:
            stays.add(node.name)
    return stays


def _before(outputs: Iterable[str], maker: Mapping[str, Any], ends: Callable) -> set[str]:
    """Names of the nodes that outputs are made by, back to those at which a way ends."""
    waiting, seen = list(outputs), set()
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if not ends(node):
            waiting += node.input
    return seen


def _weights(graph: Any) -> set[str]:
    return {tensor.name for tensor in graph.initializer}


def _is_layer(node: Any, weights: set[str]) -> bool:
    return node.op_type in LAYERS + _OTHER_LAYERS and not weights.isdisjoint(node.input)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice to prepare the graph, which the exporter did."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)

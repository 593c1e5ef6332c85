# SPDX-License-Identifier: Apache-2.0
"""The runtimes that pieces can be run with: each opens a file and gives a function of arrays."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Piece = Callable[[Mapping[str, np.ndarray], Sequence[str]], Arrays]
"""(inputs by name, names of the outputs wanted) -> outputs by name. It takes the inputs that it
knows and leaves the others."""
Opener = Callable[[Path], Piece]


def opener_of(runtime: str, threads: int | None) -> Opener:
    """How a runtime opens a piece.

    Args:
        runtime: "onnx" or "openvino".
        threads: of the runtime; None: as it likes.

    Raises:
        ValueError: another runtime.
        ImportError: the runtime is not installed.
    """
    if runtime == "onnx":
        return _onnx(importlib.import_module("onnxruntime"), threads)
    if runtime == "openvino":
        return _openvino(importlib.import_module("openvino"), threads)
    raise ValueError(
        f"The detector was exported for '{runtime}', which this runner cannot open; pieces for "
        "'torch' are opened by dynamicdet_d2.export.open_exported."
    )


def _onnx(ort: Any, threads: int | None) -> Opener:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads

    def open_piece(path: Path) -> Piece:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        known = [entry.name for entry in session.get_inputs()]

        def run(inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> Arrays:
            found = session.run(list(wanted), {name: inputs[name] for name in known})
            return dict(zip(wanted, found, strict=True))

        return run

    return open_piece


def _openvino(openvino: Any, threads: int | None) -> Opener:
    core = openvino.Core()
    # Float32 throughout: the plugin takes bfloat16 by itself where the processor has it.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads

    def open_piece(path: Path) -> Piece:
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        known = [name for entry in compiled.inputs for name in entry.names]
        alone = Lock()  # the runtime's own memory is that of one call

        def run(inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> Arrays:
            given = {name: np.ascontiguousarray(inputs[name]) for name in known if name in inputs}
            with alone:
                found = compiled(given, share_outputs=True)
                # One copy, since the next call writes into the runtime's own memory.
                return {name: np.array(found[name]) for name in wanted}

        return run

    return open_piece

# SPDX-License-Identifier: Apache-2.0
"""Pieces as files of a format."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.jit import TracerWarning
from torch.onnx.errors import OnnxExporterError

from dynamicdet_d2.export.piece import Piece
from dynamicdet_d2.export.torch_pieces import save_traced
from dynamicdet_d2.utils.files import whole_file
from dynamicdet_d2.utils.own_code import is_own_file
from dynamicdet_d2.utils.words import in_words, shown

logger = logging.getLogger(__name__)

# The first that has layer norms, Swin's, as one operator.
OPSET = 17


def write_onnx(piece: Piece, path: Path) -> list[Path]:
    """An ONNX file, ``path`` with the ending ``.onnx``."""
    file = path.with_suffix(".onnx")
    axes = {name: dict(piece.axes[name]) for name in piece.example}
    content: Any = io.BytesIO()  # which the exporter takes, whatever its annotation says
    with _said_of(piece), torch.no_grad():
        torch.onnx.export(
            piece.module,
            tuple(piece.example.values()),
            content,
            input_names=list(piece.example),
            output_names=list(piece.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            # The exporter by tracing: these pieces have no decision in them, and it needs no more
            # than the package onnx.
            dynamo=False,
        )
    with whole_file(file, durable=False) as out:
        out.write(content.getbuffer())
    return [file]


def write_openvino(piece: Piece, path: Path) -> list[Path]:
    """OpenVINO's two files, ``path`` with the endings ``.xml`` and ``.bin``; float32."""
    with tempfile.TemporaryDirectory() as folder:
        (source,) = write_onnx(piece, Path(folder) / path.name)
        return openvino_of_onnx(source, path)


def openvino_of_onnx(source: Path, path: Path) -> list[Path]:
    """The same of an ONNX file, whose precisions it keeps."""
    openvino = import_module("openvino")
    file = path.with_suffix(".xml")
    model = openvino.convert_model(str(source))
    try:
        openvino.save_model(model, str(file), compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(f"{file} cannot be written: {in_words(error)}.") from error
    return [file, path.with_suffix(".bin")]


def write_torch(piece: Piece, path: Path) -> list[Path]:
    """TorchScript, ``path`` with the ending ``.pt``."""
    file = path.with_suffix(".pt")
    with _said_of(piece):
        save_traced(piece, file)
    return [file]


FORMATS: dict[str, Callable[[Piece, Path], list[Path]]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "torch": write_torch,
}
"""How a piece is written, by the name of the format; each returns its files, the one to open
first."""

# What must be installed to write a format and to try what was written.
NEEDS = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torch": ()}


def check_installed(name: str) -> None:
    """
    Raises:
        ValueError: a format that there is not.
        ImportError: naming what a format needs and what installs it.
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise ValueError(f"There is no format {shown(name)}; {', '.join(FORMATS)} are.")
    for package in NEEDS[name]:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f"Format '{name}' needs {package} (pip install {' '.join(NEEDS[name])})"
            ) from error


@contextmanager
def _said_of(piece: Piece) -> Iterator[None]:
    """Of what tracing says alone that a layer of a program's own decides by what it sees.

    Detectron2's layers ask for sizes that are the same for all images, which the check sees.

    Raises:
        ValueError: naming the piece, of which a layer cannot be written.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield
    except (OnnxExporterError, AssertionError, RuntimeError, TypeError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"The piece '{piece.name}' of the model cannot be written: {why}."
        ) from error
    places = {(x.filename, x.lineno) for x in said if issubclass(x.category, TracerWarning)}
    for file, line in sorted(place for place in places if is_own_file(place[0])):
        logger.warning(
            "%s, line %d: what is done there depends on values or sizes that it reads, and in the "
            "export it is always what was done of the example.",
            *(file, line),
        )

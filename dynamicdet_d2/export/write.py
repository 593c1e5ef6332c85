# SPDX-License-Identifier: Apache-2.0
"""From a detector to a folder: its pieces in a format, tried beside the model, and a manifest."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2 import __version__
from dynamicdet_d2.acceleration.foldable import fold_blocks
from dynamicdet_d2.acceleration.folding import fold_norms
from dynamicdet_d2.acceleration.in_common import in_common
from dynamicdet_d2.acceleration.optimize import plain_copy
from dynamicdet_d2.config import Use, check
from dynamicdet_d2.export.check import check_piece, check_pieces, sides_of
from dynamicdet_d2.export.exportable import check_any_size, check_weights
from dynamicdet_d2.export.formats import FORMATS, check_installed
from dynamicdet_d2.export.kinds import checked_kind_of
from dynamicdet_d2.export.manifest import (
    calibration_settings,
    checked_sides,
    divisibility,
    input_settings,
    route_settings,
)
from dynamicdet_d2.export.piece import Piece
from dynamicdet_d2.export.pieces import Pieces, image_pieces, router_pieces
from dynamicdet_d2.export.torch_pieces import TorchPieces
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.operating_point import fingerprint
from dynamicdet_d2.prediction.class_names import check_class_names
from dynamicdet_d2.runner.folder import FORMAT, MANIFEST, Folder, sealed, sha256
from dynamicdet_d2.runner.manifest import check_manifest
from dynamicdet_d2.runner.runtimes import opener_of
from dynamicdet_d2.utils.files import write_json
from dynamicdet_d2.utils.folder_names import refuse_file_name
from dynamicdet_d2.utils.pixels import ORDERS
from dynamicdet_d2.utils.whole_folder import whole_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is to be exported how.

    Attributes:
        format: one of ``FORMATS``.
        calibration: path of a calibration file to take along; None: the config's, if any.
        sides: padded heights and widths to export for; None: for all.
        class_names: in the order of the classes.
    """

    format: str
    calibration: str | None = None
    sides: Sequence[tuple[int, int]] | None = None
    class_names: Sequence[str] = ()


def export(model: nn.Module, cfg: CfgNode, folder: str | Path, request: Request) -> Path:
    """Write a detector to a new folder; an interrupted export leaves no folder of that name.

    Args:
        model: on the CPU, with its weights.
        cfg: that it was built from.
        folder: which is not there yet.

    Raises:
        ValueError: an argument is of another type, the folder is there, the detector cannot be
            exported or is of another precision than float32, or what was written does not say what
            the model says.
        ImportError: the format needs what is not installed.
    """
    _check_given(model, cfg, request)
    precision = cfg.MODEL.INFERENCE.PRECISION
    if precision != "float32":
        raise ValueError(
            f"MODEL.INFERENCE.PRECISION is '{precision}'; what is exported is float32, and int8 "
            "by --precision: calibrate and export with 'float32'."
        )
    if cfg.INPUT.FORMAT not in ORDERS:
        raise ValueError(
            f"INPUT.FORMAT is '{cfg.INPUT.FORMAT}'; what is exported needs 'RGB' or 'BGR'."
        )
    with new_folder(folder) as unfinished:
        _write(model, cfg, unfinished, request)
    return Path(folder)


def _check_given(model: object, cfg: CfgNode, request: object) -> None:
    """
    Raises:
        ValueError: one of ``export``'s arguments is none.
        ImportError: the format needs what is not installed.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"The model is of type {type(model).__name__}; it must be a module of torch, such as a "
            "predictor's model."
        )
    check(cfg, Use.MODEL)
    if not isinstance(request, Request):
        raise ValueError(f"The request is of type {type(request).__name__}; it must be a Request.")
    check_class_names(request.class_names, cfg)
    check_installed(request.format)
    check_weights(model, cfg)


def new_folder(path: str | Path) -> AbstractContextManager[Path]:
    """A folder to write into, which has its name once it is complete.

    Raises:
        ValueError: something has the name, or it can be that of no folder.
    """
    refuse_file_name(path, "--output")
    if os.path.lexists(path):
        raise ValueError(f"--output {path} exists; an export makes a folder of its own.")
    return whole_folder(path)


def _write(model: nn.Module, cfg: CfgNode, folder: Path, request: Request) -> None:
    folded = _folded(model)
    kind = checked_kind_of(folded)
    multiple = divisibility(folded, kind, cfg)
    sides = checked_sides(request.sides, multiple)
    if sides is None:
        check_any_size(folded)
    threshold, calibration = calibration_settings(model, cfg, request.calibration)
    written: dict[str, Any] = {}
    parts = []
    traced, _ = sides_of(multiple)
    for side in sides or [traced]:
        own = image_pieces(folded, kind, side, fixed=sides is not None)
        ending = "" if sides is None else f"@{side[0]}x{side[1]}"
        for piece in own.pieces:
            written[piece.name + ending] = _file(piece, folder, ending, request.format)
        parts.append((own, ending, side))
    for_all_sizes = router_pieces(folded)
    for heads, ending in zip(kind.regions, ("", "2"), strict=False):
        for_all_sizes += heads.pieces(parts[0][0].example, ending)
    for piece in for_all_sizes:
        written[piece.name] = _file(piece, folder, "", request.format)
    manifest = {
        "format": FORMAT,
        "version": __version__,
        "runtime": request.format,
        "precision": "float32",
        "quantisation": None,
        "dynamic": isinstance(model, DynamicDetector),
        "shared_tail": getattr(model, "shared_tail", True),
        "pieces": written,
        "levels": parts[0][0].levels,
        "second_levels": parts[0][0].second_levels,
        "sides": sides,
        "input": input_settings(folded, kind, cfg),
        "heads": kind.heads,
        "class_names": list(request.class_names),
        **route_settings(model),
        "threshold": threshold,
        "calibration": calibration,
        "fingerprint": fingerprint(model, cfg),
    }
    _check_settings(manifest)
    write_json(folder / MANIFEST, sealed(manifest), allow_nan=False)
    _check(folder, parts, for_all_sizes, multiple)


def _check_settings(manifest: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: a setting that a runner would refuse, such as Detectron2's -1 for all.
    """
    try:
        check_manifest(json.loads(json.dumps(manifest)))
    except ValueError as error:
        raise ValueError(f"The model cannot be exported as it is set: {error}.") from None


def _folded(model: nn.Module) -> nn.Module:
    """A copy with blocks and fixed norms folded into convolutions: runtimes fold norms alone."""
    copy = plain_copy(model, in_common(model)).eval().requires_grad_(False)
    fold_blocks(copy)
    fold_norms(copy)
    return copy


def _file(piece: Piece, folder: Path, ending: str, format_name: str) -> dict[str, Any]:
    """Write a piece; its entry in the manifest."""
    logger.info("Writing %s%s", piece.name, ending)
    # No dot: what follows the last one would be taken for the ending.
    files = FORMATS[format_name](piece, folder / (piece.name + ending))
    return {
        "files": hashes(files),
        "inputs": list(piece.example),
        "outputs": list(piece.outputs),
    }


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """ "files" of a piece in the manifest: name -> SHA-256."""
    return {file.name: sha256(file) for file in files}


def _check(
    folder: Path,
    parts: Sequence[tuple[Pieces, str, tuple[int, int]]],
    for_all_sizes: Sequence[Piece],
    multiple: int,
) -> None:
    """Try every piece; those for all sizes at another size and batch than they were traced with."""
    own = Folder.read(folder)
    runtime = own.manifest["runtime"]
    opener = TorchPieces(own) if runtime == "torch" else opener_of(runtime, None)
    generator = torch.Generator().manual_seed(1)
    _, other = sides_of(multiple)
    for pieces, ending, side in parts:
        images = torch.rand(1, 3, *(side if ending else other), generator=generator)
        opened = {piece.name: own.open(piece.name + ending, opener) for piece in pieces.pieces}
        check_pieces(pieces, opened, images)
    for piece in for_all_sizes:
        check_piece(piece, own.open(piece.name, opener))

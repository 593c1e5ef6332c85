# SPDX-License-Identifier: Apache-2.0
"""An export in int8: of the float32 one, with what the change costs measured and written down."""

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.export.accuracy import Accuracy, ImageSet, exported_records
from dynamicdet_d2.export.comparison import Comparison
from dynamicdet_d2.export.formats import check_installed, openvino_of_onnx
from dynamicdet_d2.export.quantisation import Pictures, quantise
from dynamicdet_d2.export.write import Request, export, hashes, new_folder
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.folder import MANIFEST, Folder, sealed
from dynamicdet_d2.utils.files import write_json

FORMATS = ("onnx", "openvino")
NAMES = "float32", "int8"
# AP that a variant may lose without a word.
MOST_AP = 0.5


@dataclass(frozen=True)
class Quantisation:
    """What scales are taken from, and what the result is measured on.

    Attributes:
        pictures: whose ranges the scales are taken from.
        of: what the manifest says of them.
        check: to measure AP and difficulties on; None: nobody looks.
    """

    pictures: Pictures
    of: Mapping[str, Any] = field(default_factory=dict)
    check: ImageSet | None = None


def export_int8(
    model: nn.Module, cfg: CfgNode, folder: str | Path, request: Request, how: Quantisation
) -> Comparison | None:
    """As ``export``, with the layers that can be in int8.

    The float32 pieces are written and tried first, and quantised then.

    Returns:
        the detector in int8 beside the same in float32, both as exported, where ``how`` has images
        to measure on.

    Raises:
        ValueError: as ``export``; a format that has no int8; calibration images that do not reach
            all pieces.
        ImportError: as ``export``.
    """
    if request.format not in FORMATS:
        raise ValueError(f"--precision int8 is for {' and '.join(FORMATS)}, not {request.format}.")
    check_installed("onnx")
    check_installed(request.format)
    with new_folder(folder) as part, tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / NAMES[0]
        export(model, cfg, before, dataclasses.replace(request, format="onnx"))
        return quantised_folder(before, part, request.format, how)


def quantised_folder(
    source: Path, folder: Path, runtime: str, how: Quantisation
) -> Comparison | None:
    """An exported detector in int8.

    Args:
        source: folder of a detector exported for "onnx" in float32.
        folder: empty.
        runtime: one of ``FORMATS``.
        how: see ``Quantisation``.

    Returns:
        see ``export_int8``.
    """
    before = Folder.read(source)
    with tempfile.TemporaryDirectory() as temporary:
        target = folder if runtime == "onnx" else Path(temporary)
        pieces = quantise(before, how.pictures, target)
        files = {name: [target / f"{name}.onnx"] for name in pieces}
        if runtime == "openvino":
            files = {name: openvino_of_onnx(own, folder / name) for name, (own,) in files.items()}
    version = import_module("onnxruntime").__version__
    about: dict[str, Any] = {
        "method": f"static quantisation of onnxruntime {version}",
        "calibration": dict(how.of),
        "pieces": pieces,
        "check": None,
    }
    written = {
        name: {**piece, "files": hashes(files[name])}
        for name, piece in before.manifest["pieces"].items()
    }
    change = {"runtime": runtime, "precision": "int8", "pieces": written, "quantisation": about}
    manifest = {**before.manifest, **change}
    write_json(folder / MANIFEST, sealed(manifest), allow_nan=False)
    if how.check is None:
        return None
    found = _compared(source, folder, how.check, before.manifest)
    about["check"] = found.as_json()
    write_json(folder / MANIFEST, sealed(manifest), allow_nan=False)
    return found


def _compared(
    before: Path, after: Path, images: ImageSet, manifest: Mapping[str, Any]
) -> Comparison:
    first, second = (
        Accuracy(exported_records(Runner(folder), images.images, name), images.truth)
        for folder, name in zip((before, after), NAMES, strict=True)
    )
    return Comparison.of(NAMES, (first, second), images, manifest)

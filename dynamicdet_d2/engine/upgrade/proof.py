# SPDX-License-Identifier: Apache-2.0
"""Whether the easy route gives a stock detector's own output, bit for bit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from dynamicdet_d2.data.image_files import IMAGE_ENDINGS
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import evaluating
from dynamicdet_d2.operating_point.point import at_threshold
from dynamicdet_d2.utils.spread import spread


@dataclass(frozen=True)
class Proof:
    """What a comparison found.

    Attributes:
        images: that were compared.
        detections: that the stock detector makes in them.
        differing: names of the images with another output.
    """

    images: int
    detections: int
    differing: tuple[str, ...]


@torch.no_grad()
def compare(stock: nn.Module, model: DynamicDetector, inputs: Iterable[dict]) -> Proof:
    """Run both on each image, alone, and compare every field of the detections bit for bit.

    Args:
        stock: a static detector.
        model: the dynamic one, on the same device; all images take its easy route here.
        inputs: Detectron2's dicts.
    """
    images = detections = 0
    differing = []
    with evaluating(stock), evaluating(model):
        for image in inputs:
            expected = stock([image])[0]["instances"]
            with at_threshold(model, 1.0):
                found = model([image])[0]["instances"]
            images += 1
            detections += len(expected)
            if not equal(found, expected):
                differing.append(str(image.get("file_name", image.get("image_id", images))))
    return Proof(images, detections, tuple(differing))


def equal(one: Instances, other: Instances) -> bool:
    """Whether two results have the same fields with the same values."""
    fields, others = one.get_fields(), other.get_fields()
    return fields.keys() == others.keys() and all(
        torch.equal(_tensor(fields[name]), _tensor(others[name])) for name in fields
    )


def _tensor(field: torch.Tensor | Boxes) -> torch.Tensor:
    return field.tensor if isinstance(field, Boxes) else field


def proof_dicts(paths: Sequence[str], known: Sequence[dict], count: int) -> list[dict]:
    """Images to compare on, in Detectron2's format, spread evenly over what there is.

    Args:
        paths: image files or folders of them; none: ``known`` is taken.
        known: images of a data set.
        count: images wanted, at least 1.

    Raises:
        ValueError: a path does not exist, or there is no image.
    """
    found = [{"file_name": str(file)} for path in paths for file in _files(Path(path))]
    found = found if paths else [{"file_name": entry["file_name"]} for entry in known]
    if not found:
        where = f"--images {' '.join(paths)}" if paths else "DATASETS.TRAIN"
        raise ValueError(f"{where} has no image to compare the two detectors on.")
    return spread(found, count)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_ENDINGS)
    if not path.is_file():
        raise ValueError(f"--images {path} is neither a file nor a folder.")
    return [path]

# SPDX-License-Identifier: Apache-2.0
"""A batch as tensors and plain types, which a file can hold that is read without running anything.

``encoded`` and ``decoded`` are each other's inverse for what Detectron2's mappers give.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes
from torch import Tensor

from dynamicdet_d2.checkpoint.files import plain

# Kinds of fields whose content is one tensor, by the name that stands for them in the file.
_OF_TENSORS: dict[str, tuple[type, Callable[[Any], Tensor]]] = {
    "Boxes": (Boxes, lambda x: x.tensor),
    "RotatedBoxes": (RotatedBoxes, lambda x: x.tensor),
    "BitMasks": (BitMasks, lambda x: x.tensor),
    "Keypoints": (Keypoints, lambda x: x.tensor),
}
_KIND, _CONTENT = "kind of structure", "content"


def encoded(value: object) -> object:
    """A batch, or a part of one.

    Raises:
        ValueError: it has something of a kind that no file can hold.
    """
    if isinstance(value, Instances):
        fields = {name: encoded(field) for name, field in value.get_fields().items()}
        return {_KIND: "Instances", _CONTENT: fields, "size": list(value.image_size)}
    if isinstance(value, PolygonMasks):
        rings = [[torch.from_numpy(ring) for ring in rings] for rings in value.polygons]
        return {_KIND: "PolygonMasks", _CONTENT: rings}
    for name, (kind, content) in _OF_TENSORS.items():
        if type(value) is kind:  # some are derived from others
            return {_KIND: name, _CONTENT: content(value).detach().cpu()}
    if isinstance(value, dict):
        return {name: encoded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [encoded(part) for part in value]
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return plain(value, "the batch")


def decoded(value: object) -> Any:
    """What ``encoded`` was given; tuples have become lists."""
    if isinstance(value, list):
        return [decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if _KIND not in value:
        return {name: decoded(part) for name, part in value.items()}
    content = value[_CONTENT]
    if value[_KIND] == "Instances":
        height, width = value["size"]
        fields = {name: decoded(field) for name, field in content.items()}
        return Instances((height, width), **fields)
    if value[_KIND] == "PolygonMasks":
        return PolygonMasks([[np.asarray(ring) for ring in rings] for rings in content])
    return _OF_TENSORS[value[_KIND]][0](content)

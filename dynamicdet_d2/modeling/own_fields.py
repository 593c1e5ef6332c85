# SPDX-License-Identifier: Apache-2.0
"""Detections and ground truth that whoever is given them may change in place."""

from collections.abc import Iterable

from detectron2.structures import Instances


def with_own_fields(found: Instances, names: Iterable[str] | None = None) -> Instances:
    """The same of an image, with its own boxes, scores, ...

    Args:
        names: of the fields that are its own, where it has them; None: all that can be cloned, as
            tensors and Detectron2's boxes can.
    """
    fields = found.get_fields()
    chosen = fields if names is None else names
    own = {name: fields[name].clone() for name in chosen if hasattr(fields.get(name), "clone")}
    return Instances(found.image_size, **{**fields, **own})

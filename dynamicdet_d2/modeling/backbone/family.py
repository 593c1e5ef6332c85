# SPDX-License-Identifier: Apache-2.0
"""What a family says of its stages, refused by name before two of it are composed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone

from dynamicdet_d2.utils.words import shown

if TYPE_CHECKING:
    from dynamicdet_d2.modeling.backbone.composite import StagedBackbone

_STAGES = {
    "num_shared_stages": "backbone 2 needs one of its own at least",
    "first_injected_stage": "connections lead to one of them at least",
}


def check_family(backbone: "StagedBackbone") -> None:
    """
    Raises:
        ValueError: stages without names or shapes, or numbers of stages that there are not; it
            names the class.
    """
    name, stages = type(backbone).__name__, backbone.stage_names
    if not isinstance(stages, tuple | list) or not all(isinstance(x, str) for x in stages):
        raise ValueError(f"{name} has {shown(stages)} as stage_names; it must be names in a tuple.")
    if not stages:
        raise ValueError(f"{name} names no stage in stage_names.")
    if len(set(stages)) < len(stages):
        raise ValueError(f"{name} has {shown(stages)} as stage_names, of which one is there twice.")
    dotted = [stage for stage in stages if "." in stage]
    if dotted:  # a stage names a module
        raise ValueError(f"{name} has the stage '{dotted[0]}', in whose name no dot can be.")
    for attribute, reason in _STAGES.items():
        number = getattr(backbone, attribute)
        if not isinstance(number, int) or not 0 <= number < len(stages):
            raise ValueError(
                f"{name} has {shown(number)} as {attribute}, of {len(stages)} stages; {reason}."
            )
    _check_shapes(name, backbone)


def _check_shapes(name: str, backbone: "StagedBackbone") -> None:
    inherited = type(backbone).output_shape is Backbone.output_shape
    if inherited and not hasattr(backbone, "_out_features"):  # which Detectron2's own reads
        raise ValueError(f"{name} has no output_shape(), which gives a ShapeSpec for each stage.")
    shapes = backbone.output_shape()
    if not isinstance(shapes, Mapping):
        raise ValueError(
            f"output_shape() of {name} gives {shown(shapes)}; it must be a dict of a ShapeSpec for "
            "each stage."
        )
    missing = [stage for stage in backbone.stage_names if stage not in shapes]
    if missing:
        raise ValueError(
            f"{name} has the stage '{missing[0]}' in stage_names, of which its output_shape() says "
            "nothing."
        )
    for stage, shape in shapes.items():
        if not (isinstance(shape, ShapeSpec) and shape.channels and shape.stride):
            raise ValueError(
                f"{name} has {shape} for '{stage}' in its output_shape(); it must be a ShapeSpec "
                "of channels and stride."
            )

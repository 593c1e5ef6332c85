# SPDX-License-Identifier: Apache-2.0
"""Inputs of the router by their names. A further one is a file beside this and a line below."""

from collections.abc import Callable, Mapping

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec

from dynamicdet_d2.modeling.router_inputs.detection_numbers import DetectionNumbers
from dynamicdet_d2.modeling.router_inputs.objectness_map import ObjectnessMap
from dynamicdet_d2.modeling.router_inputs.pooled_features import PooledFeatures
from dynamicdet_d2.modeling.router_inputs.proposal_numbers import ProposalNumbers
from dynamicdet_d2.modeling.router_inputs.router_input import RouterInput
from dynamicdet_d2.modeling.tails import Tails

ROUTER_INPUTS = ("features", "map", "rpn", "detections")
"""All that there are, in the order in which the router has them."""

Shapes = Mapping[str, ShapeSpec]


def build_router_inputs(
    cfg: CfgNode, input_shape: Shapes, kind: type[Tails]
) -> dict[str, RouterInput]:
    """The inputs that ``MODEL.ROUTER.INPUTS`` names.

    They are in one order whatever the key's, so that two that differ in it alone, whose weights
    have the same shapes, are not taken for each other.

    Args:
        input_shape: backbone 1's output shapes.
        kind: of the detector.

    Raises:
        ValueError: if there is none, one twice, or one that the kind of detector cannot have.
    """
    names, possible = list(cfg.MODEL.ROUTER.INPUTS), _possible(cfg, input_shape, kind)
    wrong = [name for name in names if name not in possible or names.count(name) > 1]
    if wrong or not names:
        raise ValueError(
            f"MODEL.ROUTER.INPUTS is {names}; of a {kind.__name__} it must be some of "
            f"{list(possible)}, each once."
        )
    return {name: build() for name, build in possible.items() if name in names}


def _possible(
    cfg: CfgNode, input_shape: Shapes, kind: type[Tails]
) -> dict[str, Callable[[], RouterInput]]:
    """How each input is made that the kind of detector can have."""
    channels = kind.objectness_channels(cfg)
    inputs: dict[str, Callable[[], RouterInput]] = {
        "features": lambda: PooledFeatures(input_shape),
        "map": lambda: ObjectnessMap(input_shape, channels),
        "rpn": ProposalNumbers,
        "detections": DetectionNumbers,
    }
    if not channels:
        del inputs["map"]
    if "proposals" not in kind.pass_type.steps:
        del inputs["rpn"]
    return inputs

# SPDX-License-Identifier: Apache-2.0
"""What the router sees (``MODEL.ROUTER.INPUTS``), one file per input."""

from dynamicdet_d2.modeling.router_inputs.build import ROUTER_INPUTS, build_router_inputs
from dynamicdet_d2.modeling.router_inputs.objectness_map import ObjectnessMap
from dynamicdet_d2.modeling.router_inputs.pooled_features import PooledFeatures
from dynamicdet_d2.modeling.router_inputs.router_input import RouterInput

__all__ = [
    "ROUTER_INPUTS",
    "ObjectnessMap",
    "PooledFeatures",
    "RouterInput",
    "build_router_inputs",
]

# SPDX-License-Identifier: Apache-2.0
"""What a runner does by itself between the pieces of a dynamic detector: routing and merging."""

from dynamicdet_d2.export.by_runner import check_module
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.exit_merging import ExitMerging
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import RouterInput
from dynamicdet_d2.modeling.router_inputs.detection_numbers import DetectionNumbers
from dynamicdet_d2.modeling.router_inputs.proposal_numbers import ProposalNumbers

# In the order in which a runner puts their numbers behind those of F1.
_COUNTED: dict[str, type[RouterInput]] = {"rpn": ProposalNumbers, "detections": DetectionNumbers}


def check_routing(model: DynamicDetector) -> None:
    """Refuse what a runner would do in another way than the model.

    Raises:
        ValueError: naming the router's input or method, or the class that merges exits.
    """
    merging = model.exit_merging
    if merging is not None and type(merging) is not ExitMerging:
        raise ValueError(
            f"{type(merging).__name__} merges exits in a way of its own, which an export would "
            "leave out; only ExitMerging."
        )
    _check_router(model.router)


def _check_router(router: AdaptiveRouter) -> None:
    """A router on F1 alone is in a piece as it is; where it looks on, a runner counts."""
    counted = {name: own for name, own in router.inputs.items() if own.reads != "features"}
    for name, own in counted.items():
        if type(own) is not _COUNTED.get(name):
            raise ValueError(
                f"The router's input '{name}' is {type(own).__name__}; of proposals and detections "
                "only ProposalNumbers, as 'rpn', and DetectionNumbers, as 'detections', can be "
                "exported."
            )
    order = [name for name in _COUNTED if name in counted]
    if list(router.inputs)[len(router.inputs) - len(order) :] != order:
        raise ValueError(
            f"The router's inputs are {list(router.inputs)}; to be exported, 'rpn' and "
            "'detections' must be the last ones, in this order."
        )
    if counted:
        check_module(router, ("forward", "numbers"))

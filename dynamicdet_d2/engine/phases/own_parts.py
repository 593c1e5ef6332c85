# SPDX-License-Identifier: Apache-2.0
"""Parts of a program's own that a phase would pass over, said before the run's first step."""

from torch import nn

from dynamicdet_d2.engine.objectives import OBJECTIVES
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.own_methods import own_methods
from dynamicdet_d2.modeling.router import AdaptiveRouter

# Methods of a router in whose place "auto" has the paper's two layers.
_TWO_LAYERS = ("difficulty", "logit")


def check_router(model: DynamicDetector, tries_all: bool) -> None:
    """Refuse a router that would not learn what it gives.

    Args:
        tries_all: whether "auto" chooses what it learns.

    Raises:
        ValueError: naming its class, or that of its input.
    """
    router = model.router
    name = type(router).__name__
    if own_methods(router, ("forward",)):
        raise ValueError(
            f"{name} has forward() of its own, which no training asks: routers learn by "
            "difficulty(), or the logit() in it, from numbers() that are measured before."
        )
    own = [f"{method}()" for method in own_methods(router, _TWO_LAYERS)]
    own += [x for x in ("hidden", "score") if type(getattr(router, x)) is not nn.Linear]
    if tries_all and own:
        raise ValueError(
            f"SOLVER.ROUTER.OBJECTIVE is 'auto', which tries routers of two linear layers, and "
            f"{name} has {own[0]} of its own: it must be one of {', '.join(OBJECTIVES)}."
        )
    _check_inputs(model, router)


def _check_inputs(model: DynamicDetector, router: AdaptiveRouter) -> None:
    """Weights that an input shares with a detector are that one's."""
    elsewhere = {
        id(weight)
        for name, weight in model.named_parameters(remove_duplicate=False)
        if not name.startswith("router.")
    }
    for seen in router.inputs.values():
        for name, weight in seen.named_parameters():
            if weight.requires_grad and id(weight) not in elsewhere:
                raise ValueError(
                    f"{type(seen).__name__}, an input of the router, has '{name}', which nothing "
                    "trains: a router learns from numbers that are measured without gradients. "
                    "Weights that are to stay as they are need requires_grad_(False)."
                )

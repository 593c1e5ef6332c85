# SPDX-License-Identifier: Apache-2.0
"""Parts of a program's own that a phase would pass over, said before the run's first step."""

import logging
from collections.abc import Iterable

from torch import nn

from dynamicdet_d2.engine.objectives import OBJECTIVES
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.tail_results import parts_of_tail
from dynamicdet_d2.modeling.tails import Tails
from dynamicdet_d2.utils.own_code import own_methods

logger = logging.getLogger(__name__)

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
    if own_methods(model, ("losses",)) and not _asks_losses(model):
        logger.warning(
            "losses() of %s is its own, and image_losses() is not: a router learns from L1 and L2 "
            "by image_losses(), without what losses() adds to them or leaves out.",
            type(model).__name__,
        )


def _asks_losses(model: DynamicDetector) -> bool:
    """Whether what it learns an image by is a program's own, or all that it learns a batch by."""
    inherited = type(model).image_losses is Tails.image_losses
    return inherited or bool(own_methods(model, ("image_losses",)))


def check_second(model: DynamicDetector) -> None:
    """Refuse weights of detector2 that detector1 has, too; say which ones belong to nobody.

    Raises:
        ValueError: naming the first.
    """
    tail = parts_of_tail(model)
    second = _weights(model.second_parts())
    first = _weights([model.backbone.bottom_up1, *(x.owner for x in tail if "easy" in x.routes)])
    known = second | first | _weights([model.router, *model.heads, *(x.owner for x in tail)])
    names = {id(weight): name for name, weight in model.named_parameters() if weight.requires_grad}
    shared = [name for weight, name in names.items() if weight in second & first]
    if shared:
        raise ValueError(
            f"Phase detector2 would train '{shared[0]}', which detector1 has, too, and which is to "
            "stay as it is: detector2 needs one of its own, or SOLVER.PHASES has 'detectors'."
        )
    left = [name for weight, name in names.items() if weight not in known]
    if left:
        logger.warning(
            "Phase detector2 leaves '%s' as it is, as neither second_parts() nor tail_parts() of "
            "%s names it as detector2's.",
            *(left[0], type(model).__name__),
        )


def _weights(modules: Iterable[nn.Module]) -> set[int]:
    return {id(weight) for module in modules for weight in module.parameters()}


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

# SPDX-License-Identifier: Apache-2.0
"""Weights of a single detector through Detectron2's own checkpointer: loaded whole or refused."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from dynamicdet_d2.checkpoint import conventions, names
from dynamicdet_d2.checkpoint.complete import check_filled
from dynamicdet_d2.checkpoint.filling import load_weights
from dynamicdet_d2.modeling.loading import read_by

logger = logging.getLogger(__name__)

NAME = "The checkpoint"


@read_by
def load_foreign(model: Any, weights: Mapping[str, Tensor]) -> _IncompatibleKeys | None:
    """Load weights that have another detector's names, as ``DynamicCheckpointer`` does.

    Args:
        model: a dynamic detector. In evaluation mode it is about to be used, so that parts at
            random values are refused: without a router, all images must take one exit.
        weights: name -> tensor.

    Returns:
        nothing missing, and what was not used; None where the names are the model's own.

    Raises:
        ValueError: nothing in the weights fits, or parts are left at random values.
    """
    if names.recognise(weights) == names.DYNAMICDET or set(weights) <= set(model.state_dict()):
        return None
    report = load_weights(model, weights, NAME)
    for level, text in [*report.messages(), *conventions.messages(model, report)]:
        logger.log(level, text)
    if isinstance(model, nn.Module) and not model.training:
        check_filled(report, model, one_exit=model.threshold in (0, 1))
    return _IncompatibleKeys([], list(report.unmatched))

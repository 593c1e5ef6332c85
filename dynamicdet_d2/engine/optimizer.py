# SPDX-License-Identifier: Apache-2.0
"""The optimizer of the phases that train detectors: SGD or AdamW, by Detectron2's keys."""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import CycleBatchNormList
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping, reduce_param_groups
from torch import nn
from torch.optim import Optimizer

from dynamicdet_d2.config.ranges import LARGEST_RATE
from dynamicdet_d2.engine.schedule import WARMUP_LR

# Position tables, and vectors that are added to channels or multiply them (YOLOv7), are no weights
# of a map: decay would only draw them to 0.
NO_DECAY = ("relative_position_bias_table", "absolute_pos_embed", "implicit")


def build_detectors_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """By ``SOLVER.OPTIMIZER`` and Detectron2's keys (BASE_LR, WEIGHT_DECAY, CLIP_GRADIENTS, ...).

    With ``WEIGHT_DECAY_NORM`` and ``WEIGHT_DECAY_BIAS`` 0 it is the weights of convolutions and
    linear layers alone that decay.
    """
    keys = cfg.SOLVER
    parameters = get_default_optimizer_params(
        model,
        base_lr=keys.BASE_LR,
        weight_decay=keys.WEIGHT_DECAY,
        weight_decay_norm=keys.WEIGHT_DECAY_NORM,
        overrides={**{name: {"weight_decay": 0.0} for name in NO_DECAY}, "bias": _of_biases(cfg)},
    )
    shared = _of_shared_norms(cfg, model)
    if shared:
        parameters = reduce_param_groups([*parameters, *shared])  # later ones count
    return maybe_add_gradient_clipping(cfg, _optimizer(cfg, parameters))


def _optimizer(cfg: CfgNode, parameters: list[dict[str, Any]]) -> Optimizer:
    keys = cfg.SOLVER
    if keys.OPTIMIZER == "SGD":
        return torch.optim.SGD(
            parameters, lr=keys.BASE_LR, momentum=keys.MOMENTUM, nesterov=keys.NESTEROV
        )
    return torch.optim.AdamW(parameters, lr=keys.BASE_LR)


def _of_shared_norms(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    """What Detectron2's function does not know to be of a norm: the affine of all levels' batch
    norms, in the heads of RetinaNet and FCOS."""
    keys = cfg.SOLVER
    names = ("weight", "bias") if keys.WEIGHT_DECAY_BIAS is None else ("weight",)
    return [
        {"params": [value], "weight_decay": keys.WEIGHT_DECAY_NORM}
        for norms in model.modules()
        if isinstance(norms, CycleBatchNormList)
        for name, value in norms.named_parameters(recurse=False)
        if name in names and value.requires_grad
    ]


def _of_biases(cfg: CfgNode) -> dict[str, float]:
    """What biases have of their own; Detectron2's function does not take more than two of these."""
    keys = cfg.SOLVER
    found = {"lr": keys.BASE_LR * keys.BIAS_LR_FACTOR}
    if keys.WEIGHT_DECAY_BIAS is not None:
        found["weight_decay"] = keys.WEIGHT_DECAY_BIAS
    if keys.WARMUP_BIAS_LR is not None:
        found[WARMUP_LR] = keys.WARMUP_BIAS_LR
    return found


def check_rates(optimizer: Optimizer) -> None:
    """
    Raises:
        FloatingPointError: a rate, as factors and schedule have made it, is beyond float32.
    """
    largest = max(group["lr"] for group in optimizer.param_groups)
    if not largest < LARGEST_RATE:
        raise FloatingPointError(
            f"a learning rate is {largest:g}, of SOLVER.BASE_LR, its factors and the schedule; it "
            f"must be below {LARGEST_RATE:g}"
        )

# SPDX-License-Identifier: Apache-2.0
"""The optimizer of phase ``detectors``: Detectron2's SGD, or AdamW by the same keys."""

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer, get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.optim import Optimizer

# Position tables are no weights of a map; decaying them only blurs where things are.
NO_DECAY = ("relative_position_bias_table", "absolute_pos_embed")


def build_detectors_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """By ``SOLVER.OPTIMIZER`` and Detectron2's keys (BASE_LR, WEIGHT_DECAY, ...)."""
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return build_optimizer(cfg, model)
    parameters = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        overrides={name: {"weight_decay": 0.0} for name in NO_DECAY},
    )
    return maybe_add_gradient_clipping(cfg, torch.optim.AdamW(parameters, lr=cfg.SOLVER.BASE_LR))

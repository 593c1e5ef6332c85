# SPDX-License-Identifier: Apache-2.0
"""The passes over a data set that an evaluation makes: its own, and one for each further size."""

import logging
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import inference_on_dataset
from torch import nn

from dynamicdet_d2.data.loading.loaders import annotated_mapper, build_test_loader
from dynamicdet_d2.evaluation.evaluator import BothExits, TradeoffEvaluator

logger = logging.getLogger(__name__)


def evaluate(
    cfg: CfgNode, dataset: str, model: nn.Module, evaluator: TradeoffEvaluator
) -> dict[str, dict[str, float]]:
    """Results of the evaluator over a data set of Detectron2's catalogs, at the config's size."""
    with_losses = cfg.TEST.DYNAMIC.LOSS_GAP
    mapper = annotated_mapper(cfg) if with_losses else None
    loader = build_test_loader(cfg, dataset, mapper)
    return inference_on_dataset(BothExits(model, with_losses), loader, evaluator)


def evaluate_sizes(
    cfg: CfgNode, dataset: str, model: nn.Module, output_dir: str
) -> dict[int, dict[str, Any]]:
    """Evaluate at each of ``TEST.DYNAMIC.INPUT_SIZES``, into folders of their own.

    Returns:
        size -> content of tradeoff.json; empty on all processes but the main one.
    """
    found = {}
    for size in cfg.TEST.DYNAMIC.INPUT_SIZES:
        logger.info("Input size %d", size)
        sized = at_input_size(cfg, size)
        folder = str(Path(output_dir) / f"size_{size}")
        evaluator = TradeoffEvaluator(dataset, sized, model, folder)
        evaluate(sized, dataset, model, evaluator)
        if evaluator.tradeoff is not None:
            found[size] = evaluator.tradeoff
    return found


def at_input_size(cfg: CfgNode, size: int) -> CfgNode:
    """The config with another ``INPUT.MIN_SIZE_TEST`` and nothing evaluated but the trade-off."""
    sized = cfg.clone()
    sized.defrost()
    scale = size / cfg.INPUT.MIN_SIZE_TEST
    sized.INPUT.MAX_SIZE_TEST = round(scale * cfg.INPUT.MAX_SIZE_TEST)
    sized.INPUT.MIN_SIZE_TEST = size
    sized.TEST.DYNAMIC.INPUT_SIZES = []
    sized.TEST.DYNAMIC.LOSS_GAP = False
    sized.TEST.DYNAMIC.GALLERY = 0
    sized.freeze()
    return sized

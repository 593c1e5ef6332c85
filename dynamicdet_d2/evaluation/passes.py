# SPDX-License-Identifier: Apache-2.0
"""The passes over a data set that an evaluation makes: its own, and one for each further size."""

import logging
import os
from collections.abc import Callable, Iterable, Sized
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from torch import nn

from dynamicdet_d2.data.loading.loaders import ImageLoader, build_test_loader
from dynamicdet_d2.data.loading.mappers import annotated_mapper
from dynamicdet_d2.evaluation.augmented import evaluate_augmented
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from dynamicdet_d2.evaluation.observe import BothExits
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff
from dynamicdet_d2.modeling.modes import modes_kept
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

# From a config and the name of a data set; what it gives has a length.
BuildLoader = Callable[[CfgNode, str], Iterable[list[dict]]]


def build_evaluation_loader(cfg: CfgNode, dataset: str) -> ImageLoader:
    """The test loader, with annotations where losses need them."""
    losses = measures_losses(cfg)
    return build_test_loader(cfg, dataset, annotated_mapper(cfg) if losses else None, losses=losses)


def results_folder(cfg: CfgNode, dataset: str) -> str:
    """``OUTPUT_DIR/inference``, and in it a folder per data set where there are several."""
    folder = os.path.join(cfg.OUTPUT_DIR, "inference")
    return os.path.join(folder, dataset) if len(cfg.DATASETS.TEST) > 1 else folder


def measures_losses(cfg: CfgNode) -> bool:
    """Whether both detectors' losses are computed beside their detections."""
    return cfg.TEST.DYNAMIC.LOSS_GAP or cfg.TEST.EVAL_LOSS


def evaluate(
    cfg: CfgNode,
    dataset: str,
    model: nn.Module,
    evaluator: DatasetEvaluator,
    build_loader: BuildLoader = build_evaluation_loader,
) -> dict[str, dict[str, float]]:
    """Results of an evaluator over a data set of Detectron2's catalogs.

    A ``TradeoffEvaluator`` gets the trade-off at each of ``TEST.DYNAMIC.INPUT_SIZES`` as well.
    With ``TEST.AUG.ENABLED`` figures of augmented inference are added.

    Args:
        model: a dynamic detector; the evaluator is given ``BothExits`` of it.
        evaluator: of the data set; any of Detectron2's kind.
        build_loader: called with the config, and with one for each further input size.

    Raises:
        ValueError: a trainer's methods, or a program, give no evaluator or no loader.
    """
    if evaluator is None:
        raise ValueError(f"There is no evaluator of {dataset}: build_evaluator returns nothing.")
    if isinstance(evaluator, type) or not hasattr(evaluator, "process"):
        raise ValueError(
            f"The evaluator of {dataset} is {shown(evaluator)}; it must be an instance of a "
            "DatasetEvaluator."
        )
    if isinstance(evaluator, TradeoffEvaluator):
        folder = evaluator.output_dir
        evaluator.other_sizes = _evaluate_sizes(cfg, dataset, model, folder, build_loader)
    elif cfg.TEST.DYNAMIC.INPUT_SIZES:
        logger.warning(
            "TEST.DYNAMIC.INPUT_SIZES is left out: it needs a TradeoffEvaluator, not a %s.",
            type(evaluator).__name__,
        )
    observed, loader = BothExits(model, measures_losses(cfg)), build_loader(cfg, dataset)
    if loader is None:
        raise ValueError(f"There is no loader of {dataset}: build_test_loader returns nothing.")
    if not isinstance(loader, Sized):
        raise ValueError(
            f"The loader of {dataset} is of type {type(loader).__name__}, without a length: "
            "build_test_loader must return one that has an end."
        )
    with modes_kept(model):
        results = inference_on_dataset(observed, loader, evaluator)
    if not isinstance(results, dict):
        raise ValueError(
            f"The evaluator of {dataset} is a {type(evaluator).__name__} and gives "
            f"{shown(results)}; it must be a dict of figures by task."
        )
    if cfg.TEST.AUG.ENABLED:
        folder = getattr(evaluator, "output_dir", None) or results_folder(cfg, dataset)
        with modes_kept(model):  # Detectron2's class would pass on its own, that of training
            found = evaluate_augmented(cfg, dataset, model, folder, build_loader(cfg, dataset))
        results = {**results, **found}
    return results


def _evaluate_sizes(
    cfg: CfgNode, dataset: str, model: nn.Module, output_dir: str, build_loader: BuildLoader
) -> dict[int, Tradeoff]:
    """Evaluate at each of ``TEST.DYNAMIC.INPUT_SIZES``, into folders of their own.

    Returns:
        size -> the trade-off there; empty on all processes but the main one.
    """
    found = {}
    for size in cfg.TEST.DYNAMIC.INPUT_SIZES:
        logger.info("Input size %d", size)
        sized = at_input_size(cfg, size)
        evaluator = TradeoffEvaluator(
            dataset, sized, output_dir=str(Path(output_dir) / f"size_{size}")
        )
        evaluate(sized, dataset, model, evaluator, build_loader)
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
    sized.TEST.DYNAMIC.LOSS_GAP = sized.TEST.EVAL_LOSS = sized.TEST.AUG.ENABLED = False
    sized.TEST.DYNAMIC.GALLERY = 0
    sized.freeze()
    return sized

# SPDX-License-Identifier: Apache-2.0
"""How the trainer of a dynamic detector evaluates it, and what a subclass can override of that."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator, print_csv_format
from detectron2.utils import comm
from torch import nn

from dynamicdet_d2.data.loading.loaders import ImageLoader
from dynamicdet_d2.engine.overridden import checked_evaluators
from dynamicdet_d2.engine.run_data import prepare_test
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from dynamicdet_d2.evaluation.passes import build_evaluation_loader, evaluate, results_folder


class TradeoffTester(DefaultTrainer):
    """Every data set at every operating point, by one pass over both exits."""

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> ImageLoader:
        """With annotations where ``TEST.DYNAMIC.LOSS_GAP`` needs them."""
        return build_evaluation_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """The trade-off of one data set.

        Args:
            output_folder: None: as ``results_folder``.
        """
        folder = output_folder or results_folder(cfg, dataset_name)
        return TradeoffEvaluator(dataset_name, cfg, output_dir=folder)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: Sequence[DatasetEvaluator] | None = None,
    ) -> dict:
        """Evaluate every data set of ``DATASETS.TEST`` at every operating point, in one pass each.

        Args:
            evaluators: one per data set, or the one of one data set; None: ``build_evaluator``'s.

        Returns:
            Detectron2's nested dict of floats; by data set where there are several.
        """
        prepare_test(cfg)
        names, results = cfg.DATASETS.TEST, {}
        given = checked_evaluators(evaluators, names) if evaluators else ()
        for place, name in enumerate(names):
            evaluator = given[place] if given else cls.build_evaluator(cfg, name)
            results[name] = evaluate(cfg, name, model, evaluator, cls.build_test_loader)
            if comm.is_main_process():
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

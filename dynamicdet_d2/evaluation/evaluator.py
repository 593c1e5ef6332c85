# SPDX-License-Identifier: Apache-2.0
"""The evaluator: both exits of every image once, then the trade-off at every operating point.

``inference_on_dataset(BothExits(model), loader, TradeoffEvaluator(name, cfg))``
"""

import json
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import nn

from dynamicdet_d2.evaluation.audit import PREFIX
from dynamicdet_d2.evaluation.exit_records import EXITS, ExitRecord
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from dynamicdet_d2.evaluation.observe import Observer, unwrapped
from dynamicdet_d2.evaluation.report.comparisons import input_size_series
from dynamicdet_d2.evaluation.report.html_report import write_html
from dynamicdet_d2.evaluation.report.pictures import write_gallery
from dynamicdet_d2.evaluation.report.tables import (
    FIGURES,
    points_table,
    write_report,
    write_whole,
)
from dynamicdet_d2.evaluation.tradeoff import build_tradeoff, check_keys
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector

logger = logging.getLogger(__name__)


class TradeoffEvaluator(Observer):
    """AP, cost and latency at every operating point, from one pass over both exits.

    Writes tradeoff.json, .csv, .md, .png, routes.jsonl, pictures and report.html to
    ``output_dir/dynamic``. Works on several processes; the main one evaluates. It holds up to twice
    ``TEST.DYNAMIC.LATENCY_IMAGES`` images.

    Attributes:
        output_dir: Detectron2's ``OUTPUT_DIR/inference``.
        other_sizes: input size -> the trade-off found there, to be shown beside this one.
        tradeoff: content of tradeoff.json after ``evaluate``, on the main process; else None.
    """

    def __init__(
        self,
        dataset_name: str,
        cfg: CfgNode,
        model: nn.Module | None = None,
        output_dir: str | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a data set in Detectron2's catalogs, with annotations.
            cfg: ``TEST.DYNAMIC`` is read; the config that the model was built from.
            model: the dynamic detector that is evaluated, or the same wrapped for distributed
                training; FLOPs and latency are taken from it. None: the one that the outputs of
                ``BothExits`` name.
            output_dir: None: ``OUTPUT_DIR/inference`` of the config.

        Raises:
            ValueError: without annotations, or where a key is out of range.
        """
        check_keys(cfg)
        super().__init__(cfg.TEST.DYNAMIC.LATENCY_IMAGES)
        self._dataset, self._cfg = dataset_name, cfg
        self.output_dir = output_dir or os.path.join(cfg.OUTPUT_DIR, "inference")
        self.other_sizes: Mapping[int, dict[str, Any]] = {}
        self.tradeoff: dict[str, Any] | None = None
        self._given_model = None if model is None else unwrapped(model)
        self._ground_truth = read_ground_truth(dataset_name) if comm.is_main_process() else None

    def reset(self) -> None:
        """Forget what was seen.

        Raises:
            ValueError: the model's threshold comes from a calibration of another model.
        """
        super().reset()
        self._model: DynamicDetector | None = None
        if self._given_model is not None:
            self._take(self._given_model)

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep what is needed of a batch: Detectron2's input dicts and ``BothExits`` of them.

        Raises:
            ValueError: the outputs are not those of both exits, or as in ``reset``.
        """
        if any(name not in output for output in outputs for name in EXITS):
            raise ValueError(
                "TradeoffEvaluator needs the detections of both exits: "
                "inference_on_dataset(BothExits(model), loader, evaluator)."
            )
        if self._model is None:
            self._take(outputs[0]["model"])
        super().process(inputs, outputs)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Build the trade-off and write its files.

        Returns:
            "bbox" and, with masks, "segm": COCO figures at the model's own threshold, as
            ``COCOEvaluator`` names them; "dynamic": the trade-off in short. Floats, NaN where
            undefined. Empty on all processes but the main one.

        Raises:
            ValueError: there are more processes than images.
        """
        observation = self.observation()
        if self._ground_truth is None:  # not the main process
            return {}
        if not observation.records:
            logger.warning("No image of %s was seen: there is nothing to evaluate.", self._dataset)
            return {}
        if self._model is None:
            raise ValueError(
                f"The main process saw none of the {len(observation.records)} images of "
                f"{self._dataset}: evaluate them in fewer processes."
            )
        tradeoff, routes = build_tradeoff(
            self._model,
            self._cfg,
            self._dataset,
            observation.records,
            self._ground_truth.coco,
            self._ground_truth.category_ids,
            observation.sample,
        )
        tradeoff["comparisons"] = self._comparisons(tradeoff)
        self.tradeoff = tradeoff
        self._write(tradeoff, routes, observation.records)
        return summary(tradeoff)

    def _take(self, model: DynamicDetector) -> None:
        model.operating_point.check(model)
        self._model = model

    def _comparisons(self, tradeoff: dict[str, Any]) -> list[dict[str, Any]]:
        if not self.other_sizes:
            return []
        return input_size_series({**self.other_sizes, self._cfg.INPUT.MIN_SIZE_TEST: tradeoff})

    def _write(
        self,
        tradeoff: dict[str, Any],
        routes: list[dict[str, Any]],
        records: Sequence[ExitRecord],
    ) -> None:
        folder = Path(self.output_dir) / "dynamic"
        write_report(tradeoff, folder)
        lines = "".join(json.dumps(route, allow_nan=False, default=int) + "\n" for route in routes)
        write_whole(folder / "routes.jsonl", lines.encode())
        names = MetadataCatalog.get(self._dataset).get("thing_classes", ())
        write_gallery(folder, routes, records, names, self._cfg.TEST.DYNAMIC.GALLERY)
        write_html(folder)
        _log(tradeoff, folder)


def summary(tradeoff: Mapping[str, Any]) -> OrderedDict[str, dict[str, float]]:
    """The trade-off as floats by task and name, for logs and ``EvalHook``.

    Args:
        tradeoff: content of tradeoff.json.
    """
    own = tradeoff["operating_point"]
    results = OrderedDict()
    for task, iou_type in {"box": "bbox", "mask": "segm"}.items():
        if own[task] is not None:
            classes = {f"AP-{name}": ap for name, ap in own[f"{task}_classes"].items()}
            results[iou_type] = {name: own[task][name] for name in FIGURES} | classes
    results["dynamic"] = _short(tradeoff)
    return OrderedDict((task, _floats(figures)) for task, figures in results.items())


def _short(tradeoff: Mapping[str, Any]) -> dict[str, float | None]:
    points, own = tradeoff["points"], tradeoff["operating_point"]
    short = {"AP_easy_end": points[0]["box"]["AP"], "AP_hard_end": points[-1]["box"]["AP"]}
    for point in points[1:-1]:
        at = f"at_{point['hard_fraction']:g}"
        short[f"AP_{at}"] = point["box"]["AP"]
        short |= {f"{name}_{at}": point[name] for name in ("random_AP", "oracle_share")}
    names = ("threshold", "realised_hard_fraction", "gflops", "latency_ms", "fps")
    short |= {name: own[name] for name in names}
    short |= {f"difficulty_{name}": tradeoff["difficulty"][name] for name in ("mean", "std")}
    return short | {"loss_offset": tradeoff["loss_offset"]}


def _floats(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in figures.items()}


def _log(tradeoff: Mapping[str, Any], folder: Path) -> None:
    for task in PREFIX:
        if tradeoff["points"][0][task] is not None:
            logger.info("Trade-off, %s AP:\n%s", task, points_table(tradeoff, task))
    logger.info("%s", tradeoff["verdict"])
    for warning in tradeoff["warnings"]:
        logger.warning("%s", warning)
    logger.info("Report: %s", folder / "report.html")

# SPDX-License-Identifier: Apache-2.0
"""The evaluator: both exits of every image once, then the trade-off at every operating point.

``inference_on_dataset(BothExits(model), loader, TradeoffEvaluator(name, cfg, model, folder))``
"""

import contextlib
import io
import json
import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_json
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from pycocotools.coco import COCO
from torch import nn

from dynamicdet_d2.evaluation.audit import PREFIX
from dynamicdet_d2.evaluation.exit_records import ExitRecord, SpreadSample, merged
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

logger = logging.getLogger(__name__)

_KEYS_FOR_INFERENCE = ("image", "height", "width", "image_id", "file_name")


class BothExits(nn.Module):
    """A ``DynamicRCNN`` whose output is that of both exits, for ``inference_on_dataset``."""

    def __init__(self, model: nn.Module, with_losses: bool = False) -> None:
        """
        Args:
            model: a ``DynamicRCNN``, or the same wrapped for distributed training.
            with_losses: also compute both detectors' losses, which costs about as much again;
                the inputs must then have ``"instances"``.
        """
        super().__init__()
        self.with_losses = with_losses
        self.model = getattr(model, "module", model)
        # The caller puts back the mode that it finds here, and would wake a model at rest.
        self.training = self.model.training

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """As ``DynamicRCNN.exits``; with losses also ``"losses"``: (L1, L2) of the image."""
        outputs = self.model.exits(batched_inputs)
        if self.with_losses:
            losses = self.model.detector_losses_per_image(batched_inputs).tolist()
            for output, pair in zip(outputs, losses, strict=True):
                output["losses"] = tuple(pair)
        return outputs


class TradeoffEvaluator(DatasetEvaluator):
    """AP, cost and latency at every operating point, from one pass over both exits.

    Writes tradeoff.json, .csv, .md, .png, routes.jsonl, pictures and report.html to
    ``output_dir/dynamic``. Works on several processes; the main one evaluates. Memory grows by
    the detections of the images (masks as RLE), and holds up to twice
    ``TEST.DYNAMIC.LATENCY_IMAGES`` images.

    Attributes:
        other_sizes: input size -> the trade-off found there, to be shown beside this one.
        tradeoff: content of tradeoff.json after ``evaluate``, on the main process; else None.
    """

    def __init__(self, dataset_name: str, cfg: CfgNode, model: nn.Module, output_dir: str) -> None:
        """
        Args:
            dataset_name: a data set in Detectron2's catalogs, with annotations.
            cfg: ``TEST.DYNAMIC`` is read; the config that the model was built from.
            model: the ``DynamicRCNN`` whose exits are evaluated, or the same wrapped for
                distributed training; FLOPs and latency are taken from it.
            output_dir: Detectron2's ``OUTPUT_DIR/inference``.

        Raises:
            ValueError: without annotations, or where a key is out of range.
        """
        check_keys(cfg)
        self._dataset, self._cfg, self.output_dir = dataset_name, cfg, output_dir
        self.other_sizes: Mapping[int, dict[str, Any]] = {}
        self.tradeoff: dict[str, Any] | None = None
        self._model = getattr(model, "module", model)
        self._ground_truth = self._read_ground_truth() if comm.is_main_process() else None

    def reset(self) -> None:
        """Forget what was seen.

        Raises:
            ValueError: the model's threshold comes from a calibration of another model.
        """
        self._model.operating_point.check(self._model)
        self._records: list[ExitRecord] = []
        timed = self._cfg.TEST.DYNAMIC.LATENCY_IMAGES if comm.is_main_process() else 0
        self._timed = SpreadSample(timed)

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep what is needed of a batch: Detectron2's input dicts and ``BothExits`` of them."""
        for image, output in zip(inputs, outputs, strict=True):
            self._records.append(ExitRecord.of(image, output))
            self._timed.add({key: image[key] for key in _KEYS_FOR_INFERENCE if key in image})

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Build the trade-off and write its files.

        Returns:
            "bbox" and, with masks, "segm": COCO figures at the model's own threshold, as
            ``COCOEvaluator`` names them; "dynamic": the trade-off in short. Floats, NaN where
            undefined. Empty on all processes but the main one.
        """
        records = merged(comm.gather(self._records, dst=0))
        if not comm.is_main_process():
            return {}
        if not records:
            logger.warning("No image of %s was seen: there is nothing to evaluate.", self._dataset)
            return {}
        tradeoff, routes = build_tradeoff(
            self._model,
            self._cfg,
            self._dataset,
            records,
            self._ground_truth,
            self._category_ids(),
            self._timed.items(),
        )
        tradeoff["comparisons"] = self._comparisons(tradeoff)
        self.tradeoff = tradeoff
        self._write(routes, records)
        return summary(tradeoff)

    def _comparisons(self, tradeoff: dict[str, Any]) -> list[dict[str, Any]]:
        if not self.other_sizes:
            return []
        return input_size_series({**self.other_sizes, self._cfg.INPUT.MIN_SIZE_TEST: tradeoff})

    def _write(self, routes: list[dict[str, Any]], records: Sequence[ExitRecord]) -> None:
        folder = Path(self.output_dir) / "dynamic"
        write_report(self.tradeoff, folder)
        lines = "".join(json.dumps(route, allow_nan=False, default=int) + "\n" for route in routes)
        write_whole(folder / "routes.jsonl", lines.encode())
        names = MetadataCatalog.get(self._dataset).get("thing_classes", ())
        write_gallery(folder, routes, records, names, self._cfg.TEST.DYNAMIC.GALLERY)
        write_html(folder)
        _log(self.tradeoff, folder)

    def _read_ground_truth(self) -> COCO:
        metadata = MetadataCatalog.get(self._dataset)
        json_file = metadata.get("json_file")
        if json_file is None:
            json_file = str(Path(self.output_dir) / f"{self._dataset}_coco_format.json")
            convert_to_coco_json(self._dataset, json_file, allow_cached=False)
        with _printing_to_log():
            ground_truth = COCO(PathManager.get_local_path(json_file))
        if "annotations" not in ground_truth.dataset:
            raise ValueError(
                f"{json_file} of data set {self._dataset} has no 'annotations': without them "
                "there is no AP to trade."
            )
        return ground_truth

    def _category_ids(self) -> dict[int, int]:
        """Class as the model counts it -> category id."""
        mapping = MetadataCatalog.get(self._dataset).get("thing_dataset_id_to_contiguous_id")
        if mapping is None:
            return {category: category for category in self._ground_truth.getCatIds()}
        return {contiguous: category for category, contiguous in mapping.items()}


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


@contextlib.contextmanager
def _printing_to_log() -> Iterator[None]:
    """pycocotools prints; its lines go to the log."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    for line in printed.getvalue().splitlines():
        logger.debug("pycocotools: %s", line)

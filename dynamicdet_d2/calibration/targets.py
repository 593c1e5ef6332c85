# SPDX-License-Identifier: Apache-2.0
"""From a target (hard fraction, latency, multiply-adds, AP drop) to a hard fraction."""

import contextlib
import io
from dataclasses import dataclass, field

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from pycocotools.coco import COCO
from torch import nn

from dynamicdet_d2 import calibration as cal
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.evaluation.exit_records import ExitRecord, coco_results

# Kinds of targets: (largest value allowed, range in words). All begin at 0.
KINDS = {
    "hard_fraction": (1.0, "in [0, 1]"),
    "latency_ms": (float("inf"), "0 or more"),
    "gflops": (float("inf"), "0 or more"),
    "ap_drop": (100.0, "in [0, 100]"),
}
# Hard fractions that AP is looked at for a largest AP drop.
AP_FRACTIONS = tuple(k / 100 for k in range(101))


@dataclass(frozen=True)
class Target:
    """What the operating point is chosen for.

    Attributes:
        kind: "hard_fraction"; "latency_ms", mean of an image; "gflops", mean of an image in 10^9
            multiply-adds; "ap_drop", points of box AP below that of all images hard.
        value: in the range that ``KINDS`` gives.
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        largest, says = KINDS[self.kind]
        if not 0 <= self.value <= largest:
            raise ValueError(f"A target for {self.kind} must be {says}, not {self.value:g}.")


@dataclass
class Observed:
    """What one pass over a data set leaves.

    Attributes:
        difficulties: (N,) in [0, 1].
        sizes: height and width of each image as the network gets it, in pixels, before padding.
        kept: some batches, in memory, for measuring latency.
        records: both exits' boxes; empty where nobody asked for them.
    """

    difficulties: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    kept: list[list[dict]] = field(default_factory=list)
    records: list[ExitRecord] = field(default_factory=list)


def hard_fraction_for_target(
    target: Target, cfg: CfgNode, model: nn.Module, record: cal.Calibration, seen: Observed
) -> float:
    """The hard fraction, in [0, 1], that meets a target on the images seen.

    Args:
        model: for its cost.
        record: for latencies and thresholds.
        seen: with both exits for "ap_drop".

    Raises:
        ValueError: the target cannot be reached, or needs ground truth that is not there.
    """
    if target.kind == "latency_ms":
        return record.hard_fraction_for_latency(target.value)
    if target.kind == "gflops":
        easy, hard = _mean_gflops(cfg, model, seen)
        return cal.hard_fraction_for_cost(easy, hard, target.value, "cost", "GFLOPs")
    if target.kind == "ap_drop":
        aps = _ap_curve(cfg.DATASETS.TEST[0], record, seen)
        return cal.hard_fraction_for_ap_drop(AP_FRACTIONS, aps, target.value)
    return target.value


def _mean_gflops(cfg: CfgNode, model: nn.Module, seen: Observed) -> tuple[float, float]:
    """Mean cost of each route in 10^9 multiply-adds, at the sizes that the images really have."""
    cost = RouteCost(model, attention_matmul=cfg.TEST.DYNAMIC.ATTENTION_MATMUL)
    easy, hard = (cost.average(seen.sizes, [route] * len(seen.sizes)) for route in (False, True))
    return easy, hard


def _ap_curve(dataset: str, record: cal.Calibration, seen: Observed) -> list[float]:
    """Box AP in points at each of ``AP_FRACTIONS``, by the record's thresholds."""
    metadata = MetadataCatalog.get(dataset)
    if "json_file" not in metadata.as_dict():
        raise ValueError(f"An AP drop needs ground truth in COCO's format, which {dataset} lacks.")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        ground_truth = COCO(metadata.json_file)
    category_ids = {i: c for c, i in metadata.thing_dataset_id_to_contiguous_id.items()}
    exits = coco_results(seen.records, category_ids)
    image_ids = [record.image_id for record in seen.records]
    sweep = CocoSweep(ground_truth, exits, "bbox", image_ids)
    difficulties = np.array(seen.difficulties)
    return [
        sweep.evaluate(difficulties > record.threshold(k)).as_dict()["AP"] for k in AP_FRACTIONS
    ]

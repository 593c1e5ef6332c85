# SPDX-License-Identifier: Apache-2.0
"""The trade-off of one model on one data set: the content of tradeoff.json and routes.jsonl."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from numpy.typing import NDArray
from pycocotools.coco import COCO
from torch import nn

from dynamicdet_d2.evaluation.audit import (
    GRID,
    Audit,
    difficulty_summary,
    number,
    rank_correlation,
)
from dynamicdet_d2.evaluation.coco.counts import IOU
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.cost import RouteCost, kept_proposals
from dynamicdet_d2.evaluation.exit_records import ExitRecord, coco_results
from dynamicdet_d2.evaluation.latency import Latency, device_name, measure_thresholds
from dynamicdet_d2.evaluation.verdict import verdict, warnings
from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.operating_point import fingerprint
from dynamicdet_d2.utils.progress import Progress
from dynamicdet_d2.utils.versions import versions

logger = logging.getLogger(__name__)

# Operating points of every report, whatever TEST.DYNAMIC.HARD_FRACTIONS adds.
ALWAYS = (0.0, 0.1, 0.5, 0.9, 1.0)


def check_keys(cfg: CfgNode) -> None:
    """Refuse an evaluation that could not be finished, before hours are spent in it.

    Raises:
        ValueError: a key of ``TEST.DYNAMIC`` is out of its range.
    """
    keys = cfg.TEST.DYNAMIC
    wrong = [k for k in keys.HARD_FRACTIONS if not 0 <= k <= 1]
    if wrong:
        raise ValueError(f"TEST.DYNAMIC.HARD_FRACTIONS has {wrong[0]}; each must lie in [0, 1].")
    if not 0 <= keys.MIN_SCORE <= 1:
        raise ValueError(f"TEST.DYNAMIC.MIN_SCORE is {keys.MIN_SCORE}; it must lie in [0, 1].")
    if keys.GALLERY < 0:
        raise ValueError(f"TEST.DYNAMIC.GALLERY is {keys.GALLERY}; it must be at least 0.")
    wrong = [size for size in keys.INPUT_SIZES if size < 1]
    if wrong:
        raise ValueError(f"TEST.DYNAMIC.INPUT_SIZES has {wrong[0]}; each must be at least 1.")


def operating_points(cfg: CfgNode) -> list[float]:
    """The hard fractions of a report's table, ascending."""
    asked = cfg.TEST.DYNAMIC.HARD_FRACTIONS
    return sorted({*ALWAYS, *map(float, asked)})


def build_tradeoff(
    model: nn.Module,
    cfg: CfgNode,
    dataset: str,
    records: Sequence[ExitRecord],
    ground_truth: COCO,
    category_ids: Mapping[int, int],
    latency_inputs: Sequence[dict],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Everything about the model on the images of the records, in plain types without NaN.

    Args:
        model: a ``DynamicDetector``; threshold, modes and weights are afterwards as before.
        dataset: its name.
        records: at least one, each of another image of the ground truth.
        category_ids: class as the model counts it -> category id.
        latency_inputs: images in memory, each of a record; without any, no latency is measured.

    Returns:
        the content of tradeoff.json and the lines of routes.jsonl.
    """
    audit = _audit(model, cfg, records, ground_truth, category_ids)
    fractions = operating_points(cfg)
    draws = cfg.TEST.DYNAMIC.RANDOM_DRAWS
    logger.info("Figures at %d hard fractions, %d random routings each", len(GRID), draws)
    points = [audit.point(k, audit.threshold(k)) for k in fractions]
    own = audit.point(None, model.threshold)
    difficulty_of = {record.image_id: record.difficulty for record in records}
    tradeoff = {
        "dataset": dataset,
        "num_images": len(records),
        "images_missing": len(ground_truth.imgs) - len(records),
        "device": device_name(model.device),
        "loss_offset": number(float(model.loss_offset)),
        "points": points,
        "operating_point": own,
        "curve": audit.curve(sorted({*GRID, *fractions})),
        "difficulty": difficulty_summary(audit.difficulties),
        "rank_correlation": _correlations(audit, records, ground_truth),
        "latency": add_latency(model, cfg, difficulty_of, latency_inputs, [*points, own]),
        "image_sizes": _size_range(records),
        "fingerprint": fingerprint(model, cfg),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {**versions(), "numpy": np.__version__},
        "notes": _notes(cfg, kept_proposals(model)),
    }
    tradeoff["verdict"] = verdict(tradeoff)
    tradeoff["warnings"] = warnings(tradeoff)
    return tradeoff, _routes(records, audit, model.threshold)


def _audit(
    model: nn.Module,
    cfg: CfgNode,
    records: Sequence[ExitRecord],
    ground_truth: COCO,
    category_ids: Mapping[int, int],
) -> Audit:
    exits = coco_results(records, category_ids)
    with_masks = any("segmentation" in result for results in exits for result in results)
    iou_types = {"box": "bbox", "mask": "segm"} if with_masks else {"box": "bbox"}
    ids = [record.image_id for record in records]
    logger.info("Matching both exits' detections in %d images", len(records))
    return Audit(
        sweeps={task: CocoSweep(ground_truth, exits, iou, ids) for task, iou in iou_types.items()},
        difficulties=[record.difficulty for record in records],
        costs=image_costs(model, cfg, [record.size for record in records]),
        class_names={category: c["name"] for category, c in ground_truth.cats.items()},
        draws=cfg.TEST.DYNAMIC.RANDOM_DRAWS,
        min_score=cfg.TEST.DYNAMIC.MIN_SCORE,
    )


def image_costs(
    model: nn.Module, cfg: CfgNode, sizes: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Cost of each image on the easy and on the hard route: (I, 2), 10^9 multiply-adds.

    Args:
        sizes: height and width of each image's network input in pixels.
    """
    cost = RouteCost(model, cfg.TEST.DYNAMIC.ATTENTION_MATMUL)
    distinct = sorted(set(sizes))
    progress = Progress(len(distinct), "FLOPs of image sizes")
    routes = {}
    for size in distinct:
        routes[size] = cost.at(*size)
        progress.step()
    return np.array([[routes[size][r] / 1e9 for r in ("easy", "hard")] for size in sizes])


def add_latency(
    model: nn.Module,
    cfg: CfgNode,
    difficulty_of: Mapping[Any, float],
    inputs: Sequence[dict],
    points: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Measure the model at the points' thresholds, in turns, and write what came out to them.

    A point gets "latency_ms", "fps" (its inverse) and "latency" with "p50", "p95" and the
    "hard_fraction" of the images timed. Among few images the hard ones are more or fewer than
    among all, so ``latency_ms`` weighs the mean of each route's calls by the route's share of
    all images; a route that none of the timed images took counts as at that end.

    Args:
        difficulty_of: image id -> difficulty.
        inputs: images in memory.
        points: with "threshold" and "realised_hard_fraction"; both ends among them.

    Returns:
        how it was measured, with "p50", "p95" and "mean" of both routes.
    """
    how = {"images": len(inputs), "warmup": cfg.TEST.DYNAMIC.LATENCY_WARMUP, "batch_size": 1}
    if not inputs:
        for point in points:
            point.update(latency_ms=None, fps=None, latency=None)
        return how
    thresholds = sorted({point["threshold"] for point in points})
    measured = measure_thresholds(model, [[x] for x in inputs], thresholds, how["warmup"])
    latency_at = dict(zip(thresholds, measured, strict=True))
    ends = latency_at[1.0], latency_at[0.0]
    difficulties = np.array([difficulty_of[x["image_id"]] for x in inputs])
    for point in points:
        latency, hard = latency_at[point["threshold"]], difficulties > point["threshold"]
        mean = routed_mean(latency, hard, point["realised_hard_fraction"], ends)
        spread = {"p50": latency.p50, "p95": latency.p95, "hard_fraction": float(hard.mean())}
        point.update(latency_ms=mean, fps=1000 / mean, latency=spread)
    for route, end in zip(("easy", "hard"), ends, strict=True):
        how[route] = {"p50": end.p50, "p95": end.p95, "mean": end.mean}
    return how


def routed_mean(
    latency: Latency,
    hard: NDArray[np.bool_],
    hard_fraction: float,
    ends: tuple[Latency, Latency],
) -> float:
    """Mean milliseconds of an image when the routes are taken as often as in the whole data set.

    Args:
        latency: with one sample an image.
        hard: for each sample, whether it took the hard route.
        hard_fraction: of the data set.
        ends: with all images easy, and with all of them hard; for a route without a sample.
    """
    samples = np.array(latency.samples)
    easy_ms, hard_ms = (
        samples[taken].mean() if taken.any() else end.mean
        for taken, end in zip((~hard, hard), ends, strict=True)
    )
    return float((1 - hard_fraction) * easy_ms + hard_fraction * hard_ms)


def _correlations(
    audit: Audit, records: Sequence[ExitRecord], ground_truth: COCO
) -> dict[str, float | None]:
    """Spearman's of the difficulties with detector2's gain, with L1 - L2, and with what the data
    set says; None for what is not known of every image."""
    others = {
        "gain": audit.gains["box"].tolist(),
        "loss_gap": [_loss_gap(record) for record in records],
        "drawn_difficulty": [
            ground_truth.imgs[record.image_id].get("difficulty") for record in records
        ],
    }
    known = {k: all(isinstance(v, int | float) for v in values) for k, values in others.items()}
    return {
        name: rank_correlation(audit.difficulties, values) if known[name] else None
        for name, values in others.items()
    }


def _loss_gap(record: ExitRecord) -> float | None:
    """L1 - L2; None where it was not measured or is not finite."""
    return None if record.losses is None else number(record.losses[0] - record.losses[1])


def _routes(records: Sequence[ExitRecord], audit: Audit, threshold: float) -> list[dict[str, Any]]:
    """One line an image.

    "gain" is what its hard route adds to the set's box AP, in percent; "loss_gap" is L1 - L2,
    None where it was not measured.
    """
    return [
        {
            "image_id": record.image_id,
            "file_name": record.file_name,
            "difficulty": record.difficulty,
            "route": route_name(record.difficulty, threshold),
            "gain": 100 * gain,
            "loss_gap": _loss_gap(record),
        }
        for record, gain in zip(records, audit.gains["box"].tolist(), strict=True)
    ]


def _size_range(records: Sequence[ExitRecord]) -> dict[str, list[int]]:
    """Smallest and largest height and width of the network's input in pixels, before padding."""
    sizes = np.array([record.size for record in records])
    return {"min": sizes.min(axis=0).tolist(), "max": sizes.max(axis=0).tolist()}


def _notes(cfg: CfgNode, num_proposals: int) -> dict[str, str]:
    """What the figures are, for readers who have only the report."""
    keys = cfg.TEST.DYNAMIC
    proposals = f", with {num_proposals} proposals" if num_proposals else ""
    attention = "counted" if keys.ATTENTION_MATMUL else "left out, as in the paper"
    return {
        "latency": "one image at a time, in memory; all operating points in turns on the same "
        f"images, spread over the data set, after {keys.LATENCY_WARMUP} warm-up calls each; mean "
        "with each route weighted by its share of all images. FPS is its inverse.",
        "gflops": "10^9 multiply-adds of convolutions and matrix products, averaged over the "
        f"images at their padded sizes{proposals}; the two products of attention are "
        f"{attention}.",
        "random": f"mean of {keys.RANDOM_DRAWS} random routings with the router's number of hard "
        "images.",
        "oracle": "as many hard images, those with the largest true gain of detector2.",
        "detections": f"precision and recall of detections with a score of {keys.MIN_SCORE:g} or "
        f"more, at IoU {IOU:g}, over all classes together or one alone.",
    }

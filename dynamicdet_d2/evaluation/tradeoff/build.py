# SPDX-License-Identifier: Apache-2.0
"""From both exits of every image to the trade-off of one model on one data set."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from numpy.typing import NDArray
from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.coco.counts import IOU
from dynamicdet_d2.evaluation.cost import RouteCost, kept_proposals
from dynamicdet_d2.evaluation.exit_records import ExitRecord
from dynamicdet_d2.evaluation.task_sweeps import task_sweeps
from dynamicdet_d2.evaluation.tradeoff.difficulties import DifficultySummary
from dynamicdet_d2.evaluation.tradeoff.point_latency import measure_routed
from dynamicdet_d2.evaluation.tradeoff.ranks import spearman
from dynamicdet_d2.evaluation.tradeoff.record import Notes, RankCorrelations, SizeRange, Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.evaluation.tradeoff.routing_quality import GRID, RoutingQuality
from dynamicdet_d2.evaluation.tradeoff.verdict import verdict, warnings
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.operating_point import fingerprint
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.plain import finite
from dynamicdet_d2.utils.progress import Progress
from dynamicdet_d2.utils.remarks import remarks_on
from dynamicdet_d2.utils.versions import versions

logger = logging.getLogger(__name__)

# Operating points of every report, whatever TEST.DYNAMIC.HARD_FRACTIONS adds.
ALWAYS = (0.0, 0.1, 0.5, 0.9, 1.0)


def operating_points(cfg: CfgNode) -> list[float]:
    """The hard fractions of a report's table, ascending; of six digits, as rows are called."""
    asked = cfg.TEST.DYNAMIC.HARD_FRACTIONS
    return sorted({*ALWAYS, *(float(f"{fraction:g}") for fraction in asked)})


def build_tradeoff(
    model: DynamicDetector,
    cfg: CfgNode,
    dataset: str,
    records: Sequence[ExitRecord],
    ground_truth: COCO,
    category_ids: Mapping[int, int],
    latency_inputs: Sequence[dict],
) -> tuple[Tradeoff, list[ImageRoute]]:
    """Everything about the model on the images of the records.

    Args:
        model: threshold, modes and weights are afterwards as before.
        dataset: its name.
        records: at least one, each of another image of the ground truth.
        category_ids: class as the model counts it -> category id.
        latency_inputs: images in memory, each of a record; without any, no latency is measured.

    Returns:
        the trade-off, and the route of every record's image.
    """
    quality = _quality(model, cfg, records, ground_truth, category_ids)
    fractions = operating_points(cfg)
    draws = cfg.TEST.DYNAMIC.RANDOM_DRAWS
    logger.info("Figures at %d hard fractions, %d random routings each", len(GRID), draws)
    points = [quality.point(k, quality.threshold(k)) for k in fractions]
    points.append(quality.point(None, model.threshold))
    difficulty_of = {record.image_id: record.difficulty for record in records}
    protocol, latencies = measure_routed(
        model, cfg.TEST.DYNAMIC.LATENCY_WARMUP, difficulty_of, latency_inputs, points
    )
    *points, own = (
        dataclasses.replace(point, latency=latency)
        for point, latency in zip(points, latencies, strict=True)
    )
    tradeoff = Tradeoff(
        dataset=dataset,
        num_images=len(records),
        images_missing=len(ground_truth.imgs) - len(records),
        device=device_name(model.device),
        loss_offset=finite(float(model.loss_offset)),
        points=tuple(points),
        operating_point=own,
        curve=quality.curve(sorted({*GRID, *fractions})),
        difficulty=DifficultySummary.of(quality.difficulties),
        rank_correlation=_correlations(quality, records, ground_truth),
        latency=protocol,
        image_sizes=_size_range(records),
        fingerprint=fingerprint(model, cfg),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**versions(), "numpy": np.__version__},
        notes=_notes(cfg, kept_proposals(model), kept_proposals(model, "easy")),
        attention_matmul=cfg.TEST.DYNAMIC.ATTENTION_MATMUL,
    )
    return _told(tradeoff, quality), _routes(records, quality, model.threshold)


def _told(tradeoff: Tradeoff, quality: RoutingQuality) -> Tradeoff:
    """With what follows from its points: curves of some of them, and all of it in words."""
    some = tradeoff.easy_end, tradeoff.middle, tradeoff.hard_end
    different = {point.hard_fraction: point for point in some}
    return dataclasses.replace(
        tradeoff,
        precision_curves=quality.precision_curves(list(different.values())),
        verdict=verdict(tradeoff),
        warnings=(*remarks_on(tradeoff.dataset), *warnings(tradeoff)),
    )


def _quality(
    model: DynamicDetector,
    cfg: CfgNode,
    records: Sequence[ExitRecord],
    ground_truth: COCO,
    category_ids: Mapping[int, int],
) -> RoutingQuality:
    logger.info("Matching both exits' detections in %d images", len(records))
    masks = any(getattr(head, "mask_on", False) for head in model.heads)
    return RoutingQuality(
        sweeps=task_sweeps(records, ground_truth, category_ids, masks=masks),
        difficulties=[record.difficulty for record in records],
        costs=image_costs(model, cfg, [record.size for record in records]),
        class_names={category: c["name"] for category, c in ground_truth.cats.items()},
        draws=cfg.TEST.DYNAMIC.RANDOM_DRAWS,
        min_score=cfg.TEST.DYNAMIC.MIN_SCORE,
    )


def image_costs(
    model: DynamicDetector, cfg: CfgNode, sizes: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Cost of each image on the easy and on the hard route: (I, 2), 10^9 multiply-adds.

    Args:
        sizes: height and width of each image's network input in pixels.
    """
    progress = Progress(len(set(sizes)), "FLOPs of image sizes")
    cost = RouteCost(model, cfg.TEST.DYNAMIC.ATTENTION_MATMUL)
    return cost.of_images(sizes, progress.step)


def _correlations(
    quality: RoutingQuality, records: Sequence[ExitRecord], ground_truth: COCO
) -> RankCorrelations:
    drawn = [ground_truth.imgs[record.image_id].get("difficulty") for record in records]
    return RankCorrelations(
        gain=_correlation(quality, quality.gains["box"].tolist()),
        loss_gap=_correlation(quality, [_loss_gap(record) for record in records]),
        drawn_difficulty=_correlation(quality, drawn),
    )


def _correlation(quality: RoutingQuality, values: Sequence[Any]) -> float | None:
    """None where a value is not known of every image."""
    known = all(isinstance(value, int | float) for value in values)
    return spearman(quality.difficulties, values) if known else None


def _loss_gap(record: ExitRecord) -> float | None:
    """L1 - L2; None where it was not measured or is not finite."""
    return None if record.losses is None else finite(record.losses[0] - record.losses[1])


def _routes(
    records: Sequence[ExitRecord], quality: RoutingQuality, threshold: float
) -> list[ImageRoute]:
    return [
        ImageRoute(
            image_id=record.image_id,
            file_name=record.file_name,
            difficulty=record.difficulty,
            route=route_name(record.difficulty, threshold),
            gain=100 * gain,
            loss_gap=_loss_gap(record),
            counts=counts,
        )
        for record, gain, counts in zip(
            records, quality.gains["box"].tolist(), quality.image_counts(), strict=True
        )
    ]


def _size_range(records: Sequence[ExitRecord]) -> SizeRange:
    sizes = np.array([record.size for record in records])
    return SizeRange(tuple(sizes.min(axis=0).tolist()), tuple(sizes.max(axis=0).tolist()))


def _notes(cfg: CfgNode, num_proposals: int, easy_proposals: int) -> Notes:
    keys = cfg.TEST.DYNAMIC
    proposals = f", with {num_proposals} proposals" if num_proposals else ""
    if easy_proposals != num_proposals:
        proposals += f" ({easy_proposals} of easy images)"
    least_iou = cfg.MODEL.DYNAMIC.MERGE_EXITS_IOU
    merged = (
        " Hard images give both detectors' detections, merged "
        f"(MODEL.DYNAMIC.MERGE_EXITS_IOU {least_iou:g}), and pay for both tails."
    )
    attention = "counted" if keys.ATTENTION_MATMUL else "left out, as in the paper"
    return Notes(
        latency="one image at a time, in memory; all operating points in turns on the same "
        f"images, spread over the data set, after {keys.LATENCY_WARMUP} warm-up calls each; mean "
        "with each route weighted by its share of all images. FPS is its inverse.",
        gflops="10^9 multiply-adds of convolutions and matrix products, averaged over the "
        f"images at their padded sizes{proposals}; the two products of attention are "
        f"{attention}.{merged if least_iou else ''}",
        random=f"mean of {keys.RANDOM_DRAWS} random routings with the router's number of hard "
        "images.",
        oracle="as many hard images, those with the largest true gain of detector2.",
        detections=f"precision and recall of detections with a score of {keys.MIN_SCORE:g} or "
        f"more, at IoU {IOU:g}, over all classes together or one alone.",
    )

# SPDX-License-Identifier: Apache-2.0
"""The sweep of boxes and, where there are masks, that of masks."""

from collections.abc import Mapping, Sequence

from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.exit_records import ExitRecord, coco_results
from dynamicdet_d2.evaluation.tradeoff.points import IOU_TYPES, Task


def task_sweeps(
    records: Sequence[ExitRecord],
    ground_truth: COCO,
    category_ids: Mapping[int, int],
    *,
    masks: bool = False,
) -> dict[Task, CocoSweep]:
    """Sweeps with the images in the order of the records.

    Args:
        records: at least one, each of another image.
        ground_truth: of these images.
        category_ids: contiguous class number -> category id.
        masks: whether there are masks to evaluate where nothing was detected, of which the
            detections would say it.
    """
    exits = coco_results(records, category_ids)
    if any(exits):
        masks = any("segmentation" in result for results in exits for result in results)
    ids = [record.image_id for record in records]
    return {
        task: CocoSweep(ground_truth, exits, iou_type, ids)
        for task, iou_type in IOU_TYPES.items()
        if task == "box" or masks
    }

# SPDX-License-Identifier: Apache-2.0
"""What a pass keeps of every image: difficulty, input size, both exits' detections, losses."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

EXITS = ("detector1", "detector2")


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """One image, without its pixels.

    Attributes:
        image_id: of the data set.
        file_name: of the image, or "".
        difficulty: in (0, 1), 1 = hard.
        size: height and width of the network's input in pixels, before padding.
        results: detections of detector1 and of detector2 in COCO's result format: absolute
            x, y, width, height; masks as compressed RLE; classes as the model counts them. Empty
            where nobody asked for detections.
        losses: L1 and L2, or None where they were not measured.
    """

    image_id: Any
    file_name: str
    difficulty: float
    size: tuple[int, int]
    results: tuple[list[dict], list[dict]]
    losses: tuple[float, float] | None = None

    @classmethod
    def of(
        cls, image: Mapping[str, Any], output: Mapping[str, Any], with_masks: bool = True
    ) -> "ExitRecord":
        """From one of Detectron2's input dicts and what the detector says about it.

        Args:
            image: with ``"image_id"``.
            output: with ``"difficulty"``; ``EXITS`` and ``"losses"`` where they were asked for.
            with_masks: keep masks (and keypoints) where there are some.

        Raises:
            ValueError: naming the image, where it has no id or no finite difficulty.
        """
        file_name = str(image.get("file_name", ""))
        if "image_id" not in image:
            raise ValueError(f"Image {file_name} has no 'image_id', which its figures need.")
        image_id, difficulty = _plain(image["image_id"]), output["difficulty"]
        if not math.isfinite(difficulty):
            raise ValueError(
                f"The difficulty of image {file_name} (id {image_id!r}) is {difficulty}: its "
                "pixels or the model's weights are not finite."
            )
        height, width = image["image"].shape[-2:]
        exits = [output[name] for name in EXITS if name in output]
        first, second = [_coco_json(x, image_id, with_masks) for x in exits] or ([], [])
        losses = output.get("losses")
        return cls(image_id, file_name, difficulty, (height, width), (first, second), losses)


def _plain(image_id: Any) -> Any:
    """Also of one of numpy's numbers, as tables have them, which no JSON can hold."""
    return image_id.item() if isinstance(image_id, np.generic) else image_id


def _coco_json(instances: Instances, image_id: Any, with_masks: bool) -> list[dict]:
    if not with_masks:
        fields = {name: instances.get(name) for name in ("pred_boxes", "scores", "pred_classes")}
        instances = Instances(instances.image_size, **fields)
    return instances_to_coco_json(instances.to("cpu"), image_id)


def merged(parts: Iterable[Iterable[ExitRecord]]) -> list[ExitRecord]:
    """The records of all processes by ascending image id, each image once.

    Samplers that give every process as many images repeat some.

    Raises:
        ValueError: two images have the same id, or some ids are numbers and some are not.
    """
    by_id: dict[Any, ExitRecord] = {}
    for record in (record for part in parts for record in part):
        known = by_id.setdefault(record.image_id, record)
        if known.file_name != record.file_name:
            raise ValueError(
                f"Images {known.file_name} and {record.file_name} have the same id "
                f"{record.image_id!r}; every image of a data set needs one of its own."
            )
    try:
        return [by_id[image_id] for image_id in sorted(by_id)]
    except TypeError:
        kinds = sorted({type(image_id).__name__ for image_id in by_id})
        raise ValueError(
            f"The data set's image ids must all be of one type; found {' and '.join(kinds)}."
        ) from None


def coco_results(
    records: Sequence[ExitRecord], category_ids: Mapping[int, int]
) -> tuple[list[dict], list[dict]]:
    """All detections of detector1 and of detector2, with the data set's category ids.

    Args:
        category_ids: class as the model counts it -> category id.

    Raises:
        ValueError: when a class has no category.
    """
    first, second = (
        [
            {**result, "category_id": _category(result, category_ids)}
            for record in records
            for result in record.results[exit_index]
        ]
        for exit_index in range(len(EXITS))
    )
    return first, second


def routed_results(
    records: Sequence[ExitRecord], threshold: float, category_ids: Mapping[int, int]
) -> list[dict]:
    """Detections of each image by its route, with the data set's category ids.

    Args:
        threshold: an image is hard iff its difficulty is above it.
        category_ids: as for ``coco_results``.
    """
    first, second = coco_results(records, category_ids)
    hard = {record.image_id for record in records if record.difficulty > threshold}
    easy_ones = [result for result in first if result["image_id"] not in hard]
    return easy_ones + [result for result in second if result["image_id"] in hard]


def mean_losses(records: Sequence[ExitRecord]) -> dict[str, float]:
    """{"L1", "L2", "loss_gap"}, means over all images; {} where losses were not measured."""
    pairs = [record.losses for record in records if record.losses is not None]
    if not pairs:
        return {}
    first, second = (fmean(column) for column in zip(*pairs, strict=True))
    return {"L1": first, "L2": second, "loss_gap": first - second}


def _category(result: dict, category_ids: Mapping[int, int]) -> int:
    try:
        return category_ids[result["category_id"]]
    except KeyError:
        raise ValueError(
            f"The model detected class {result['category_id']} in image {result['image_id']!r}, "
            f"but the data set has {len(category_ids)} classes: the model's NUM_CLASSES must be "
            "that number."
        ) from None


class SpreadSample:
    """Keeps about evenly spaced items of a stream whose length nobody knows beforehand.

    Data sets are often sorted, so the first items would not do. Whenever too many are held,
    every other one goes.
    """

    def __init__(self, count: int) -> None:
        """``count``: items wanted; up to twice as many are held on the way."""
        self.count = count
        self._stride, self._seen = 1, 0
        self._held: list[Any] = []

    def add(self, item: Any) -> None:
        """Offer the next item of the stream."""
        if self.count and self._seen % self._stride == 0:
            self._held.append(item)
        self._seen += 1
        if len(self._held) > 2 * self.count:
            self._held = self._held[::2]
            self._stride *= 2

    def items(self) -> list[Any]:
        """``count`` items in the stream's order, or all where there were fewer."""
        held = len(self._held)
        if held <= self.count:
            return list(self._held)
        return [self._held[i * held // self.count] for i in range(self.count)]

# SPDX-License-Identifier: Apache-2.0
"""What an evaluation keeps of every image: both exits' detections, difficulty, input size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.evaluation.coco_evaluation import instances_to_coco_json

EXITS = ("detector1", "detector2")


@dataclass(frozen=True)
class ExitRecord:
    """One image, without its pixels.

    Attributes:
        image_id: of the data set.
        file_name: of the image, or "".
        difficulty: in (0, 1), 1 = hard.
        size: height and width of the network's input in pixels, before padding.
        results: detections of detector1 and of detector2 in COCO's result format: absolute
            x, y, width, height; masks as compressed RLE; classes as the model counts them.
        losses: L1 and L2, or None where they were not measured.
    """

    image_id: Any
    file_name: str
    difficulty: float
    size: tuple[int, int]
    results: tuple[list[dict], list[dict]]
    losses: tuple[float, float] | None = None

    @classmethod
    def of(cls, image: Mapping[str, Any], output: Mapping[str, Any]) -> "ExitRecord":
        """From one of Detectron2's input dicts and what ``BothExits`` says about it."""
        image_id = image["image_id"]
        return cls(
            image_id=image_id,
            file_name=str(image.get("file_name", "")),
            difficulty=output["difficulty"],
            size=tuple(image["image"].shape[-2:]),
            results=tuple(
                instances_to_coco_json(output[name].to("cpu"), image_id) for name in EXITS
            ),
            losses=output.get("losses"),
        )


def merged(parts: Iterable[Iterable[ExitRecord]]) -> list[ExitRecord]:
    """The records of all processes by ascending image id, each image once.

    Samplers that give every process as many images repeat some.
    """
    by_id = {record.image_id: record for part in parts for record in part}
    return [by_id[image_id] for image_id in sorted(by_id)]


def coco_results(
    records: Sequence[ExitRecord], category_ids: Mapping[int, int]
) -> tuple[list[dict], list[dict]]:
    """All detections of detector1 and of detector2, with the data set's category ids.

    Args:
        category_ids: class as the model counts it -> category id.

    Raises:
        ValueError: when a class has no category.
    """
    return tuple(
        [
            {**result, "category_id": _category(result, category_ids)}
            for record in records
            for result in record.results[exit_index]
        ]
        for exit_index in range(len(EXITS))
    )


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

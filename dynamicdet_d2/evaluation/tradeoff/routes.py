# SPDX-License-Identifier: Apache-2.0
"""Which route each image took, and what the other would have given: the lines of routes.jsonl."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dynamicdet_d2.utils.files import read_lines, whole_file
from dynamicdet_d2.utils.plain import from_plain
from dynamicdet_d2.utils.words import shown


@dataclass(frozen=True)
class ImageCounts:
    """What both detectors find in an image: detections from ``TEST.DYNAMIC.MIN_SCORE`` on, at IoU
    0.5.

    Attributes:
        objects: to be found; crowds are not.
        found: objects that detector1 and detector2 find.
        false: detections of detector1 and detector2 that are no object.
    """

    objects: int
    found: tuple[int, ...]
    false: tuple[int, ...]


@dataclass(frozen=True)
class ImageRoute:
    """One image.

    Attributes:
        image_id: of the data set.
        file_name: of the image, or "".
        difficulty: in (0, 1), 1 = hard.
        route: at the model's own threshold.
        gain: what its hard route adds to the data set's box AP, in percent.
        loss_gap: L1 - L2; None where it was not measured.
        counts: None in files of before these were counted.
    """

    image_id: Any
    file_name: str
    difficulty: float
    route: Literal["easy", "hard"]
    gain: float
    loss_gap: float | None = None
    counts: ImageCounts | None = None

    def __post_init__(self) -> None:
        if isinstance(self.image_id, dict | list):  # as only an edited file has it
            raise ValueError(f"image_id is {shown(self.image_id)}; it must be a number or text")

    @property
    def misrouted(self) -> bool:
        """Whether the other route would have been better for the data set's AP."""
        return self.gain > 0 if self.route == "easy" else self.gain < 0


def write_routes(routes: Sequence[ImageRoute], path: str | os.PathLike) -> None:
    """Write routes.jsonl; an interrupted write leaves the file that was there."""
    lines = [json.dumps(asdict(route), allow_nan=False, default=int) + "\n" for route in routes]
    with whole_file(path) as file:
        file.write("".join(lines).encode())


def read_routes(path: str | os.PathLike) -> list[ImageRoute]:
    """Read what ``write_routes`` wrote.

    Raises:
        ValueError: one sentence naming the file, and the line where one is wrong.
    """
    contents: list[Any] = []
    lines = read_lines(path, str(path))
    try:
        for line in lines:
            contents.append(json.loads(line))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply.") from None
    except ValueError:
        number = len(contents)
        raise ValueError(
            f"{path} is not a file of JSON lines: line {number + 1} is {shown(lines[number])}."
        ) from None
    try:
        return [
            from_plain(ImageRoute, content, f"line {number}")
            for number, content in enumerate(contents, start=1)
        ]
    except ValueError as error:
        raise ValueError(f"{path} is not a valid routes.jsonl: {error}.") from None

# SPDX-License-Identifier: Apache-2.0
"""A data set between the form that it has and COCO's, and the writing of the latter."""

import contextlib
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dynamicdet_d2.data.check.images import displayed_size
from dynamicdet_d2.data.importing.mark import write_marked
from dynamicdet_d2.data.register import LONGEST_NAME, is_class_name
from dynamicdet_d2.utils.words import in_words, shown

Point = tuple[float, float]
# In pixels: of the digits that are written.
SMALLEST_SIDE = 0.001
# Of an image's side: tools round, so a box may stick out by a little.
ROUNDING = 0.01


@dataclass(frozen=True)
class ObjectEntry:
    """An object of an image.

    Attributes:
        category: counted from 0.
        box: x, y, width, height in pixels.
        polygon: corners in pixels; empty: a box alone.
        crowd: neither learnt nor missed, as COCO does with crowds.
        cut: more than a little of it was outside the image.
    """

    category: int
    box: tuple[float, float, float, float]
    polygon: tuple[Point, ...] = ()
    crowd: bool = False
    cut: bool = False


@dataclass(frozen=True)
class ImageEntry:
    """An image and its objects.

    Attributes:
        file: of the image.
        size: width and height in pixels as it is shown, EXIF rotation applied.
    """

    file: Path
    size: tuple[int, int]
    objects: tuple[ObjectEntry, ...]


@dataclass(frozen=True)
class Found:
    """A data set as it was found.

    Attributes:
        root: folder that all images are below.
        classes: names by category.
        splits: name, such as "train" -> images.
        remarks: sentences on what was left out.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[ImageEntry, ...]]
    remarks: tuple[str, ...] = ()

    def with_validation(self, share: float) -> "Found":
        """With a split "val", taken from "train" where there is none.

        Which images it has follows from their names alone.

        Args:
            share: of the images, in (0, 1).
        """
        if "val" in self.splits or "train" not in self.splits:
            return self
        images = sorted(self.splits["train"], key=lambda image: (_hash(image.file), image.file))
        count = max(1, round(share * len(images)))
        if count >= len(images):
            raise ValueError(
                f"{len(images)} image(s) in train are too few to keep --val-share {share:g} of "
                "them for validation."
            )
        parts = {"train": images[count:], "val": images[:count]}
        own = {name: tuple(sorted(x, key=lambda image: image.file)) for name, x in parts.items()}
        return replace(self, splits={**self.splits, **own})


def _hash(file: Path) -> int:
    return zlib.crc32(file.name.encode())


def image_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels as it is shown.

    Raises:
        ValueError: naming the file that cannot be read.
    """
    if not str(file).isascii() and str(file) != str(file).encode(errors="replace").decode():
        raise ValueError(f"The image {file} has a name that is not UTF-8, which no JSON can hold.")
    if not file.is_file():
        kind = "is no file" if file.exists() else "does not exist"
        raise ValueError(f"The image {file} {kind}.")
    try:
        return displayed_size(str(file))
    except Exception as error:  # Pillow raises nearly anything on broken files
        raise ValueError(f"{file} cannot be read as an image: {in_words(error)}.") from None


def clipped(
    left: float, top: float, right: float, bottom: float, size: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    """Corners in pixels -> x, y, width, height inside the image.

    Args:
        where: the object is from, for messages.

    Raises:
        ValueError: a corner is not finite, the corners are in another order, or what is inside has
            a side that files have no digits for.
    """
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError(f"{where} has a box that is not finite.")
    if right < left or bottom < top:
        raise ValueError(f"{where} has a box that ends before it begins.")
    left, right = (min(max(x, 0.0), float(size[0])) for x in (left, right))
    top, bottom = (min(max(y, 0.0), float(size[1])) for y in (top, bottom))
    if min(right - left, bottom - top) < SMALLEST_SIDE:
        raise ValueError(
            f"{where} has a box of which nothing, or a line at most, is inside the image."
        )
    return left, top, right - left, bottom - top


def sticks_out(left: float, top: float, right: float, bottom: float, size: tuple[int, int]) -> bool:
    """Whether corners in pixels lie further outside the image than tools round."""
    room_x, room_y = (max(1.0, ROUNDING * side) for side in size)
    return (
        min(left, right) < -room_x
        or min(top, bottom) < -room_y
        or max(left, right) > size[0] + room_x
        or max(top, bottom) > size[1] + room_y
    )


def files_below(folder: Path, known: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files below a folder, also behind links to folders elsewhere, as the tools find them.

    Args:
        known: real paths of the folders that have led here: links into them, or to what they are
            in, would give files a second time, or those of other splits.
    """
    known = known or (os.path.realpath(folder),)
    nothing_to_see = FileNotFoundError, NotADirectoryError, PermissionError
    with contextlib.suppress(*nothing_to_see), os.scandir(folder) as entries:
        for entry in entries:
            if not os.path.isdir(entry.path):
                yield Path(entry.path)
            elif not entry.is_symlink():
                yield from files_below(Path(entry.path), known)
            else:
                real = os.path.realpath(entry.path)
                if not any(os.path.commonpath([real, other]) in (real, other) for other in known):
                    yield from files_below(Path(entry.path), (*known, real))


def visible(files: Iterable[Path], folder: Path) -> list[Path]:
    """In order, without the files and folders below a folder that its tools have hidden there, such
    as ``.ipynb_checkpoints``."""
    return sorted(
        file
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def check_classes(names: Sequence[object], where: str) -> tuple[str, ...]:
    """Names of classes that can be told apart and written.

    Args:
        where: they are from, as the beginning of a sentence.

    Raises:
        ValueError: naming the one that is none, or that stands there twice.
    """
    seen: set[object] = set()
    for name in names:
        if not is_class_name(name):
            raise ValueError(
                f"{where} {shown(name)} for a class; each must be text of 1 to {LONGEST_NAME} "
                "characters in one line."
            )
        if name in seen:
            raise ValueError(f"{where} the class {shown(name)} twice.")
        seen.add(name)
    return tuple(map(str, names))


def write_json(
    path: Path, images: Sequence[ImageEntry], root: Path, classes: Sequence[str]
) -> None:
    """Write images in COCO's instances format, whole or not at all.

    Ids count from 1, in the order of the images.
    """
    annotations: list[dict] = []
    for number, image in enumerate(images, start=1):
        annotations += [_annotation(entry, number) for entry in image.objects]
    content = {
        "images": [
            {
                "id": number,
                "file_name": image.file.relative_to(root).as_posix(),
                "width": image.size[0],
                "height": image.size[1],
            }
            for number, image in enumerate(images, start=1)
        ],
        "annotations": [{"id": i, **entry} for i, entry in enumerate(annotations, start=1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, start=1)],
    }
    write_marked(path, content)


def _annotation(entry: ObjectEntry, image_id: int) -> dict:
    found = {
        "image_id": image_id,
        "category_id": entry.category + 1,
        "bbox": [round(value, 3) for value in entry.box],
        "area": round(area_of(entry), 3),
        "iscrowd": int(entry.crowd),
    }
    if entry.polygon:
        found["segmentation"] = [[round(x, 3) for point in entry.polygon for x in point]]
    return found


def area_of(entry: ObjectEntry) -> float:
    """Of the polygon (shoelace formula), or of the box; in square pixels."""
    if not entry.polygon:
        return entry.box[2] * entry.box[3]
    following = (*entry.polygon[1:], entry.polygon[0])
    pairs = zip(entry.polygon, following, strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2

# SPDX-License-Identifier: Apache-2.0
"""Data sets in the form of YOLO's tools: a text file per image, a line per object.

A line is ``class x y width height``, the box's centre and sides, or ``class x1 y1 x2 y2 ...``,
the corners of a polygon; positions are shares of the image's width and height.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynamicdet_d2.data.image_files import IMAGE_ENDINGS
from dynamicdet_d2.data.importing.class_lists import FILES, classes_of
from dynamicdet_d2.data.importing.dataset import (
    ROUNDING,
    Found,
    ImageEntry,
    ObjectEntry,
    Point,
    check_classes,
    clipped,
    image_size,
    sticks_out,
)
from dynamicdet_d2.data.importing.labels import (
    LABELS,
    label_file,
    remarks_on_images,
    remarks_on_labels,
)
from dynamicdet_d2.data.importing.splits import (
    SPLITS,
    absolute,
    image_files,
    meant,
    refuse_hidden_splits,
    split_folders,
)
from dynamicdet_d2.utils.files import read_lines
from dynamicdet_d2.utils.plain_yaml import Numbers, PlainYamlError, read_yaml
from dynamicdet_d2.utils.words import shown

_DESCRIPTIONS = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")


def read_yolo(path: Path, classes: Sequence[str] = ()) -> Found:
    """A data set by its ``data.yaml``, or by a folder of images and labels.

    Args:
        path: the yaml file, or a folder that has one, or one with images and labels (beside each
            other, or in ``images/`` and ``labels/``), whose ``classes.txt`` names the classes.
        classes: names by category, instead of those that the files have, which is said.

    Raises:
        ValueError: naming the file, and the line, that is wrong.
    """
    description = _description(path)
    folder = path if path.is_dir() else path.parent
    described, folders = (
        ([], split_folders(path)) if description is None else _described(description)
    )
    typed = check_classes(classes, "--classes has")
    files = {split: image_files(parts) for split, parts in folders.items()}
    empty = [split for split, found in files.items() if not found]
    if empty:  # a "val" would be made of "train", which is not the one that was meant
        endings = ", ".join(IMAGE_ENDINGS)
        place = f" for '{empty[0]}' in {folders[empty[0]][0]}"
        mend = ": fill it, or leave it out" if len(files) > len(empty) else ""
        raise ValueError(f"{path} has no images ({endings}){place}{mend}.")
    for part in folders["train"] if description is None else ():
        refuse_hidden_splits([file for file in files["train"] if part in file.parents], part)
    images = [file for found in files.values() for file in found]
    beside = {label_file(file).parent for file in images}
    beside -= {absolute(folder), absolute(folder / LABELS)}
    names, contradictions = classes_of(
        (folder, folder / LABELS, *sorted(beside)),
        {"--classes": typed, str(description): described},
    )
    if not names:
        looked = "'names'" if description is not None else ", ".join((*_DESCRIPTIONS, *FILES))
        raise ValueError(
            f"{path} has no names of classes (looked for {looked}): --classes A B C gives them."
        )
    known = f", as --classes has {len(names)} name(s)" if classes else ""
    splits = {
        split: tuple(_entry(file, len(names), known) for file in found)
        for split, found in files.items()
    }
    _check_objects(splits, path)
    root = Path(os.path.commonpath([file.parent for file in images]))
    root = absolute(folder) if absolute(folder) in (root, *root.parents) else root
    remarks = (*remarks_on_labels(images), *remarks_on_images(images, absolute(folder)))
    return Found(root, names, splits, (*contradictions, *remarks, *_remarks_on_poses(splits)))


def _check_objects(splits: dict[str, tuple[ImageEntry, ...]], path: Path) -> None:
    """
    Raises:
        ValueError: two images have one label file, or there is no object at all.
    """
    images = dict.fromkeys(image.file for found in splits.values() for image in found)
    by_labels: dict[Path, Path] = {}
    for file in images:
        other = by_labels.setdefault(label_file(file), file)
        if other != file:
            raise ValueError(
                f"{other} and {file} would both have the labels of {label_file(file)}; their names "
                "must differ by more than the ending."
            )
    if not any(image.objects for found in splits.values() for image in found):
        first = next(iter(images))
        raise ValueError(
            f"{path} has no labelled object; those of {first} would be in {label_file(first)}."
        )


def _remarks_on_poses(splits: dict[str, tuple[ImageEntry, ...]]) -> tuple[str, ...]:
    """Says where every polygon could as well be a pose, whose line has the same form: a box, and
    points in it, as many for each object."""
    polygons = [
        entry.polygon
        for found in splits.values()
        for image in found
        for entry in image.objects
        if entry.polygon
    ]
    if not polygons or len({*map(len, polygons)}) > 1 or not all(map(_may_be_pose, polygons)):
        return ()
    return (
        f"Each of the {len(polygons)} polygon(s) may be a pose, a box and the points in it: where "
        "they are, their boxes are others, and 'kpt_shape' in the data.yaml would say so.",
    )


def _may_be_pose(polygon: Sequence[Point]) -> bool:
    """Whether the first two corners are centre and size of a box that has all others in it.

    A point of a pose that is not to be seen is (0, 0).
    """
    (x, y), (width, height), *points = polygon
    return all(
        (a, b) == (0, 0) or (abs(a - x) <= width / 2 + 1 and abs(b - y) <= height / 2 + 1)
        for a, b in points
    )


def _description(path: Path) -> Path | None:
    if path.is_file():
        return path
    if not path.is_dir():
        kind = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise ValueError(f"--yolo {path} {kind}.")
    found = [path / name for name in _DESCRIPTIONS if (path / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} both describe a data set: name one of them.")
    return found[0] if found else None


def _described(file: Path) -> tuple[list[str], dict[str, list[Path]]]:
    """Names of the classes, and what each split consists of, from a yaml file."""
    text = "\n".join(read_lines(file, str(file)))
    try:
        content = read_yaml(text)
    except PlainYamlError as error:
        raise ValueError(f"{file} {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} holds no keys in YAML, such as 'train' and 'names'; a data set without a "
            "data.yaml is named by its folder."
        )
    for key in content:
        split = meant(str(key))
        if split is not None and key not in (*SPLITS, "valid"):  # its images would be in no split
            raise ValueError(f"{file} has '{key}'; the key must be '{split}'.")
    folders = {}
    for split in SPLITS:
        parts = content.get(split) or (content.get("valid") if split == "val" else None)
        if parts:
            listed = parts if isinstance(parts, list) else [parts]
            folders[split] = [_located(file, content.get("path"), x, split) for x in listed]
    if content.get("kpt_shape") is not None:  # some lines of poses could be polygons
        raise ValueError(
            f"{file} has 'kpt_shape': its labels are poses, and boxes and polygons are read."
        )
    if "train" not in folders:
        raise ValueError(f"{file} has no 'train'; it must name a folder of images.")
    names = _names(read_yaml(text, Numbers.WORDS)["names"] if "names" in content else None, file)
    stated = content.get("nc", len(names))
    if type(stated) is not int or (names and stated != len(names)):
        raise ValueError(
            f"{file}: 'nc' is {shown(stated)}; it must be the number of names that 'names' has, "
            f"{len(names)}."
        )
    return names, folders


def _names(names: Any, file: Path) -> list[str]:
    """
    Args:
        names: with digits as text, since YAML makes 8 of a class 010.
    """
    if isinstance(names, dict) and set(names) == {str(i) for i in range(len(names))}:
        names = [names[str(i)] for i in range(len(names))]
    if names is None:
        return []
    if not isinstance(names, list):
        raise ValueError(f"{file}: 'names' must be a list, or have the keys 0, 1, 2, ...")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                f"{file}: 'names' has {shown(name)} for a class; it must be text, in quotes where "
                "YAML makes something else of it."
            )
    return list(check_classes(names, f"{file}: 'names' has"))


def _located(file: Path, root: Any, part: Any, split: str) -> Path:
    """Where a split is: tools disagree on what its path starts from."""
    name = str(part)
    starts = [file.parent / str(root or ""), file.parent]
    tries = [start / name for start in starts]
    tries.append(file.parent / name.removeprefix("../"))
    for path in tries:
        # Labels lie beside a link, and not beside what it leads to.
        if absolute(path).exists():
            return absolute(path)
        if path.exists():
            return path.resolve()
    raise ValueError(f"{file}: '{split}' is {name}, which does not exist (looked for {tries[0]}).")


def _entry(image: Path, num_classes: int, known: str) -> ImageEntry:
    size, labels = image_size(image), label_file(image)
    if not os.path.lexists(labels):
        other = labels.with_suffix(".TXT")
        if os.path.lexists(other):  # it would be an image without objects
            raise ValueError(f"{other} must end in .txt, in small letters, to be found.")
        return ImageEntry(image, size, ())
    objects = [
        read_line(line, size, num_classes, f"{labels}, line {number},", known)
        for number, line in enumerate(read_lines(labels, str(labels)), start=1)
        if line.strip()
    ]
    return ImageEntry(image, size, tuple(objects))


def read_line(
    line: str, size: tuple[int, int], num_classes: int, where: str, known: str = ""
) -> ObjectEntry:
    """A line of a label file -> the object.

    Args:
        size: of the image, width and height in pixels.
        num_classes: classes that there are.
        where: the line is, for messages.
        known: where so many classes are from, for messages.

    Raises:
        ValueError: the line is of no known form, or its values are out of range.
    """
    try:
        first, *values = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f"{where} is {shown(line[:60])}; it must be numbers.") from None
    category = int(first) if first.is_integer() else -1
    if not 0 <= category < num_classes:
        raise ValueError(
            f"{where} has class {first:g}; it must be one of 0 to {num_classes - 1}{known}."
        )
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(
            f"{where} has {len(values)} numbers after the class; a box has 4, and a polygon 2 for "
            "each of at least 3 corners."
        )
    if not all(-ROUNDING <= value <= 1 + ROUNDING for value in values):
        raise ValueError(f"{where} has values that are no shares of the image, in [0, 1].")
    width, height = size
    if len(values) == 4:
        x, y, w, h = values
        corners = ((x - w / 2) * width, (y - h / 2) * height)
        opposite = ((x + w / 2) * width, (y + h / 2) * height)
        box = clipped(*corners, *opposite, size, where)
        return ObjectEntry(category, box, cut=sticks_out(*corners, *opposite, size))
    polygon = tuple(
        (min(max(x, 0.0), 1.0) * width, min(max(y, 0.0), 1.0) * height)
        for x, y in zip(values[::2], values[1::2], strict=True)
    )
    xs, ys = zip(*polygon, strict=True)
    box = clipped(min(xs), min(ys), max(xs), max(ys), size, where)
    return ObjectEntry(category, box, polygon)

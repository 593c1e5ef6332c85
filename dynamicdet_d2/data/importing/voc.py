# SPDX-License-Identifier: Apache-2.0
"""Data sets in the form of Pascal VOC: an XML file per image.

Corners of boxes are pixels counted from 1, both inside the box, as Detectron2 reads them too.
Objects that are marked difficult are neither learnt nor missed, as in VOC's own evaluation.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from dynamicdet_d2.data.image_files import IMAGE_ENDINGS
from dynamicdet_d2.data.importing.dataset import (
    Found,
    ImageEntry,
    ObjectEntry,
    clipped,
    image_size,
)

SPLITS = ("train", "val", "test")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(folder: Path, classes: Sequence[str] = ()) -> Found:
    """A data set by its folder.

    Args:
        folder: with ``Annotations/``, ``JPEGImages/`` and, for its splits, ``ImageSets/Main/``; or
            with XML files beside the images, all of which are the split "train".
        classes: names by category; none: those that occur, sorted.

    Raises:
        ValueError: naming the file that is missing or wrong.
    """
    if not folder.is_dir():
        raise ValueError(f"--voc {folder} is not a folder.")
    folder = folder.resolve()
    files = _annotation_files(folder)
    trees = {file: _tree(file) for found in files.values() for file in found}
    occurring = {name for tree in trees.values() for name in tree.class_names()}
    names = tuple(classes) or tuple(sorted(occurring))
    unknown = sorted(occurring - set(names))
    if unknown or not names:
        found = f"'{unknown[0]}', which --classes does not name" if unknown else "no object"
        raise ValueError(f"The annotations of {folder} have {found}.")
    splits = {
        split: tuple(trees[file].entry(folder, names) for file in found)
        for split, found in files.items()
    }
    return Found(folder, names, splits)


def _annotation_files(folder: Path) -> dict[str, list[Path]]:
    annotations = folder / "Annotations"
    sets = folder / "ImageSets" / "Main"
    listed = {s: sets / f"{s}.txt" for s in SPLITS if (sets / f"{s}.txt").is_file()}
    if (sets / "trainval.txt").is_file() and "train" not in listed:
        listed["train"] = sets / "trainval.txt"
    if listed:
        return {
            split: [annotations / f"{name}.xml" for name in _names_in(file)]
            for split, file in listed.items()
        }
    found = sorted((annotations if annotations.is_dir() else folder).rglob("*.xml"))
    if not found:
        raise ValueError(f"{folder} has no annotations (.xml).")
    return {"train": found}


def _names_in(file: Path) -> list[str]:
    """The first word of each line; lists of single classes have a second one."""
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]


class _Tree:
    """An annotation file."""

    def __init__(self, file: Path, root: ElementTree.Element) -> None:
        self.file, self._root = file, root

    def class_names(self) -> set[str]:
        """Names of the classes that occur."""
        return {self._text(entry, "name") for entry in self._root.iter("object")}

    def entry(self, folder: Path, names: Sequence[str]) -> ImageEntry:
        """The image with its objects."""
        image = self._image(folder)
        size = image_size(image)
        objects = [self._object(entry, names, size) for entry in self._root.iter("object")]
        return ImageEntry(image, size, tuple(objects))

    def _object(
        self, entry: ElementTree.Element, names: Sequence[str], size: tuple[int, int]
    ) -> ObjectEntry:
        box = entry.find("bndbox")
        if box is None:
            raise ValueError(f"{self.file} has an object without a 'bndbox'.")
        try:
            left, top, right, bottom = (float(self._text(box, name)) for name in _CORNERS)
        except ValueError as error:
            raise ValueError(f"{self.file} has a corner that is no number: {error}") from None
        name = self._text(entry, "name")
        corners = clipped(left - 1, top - 1, right, bottom, size, f"{self.file}, a {name},")
        difficult = (entry.findtext("difficult") or "0").strip() == "1"
        return ObjectEntry(names.index(name), corners, crowd=difficult)

    def _image(self, folder: Path) -> Path:
        places = [folder / "JPEGImages", folder / "images", self.file.parent]
        given = os.path.basename((self._root.findtext("filename") or "").strip())
        wanted = [given] if given else []
        wanted += [
            self.file.stem + ending for ending in (*IMAGE_ENDINGS, *map(str.upper, IMAGE_ENDINGS))
        ]
        for name in wanted:
            for place in places:
                if (place / name).is_file():
                    return place / name
        raise ValueError(f"The image of {self.file} is in none of {', '.join(map(str, places))}.")

    def _text(self, entry: ElementTree.Element, name: str) -> str:
        text = (entry.findtext(name) or "").strip()
        if not text:
            raise ValueError(f"{self.file} has an object or a box without '{name}'.")
        return text


def _tree(file: Path) -> _Tree:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from None
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError(f"{file} declares entities, which annotations have no use for.")
    try:
        return _Tree(file, ElementTree.fromstring(content))
    except ElementTree.ParseError as error:
        raise ValueError(f"{file} is not XML: {error}.") from None

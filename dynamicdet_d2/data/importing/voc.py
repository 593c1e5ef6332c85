# SPDX-License-Identifier: Apache-2.0
"""Data sets in the form of Pascal VOC: an XML file per image.

Corners of boxes are pixels counted from 1, both inside the box, as Detectron2 reads them too.
Objects that are marked difficult are neither learnt nor missed, as in VOC's own evaluation.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError, ParserCreate

from dynamicdet_d2.data.image_files import IMAGE_ENDINGS
from dynamicdet_d2.data.importing.dataset import (
    Found,
    ImageEntry,
    ObjectEntry,
    check_classes,
    clipped,
    image_size,
)
from dynamicdet_d2.utils.files import read_lines, refuse_pipes
from dynamicdet_d2.utils.words import shown

SPLITS = ("train", "val", "test")
_FLAGS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
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
    names = check_classes(classes or sorted(occurring), _whose_classes(folder, classes))
    unknown = sorted(occurring - set(names))
    if unknown or not names:
        found = f"'{unknown[0]}', which --classes does not name" if unknown else "no object"
        raise ValueError(f"The annotations of {folder} have {found}.")
    entries = {file: tree.entry(folder, names) for file, tree in trees.items()}
    by_image: dict[Path, Path] = {}
    for file, entry in entries.items():
        other = by_image.setdefault(entry.file, file)
        if other != file:
            raise ValueError(f"{other} and {file} are both of the image {entry.file}.")
    splits = {split: tuple(entries[file] for file in found) for split, found in files.items()}
    return Found(folder, names, splits)


def _whose_classes(folder: Path, classes: Sequence[str]) -> str:
    return "--classes has" if classes else f"The annotations of {folder} have"


def _annotation_files(folder: Path) -> dict[str, list[Path]]:
    annotations = folder / "Annotations"
    sets = folder / "ImageSets" / "Main"
    listed = {s: sets / f"{s}.txt" for s in SPLITS if (sets / f"{s}.txt").exists()}
    if (sets / "trainval.txt").exists() and "train" not in listed:
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
    lines = read_lines(file, str(file))
    names = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    if not names:
        raise ValueError(f"{file} is empty; it must have the name of an image in each line.")
    return names


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
        self._check_size(image, size)
        objects = [self._object(entry, names, size) for entry in self._root.iter("object")]
        return ImageEntry(image, size, tuple(objects))

    def _check_size(self, image: Path, size: tuple[int, int]) -> None:
        """Boxes of another size would be clipped. Of 0, as some tools write, nothing is known."""
        texts = [
            (self._root.findtext(f"size/{name}") or "").strip() for name in ("width", "height")
        ]
        stated = tuple(int(text) if text.isdecimal() else 0 for text in texts)
        if all(stated) and stated != size:
            raise ValueError(
                f"{self.file} says that {image} has {stated[0]}x{stated[1]} pixels; it has "
                f"{size[0]}x{size[1]} (EXIF rotation applied)."
            )

    def _object(
        self, entry: ElementTree.Element, names: Sequence[str], size: tuple[int, int]
    ) -> ObjectEntry:
        box = entry.find("bndbox")
        if box is None:
            raise ValueError(f"{self.file} has an object without a 'bndbox'.")
        for part, tags in ((entry, ("name", "bndbox", "difficult")), (box, _CORNERS)):
            for tag in tags:
                if len(part.findall(tag)) > 1:  # all but the first would be lost
                    raise ValueError(f"{self.file} has an object with more than one '{tag}'.")
        left, top, right, bottom = (self._number(box, name) for name in _CORNERS)
        name = self._text(entry, "name")
        where = f"{self.file}: an object '{name}'"
        corners = clipped(left - 1, top - 1, right, bottom, size, where)
        difficult = (entry.findtext("difficult") or "0").strip().lower()
        if difficult not in _FLAGS:
            raise ValueError(f"{where} has 'difficult' {shown(difficult)}; it must be 0 or 1.")
        return ObjectEntry(names.index(name), corners, crowd=_FLAGS[difficult])

    def _number(self, box: ElementTree.Element, name: str) -> float:
        text = self._text(box, name)
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                f"{self.file} has {name} {shown(text)}; it must be a number."
            ) from None

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
    refuse_pipes(file, str(file))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from None
    try:
        _refuse_entities(content)
        root = ElementTree.fromstring(content)
    except _EntitiesError:
        raise ValueError(f"{file} declares entities, which annotations have no use for.") from None
    except (ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{file} is not XML: {error}.") from None
    if root.tag != "annotation":
        raise ValueError(f"{file} begins with <{root.tag}>; VOC's begin with <annotation>.")
    return _Tree(file, root)


class _EntitiesError(Exception):
    """XML can be made to grow without end by what it declares at its beginning."""


def _refuse_entities(content: bytes) -> None:
    """
    Raises:
        _EntitiesError: in whatever encoding they are declared.
    """

    def refuse(*_: object) -> None:
        raise _EntitiesError

    parser = ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)

# SPDX-License-Identifier: Apache-2.0
"""Data sets in the form of Pascal VOC: an XML file per image.

Corners of boxes are pixels counted from 1, both inside the box, as Detectron2 reads them too.
Objects that are marked difficult are neither learnt nor missed, as in VOC's own evaluation.
"""

import os
from collections.abc import Collection, Mapping, Sequence
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
    files_below,
    image_size,
    sticks_out,
    visible,
)
from dynamicdet_d2.data.importing.splits import (
    SPLITS,
    called_after,
    meant,
    refuse_hidden_splits,
)
from dynamicdet_d2.utils.files import read_lines, refuse_pipes
from dynamicdet_d2.utils.words import shown

_FLAGS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(folder: Path, classes: Sequence[str] = ()) -> Found:
    """A data set by its folder.

    Args:
        folder: with ``Annotations/``, ``JPEGImages/`` and, for its splits, ``ImageSets/Main/``; or
            with XML files beside the images, in folders that are called as their splits are, or
            all of the split "train".
        classes: names by category; none: those that occur, sorted.

    Raises:
        ValueError: naming the file that is missing or wrong.
    """
    if not folder.is_dir():
        raise ValueError(f"--voc {folder} is not a folder.")
    folder = folder.resolve()
    listed = _lists(folder / "ImageSets" / "Main")
    files = _annotation_files(folder, listed)
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
    remarks = (
        _in_no_list(folder / "Annotations", {*trees})
        if listed
        else (*_unused_lists(folder), *_without_annotations(entries.values()))
    )
    return Found(folder, names, splits, remarks)


def _whose_classes(folder: Path, classes: Sequence[str]) -> str:
    return "--classes has" if classes else f"The annotations of {folder} have"


def _lists(sets: Path) -> dict[str, Path]:
    """Split -> the file that lists its images, if there are such."""
    there = {file.name for file in sets.iterdir()} if sets.is_dir() else set()
    known = {f"{split}.txt" for split in (*SPLITS, "trainval")}
    for name in sorted(there - known):
        wanted = f"{meant(Path(name).stem)}.txt" if name.lower().endswith(".txt") else ""
        if name.lower() in known or wanted in known - there:  # it would be passed over
            called = name.lower() if name.lower() in known else wanted
            raise ValueError(f"{sets / name} must be called {called}, to be found.")
    listed = {s: sets / f"{s}.txt" for s in SPLITS if f"{s}.txt" in there}
    if "trainval.txt" in there and "train" not in listed:
        listed["train"] = sets / "trainval.txt"
    elif "trainval.txt" in there and "val" not in listed:
        raise ValueError(
            f"{sets} has train.txt and trainval.txt but no val.txt, so that images of the second "
            "would be left out: write val.txt, or remove one of both."
        )
    return listed


def _annotation_files(folder: Path, listed: Mapping[str, Path]) -> dict[str, list[Path]]:
    annotations = folder / "Annotations"
    if listed:
        return {split: _files_of(file, annotations) for split, file in listed.items()}
    place = annotations if annotations.is_dir() else folder
    found = visible((f for f in files_below(place) if f.suffix.lower() == ".xml"), place)
    if not found:
        raise ValueError(f"{folder} has no annotations (.xml).")
    for file in found:
        if file.suffix != ".xml":
            raise ValueError(f"{file} must end in .xml, in small letters, to be found.")
        if place is folder and file.parent.name == "Annotations":  # one data set of several
            raise ValueError(f"{folder} has no Annotations, but {file.parent.parent} has: name it.")
    by_split: dict[str, list[Path]] = {}
    for file in found:
        folders = map(meant, file.relative_to(place).parts[:-1])
        by_split.setdefault(next(filter(None, folders), "train"), []).append(file)
    refuse_hidden_splits(by_split.get("train", ()), place)
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _files_of(listed: Path, annotations: Path) -> list[Path]:
    """Of the image in each line; lists of single classes have a second word there."""
    names = [line.strip() for line in read_lines(listed, str(listed)) if line.strip()]
    if not names:
        raise ValueError(f"{listed} is empty; it must have the name of an image in each line.")
    found: dict[Path, str] = {}
    for name in names:
        whole = annotations / f"{name}.xml"
        found[whole if whole.exists() else annotations / f"{name.split()[0]}.xml"] = name
    missing = next((file for file in found if not file.exists()), None)
    if missing is not None:
        raise ValueError(
            f"{listed} has '{found[missing]}': {missing} cannot be read: No such file or directory."
        )
    return list(found)


def _in_no_list(place: Path, read: Collection[Path]) -> tuple[str, ...]:
    """On annotations that were added and not listed, or for which a list is missing."""
    lost = [x for x in visible({*files_below(place)} - {*read}, place) if x.suffix == ".xml"]
    if not lost:
        return ()
    return (f"{len(lost)} annotation file(s) are in no list, and are left out: {lost[0]}.",)


def _unused_lists(folder: Path) -> tuple[str, ...]:
    """Where there is none of a split: lists of other names, in other folders, or of one class."""
    sets = folder / "ImageSets"
    beside = [x for x in folder.glob("*.txt") if called_after(x.stem) or x.stem == "trainval"]
    unused = visible([*sets.rglob("*.txt"), *beside], folder)
    if not unused:
        return ()
    known = ", ".join(f"{split}.txt" for split in (*SPLITS, "trainval"))
    return (
        f"{len(unused)} list(s) are passed over, as those of splits are called {known} in "
        f"{sets / 'Main'}: {unused[0]}.",
    )


def _without_annotations(entries: Collection[ImageEntry]) -> tuple[str, ...]:
    """On images beside those of the annotations, which their tool may not have written of images
    without objects."""
    known = {entry.file for entry in entries}
    folders = {file.parent for file in known}
    beside = (file for folder in folders for file in visible(folder.iterdir(), folder))
    lost = [x for x in beside if x.suffix.lower() in IMAGE_ENDINGS and x not in known]
    if not lost:
        return ()
    return (f"{len(lost)} image(s) have no annotation file, and are left out: {lost[0]}.",)


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
        texts = (self._root.findtext(f"size/{name}") or "" for name in ("width", "height"))
        whole = (text.strip().partition(".")[0] for text in texts)  # some tools write 640.0
        stated = tuple(int(text) if text.isdecimal() else 0 for text in whole)
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
        if min(left, top) < 1 and max(right, bottom) <= 1:
            raise ValueError(f"{where} has corners of 1 at most, as shares; VOC's are pixels.")
        corners = left - 1, top - 1, right, bottom
        shown_box = clipped(*corners, size, where)
        difficult = (entry.findtext("difficult") or "0").strip().lower()
        if difficult not in _FLAGS:
            raise ValueError(f"{where} has 'difficult' {shown(difficult)}; it must be 0 or 1.")
        cut = sticks_out(*corners, size)
        return ObjectEntry(names.index(name), shown_box, crowd=_FLAGS[difficult], cut=cut)

    def _number(self, box: ElementTree.Element, name: str) -> float:
        text = self._text(box, name)
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                f"{self.file} has {name} {shown(text)}; it must be a number."
            ) from None

    def _image(self, folder: Path) -> Path:
        annotations, own = folder / "Annotations", self.file.parent
        below = own.relative_to(annotations) if own.is_relative_to(annotations) else Path()
        roots = [folder / "JPEGImages", folder / "images"]
        # Tools that keep folders in folders have those of the images in the annotations, too.
        places = list(dict.fromkeys([own, *(root / below for root in roots), *roots]))
        endings = (*IMAGE_ENDINGS, *map(str.upper, IMAGE_ENDINGS))
        name = os.path.basename((self._root.findtext("filename") or "").strip())
        given = _first([place / name for place in places] if name else [])
        same = _first([place / (self.file.stem + end) for end in endings for place in places])
        if given is not None and same is not None and given.stem != same.stem:  # were renamed
            raise ValueError(
                f"{self.file} has the 'filename' {shown(name)}, but {same} is called as the file "
                "is: correct 'filename', or remove it."
            )
        found = given or same
        if found is None:
            where = ", ".join(map(str, places))
            raise ValueError(f"The image of {self.file} is in none of {where}.")
        return found

    def _text(self, entry: ElementTree.Element, name: str) -> str:
        text = (entry.findtext(name) or "").strip()
        if not text:
            raise ValueError(f"{self.file} has an object or a box without '{name}'.")
        return text


def _first(files: Sequence[Path]) -> Path | None:
    return next((file for file in files if file.is_file()), None)


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
    parser.EntityDeclHandler = refuse
    parser.Parse(content, True)

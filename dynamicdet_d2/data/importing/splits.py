# SPDX-License-Identifier: Apache-2.0
"""The splits of a data set: what people call them, and the folders and lists that they are."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dynamicdet_d2.data.image_files import IMAGE_ENDINGS
from dynamicdet_d2.data.importing.dataset import files_below, visible
from dynamicdet_d2.utils.files import read_lines
from dynamicdet_d2.utils.words import shown

SPLITS = ("train", "val", "test")
_NAMES = re.compile(
    r"(?:obj_)?(?:(?P<train>train(?:ing)?)|(?P<val>val(?:id(?:ation)?)?|eval(?:uation)?)|(?P<test>test(?:ing)?))"
    r"(?:[_-]?(?:data|images|set)|[_-]?\d+)?",
    re.IGNORECASE,
)


def meant(name: str) -> str | None:
    """The split that a folder, a list or a key is called after: "val" of "Validation", "val2017",
    "valid_set" and "obj_valid_data"; None of "valley"."""
    found = _NAMES.fullmatch(name)
    return found.lastgroup if found else None


def called_after(name: str) -> set[str]:
    """The splits that the last words of a name mean: {"val"} of "clean_val"."""
    words = re.split(r"[ ._-]", name)
    return set(filter(None, (meant("_".join(words[start:])) for start in range(len(words)))))


def refuse_hidden_splits(files: Iterable[Path], folder: Path) -> None:
    """Refuse to learn from images that are to validate or to test on, by a folder that they are in.

    Args:
        files: that would be of "train", below the folder.

    Raises:
        ValueError: one is in "clean_val" or, deeper than splits are looked for, in "test".
    """
    for file in files:
        for part in file.relative_to(folder).parts[:-1]:
            if not {"val", "test"}.isdisjoint(called_after(part)):
                raise ValueError(
                    f"{file} would be learnt, but is in {shown(part)}, which is called as a split "
                    f"is: call the splits' folders {', '.join(SPLITS)}, and name the folder that "
                    "they are in, or put them into 'images', beside 'labels'."
                )


def absolute(path: Path) -> Path:
    """With links in it left as they are."""
    return Path(os.path.abspath(path))


def split_folders(folder: Path) -> dict[str, list[Path]]:
    """Split -> its folders, in a folder that no file describes.

    Raises:
        ValueError: a folder beside those of the splits has images, or there are lists of splits.
    """
    folder = absolute(folder)
    images = folder / "images"
    for pattern in ("images/{}", "{}/images", *(() if images.is_dir() else ("{}",))):
        found = {x: _named(x, pattern) for x in folder.glob(pattern.format("*")) if x.is_dir()}
        splits = {*map(meant, found.values())}
        # A class may be called "train", too.
        if "train" in splits and (pattern != "{}" or splits & {"val", "test"}):
            return _splits_by_name({x: found[x] for x in visible(found, folder)})
    _refuse_lists(folder)
    return {"train": [images if images.is_dir() else folder]}


def _named(place: Path, pattern: str) -> str:
    return place.name if pattern.endswith("{}") else place.parent.name


def _refuse_lists(folder: Path) -> None:
    """
    Raises:
        ValueError: it has lists of splits, without which all images would be of "train".
    """
    for file in visible(folder.glob("*.txt"), folder):
        if not {"val", "test"}.isdisjoint(called_after(file.stem)) and _lists_images(file):
            raise ValueError(
                f"{file} is called as the list of a split is: name the lists in a data.yaml, such "
                "as 'train: train.txt', or move them away."
            )


def _lists_images(file: Path) -> bool:
    """Whether it begins with the name of one, unlike labels and notes."""
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        first = opened.readline(4096).decode(errors="replace").strip()
    return first.lower().endswith(IMAGE_ENDINGS)


def _splits_by_name(names: Mapping[Path, str]) -> dict[str, list[Path]]:
    """
    Args:
        names: of the splits' folders.

    Raises:
        ValueError: one of another name has images, which would be in no split.
    """
    found: dict[str, list[Path]] = {}
    for place, name in names.items():
        split = meant(name)
        if split is not None:
            found.setdefault(split, []).append(place)
        elif image_files([place]):
            raise ValueError(
                f"{place} has images and is none of {', '.join(SPLITS)}, beside which it lies: "
                "rename it, or name the folders of the splits in a data.yaml."
            )
    return {split: found[split] for split in SPLITS if split in found}


def image_files(parts: Sequence[Path]) -> list[Path]:
    """Images of folders, however deep, and of lists of images in text files; each once."""
    files: list[Path] = []
    for part in parts:
        if part.is_dir():
            found = (f for f in files_below(part) if f.suffix.lower() in IMAGE_ENDINGS)
            files += visible(found, part)
            continue
        lines = (line.strip() for line in read_lines(part, f"{part}, a list of images,"))
        files += [_listed(line, part) for line in lines if line]
    return list(dict.fromkeys(map(absolute, files)))


def _listed(line: str, of: Path) -> Path:
    """The image that a line of a list names, from the list's folder on; CVAT calls that "data".

    Raises:
        ValueError: naming the list, where it has what is no file.
    """
    file = of.parent / line
    for place in (file, of.parent / line.removeprefix("data/")):
        if place.is_file():
            return place
    fault = "is no file" if file.exists() else "does not exist"
    raise ValueError(f"{of} has {shown(line)}, but {file} {fault}.")

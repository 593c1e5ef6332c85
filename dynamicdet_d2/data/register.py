# SPDX-License-Identifier: Apache-2.0
"""Registers the data sets that a config names, so that own data needs no code."""

import gc
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from dynamicdet_d2.utils.files import RepeatedKeyError, once_each, refuse_pipes
from dynamicdet_d2.utils.paths import no_such
from dynamicdet_d2.utils.words import is_whole, shown

KEY = "DATASETS.COCO_JSON"
# What numpy and torch count in.
LARGEST_ID = 2**63 - 1
LONGEST_NAME = 200

_CATEGORIES_START = re.compile(rb'"categories"\s*:\s*(?=\[)')


def register_coco_json(entries: Sequence[Sequence[str]]) -> None:
    """Registers every ``[name, json file, image folder]`` of ``cfg.DATASETS.COCO_JSON``.

    The json is in COCO's instances format. Images and annotations are read when the data set is
    first used; the class names are in the metadata at once. Registering the same triple again
    changes nothing. ``~`` stands for the home folder, relative paths start at the working folder.

    Raises:
        ValueError: an entry is not three strings, a path does not exist, the categories cannot be
            read, or the name already stands for other files.
    """
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise ValueError(
            f"{KEY} must be a list of [name, json file, image folder], not {shown(entries)}."
        )
    for entry in entries:
        name, json_file, image_root = checked_entry(entry)
        classes = class_names(read_categories(json_file), json_file)
        metadata = {
            "json_file": json_file,
            "image_root": image_root,
            "evaluator_type": "coco",
            "thing_classes": list(classes.values()),
            "thing_dataset_id_to_contiguous_id": {id_: i for i, id_ in enumerate(classes)},
        }
        _refuse_other_meaning(name, metadata)
        if name not in DatasetCatalog:
            register_coco_instances(name, {}, json_file, image_root)
        MetadataCatalog.get(name).set(**metadata)


def checked_entry(entry: object) -> tuple[str, str, str]:
    """The name and both absolute paths of one entry of ``DATASETS.COCO_JSON``.

    Raises:
        ValueError: it is not three strings, or a path does not exist.
    """
    parts = entry if isinstance(entry, (list, tuple)) else ()
    if len(parts) != 3 or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(
            f"Each entry of {KEY} must be three strings [name, json file, image folder]; "
            f"found {shown(entry)}."
        )
    name, json_file, image_root = parts
    # Results of a data set go into files and folders of its name.
    if name in (os.curdir, os.pardir) or not re.fullmatch(r"[^/\\\0]+", name):
        raise ValueError(
            f"{KEY}: the name {shown(name)} cannot be that of a folder: it must have no slash and "
            "no backslash, and be neither '.' nor '..'."
        )
    if not is_class_name(name) or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{KEY}: the name {shown(name)} must be text in one line, of {LONGEST_NAME} bytes at "
            "most."
        )
    if "\0" in json_file + image_root:
        raise ValueError(f"{KEY}: a path of '{name}' holds the character 0.")
    json_file, image_root = (
        os.path.abspath(os.path.expanduser(path)) for path in (json_file, image_root)
    )
    if not os.path.isfile(json_file):
        fault = no_such("file", json_file)
        raise ValueError(f"{KEY}: the json file of '{name}' {fault}: {json_file}.")
    if not os.path.isdir(image_root):
        fault = no_such("folder", image_root)
        raise ValueError(f"{KEY}: the image folder of '{name}' {fault}: {image_root}.")
    return name, json_file, image_root


def _refuse_other_meaning(name: str, metadata: dict[str, Any]) -> None:
    """A name keeps its meaning for the whole process: Detectron2's catalogs are global."""
    known = MetadataCatalog.get(name).as_dict() if name in MetadataCatalog else {}
    for key, value in metadata.items():
        if key in known and known[key] != value:
            raise ValueError(
                f"{KEY}: the name '{name}' is taken: its {key} is {known[key]!r}, not {value!r}; "
                "choose another name."
            )
    if name in DatasetCatalog and "json_file" not in known:
        raise ValueError(f"{KEY}: the name '{name}' is taken by another data set; choose another.")


def read_json(json_file: str) -> dict[str, Any]:
    """The content of a COCO json file.

    Raises:
        ValueError: the file cannot be read, is not JSON, has a key twice, or is not an object.
    """
    refuse_pipes(json_file, json_file)
    try:
        with open(json_file, encoding="utf-8") as file, _collector_paused():
            content = json.loads(_unmarked(file.read()), object_pairs_hook=once_each)
    except RepeatedKeyError as error:
        raise ValueError(f"{json_file} {error}.") from None
    except OSError as error:
        raise ValueError(f"{json_file} cannot be read: {error.strerror}.") from error
    except RecursionError:
        raise ValueError(f"{json_file} is nested too deeply.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{json_file} is not JSON: it is no text in UTF-8.") from None
    except ValueError as error:
        raise ValueError(f"{json_file} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{json_file} holds a {type(content).__name__}; COCO's format is an object with "
            "'images', 'annotations' and 'categories'."
        )
    return content


def _unmarked(text: str) -> str:
    """
    Raises:
        ValueError: it begins with a mark of its encoding, at which pycocotools would fail.
    """
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a mark of its encoding (BOM); save it as UTF-8 without")
    return text


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Parsing makes millions of objects and no garbage; looking for it doubles COCO's 5 seconds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_categories(json_file: str) -> object:
    """The value of ``"categories"`` alone: parsing all of COCO's file would take many seconds."""
    if os.path.getsize(json_file):
        with (
            open(json_file, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            starts = [match.end() for match in _CATEGORIES_START.finditer(text)]
            found = _decode_value(text, starts[0]) if len(starts) == 1 else None
        if found is not None:
            return found
    return read_json(json_file).get("categories")


def _decode_value(text: mmap.mmap, start: int) -> object | None:
    """The JSON value that begins at ``start``; None when it does not end within the text."""
    size = 1 << 16
    while True:
        excerpt = text[start : start + size].decode("utf-8", errors="ignore")
        try:
            return json.JSONDecoder(object_pairs_hook=once_each).raw_decode(excerpt)[0]
        except RecursionError:
            return None
        except ValueError:  # not JSON, or a number of thousands of digits
            if start + size >= len(text):
                return None
            size *= 8


def class_names(categories: object, json_file: str) -> dict[int, str]:
    """Category id -> class name, by ascending id: the order of Detectron2's contiguous ids.

    Raises:
        ValueError: ``categories`` is no list, is empty, repeats an id, or has an entry without an
            integer ``id`` and a ``name``.
    """
    if not isinstance(categories, list) or not categories:
        raise ValueError(f"{json_file} has no list of 'categories', or it is empty.")
    names: dict[int, str] = {}
    for category in categories:
        fields = category if isinstance(category, dict) else {}
        id_, name = fields.get("id"), fields.get("name")
        if type(id_) is not int or abs(id_) > LARGEST_ID or not is_class_name(name):
            raise ValueError(
                f"{json_file}: the category {shown(category)} needs an integer 'id' and a 'name'"
                f", the one of 64 bits and the other of 1 to {LONGEST_NAME} characters in one line."
            )
        if id_ in names:
            raise ValueError(
                f"{json_file}: the category id {id_} stands for both '{names[id_]}' and '{name}'."
            )
        names[id_] = name
    return dict(sorted(names.items()))


def in_metadata(key: str, names: Iterable[str]) -> dict[str, Any]:
    """What the metadata of data sets have under a key, None included, by name; those that are not
    registered are left out."""
    return {name: MetadataCatalog.get(name).get(key) for name in names if name in MetadataCatalog}


def registered_classes(name: str) -> list[str]:
    """Names of a registered data set's classes, as its metadata has them; none where it does not.

    Raises:
        ValueError: they are no list of texts, in which figures could not be written.
    """
    classes = MetadataCatalog.get(name).get("thing_classes")
    if classes is None:
        return []
    if not isinstance(classes, list | tuple) or not all(
        isinstance(of, str) and is_whole(of) for of in classes
    ):
        raise ValueError(
            f"Data set '{name}' has the thing_classes {shown(classes)} in its metadata; it must be "
            "a list of texts, a name for each class, without lone halves of characters."
        )
    return list(classes)


def is_class_name(name: object) -> TypeGuard[str]:
    """Text that can be seen where it is drawn, and written in a line: no blanks alone, no lone
    halves of characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or min(name) < " ":
        return False
    return is_whole(name) and not name.isspace()

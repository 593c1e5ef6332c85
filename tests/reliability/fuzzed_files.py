# SPDX-License-Identifier: Apache-2.0
"""Properties of what people bring along: data sets and how they are measured, files to import,
checkpoints, and what an evaluation has written."""

import copy
import dataclasses
import functools
import json
import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.structures import BoxMode
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from dynamicdet_d2.checkpoint.files import read_checkpoint
from dynamicdet_d2.data.check.records import Needs
from dynamicdet_d2.data.check.run import check_dataset
from dynamicdet_d2.data.importing.dataset import Found, write_json
from dynamicdet_d2.data.importing.voc import read_voc
from dynamicdet_d2.data.importing.yolo import read_yolo
from dynamicdet_d2.data.loading.images import FIGURES, images_of
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.evaluation.exit_records import ExitRecord
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from dynamicdet_d2.evaluation.report.files import redraw
from dynamicdet_d2.evaluation.task_sweeps import task_sweeps
from tests.reliability.mutations import mutated, values
from tests.reliability.properties import Target, folder, sentence
from tests.support.coco_files import (
    CATEGORIES,
    clean_catalogs,
    image_entry,
    object_entry,
    write_coco,
    write_image,
)
from tests.support.tradeoffs import GOOD, ROUTES

NAME = "fuzzed"
COCO = {
    "images": [image_entry(1), image_entry(2)],
    "annotations": [
        object_entry(1, 1),
        object_entry(2, 2, category_id=2),
        object_entry(3, 2, iscrowd=1, segmentation={"size": [30, 40], "counts": [600, 600]}),
    ],
    "categories": CATEGORIES,
}


@functools.cache
def image_root() -> str:
    return write_coco(folder() / "data", COCO["images"], [])[1]


def measure(images: Sequence[dict]) -> None:
    """The figures of a data set whose objects have all been found, with masks."""
    truth = read_ground_truth(NAME)
    records = []
    for image in images:
        whole = mask_api.encode(np.ones((image["height"], image["width"]), np.uint8, order="F"))
        whole["counts"] = whole["counts"].decode()
        found = [
            {**known, "image_id": image["image_id"], "score": 0.5, "segmentation": whole}
            for known in truth.objects(image["image_id"])
        ]
        file, id_ = image["file_name"], image["image_id"]
        records.append(ExitRecord(id_, file, 0.5, (32, 32), (found, found[:1])))
    if records:
        task_sweeps(records, truth.coco, truth.category_ids)


# A data set of a file that the check finds nothing in is one that is measured.


def measured_holds(content: Any) -> None:
    file, root = folder() / "measured.json", image_root()
    file.write_text(json.dumps(content))
    if check_dataset(NAME, str(file), root, 2, testing=True, mask_format="polygon").errors:
        return
    with clean_catalogs():
        register_coco_json([[NAME, str(file), root]])
        measure(images_of("DATASETS.TEST", [NAME], FIGURES, filter_empty=False))


# One by code is refused by a sentence, or is mapped and measured.

BOX = {"bbox": [2, 3, 10, 8], "bbox_mode": BoxMode.XYWH_ABS.value, "iscrowd": 0}
BY_CODE = [
    {
        **{"file_name": "1.png", "image_id": 1, "height": 30, "width": 40},
        "annotations": [
            {**BOX, "category_id": 0, "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]]},
            {**BOX, "category_id": 1, "segmentation": {"size": [30, 40], "counts": [600, 600]}},
        ],
    },
    {
        **{"file_name": "2.png", "image_id": 2, "height": 30, "width": 40},
        "annotations": [{**BOX, "category_id": 1, "segmentation": [[2, 3, 12, 3, 12, 11]]}],
    },
]


def by_code_holds(given: tuple[Any, bool]) -> None:
    content, masks = given
    for image in content if isinstance(content, list) else ():
        if isinstance(image, dict) and image.get("file_name") in ("1.png", "2.png"):
            image["file_name"] = str(Path(image_root()) / image["file_name"])
    needs = Needs(objects=True, figures=True, masks="polygon" if masks else None)
    mapper = DatasetMapper(
        is_train=True, augmentations=[], image_format="BGR", use_instance_mask=masks
    )
    with clean_catalogs():
        DatasetCatalog.register(NAME, lambda: copy.deepcopy(content))
        MetadataCatalog.get(NAME).thing_classes = ["disc", "ring"]
        try:
            images = images_of("DATASETS.TRAIN", [NAME], needs, filter_empty=False)
            mapped = [mapper(image) for image in images if Path(image["file_name"]).is_file()]
            if masks and mapped:
                measure(images)
        except ValueError as error:
            sentence(error)


# What an evaluation has written is drawn, or one of its files is named.


@functools.cache
def _tradeoff() -> Any:
    path = folder() / "good.json"
    GOOD.to_json(path)
    return json.loads(path.read_text())


def report_holds(given: tuple[Any, Any]) -> None:
    tradeoff, routes = given
    place = folder() / "dynamic"
    place.mkdir(exist_ok=True)
    (place / "tradeoff.json").write_text(json.dumps(tradeoff))
    lines = routes if isinstance(routes, list) else [routes]
    (place / "routes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        redraw(place)
    except ValueError as error:
        sentence(error, "tradeoff.json", "routes.jsonl")


# What is imported is refused by a sentence, or is a data set that the check finds nothing in.

numbers = st.sampled_from(
    ["0", "1", "2", "0.5", ".25", "0.1", "1e-3", "-0.1", "1.5", "nan", "inf", "0x1", "1_0", ""]
) | st.floats(0, 1).map(str)
labels = st.lists(
    st.lists(numbers, max_size=12).map(" ".join) | st.text(max_size=20), max_size=4
).map("\n".join)
DESCRIPTION = {"names": {"0": "a", "1": "b"}, "train": "images", "val": "images", "nc": 2}
descriptions = st.just("names: [a, b]\ntrain: images\n") | mutated(DESCRIPTION).map(json.dumps)
TREE = (
    "<annotation><filename>a.png</filename><size><width>40</width><height>30</height></size>"
    "<object><name>a</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>20</xmax><ymax>25</ymax></bndbox></object></annotation>"
)


@st.composite
def trees(draw: Callable) -> str:
    """A VOC file with up to three of its texts, tags or characters changed."""
    text = TREE
    for _ in range(draw(st.integers(1, 3))):
        places = list(re.finditer(draw(st.sampled_from((r"(?<=>)[^<>]+", r"</?\w+>", "."))), text))
        if places:
            place = draw(st.sampled_from(places))
            new = draw(st.sampled_from(("", 2 * place[0])) | numbers | st.text(max_size=8))
            text = text[: place.start()] + new + text[place.end() :]
    return text


def _imported(read: Callable[[], Found]) -> None:
    try:
        found = read()
    except OSError as error:  # a name that no file can have
        assert error.filename
        return
    except ValueError as error:
        sentence(error)
        return
    for entries in found.splits.values():
        if not any(entry.objects for entry in entries):
            continue
        file = folder() / "imported.json"
        file.unlink(missing_ok=True)
        write_json(file, entries, found.root, found.classes)
        report = check_dataset(NAME, str(file), str(found.root), len(found.classes), testing=True)
        assert not report.errors, report.text()


def _pictures(place: Path) -> None:
    if not place.is_dir():
        place.mkdir(parents=True)
        for name in ("a.png", "b.png"):
            write_image(folder() / "1.png", 40, 30)
            (folder() / "1.png").rename(place / name)


def yolo_holds(given: tuple[str, str]) -> None:
    description, text = given
    place = folder() / "yolo"
    _pictures(place / "images")
    (place / "labels").mkdir(exist_ok=True)
    (place / "data.yaml").write_text(description, errors="surrogatepass")
    (place / "labels" / "a.txt").write_text(text, errors="surrogatepass", newline="")
    (place / "labels" / "b.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    _imported(lambda: read_yolo(place / "data.yaml"))


def voc_holds(text: str) -> None:
    place = folder() / "voc"
    _pictures(place / "JPEGImages")
    (place / "Annotations").mkdir(exist_ok=True)
    (place / "Annotations" / "a.xml").write_text(text, errors="surrogatepass")
    (place / "Annotations" / "b.xml").write_text(TREE.replace("a.png", "b.png"))
    _imported(lambda: read_voc(place))


# A damaged checkpoint is refused by its name, or gives tensors.


@functools.cache
def _checkpoints() -> dict[str, bytes]:
    content = {"model": {"a": torch.ones(3, 2), "b": torch.zeros(2)}, "iteration": 3}
    for name, archive in (("new.pth", True), ("old.pth", False)):
        torch.save(content, folder() / name, _use_new_zipfile_serialization=archive)
    arrays = {name: value.numpy() for name, value in content["model"].items()}
    (folder() / "arrays.pkl").write_bytes(pickle.dumps({"model": arrays}))
    return {name: (folder() / name).read_bytes() for name in ("new.pth", "old.pth", "arrays.pkl")}


@st.composite
def damaged(draw: Callable) -> tuple[str, bytes]:
    """A file with up to three places cut out, cut off, doubled or written over."""
    name, content = draw(st.sampled_from(sorted(_checkpoints().items())))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        rest = draw(st.sampled_from((start, start + 1, start + 8, len(content), max(start - 8, 0))))
        content = content[:start] + draw(st.binary(max_size=4)) + content[rest:]
    return name, content


def checkpoint_holds(given: tuple[str, bytes]) -> None:
    name, content = given
    path = folder() / f"damaged-{name}"
    path.write_bytes(content)
    try:
        weights = read_checkpoint(str(path))["model"]
    except ValueError as error:
        sentence(error, str(path))
        return
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


routes = [dataclasses.asdict(route) for route in ROUTES]
TARGETS = {
    "measured": Target(mutated(COCO) | values, measured_holds),
    "by code": Target(st.tuples(mutated(BY_CODE) | values, st.booleans()), by_code_holds),
    "report": Target(
        st.tuples(st.deferred(lambda: mutated(_tradeoff())), st.just(routes) | mutated(routes)),
        report_holds,
    ),
    "YOLO": Target(st.tuples(descriptions, labels), yolo_holds),
    "VOC": Target(trees(), voc_holds),
    "checkpoint": Target(damaged(), checkpoint_holds),
}

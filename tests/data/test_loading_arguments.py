# SPDX-License-Identifier: Apache-2.0
"""What a program gives to loaders in the place of a config, images, a mapper or a number."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList, DatasetMapper

from dynamicdet_d2.data import (
    PositionBatches,
    ResumableLoader,
    build_finite_loader,
    build_test_loader,
    build_training_loader,
    register_coco_json,
    training_dicts,
)
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, toy_cfg, write_coco

NO_CONFIG = "The config is of type {}; it must be a CfgNode"
NO_IMAGES = "it must be a list of Detectron2's dicts, one an image"
NO_MAPPER = "it must be a function of one of Detectron2's dicts, or an object such as "
BATCH = "The total batch size (SOLVER.IMS_PER_BATCH) is "


@pytest.fixture
def cfg(tmp_path: Path) -> Iterator[CfgNode]:
    """Three images with an object each."""
    images = [image_entry(i, 40, 30) for i in (1, 2, 3)]
    with clean_catalogs():
        files = write_coco(tmp_path, images, [object_entry(i, i) for i in (1, 2, 3)])
        register_coco_json([["toy", *files]])
        yield toy_cfg()


def finite(cfg: Any, **options: Any) -> object:
    return list(build_finite_loader(cfg, options.pop("mapper", as_they_are), **options))


def stream(cfg: Any, **options: Any) -> object:
    options = {"seed": 1, "mapper": as_they_are, **options}
    return next(iter(build_training_loader(cfg, **options)))


def as_they_are(image: dict[str, Any]) -> dict[str, Any]:
    return image


CASES: dict[str, tuple[Callable[[CfgNode], object], str]] = {
    "a name for the config": (lambda cfg: training_dicts("toy"), NO_CONFIG.format("str")),
    "a name for the config of a stream": (lambda cfg: stream("toy"), NO_CONFIG.format("str")),
    "a config and a mapper in turn": (
        lambda cfg: ResumableLoader(DatasetMapper(cfg, is_train=True), cfg),
        NO_CONFIG.format("DatasetMapper"),
    ),
    "a name and a config in turn": (
        lambda cfg: build_test_loader("toy", cfg),
        NO_CONFIG.format("str"),
    ),
    "no images": (lambda cfg: stream(cfg, dataset_dicts=[]), NO_IMAGES),
    "no images to pass over": (lambda cfg: finite(cfg, dataset_dicts=[]), NO_IMAGES),
    "a name for the images": (lambda cfg: stream(cfg, dataset_dicts="toy"), NO_IMAGES),
    "COCO's dict": (lambda cfg: stream(cfg, dataset_dicts={"images": []}), NO_IMAGES),
    "file names": (lambda cfg: finite(cfg, dataset_dicts=["a.jpg"]), NO_IMAGES),
    "a generator": (lambda cfg: stream(cfg, dataset_dicts=(x for x in [])), NO_IMAGES),
    "no mapper": (lambda cfg: finite(cfg, mapper=None), f"The mapper is None; {NO_MAPPER}"),
    "a class": (lambda cfg: stream(cfg, mapper=DatasetMapper), NO_MAPPER),
    "images for the mapper": (
        lambda cfg: ResumableLoader(cfg, DatasetCatalog.get("toy")),
        NO_MAPPER,
    ),
    "batches of 0": (lambda cfg: stream(cfg, total_batch_size=0), f"{BATCH}0; it must be a posit"),
    "batches of 2.0": (
        lambda cfg: stream(cfg, total_batch_size=2.0),
        f"{BATCH}2.0; it must be a w",
    ),
    "passes of 0": (lambda cfg: finite(cfg, batch_size=0), "batch_size is 0; it must be a whole"),
    "a start before the first": (
        lambda cfg: stream(cfg, start_iter=-1),
        "The batch to start with is -1; it must be a whole number, at least 0.",
    ),
    "text for the seed": (lambda cfg: stream(cfg, seed="1"), "seed is '1'; it must be a whole"),
    "no seed": (lambda cfg: finite(cfg, seed=None), "seed is None; it must be a whole number."),
    "several data sets": (
        lambda cfg: build_test_loader(cfg, ["toy"]),
        "DATASETS.TEST names ['toy']; it must be the name of one data set.",
    ),
    "a rank that there is not": (
        lambda cfg: PositionBatches(3, 1, total_batch_size=2, rank=2, world_size=2),
        "rank is 2; of 2 it must be 0 to 1.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_said(cfg: CfgNode, name: str) -> None:
    call, says = CASES[name]
    with pytest.raises(ValueError) as error:
        call(cfg)
    assert says in str(error.value)


def test_a_name_in_the_place_of_a_list_of_names(cfg: CfgNode) -> None:
    """An attribute may be text, of which "toy" would be three data sets."""
    cfg.DATASETS.TRAIN = "toy"
    with pytest.raises(ValueError, match="DATASETS.TRAIN is 'toy'; it must be a list of names"):
        training_dicts(cfg)


def test_what_is_as_good_is_taken(cfg: CfgNode) -> None:
    """numpy's seeds give what Python's give, and what is like a list is one."""

    def ids(**options: Any) -> list[list[int]]:
        loader = build_training_loader(cfg, as_they_are, total_batch_size=2, **options)
        return [[image["image_id"] for image in x] for x in itertools.islice(loader, 4)]

    images = DatasetCatalog.get("toy")
    wanted = ids(seed=3)
    assert sorted(sum(wanted, [])[:3]) == [1, 2, 3]
    assert ids(seed=np.int64(3), start_iter=np.int32(0)) == wanted
    for same in (images, tuple(images), DatasetFromList(images)):
        assert ids(seed=3, dataset_dicts=same) == wanted

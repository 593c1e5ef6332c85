# SPDX-License-Identifier: Apache-2.0
"""The data sets of a run: registered from its config, and checked before they are learnt."""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from dynamicdet_d2.data.check.findings import DatasetReport
from dynamicdet_d2.data.check.run import (
    check_datasets,
    is_of_coco_files,
    warn_of_other_classes,
)
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.modeling.architecture import num_classes_key
from dynamicdet_d2.utils.errors import TYPED


@contextmanager
def said_once() -> Iterator[None]:
    """A fault that the processes of a run find alike is said by the first of them.

    Raises:
        ValueError: as inside.
        SystemExit: in the other processes, those that find nothing wrong among them.
    """
    fault: ValueError | None = None
    try:
        yield
    except ValueError as error:
        fault = error
    found = comm.all_gather(None if fault is None else str(fault))
    if fault is not None and found.index(str(fault)) == comm.get_rank():
        raise fault
    if any(said is not None for said in found):
        sys.exit(TYPED)


def register_data(cfg: CfgNode) -> None:
    """Register what the config itself says of data sets.

    Raises:
        ValueError: naming the entry of ``DATASETS.COCO_JSON`` that is wrong.
    """
    register_coco_json(cfg.DATASETS.COCO_JSON)
    register_shapes([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, cfg.SOLVER.ROUTER.VALIDATION])


def prepare_data(cfg: CfgNode) -> list[DatasetReport]:
    """For a trainer, before it builds anything.

    Returns:
        of each data set that is checked.

    Raises:
        ValueError: as ``register_data``, or one for all that is wrong with data sets of COCO files
            (``DATASETS.CHECK``).
    """
    with said_once():
        register_data(cfg)
        return check_datasets(cfg, num_classes_key(cfg)) if cfg.DATASETS.CHECK else []


def prepare_test(cfg: CfgNode) -> None:
    """For a trainer's ``test``, which a program may call of a model without a trainer.

    Raises:
        ValueError: as ``register_data`` and ``check_same_sets``.
    """
    register_data(cfg)
    check_same_sets("DATASETS.TEST", cfg.DATASETS.TEST)
    warn_of_other_classes(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)


def check_same_sets(key: str, names: Sequence[str]) -> None:
    """As ``check_same_images``, of the images of each data set that is registered by code."""
    if comm.get_world_size() == 1:
        return
    for name in names:
        if name in DatasetCatalog and not is_of_coco_files(name):
            try:
                images = list(DatasetCatalog.get(name))
            except Exception:  # a user's own function, whose fault whoever loads it says
                images = []
            check_same_images(key, [name], images)


def check_same_images(key: str, names: Sequence[str], images: Sequence[Any]) -> None:
    """Refuse images that stand in another order in another process: each takes its share by their
    places, so that some would be learnt or measured twice and others never.

    Args:
        key: of the config, that names the data sets.
        names: of the data sets.
        images: in Detectron2's format.

    Raises:
        ValueError: in the first process that finds it.
        SystemExit: in the others.
    """
    own = hashlib.sha256()
    for image in images:
        if isinstance(image, Mapping):  # others are refused by whoever loads them
            name = os.path.basename(str(image.get("file_name")))  # folders may differ by machine
            own.update(repr((name, image.get("image_id"))).encode())
    found = comm.all_gather(own.hexdigest())
    with said_once():
        if len(set(found)) > 1:
            raise ValueError(
                f"{key} {list(names)}: the processes of the run have other images, or in "
                "another order; a function that is registered must give the same in each, as of "
                "sorted names and not of a set."
            )

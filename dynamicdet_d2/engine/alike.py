# SPDX-License-Identifier: Apache-2.0
"""What the processes of a run must have alike: machines are started by hand, each by its own
command, and have files of their own."""

import argparse
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config.leaves import as_lists, leaves
from dynamicdet_d2.data.check.run import is_of_coco_files
from dynamicdet_d2.data.loading.images import images_hash, without_folders
from dynamicdet_d2.engine.distributed import said_once
from dynamicdet_d2.utils.words import shown

# Of no consequence for the other processes.
_OF_A_MACHINE = (
    *("OUTPUT_DIR", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "RUN.TIMEOUT", "VIS_PERIOD"),
    "VERSION",
)
# Name files whose content counts.
_FILES = (
    *("MODEL.WEIGHTS", "MODEL.COMPOSITE.WEIGHTS2", "MODEL.DYNAMIC.CALIBRATION"),
    "DATASETS.COCO_JSON",
)


def check_same_command(args: argparse.Namespace) -> None:
    """Refuse processes of which some train and others evaluate, or some begin and others go on:
    they would wait for each other.

    Args:
        args: as for ``setup``.

    Raises:
        ValueError: naming the option, in the first process.
        SystemExit: in the others.
    """
    everywhere = comm.all_gather({"--eval-only": args.eval_only, "--resume": args.resume})
    with said_once():
        for rank, given in enumerate(everywhere):
            for option, first in everywhere[0].items():
                if given[option] != first:
                    who = 0 if first else rank
                    raise ValueError(
                        f"{option} is given to rank {who} and not to rank {rank - who}; all "
                        "processes of a run need the same."
                    )


def check_same_config(cfg: CfgNode) -> None:
    """Refuse keys, and files that they name, that differ between processes: each would train or
    measure something else, and what is saved would be rank 0's alone. Folders may differ by
    machine, and what has no consequence for the others.

    Raises:
        ValueError: naming the key, in the first process.
        SystemExit: in the others.
    """
    if comm.get_world_size() == 1:
        return
    keys = {name: as_lists(x) for name, x in leaves(cfg) if name not in _OF_A_MACHINE}
    own = {name: (_names(x), _content(x) if name in _FILES else "") for name, x in keys.items()}
    everywhere = comm.all_gather(own)
    with said_once():
        for rank, other in enumerate(everywhere):
            for key, first in everywhere[0].items():
                if other[key] != first:
                    raise ValueError(_difference(key, first, other[key], rank))


def _difference(key: str, first: tuple, other: tuple, rank: int) -> str:
    needed = "all processes of a run need the same"
    if first[0] == other[0]:
        return f"{key} {shown(first[0])} has another content for rank {rank}; {needed}."
    return f"{key} is {shown(first[0])} for rank 0 and {shown(other[0])} for rank {rank}; {needed}."


def _names(value: object) -> object:
    """Without their folders."""
    if isinstance(value, list):
        return [_names(part) for part in value]
    return os.path.basename(value.rstrip("/")) if isinstance(value, str) else value


def _content(value: object) -> object:
    """A hash of each file; "" of what is none or cannot be read, which whoever reads it says."""
    if isinstance(value, list):
        return [_content(part) for part in value]
    try:
        with open(str(value), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def check_same_checkpoint(checkpointer: DynamicCheckpointer) -> None:
    """Refuse to resume where machines have folders of their own: some processes would go on, and
    the others begin anew beside them.

    Raises:
        ValueError: naming what each has; or as ``get_checkpoint_file``.
        SystemExit: in the other processes of a run of which one says so.
    """
    with said_once():
        there = checkpointer.has_checkpoint()
        own = checkpointer.get_checkpoint_file() if there else ""
    if comm.get_world_size() == 1:
        return
    found = comm.all_gather((os.path.basename(own), _content(own)))
    other = next((rank for rank, one in enumerate(found) if one != found[0]), None)
    with said_once():
        if other is not None:
            has, has_not = (found[rank][0] or "no checkpoint" for rank in (0, other))
            has_not += " of other content" if has == has_not else ""
            raise ValueError(
                f"OUTPUT_DIR {checkpointer.save_dir} has {has} for rank 0 to go on from, and "
                f"{has_not} for rank {other}: --resume needs a folder that all machines share."
            )


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
    """Refuse images that are others, or stand in another order, in another process: each takes its
    share by their places, so that some would be learnt or measured twice and others never.

    Args:
        key: of the config, that names the data sets.
        names: of the data sets.
        images: in Detectron2's format.

    Raises:
        ValueError: in the first process that finds it.
        SystemExit: in the others.
    """
    # Others are refused by whoever loads them; folders may differ by machine.
    known = [image for image in images if isinstance(image, Mapping)]
    found = comm.all_gather(images_hash(without_folders(known)))
    with said_once():
        if len(set(found)) > 1:
            raise ValueError(
                f"{key} {list(names)}: the processes of the run have other images, or in "
                "another order; a function that is registered must give the same in each, as of "
                "sorted names and not of a set."
            )

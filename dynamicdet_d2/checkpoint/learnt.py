# SPDX-License-Identifier: Apache-2.0
"""What weights have learnt from, which the checkpoints of a run record: images and classes.

The files that a run's config names may be others by now, as after another split into images to
learn from and images to judge on.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from detectron2.utils.file_io import PathManager
from torch import Tensor

from dynamicdet_d2.data.loading.images import images_hash
from dynamicdet_d2.utils.file_samples import sampled_digest
from dynamicdet_d2.utils.pickle_size import check_sizes
from dynamicdet_d2.utils.remarks import remark

logger = logging.getLogger(__name__)

_BYTES = 8
_PIECES = 4  # of each image
# Of pictures that are hardly ever compressed: those on one ground, or before a still camera, are of
# one size and differ in pieces that are not looked at.
_UNCOMPRESSED = (".bmp", ".pgm", ".ppm", ".tif", ".tiff")
MOST_READ = 20_000  # images that are looked into: of more, on a slow disk, it would take minutes
# The phases that train no router.
_BEFORE_THE_ROUTER = ("detectors", "detector2")
_OF_ANY_TRAINER = "iteration"  # in the state of a run, Detectron2's DefaultTrainer's included


def recorded_images(
    images: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()
) -> dict[str, object]:
    """What a checkpoint keeps of the training images.

    Args:
        images: in Detectron2's format.
        classes: their names, in the model's order; empty: not known.

    Returns:
        "count", "hash" of all that stands in the images, "classes", and "files": of each file's
        path, and where there are at most ``MOST_READ`` also of what is in them, if they can be
        read, 8 bytes of a hash, int64, at most (2 * count,); ``with_earlier`` has more of them.
    """
    files = [image["file_name"] for image in images if image.get("file_name")]
    hashes = [*map(_of_path, files), *contents(files)]
    return {
        "count": len(images),
        "hash": images_hash(images),
        "classes": list(classes),
        "files": torch.tensor(hashes, dtype=torch.int64),
    }


def in_checkpoint(
    images: Mapping[str, object], keys: Mapping[str, object] | None = None, phase: str = ""
) -> dict[str, object]:
    """What a file has beside weights, so that ``recorded_by``, ``recorded_keys`` and
    ``recorded_phase`` give this."""
    return {"trainer": {"images": dict(images), "config": dict(keys or {}), "phase": phase}}


def recorded_by(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """``recorded_images`` of the run that the weights of a checkpoint or a model folder come from.

    Args:
        path: file or address of weights; "": none.

    Returns:
        {} where it has no record, or cannot be read, which is said where its weights are.
    """
    return _mapping(path, "images")


def recorded_keys(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Keys of the run that wrote a checkpoint, by their full names; as ``recorded_by``."""
    return _mapping(path, "config")


def recorded_phase(path: str | os.PathLike[str]) -> str:
    """Name of the phase that a checkpoint is of; "": it has none."""
    phase = _kept(path, "phase")
    return phase if isinstance(phase, str) else ""


def say_untrained_router(path: str | os.PathLike[str], without_offset: bool = False) -> None:
    """Say where the router of a checkpoint has learnt nothing from the detectors beside it.

    Args:
        path: as for ``recorded_by``.
        without_offset: its loss offset is NaN.
    """
    phase = recorded_phase(path)
    if phase in _BEFORE_THE_ROUTER:
        logger.warning(
            "%s is of phase '%s', before the router was trained for these detectors: which images "
            "are hard is left to chance.",
            *(path, phase),
        )
    elif _kept(path, "phase") is None and _kept(path, _OF_ANY_TRAINER) is not None:
        logger.warning(
            "%s is of Detectron2's own trainer, which trains no router: which images are hard is "
            "left to chance.",
            path,
        )
    elif not phase and without_offset:
        logger.warning(
            "%s has no loss offset, with which the training of a router begins: unless it was "
            "trained in another way, which images are hard is left to chance.",
            path,
        )


def _mapping(path: str | os.PathLike[str], name: str) -> Mapping[str, Any]:
    kept = _kept(path, name)
    return kept if isinstance(kept, Mapping) else {}


def _kept(path: str | os.PathLike[str], name: str) -> object:
    """What a checkpoint has of its trainer; None where it has nothing, or cannot be read."""
    if os.fspath(path).endswith(".pkl"):  # as of Detectron2's zoo: no run writes one
        return None
    try:
        # Of an address the copy that its weights are, or will be, loaded from.
        file = path if os.path.exists(path) else PathManager.get_local_path(os.fspath(path))
        if not os.path.isfile(file):  # a pipe, which would be waited for
            return None
        check_sizes(os.fspath(file))  # it may be asked before the weights are read
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        return content["trainer"][name]
    except Exception:  # a file that is no checkpoint of a run raises anything at all
        return None


def learnt_by(path: str | os.PathLike[str]) -> Tensor:
    """Which image files weights have learnt, whatever they began with included.

    Args:
        path: as for ``recorded_by``.

    Returns:
        hashes as in ``recorded_images``, int64 (N,); of none where there is no record.
    """
    files = recorded_by(path).get("files")
    if not isinstance(files, Tensor) or files.dtype != torch.int64:
        return torch.empty(0, dtype=torch.int64)
    # One number that is expanded to billions, as in no file of a run, is no record either.
    if files.layout == torch.strided and files.is_contiguous():
        return files.flatten()
    return torch.empty(0, dtype=torch.int64)


def with_earlier(record: Mapping[str, object], earlier: Sequence[Tensor]) -> dict[str, object]:
    """A run's record with what its weights had learnt before, from other images.

    Args:
        record: ``recorded_images`` of the run.
        earlier: ``learnt_by`` of the weights that it began with or went on from.

    Returns:
        the record with all "files", int64 (N,); the rest says what is learnt at present.
    """
    files = torch.cat([cast(Tensor, record["files"]), *earlier])
    return {**record, "files": torch.unique(files)}


def recorded_classes(record: Mapping[str, Any]) -> list[str]:
    """Names of classes in the model's order; empty: a record does not know them.

    Args:
        record: ``recorded_images``, as a checkpoint has it.
    """
    names = record.get("classes")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    return names


def say_learnt_images(path: str | os.PathLike[str], name: str, files: Iterable[str]) -> None:
    """Say where weights are measured on images that they have learnt, of whatever folder.

    Args:
        path: as for ``recorded_by``.
        name: of the data set.
        files: paths of its images.
    """
    known, measured = set(learnt_by(path).tolist()), set(files)
    if not known:
        return
    shared = sum(_of_path(file) in known or _of_content(file) in known for file in measured)
    if shared:
        _say_of_figures(name, f"{path} has learnt {shared} of its {len(measured)} images")


def say_copies(record: Mapping[str, object], name: str, files: Iterable[str]) -> None:
    """Say where a run is to be judged by copies, in other folders, of what it learns from.

    Args:
        record: ``recorded_images`` of the run.
        name: of the data set.
        files: paths of its images.
    """
    known, measured = set(cast(Tensor, record["files"]).tolist()), set(files)
    copies = sum(_of_content(x) in known and _of_path(x) not in known for x in measured)
    if copies:
        count = f"{copies} of its {len(measured)} images"
        _say_of_figures(name, f"{count} are copies of images in DATASETS.TRAIN")


def _say_of_figures(name: str, why: str) -> None:
    said = remark(name, f"{why}, so that their figures say nothing of new images.")
    logger.warning("Data set '%s': %s", name, said)


def _of_path(file: str | os.PathLike[str]) -> int:
    """One folder may be known by two names."""
    folder, name = os.path.split(os.path.abspath(file))
    return _number(hashlib.sha256(os.fsencode(os.path.join(_real(folder), name))).digest())


def contents(files: Sequence[str]) -> list[int]:
    """Of what is in each file that can be read, where they are at most ``MOST_READ``, 8 bytes of a
    hash."""
    read = files if len(files) <= MOST_READ else []
    return [found for file in read if (found := _of_content(file)) is not None]


def _of_content(file: str | os.PathLike[str]) -> int | None:
    """As a data set that is copied, moved or exported anew has it; None: it cannot be read, or
    pieces of it say little."""
    if os.fspath(file).lower().endswith(_UNCOMPRESSED):
        return None
    if not os.path.isfile(file):  # a pipe would be waited for
        return None
    try:
        return _number(sampled_digest(file, _PIECES))
    except OSError:
        return None


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:_BYTES], "big", signed=True)


@lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)

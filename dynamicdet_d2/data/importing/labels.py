# SPDX-License-Identifier: Apache-2.0
"""Where YOLO's tools keep the labels of an image, and those of no image."""

from collections.abc import Collection
from pathlib import Path

from dynamicdet_d2.data.image_files import IMAGE_ENDINGS
from dynamicdet_d2.data.importing.dataset import files_below, visible

IMAGES, LABELS = "images", "labels"


def label_file(image: Path) -> Path:
    """Of an image: in ``labels`` where the image is in ``images``, else beside it."""
    pictures, labels = _folders(image)
    return labels / image.relative_to(pictures).with_suffix(".txt")


def remarks_on_labels(images: Collection[Path]) -> tuple[str, ...]:
    """Says how many label files beside those of the images belong to no image at all, as where
    they have other names or the image is of another kind, or lie beside images in ``images``, as
    some tools write them: their objects would be missed.

    Args:
        images: files of a data set.
    """
    folders = {_folders(image) for image in images}
    found = {file for pair in folders for file in _without_image(*pair)}
    read = {label_file(image) for image in images}  # some are behind links
    lost = sorted(found - read)
    apart = {pictures for pictures, labels in folders if pictures != labels}
    beside = sorted({file for pictures in apart for file in _labels_below(pictures)} - read)
    said = {
        f"belong to no image ({', '.join(IMAGE_ENDINGS)})": lost,
        f"lie in '{IMAGES}', whose labels are read from '{LABELS}'": beside,
    }
    return tuple(
        f"{len(files)} label file(s) {where}, and are left out: {files[0]}."
        for where, files in said.items()
        if files
    )


def remarks_on_images(images: Collection[Path], folder: Path) -> tuple[str, ...]:
    """Says how many labelled images are in no split, as of a folder that no description names.

    Args:
        images: files of the data set.
        folder: that it is described in.
    """
    known = set(images)
    found = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_ENDINGS)
    beside = [x for x in visible(found, folder) if x not in known and _has_labels(label_file(x))]
    real = {file.resolve() for file in known} if beside else known
    lost = [file for file in beside if file.resolve() not in real]
    if not lost:
        return ()
    return (f"{len(lost)} labelled image(s) are in no split, and are left out: {lost[0]}.",)


def _folders(image: Path) -> tuple[Path, Path]:
    """The whole ``images`` and ``labels``, of all splits; or twice the image's own folder."""
    for folder in image.parents:
        if folder.name == IMAGES:
            return folder, folder.with_name(LABELS)
    return image.parent, image.parent


def _without_image(pictures: Path, folder: Path) -> list[Path]:
    stems = {
        file.with_suffix("").relative_to(pictures)
        for file in files_below(pictures)
        if file.suffix.lower() in IMAGE_ENDINGS
    }
    return [
        file
        for file in _labels_below(folder)
        if file.with_suffix("").relative_to(folder) not in stems
    ]


def _labels_below(folder: Path) -> list[Path]:
    found = visible(files_below(folder), folder)
    return [file for file in found if file.suffix == ".txt" and _has_labels(file)]


def _has_labels(file: Path) -> bool:
    """Whether it begins as labels do, unlike notes and lists of classes."""
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        words = opened.readline(1000).split()
    try:
        return len(list(map(float, words))) >= 5
    except ValueError:
        return False

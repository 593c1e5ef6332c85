# SPDX-License-Identifier: Apache-2.0
"""Image files, written whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from cv2.utils import logging as opencvs

from dynamicdet_d2.utils.files import whole_file


def can_write(name: str) -> bool:
    """Whether OpenCV writes colour images of a file name's ending; it must not see names that are
    no text, on which it crashes."""
    ending = Path(name).suffix
    return ending.isascii() and bool(ending) and _writes_colour(ending)


@cache
def _writes_colour(ending: str) -> bool:
    """Some formats are of grey images alone, which OpenCV says when it is too late, or of no tiny
    ones."""
    if not cv2.haveImageWriter(f"image{ending}"):
        return False
    try:
        with _unsaid():
            done, _ = cv2.imencode(ending, np.zeros((64, 64, 3), np.uint8))
    except cv2.error:
        return False
    return bool(done)


@contextmanager
def _unsaid() -> Iterator[None]:
    """What OpenCV cannot encode is said by the caller, or no fault; it would put it on the screen
    as an error of its own."""
    level = opencvs.getLogLevel()
    opencvs.setLogLevel(opencvs.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        opencvs.setLogLevel(level)


def refuse_nameless(path: Path, said: str) -> None:
    """Refuse a path that is no text, on which OpenCV crashes.

    Args:
        said: what it is, as the beginning of a sentence.

    Raises:
        ValueError: its bytes are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{said} {path} has a name that is not UTF-8, which OpenCV needs; rename it."
        ) from None


def write_image(
    path: Path, pixels: np.ndarray, *, quality: int | None = None, durable: bool = True
) -> None:
    """Write an image; unlike OpenCV's own function it does not fail in silence.

    Args:
        path: its ending says the format.
        pixels: (H, W, 3) uint8, BGR.
        quality: of a JPEG, 0 to 100; None: OpenCV's.
        durable: as for ``whole_file``.

    Raises:
        ValueError: OpenCV does not write the format.
        OSError: the file cannot be written; one sentence.
    """
    if not can_write(path.name):
        raise ValueError(
            f"{path} cannot be written: OpenCV writes no images of ending '{path.suffix}'."
        )
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    try:
        with _unsaid():
            done, content = cv2.imencode(path.suffix, pixels, options)
    except cv2.error:
        done = False
    if not done:
        height, width = pixels.shape[:2]
        raise ValueError(f"{path} cannot be written: OpenCV refuses an image of {width}x{height}.")
    with whole_file(path, durable=durable) as file:
        file.write(content.tobytes())

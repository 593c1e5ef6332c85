# SPDX-License-Identifier: Apache-2.0
"""The kinds of sources, each of which gives frames."""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.data.detection_utils import read_image
from numpy.typing import NDArray

from dynamicdet_d2.data.image_files import frames_of
from dynamicdet_d2.data.loading.corrupt import NamedErrors
from dynamicdet_d2.utils.pictures import can_write, refuse_nameless

logger = logging.getLogger(__name__)

# Of a video or camera that does not say its own.
USUAL_FPS = 25.0
_MOST_FRAMES = 1 << 40


@dataclass(frozen=True)
class Frame:
    """An image on its way.

    Attributes:
        source: where it comes from.
        image: (H, W, 3) uint8, BGR.
        number: of the frame in a video, from 0; None: an image of its own.
        seconds: from the video's beginning; None as above.
    """

    source: "Source"
    image: NDArray[np.uint8] = field(repr=False)
    number: int | None = None
    seconds: float | None = None


class Source(ABC):
    """Something with frames.

    Attributes:
        name: of it in results: as the user knows it.
        drawn_name: of the file that its drawn frames go into.
        fps: frames per second of a video, known once a frame was read; None: an image.
        live: frames that nobody takes in time are gone.
    """

    name: str
    drawn_name: str
    fps: float | None = None
    live: bool = False

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Read them, one after the other.

        Raises:
            CorruptImageError: an image file cannot be read.
            ValueError: a video or camera cannot.
        """

    def count(self) -> int | None:
        """How many frames there are, as far as is known beforehand."""
        return 1


class ImageFile(Source):
    """An image, read as Detectron2 reads it (EXIF rotation applied)."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.drawn_name = path.name if can_write(path.name) else f"{path.name}.png"

    def frames(self) -> Iterator[Frame]:
        read = NamedErrors(lambda entry: {"image": read_image(entry["file_name"], format="BGR")})
        image = read({"file_name": self.name})["image"]
        frames = frames_of(self.name)
        if frames > 1:
            logger.warning(
                "%s has %d frames or pages, of which the first one is taken.", self.name, frames
            )
        yield Frame(self, image)


class VideoFile(Source):
    """A video file, as far as OpenCV can decode it."""

    def __init__(self, path: Path) -> None:
        refuse_nameless(path, "The video")
        self.name, self.drawn_name = str(path), f"{path.stem}.mp4"
        # FFmpeg takes what stands before a colon for a protocol.
        self._path = str(path.absolute())

    def frames(self) -> Iterator[Frame]:
        with _opened(self._path, f"The video {self.name}") as video:
            self.fps = fps = _fps(video)
            expected, number = _count(video) or 0, 0
            for image, seconds in _timed(video, fps):
                yield Frame(self, image, number, seconds)
                number += 1
        if not number:
            raise ValueError(f"The video {self.name} has no frame that can be read.")
        if number < expected:  # some containers give no more than an estimate
            logger.warning(
                "%s gave %d of the %d frames that it says it has, which some formats estimate: "
                "where one is missing, those behind it have lower numbers, and earlier times in "
                "formats without times.",
                *(self.name, number, expected),
            )

    def count(self) -> int | None:
        with _opened(self._path, f"The video {self.name}") as video:
            return _count(video)


class Camera(Source):
    """A camera of this machine, by its number; it never ends."""

    live = True

    def __init__(self, number: int) -> None:
        self.number = number
        self.name, self.drawn_name = f"camera:{number}", f"camera-{number}.mp4"

    def frames(self) -> Iterator[Frame]:
        with _opened(self.number, f"Camera {self.number}") as video:
            self.fps = _fps(video)
            start, number = time.monotonic(), 0
            while (image := _next(video)) is not None:
                yield Frame(self, image, number, time.monotonic() - start)
                number += 1
        if not number:
            raise ValueError(
                f"Camera {self.number} gives no image; another program may be using it."
            )
        logger.warning("%s gives no more images.", self.name)

    def count(self) -> int | None:
        return None


@contextmanager
def _opened(where: str | int, said: str) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(where)
    try:
        if not video.isOpened():
            raise ValueError(f"{said} cannot be opened by OpenCV.")
        yield video
    finally:
        video.release()


def _fps(video: cv2.VideoCapture) -> float:
    """What it says, if that is a number of frames."""
    said = video.get(cv2.CAP_PROP_FPS)
    return said if 0 < said < math.inf else USUAL_FPS


def _count(video: cv2.VideoCapture) -> int | None:
    """Frames as far as it knows; some containers give numbers that no file could hold."""
    said = video.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(said) if 0 < said < _MOST_FRAMES else None


def _next(video: cv2.VideoCapture) -> NDArray[Any] | None:
    there, image = video.read()
    return image if there else None


def _timed(video: cv2.VideoCapture, fps: float) -> Iterator[tuple[NDArray[Any], float]]:
    """Images, and when each is seen, in seconds from the first one on.

    Phones and screen recorders do not write as many frames in every second. Streams that do not
    say when a frame is seen say the same of all.
    """
    first = seconds = 0.0
    number = 0
    while (image := _next(video)) is not None:
        said = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not number:
            first = said
        elif said - first > seconds:
            seconds = said - first
        else:
            seconds += 1 / fps
        yield image, seconds
        number += 1

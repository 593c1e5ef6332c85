# SPDX-License-Identifier: Apache-2.0
"""Drawn frames: an image file of an image, a video of a video."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from dynamicdet_d2.prediction.drawing import drawn
from dynamicdet_d2.prediction.outputs.output import Output
from dynamicdet_d2.prediction.outputs.written import note_written
from dynamicdet_d2.prediction.sources import Frame, Source
from dynamicdet_d2.utils.files import writing
from dynamicdet_d2.utils.pictures import write_image

CODEC = "mp4v"


class DrawnFiles(Output):
    """Files in a folder, each of its source's name; a video is there once it is complete."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = folder, class_names
        self._video: _Video | None = None

    def write(self, frame: Frame, prediction: dict[str, Any]) -> None:
        """
        Raises:
            OSError: the file cannot be written.
        """
        pixels = drawn(frame.image, prediction, self._class_names)
        path = self._folder / frame.source.drawn_name
        fps = frame.source.fps
        if fps is None or frame.number is None or frame.seconds is None:
            self.close()
            write_image(path, pixels, durable=False)
            note_written(path)
            return
        if self._video is None or self._video.source is not frame.source:
            self.close()
            self._video = _Video(path, frame.source, fps, pixels.shape[:2])
        # A camera's frames that nobody took are missing; those of a file are all there.
        place = round(frame.seconds * fps) if frame.source.live else frame.number
        self._video.write(pixels, place)

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def abandon(self) -> None:
        if self._video is not None:
            self._video.remove()
            self._video = None


class _Video:
    """A video file in the making; frames of a camera stay for as long as the next one took."""

    def __init__(self, path: Path, source: Source, fps: float, size: tuple[int, ...]) -> None:
        self.source, self._path, self._size = source, path, size
        # A name that no other file has: not that of another video, drawn before or somebody's own.
        # Absolute, since FFmpeg takes what stands before a colon for a protocol.
        name = f"unfinished-{secrets.token_hex(8)}{path.suffix}"
        self._unfinished = path.with_name(name).absolute()
        height, width = size
        codec = cv2.VideoWriter.fourcc(*CODEC)
        self._writer = cv2.VideoWriter(str(self._unfinished), codec, fps, (width, height))
        self._written = 0
        if not self._writer.isOpened():
            self._unfinished.unlink(missing_ok=True)
            raise OSError(
                f"OpenCV cannot write the video {path} ({CODEC}, {width}x{height}, {fps:g} frames "
                "per second)."
            )

    def write(self, pixels: NDArray[Any], place: int) -> None:
        if pixels.shape[:2] != self._size:  # a video of changing size
            pixels = cv2.resize(pixels, self._size[::-1])
        while self._written <= place:
            self._writer.write(pixels)
            self._written += 1

    def close(self) -> None:
        """
        Raises:
            OSError: the file is not whole; OpenCV says nothing of a full disk.
        """
        self._writer.release()
        try:
            self._check_whole()
            with writing(self._path):
                os.replace(self._unfinished, self._path)
        except BaseException:
            self._unfinished.unlink(missing_ok=True)
            raise
        note_written(self._path)

    def _check_whole(self) -> None:
        whole = cv2.VideoCapture(str(self._unfinished))
        frames = int(whole.get(cv2.CAP_PROP_FRAME_COUNT)) if whole.isOpened() else 0
        whole.release()
        if frames != self._written:
            raise OSError(
                f"{self._path} cannot be written: OpenCV wrote {frames} of its {self._written} "
                "frames; the disk may be full."
            )

    def remove(self) -> None:
        self._writer.release()
        self._unfinished.unlink(missing_ok=True)

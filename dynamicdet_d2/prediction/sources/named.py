# SPDX-License-Identifier: Apache-2.0
"""From what a user typed to sources."""

import glob
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dynamicdet_d2.data.image_files import (
    IMAGE_ENDINGS,
    begins_as_image,
    is_image_without_ending,
)
from dynamicdet_d2.prediction.sources.source import Camera, ImageFile, Source, VideoFile
from dynamicdet_d2.utils.files import read_lines
from dynamicdet_d2.utils.paths import is_address
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

VIDEOS = (
    *(".264", ".265", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".h264", ".h265", ".hevc"),
    *(".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"),
    *(".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
# Pictures that are read where they are named, if at all, and that folders are not searched for.
OTHER_PICTURES = (
    *(".apng", ".arw", ".avif", ".cr2", ".cr3", ".dng", ".gif", ".gpr", ".heic", ".heif", ".insp"),
    *(".jfif", ".jp2", ".jpe", ".jxl", ".mpo", ".nef", ".nrw", ".orf", ".pbm", ".pef", ".pgm"),
    *(".pnm", ".ppm", ".psd", ".raf", ".rw2", ".srw", ".tga"),
)
LISTS = (".txt",)
_OTHER_KINDS = "pictures of other kinds"
_LIKE_A_CAMERA = re.compile(r"\d$|(web)?cam(era)?$|/dev/video\d+$")
_CAMERA = re.compile(r"^camera:(\d{1,3})$")


def sources_of(inputs: Sequence[str], *, drawn: bool = True) -> list[Source]:
    """What ``--input`` means, in the order given.

    A word is ``camera:N``, a folder (its images that are not hidden, by name, also such as have no
    ending), a video, a list
    (.txt: a word per line, relative to the list's folder), a pattern (``**`` for any depth), or
    else an image.

    Args:
        drawn: each has a file of its name, whatever its folder.

    Raises:
        ValueError: something does not exist, has no images, stands there twice, two results would
            be one file, or a camera does not stand alone.
    """
    sources = [source for word in inputs for source in _meant(word, f"--input {word}")]
    by_result: dict[str, Source] = {}
    for source in sources:
        place = _place(source.name)
        other = by_result.setdefault(source.drawn_name if drawn else place, source)
        if other is not source and _place(other.name) == place:
            again = "" if other.name == source.name else f", as {other.name} as well"
            raise ValueError(f"--input has {source.name} twice{again}.")
        if other is not source:
            raise ValueError(
                f"--input has {other.name} and {source.name}, whose results would both be "
                f"{source.drawn_name}; names must differ."
            )
    if len(sources) > 1 and any(source.live for source in sources):
        raise ValueError("--input has a camera and something else; a camera stands alone.")
    return sources


def _place(name: str) -> str:
    """One and the same for a file that is reached by several ways: "..", links to folders, ...

    Links to files keep their names: they may be meant.
    """
    folder, file = os.path.split(name)
    return os.path.join(os.path.realpath(folder), file)


def _meant(word: str, said: str) -> Iterator[Source]:
    camera = _CAMERA.match(word)
    path = _path(word, said)
    if camera:
        yield Camera(int(camera[1]))
    elif word.startswith("camera:"):
        raise ValueError(f"{said} is no camera; they are camera:0, camera:1, ... camera:999.")
    elif path.is_dir():
        yield from _folder(path, said)
    elif path.is_file() and path.suffix.lower() in LISTS:
        yield from _list(path, said)
    elif path.is_file():
        yield _file(path, said)
    elif path.exists():
        raise ValueError(f"{said} is a pipe or a device; it must be a file or a folder.")
    elif glob.has_magic(word):
        yield from _pattern(str(path), said)
    else:
        hint = "; cameras are camera:0 to camera:999" if _LIKE_A_CAMERA.match(word) else ""
        raise ValueError(f"{said} does not exist{hint}.")


def _file(path: Path, said: str) -> Source:
    """
    Raises:
        ValueError: it neither is an image nor called as one; nor, by its ending, a video or a list.
    """
    ending = path.suffix.lower()
    if ending in VIDEOS:
        return VideoFile(path)
    if ending not in (*IMAGE_ENDINGS, *OTHER_PICTURES) and not begins_as_image(path):
        raise ValueError(f"{said} is no image, and by its ending no video and no list (.txt).")
    return ImageFile(path)


def _path(word: str, said: str) -> Path:
    """
    Raises:
        ValueError: it can be that of no file.
    """
    if not word.strip() or "\0" in word:
        raise ValueError(f"{said.removesuffix(word)}{shown(word)} names no file.")
    try:
        path = Path(word)  # "~1.jpg" may be a file here
        path = path if path.exists() else path.expanduser()
        if not path.exists() and is_address(word):
            raise ValueError(f"{said} is an address; files of this machine are read.")
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise ValueError(f"{said.removesuffix(word)}{shown(word)}: {reason}.") from None
    return path


def _folder(folder: Path, said: str) -> Iterator[Source]:
    # As patterns do: "._1.jpg" is what a Mac leaves beside 1.jpg, and no image.
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    found = _readable(files, IMAGE_ENDINGS)
    if not found:
        raise ValueError(f"{said} has no images ({', '.join(IMAGE_ENDINGS)}).")
    _say_left_out(_ending(files, VIDEOS), "videos", said)
    _say_left_out(_ending(files, OTHER_PICTURES), _OTHER_KINDS, said)
    _say_left_out([x for x in files if _has_images(x)], "folders of images", said)
    yield from map(ImageFile, found)


def _ending(files: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in endings]


def _readable(files: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """Those of the endings, and images that have none, in the same order."""
    return [x for x in files if x.suffix.lower() in endings or is_image_without_ending(x)]


def _has_images(path: Path) -> bool:
    """Whether it is a folder of images, and none that a tool has hidden."""
    if path.name.startswith(".") or not path.is_dir():
        return False
    try:
        return any(file.suffix.lower() in IMAGE_ENDINGS for file in path.iterdir())
    except PermissionError:
        return False


def _say_left_out(others: Sequence[Path], kind: str, said: str) -> None:
    if others:
        logger.warning(
            "%s: its images are taken and its %s left out, such as %s. Name those by themselves.",
            *(said, kind, others[0].name),
        )


def _pattern(pattern: str, said: str) -> Iterator[Source]:
    files = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    _say_closed(pattern, said)
    found = _readable(files, (*IMAGE_ENDINGS, *VIDEOS))
    if not found:
        raise ValueError(f"{said} matches no image and no video.")
    _say_left_out(_ending(files, OTHER_PICTURES), _OTHER_KINDS, said)
    searched = {file.parent for file in found}  # "**" matches a folder and what is in it
    folders = [x for x in files if x not in searched and _has_images(x)]
    _say_left_out(folders, "folders of images", said)
    for file in found:
        yield VideoFile(file) if file.suffix.lower() in VIDEOS else ImageFile(file)


def _say_closed(pattern: str, said: str) -> None:
    """Say where a pattern's folders may not be looked into, which ``glob`` passes over."""
    above, last = os.path.split(pattern)
    folders = pattern if last == "**" else above
    searched = glob.glob(os.path.join(folders, ""), recursive=True)
    closed = [x for x in sorted(searched) if not os.access(x, os.R_OK | os.X_OK)]
    if closed:
        logger.warning(
            "%s: %d folder(s) may not be looked into, such as %s: what is in them is left out.",
            *(said, len(closed), closed[0]),
        )


def _list(file: Path, said: str) -> Iterator[Source]:
    words = [line.strip() for line in read_lines(file, said) if line.strip()]
    if not words:
        raise ValueError(f"{said} is empty; a list has a path in each line.")
    for word in words:
        if Path(word).suffix.lower() in LISTS:
            raise ValueError(f"{said} names {word}, another list.")
        if word.startswith("camera:"):
            yield from _meant(word, f"{said}: {word}")
            continue
        beside = meant = file.parent / word
        if not os.path.exists(beside):
            path = _path(word, f"{said}: {word}")
            beside = meant = file.parent / path
            if glob.has_magic(word):  # the line alone is the pattern, not the list's folder
                meant = Path(glob.escape(str(file.parent))) / path
        yield from _meant(str(meant), f"{said}: {beside}")

# SPDX-License-Identifier: Apache-2.0
"""What the header of an image file says, and the checksums of a PNG. Of pixels, only those of 16
bits in colour are decoded."""

import os
from pathlib import Path
from typing import IO

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image

from dynamicdet_d2.utils.pixels import EXIF_ORIENTATION
from dynamicdet_d2.utils.words import in_words

# Of image files that folders are searched for, in small letters.
IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# The same kinds by Pillow's names.
_KINDS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
# Pillow's modes of more than 8 bits a channel. Detectron2 converts all to 8, and everything above
# 255 becomes 255.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_COLOURS = ("RGB", "RGBA", "RGBX")
# Of 16 bits in colour Pillow keeps the upper 8 at once. Up to this, to which 4095 of 65535 may be
# rounded up, a file has 12 bits in 16, as cameras write them, or fewer.
_DARK = 16
# Decoders of 16 bits a channel by their names and what they are told: of PNG and TIFF, SGI, PPM.
_DEEP_DECODERS = (";16", "SGI16", "'RGB', 65535")
# How JPEG 2000's pixels begin, and how far behind it their bits less one are.
_CODESTREAM = b"\xff\x4f\xff\x51"
_BITS_BEHIND = 42
_EXIF_QUARTER_TURNS = (5, 6, 7, 8)
_EXIF_TURNS = (2, 3, 4, *_EXIF_QUARTER_TURNS)
# Kinds of files with frames or pages; the second one of an MPO, as phones write it, is no other
# picture.
_SEVERAL = ("GIF", "PNG", "TIFF", "WEBP")


def decoding_fault(path: str) -> str | None:
    """Why a file that may well be read would not be the image that it was, as the end of a
    sentence; None where nothing is wrong, and where the reading itself says what is.

    Args:
        path: of the file, or an address that Detectron2 knows.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        return "is a folder, a pipe or a device, not a file"
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            kind, mode = image.format, image.mode
            # Of a PNG this would decode all pixels.
            turned = kind == "TIFF" and image.getexif().get(EXIF_ORIENTATION) in _EXIF_TURNS
            dark = mode in _COLOURS and _is_deep(image, file) and _brightest(image) <= _DARK
    except Exception:  # Pillow raises nearly anything on broken files; reading them says why
        return None
    if kind == "EPS":
        return "is PostScript, a program, which Pillow would have Ghostscript run: convert it"
    if turned:
        return (
            "is a TIFF whose orientation is not 1 (as scanners write it), by which Pillow turns it "
            "and Detectron2 turns it once more: save it as it is seen"
        )
    if dark:
        return (
            "has 16 bits a channel, of which Detectron2 keeps the upper 8, and values of 12 at "
            "most, which would be next to black: convert it"
        )
    if mode in _DEEP_MODES:
        return (
            f"has more than 8 bits a pixel (Pillow's mode '{mode}'), of which Detectron2 keeps "
            "what fits into 8: convert it"
        )
    return _damage(path) if kind == "PNG" else None


def _damage(path: str) -> str | None:
    """What the checksums of a PNG say. Detectron2 asks for its orientation, for which Pillow reads
    all pixels; where these break off, the error is passed over and the rest is black."""
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            image.verify()
    except Exception as error:  # Pillow raises nearly anything on broken files
        return f"cannot be read: {in_words(error)}"
    return None


def _is_deep(image: Image.Image, file: IO[bytes]) -> bool:
    """Whether a file of one of the modes of 8 bits has 16, by what its decoder is told, and of
    JPEG 2000, whose decoder is not told, by its header."""
    if image.format == "JPEG2000":
        file.seek(0)
        content = file.read()
        return content[content.index(_CODESTREAM) + _BITS_BEHIND] & 0x7F == 15
    told = [f"{name} {arguments}" for name, _, _, arguments in getattr(image, "tile", ())]
    return any(deep in decoder for decoder in told for deep in _DEEP_DECODERS)


def _brightest(image: Image.Image) -> int:
    """Of the three colours, 0 to 255."""
    return int(np.asarray(image.convert("RGB")).max())


def is_image_without_ending(path: Path) -> bool:
    """Whether a file that says no kind begins as an image does, as of downloads and caches."""
    return not path.suffix and path.is_file() and begins_as_image(path, _KINDS)


def begins_as_image(path: Path, kinds: tuple[str, ...] | None = None) -> bool:
    """Whether Pillow finds a header in the file.

    Args:
        kinds: by Pillow's names; None: all that it knows.
    """
    try:
        with Image.open(path, formats=kinds):
            return True
    except Exception:  # Pillow raises nearly anything on files that are none
        return False


def displayed_size(path: str) -> tuple[int, int]:
    """(width, height) in pixels after EXIF rotation, from the file's header alone.

    Raises:
        Exception: nearly any, where the file is no image.
    """
    with Image.open(path) as image:
        turned = image.getexif().get(EXIF_ORIENTATION) in _EXIF_QUARTER_TURNS
        # Pillow's size of a TIFF is that of the turned image.
        return image.size[::-1] if turned and image.format != "TIFF" else image.size


def frames_of(path: str) -> int:
    """Frames or pages, of which the first one alone is read; 1 where it is no image."""
    try:
        with Image.open(path) as image:
            frames: int = getattr(image, "n_frames", 1)
            return frames if image.format in _SEVERAL else 1
    except Exception:  # Pillow raises nearly anything on broken files; reading them says why
        return 1

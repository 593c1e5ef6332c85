# SPDX-License-Identifier: Apache-2.0
"""What the header of an image file says, before any pixel is decoded."""

import os

from detectron2.utils.file_io import PathManager
from PIL import Image

# Of image files that folders are searched for, in small letters.
IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Pillow's modes of more than 8 bits a channel. Detectron2 converts all to 8, and everything above
# 255 becomes 255.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_EXIF_ORIENTATION = 274
_EXIF_QUARTER_TURNS = (5, 6, 7, 8)


def header_fault(path: str) -> str | None:
    """Why a file that may well be read would not be the image that it was, as the end of a
    sentence; None where nothing is wrong, and where the file cannot be read at all.

    Args:
        path: of the file, or an address that Detectron2 knows.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        return "is a folder, a pipe or a device, not a file"
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            kind, mode = image.format, image.mode
    except Exception:  # Pillow raises nearly anything on broken files; reading them says why
        return None
    if kind == "EPS":
        return "is PostScript, a program, which Pillow would have Ghostscript run: convert it"
    if mode not in _DEEP_MODES:
        return None
    return (
        f"has more than 8 bits a pixel (Pillow's mode '{mode}'), of which Detectron2 keeps what "
        "fits into 8: convert it"
    )


def displayed_size(path: str) -> tuple[int, int]:
    """(width, height) in pixels after EXIF rotation, from the file's header alone.

    Raises:
        Exception: nearly any, where the file is no image.
    """
    with Image.open(path) as image:
        turned = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_QUARTER_TURNS
        return image.size[::-1] if turned else image.size

# SPDX-License-Identifier: Apache-2.0
"""From pictures to the network's input, as Detectron2's ``DefaultPredictor`` and the model do it.

N: images of a batch.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dynamicdet_d2.utils.pixels import EXIF_ORIENTATION, MOST_PIXELS, say_nearly_black
from dynamicdet_d2.utils.words import in_words, shown


@dataclass(frozen=True)
class Batch:
    """Images of one padded size on their way through the network.

    Attributes:
        places: of the N images among the pictures that were given.
        tensor: (N, 3, H, W) float32, normalised and padded.
        sizes: N heights and widths in ``tensor``, without padding.
        shifts: N (x, y) that boxes are moved back by.
        originals: N heights and widths of the pictures.
    """

    places: list[int]
    tensor: np.ndarray
    sizes: list[tuple[int, int]]
    shifts: list[tuple[float, float]]
    originals: list[tuple[int, int]]


def prepare(
    pictures: Sequence[np.ndarray], settings: Mapping[str, Any], sides: Sequence | None
) -> list[Batch]:
    """Resize, order channels, normalise, pad.

    Pictures of one padded size run together, so that a list gives what its pictures give one by
    one: more padding would move difficulties.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB.
        settings: "input" of the manifest.
        sides: heights and widths that the pieces take, by rising area; None: all.

    Raises:
        ValueError: a picture of another shape or type, or one too large for all ``sides``.
    """
    check_list(pictures)
    if not len(pictures):
        raise ValueError("There are no pictures to detect objects in.")
    count = len(pictures)
    names = [f"Picture {i} of {count}" for i in range(1, count + 1)] if count > 1 else ["A picture"]
    arrays = [_array(picture, name) for picture, name in zip(pictures, names, strict=True)]
    resized = [_resized(array, settings, name) for array, name in zip(arrays, names, strict=True)]
    places: dict[tuple[int, int], list[int]] = {}
    for place, image in enumerate(resized):
        height, width = (_padded(side, settings) for side in image.shape[1:])
        padded = (height, width) if sides is None else _bucket(height, width, sides, names[place])
        places.setdefault(padded, []).append(place)
    return [_batch(own, padded, arrays, resized, settings) for padded, own in places.items()]


def _batch(
    places: list[int],
    padded: tuple[int, int],
    arrays: Sequence[np.ndarray],
    resized: Sequence[np.ndarray],
    settings: Mapping[str, Any],
) -> Batch:
    """Those of the pictures that are padded to one size."""
    placed = [_placed(resized[i], *padded, settings) for i in places]
    sizes = [(resized[i].shape[1], resized[i].shape[2]) for i in places]
    originals = [arrays[i].shape[:2] for i in places]
    tensor = np.stack([image for image, _ in placed])
    return Batch(places, tensor, sizes, [shift for _, shift in placed], originals)


def check_list(pictures: object) -> None:
    """
    Raises:
        ValueError: no list of pictures.
    """
    if not isinstance(pictures, Sequence | np.ndarray) or isinstance(
        pictures, str | bytes | bytearray
    ):
        raise ValueError(f"Pictures are given as a list, not as {type(pictures).__name__}.")
    if isinstance(pictures, np.ndarray) and pictures.ndim != 4:
        raise ValueError(
            f"Pictures are given as a list, also a single one; found an array {pictures.shape}."
        )


def resized_shape(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Height and width after ``ResizeShortestEdge``; ``shortest`` 0: as they are."""
    if not shortest:
        return height, width
    scale = shortest / min(height, width)
    high, wide = float(height), float(width)
    high, wide = (shortest, scale * wide) if high < wide else (scale * high, shortest)
    if max(high, wide) > longest:
        scale = longest / max(high, wide)
        high, wide = high * scale, wide * scale
    return int(high + 0.5), int(wide + 0.5)


def _array(picture: Any, name: str) -> np.ndarray:
    """(H, W, 3) uint8, RGB.

    Raises:
        ValueError: naming the picture, by its place, that is none.
    """
    if isinstance(picture, Image.Image) and picture.mode != "RGB":  # HSV has three channels too
        raise ValueError(f"{name} has Pillow's mode {picture.mode}; it must be RGB.")
    if isinstance(picture, np.ma.MaskedArray):  # whose mask would be passed over
        raise ValueError(f"{name} is a masked array; it must be a plain one.")
    try:
        array = np.asarray(picture)
    except Exception as error:  # Pillow decodes only now, and raises nearly anything
        raise ValueError(f"{name} cannot be read: {in_words(error)}.") from error
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        found = f"{array.dtype} {array.shape}" if array.ndim else shown(picture)
        raise ValueError(
            f"{name} must be an array (height, width, 3) of uint8, RGB; found {found}."
        )
    _say_turned(picture, name)
    return array


def _say_turned(picture: object, name: str) -> None:
    """Warn of a picture as a camera lay, which is not as it is seen; Pillow turns TIFFs itself
    when their pixels are read."""
    if not isinstance(picture, Image.Image):
        return
    orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
    if orientation in range(2, 9):
        warnings.warn(
            f"{name} is not turned as it is to be seen (its EXIF orientation is {orientation}): "
            "PIL.ImageOps.exif_transpose turns it.",
            stacklevel=2,
        )


def _resized(picture: np.ndarray, settings: Mapping[str, Any], name: str) -> np.ndarray:
    """(3, H, W) float32 in the model's order of channels, in the units of pixels."""
    if not picture.size:
        raise ValueError(f"{name} has no pixels: its shape is {picture.shape}.")
    if picture.size > 3 * MOST_PIXELS:
        raise ValueError(
            f"{name} has {picture.shape[1]}x{picture.shape[0]} pixels, more than {MOST_PIXELS}: "
            "cut or reduce it."
        )
    shortest, longest = settings["min_size"], settings["max_size"]
    height, width = resized_shape(picture.shape[0], picture.shape[1], shortest, longest)
    if not min(height, width):
        raise ValueError(
            f"{name} has {picture.shape[1]}x{picture.shape[0]} pixels: reduced to {longest}, "
            "its shorter side would vanish."
        )
    say_nearly_black(picture)
    ordered = picture if settings["format"] == "RGB" else picture[:, :, ::-1]
    if (height, width) != picture.shape[:2]:
        image = Image.fromarray(np.ascontiguousarray(ordered))
        ordered = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return ordered.transpose(2, 0, 1).astype(np.float32)


def _padded(side: int, settings: Mapping[str, Any]) -> int:
    multiple = settings["divisibility"]
    extra = 0.5 if settings["placement"] == "letterbox" else 0.0
    return math.ceil(side / multiple + extra) * multiple


def _bucket(height: int, width: int, sides: Sequence, name: str) -> tuple[int, int]:
    """The first of the sides that an input of this size fits into, said where it is another."""
    for own_height, own_width in sides:
        if height <= own_height and width <= own_width:
            if (height, width) != (own_height, own_width):
                warnings.warn(
                    f"A network input of {height}x{width} is padded to {own_height}x{own_width}, "
                    "which moves scores and difficulties, and so perhaps routes, against the "
                    f"model's own: export {height}x{width} too, by --sizes.",
                    stacklevel=5,
                )
            return own_height, own_width
    raise ValueError(
        f"{name} makes a network input of {height}x{width}, which fits none of the sizes that were "
        f"exported: {', '.join(f'{h}x{w}' for h, w in sides)}."
    )


def _placed(
    image: np.ndarray, height: int, width: int, settings: Mapping[str, Any]
) -> tuple[np.ndarray, tuple[float, float]]:
    """The image normalised in its place, and what boxes are moved back by."""
    mean, std = (
        np.array(settings[name], dtype=np.float32)[:, None, None] for name in ("mean", "std")
    )
    below, right = height - image.shape[1], width - image.shape[2]
    corner = settings["placement"] == "corner"
    top, left = (0 if corner else round(total / 2 - 0.1) for total in (below, right))
    pad = settings["pad_value"]
    # Detectron2 pads what is normalised, by zeros; YOLOs pad pixels.
    value = np.zeros_like(mean) if pad is None else (np.float32(pad) - mean) / std
    padded = np.broadcast_to(value, (image.shape[0], height, width)).copy()
    padded[:, top : top + image.shape[1], left : left + image.shape[2]] = (image - mean) / std
    return padded, (0.0, 0.0) if corner else (right / 2, below / 2)

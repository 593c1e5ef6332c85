# SPDX-License-Identifier: Apache-2.0
"""Image files, written whole."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dynamicdet_d2.utils.pictures import _writes_colour, can_write, write_image

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_they_are_what_opencv_writes(tmp_path: Path) -> None:
    for name, options in (("a.png", []), ("a.jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])):
        assert cv2.imwrite(str(tmp_path / f"stock_{name}"), PIXELS, options)
        write_image(tmp_path / name, PIXELS, quality=95 if options else None)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"stock_{name}").read_bytes()


@pytest.mark.parametrize("name", ["a.heic7", "a"])
def test_an_unknown_format_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be written: OpenCV writes no images"):
        write_image(tmp_path / name, PIXELS)
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="OpenCV refuses an image of 6x0"):
        write_image(tmp_path / "a.jpg", PIXELS[:0])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a.png cannot be written: No such file"):
        write_image(tmp_path / "gone" / "a.png", PIXELS)


def test_opencv_says_nothing_of_formats_that_it_lacks(capfd: pytest.CaptureFixture) -> None:
    """Grey bitmaps are no colour images, which it reports as an error of its own."""
    _writes_colour.cache_clear()
    assert [can_write(name) for name in ("a.pbm", "a.pgm", "a.ppm")] == [False, False, True]
    assert capfd.readouterr() == ("", "")

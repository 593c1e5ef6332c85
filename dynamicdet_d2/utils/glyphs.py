# SPDX-License-Identifier: Apache-2.0
"""The font of pictures and charts, and characters that it has not."""

import logging
from collections.abc import Iterable
from functools import cache

import matplotlib as mpl
from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

# Comes with Matplotlib wherever that is installed: Latin, Greek, Cyrillic, and no Chinese.
FONT_NAME = "DejaVu Sans"
FONT_FILE = f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf"

_said: set[str] = set()


def say_missing(texts: Iterable[str]) -> None:
    """Warn, once each, of the characters that will be drawn as empty boxes."""
    missing = [
        character
        for character in dict.fromkeys("".join(texts))
        if character.isprintable() and ord(character) not in _known() and character not in _said
    ]
    if missing:
        _said.update(missing)
        logger.warning(
            "Names have characters that %s, in which pictures and charts are drawn, has not, so "
            "that they look like empty boxes there: %s",
            *(FONT_NAME, " ".join(missing)),
        )


@cache
def _known() -> frozenset[int]:
    return frozenset(FT2Font(FONT_FILE).get_charmap())

# SPDX-License-Identifier: Apache-2.0
"""A router that sends every image the same way, said while it trains."""

import logging
from collections.abc import Collection

logger = logging.getLogger(__name__)

# Difficulties nearer to 0 or 1 than this, all of them: the sigmoid hardly has a gradient there.
_EDGE = 0.01
# Difficulties that differ by less rank images by rounding.
_LEAST_RANGE = 1e-4


def collapse(difficulties: Collection[float]) -> str:
    """What is wrong with difficulties that cannot route, as a sentence; empty where nothing is.

    Args:
        difficulties: of different images, in [0, 1].
    """
    if len(difficulties) < 2:
        return ""
    low, high = min(difficulties), max(difficulties)
    if high < _EDGE or low > 1 - _EDGE:
        way = "easy" if high < _EDGE else "hard"
        what = f"calls every image {way}"
    elif high - low < _LEAST_RANGE:
        what = "tells no image from another"
    else:
        return ""
    return (
        f"The router has collapsed: it {what}. The difficulties of the last {len(difficulties)} "
        f"images lie from {low:.3g} to {high:.3g}; a smaller SOLVER.ROUTER.BASE_LR, other "
        "MODEL.ROUTER.INPUTS or another SOLVER.ROUTER.OBJECTIVE may help."
    )


class CollapseWatch:
    """Says in the log that a router has collapsed, once until it has recovered."""

    def __init__(self, enough: int) -> None:
        """
        Args:
            enough: images to judge by, at least 2.
        """
        self._enough, self._said = max(enough, 2), False

    def look(self, difficulties: Collection[float]) -> None:
        """
        Args:
            difficulties: of the last images.
        """
        if len(difficulties) < self._enough:
            return
        sentence = collapse(difficulties)
        if sentence and not self._said:
            logger.warning(sentence)
        self._said = bool(sentence)

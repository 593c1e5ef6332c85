# SPDX-License-Identifier: Apache-2.0
"""Pure: how far to go on a walk over thresholds so that what is promised of new images holds.

The walk begins where the promise is kept for certain and tests one threshold after another, each
at the full level, until one fails; what comes after the first failure is never looked at. So a
wrong threshold is only chosen if the first wrong one on the way passed, and the chance of that is
1 - confidence however many thresholds there are: fixed-sequence testing, as in Learn then Test
(arXiv 2110.01052), with no correction for their number.

Two tests. A share of images is tested by the binomial distribution, for any number of images and
whatever they look like. The share only grows along the walk, here and in truth, so that the
thresholds may be quantiles of these very images: passing at the chosen threshold means passing at
the last one that keeps the promise as well. A figure of the whole set, such as AP, is tested by its
standard error and the normal distribution, which needs many images; what few images of a class
leave open is made up for by what the images of all classes show.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamicdet_d2.config.ranges import number, one_of

MODES = ("ap", "finite")
DEFAULT_SHARE = 0.1
# One image of a million; no data set shows that less of them miss a target.
SMALLEST_SHARE = 1e-6
# Images from which on a standard error is trusted (benchmarks/guarantee.py tried as many).
LARGE_SAMPLE = 300


@dataclass(frozen=True)
class Guarantee:
    """What is promised beside a target.

    Attributes:
        confidence: chance that the promise holds, over draws of the images; in [0.5, 1).
        mode: "ap", of a figure of the whole set and for large samples; "finite", of a share of the
            images and for any number of them.
        share: of mode "finite": of new images that may miss the target, in [1e-6, 1).
    """

    confidence: float
    mode: str = "ap"
    share: float = DEFAULT_SHARE

    def __post_init__(self) -> None:
        number(at_least=0.5, below=1).number(self.confidence, "--confidence")
        number(at_least=SMALLEST_SHARE, below=1).number(self.share, "--share")
        said = one_of(*MODES).complaint("--mode", self.mode)
        if said is not None:
            raise ValueError(said)


def leading(passed: Iterable[bool]) -> int:
    """How many tests pass before the first that fails; no later one is asked for."""
    return sum(1 for _ in takewhile(bool, passed))


def check_number(found: int, needed: int, what: str) -> None:
    """Refuse too few images for anything to be shown by them.

    Raises:
        ValueError: with the number needed.
    """
    if found < needed:
        raise ValueError(
            f"{found} {what} are too few for such a guarantee (--confidence, --mode); at least "
            f"{needed} are needed."
        )


def images_needed(share: float, confidence: float) -> int:
    """Fewest images on which a share can be shown to be at most ``share``: with none among them."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-share))


def share_is_below(count: int, num_images: int, share: float, confidence: float) -> bool:
    """Whether ``count`` of ``num_images`` show that the share in truth is at most ``share``.

    The exact one-sided test: so few would be seen with a chance of 1 - confidence or less if the
    share were larger.
    """
    return binomial_cdf(count, num_images, share) <= 1 - confidence


def share_upper_bound(count: int, num_images: int, confidence: float) -> float:
    """Clopper and Pearson's one-sided upper bound of a share of which ``count`` were seen.

    Returns:
        the largest share in [0, 1] that ``share_is_below`` does not rule out.
    """
    if count >= num_images:
        return 1.0
    low, high = count / num_images, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if share_is_below(count, num_images, middle, confidence):
            high = middle
        else:
            low = middle
    return high


def binomial_cdf(count: int, num_images: int, share: float) -> float:
    """Chance that ``count`` or fewer of ``num_images`` are of a share in (0, 1) of all."""
    odds = math.log(share) - math.log1p(-share)
    term = num_images * math.log1p(-share)
    terms = [term]
    for k in range(1, count + 1):
        term += odds + math.log(num_images - k + 1) - math.log(k)
        terms.append(term)
    return min(1.0, math.fsum(map(math.exp, terms)))


def upper_bound(
    estimate: float, influence: ArrayLike, shown: ArrayLike, confidence: float
) -> float:
    """One-sided upper bound of a mean over classes of which each image's influence is known.

    Args:
        estimate: of the mean.
        influence: (K, I) derivative of each class's part by each image's weight; a row is 0 in sum.
        shown: (K,) images that show each class.
        confidence: in (0, 1).

    Returns:
        the bound; infinite where no class is shown by two images.
    """
    seen = np.asarray(shown) > 0
    moved, number = np.asarray(influence, dtype=np.float64)[seen], np.asarray(shown)[seen]
    if not (number > 1).any():
        return math.inf
    error = float(np.square(moved.sum(axis=0)).sum()) + _understated(moved, number)
    return estimate + NormalDist().inv_cdf(confidence) * math.sqrt(error)


def _understated(moved: NDArray[np.float64], number: NDArray[np.integer]) -> float:
    """What the squares of all influences lack of the variance, since each class has few images.

    The squares of a class that n images show fall short of its variance by (n - 1) / n, wholly if n
    is 1, and scatter around that: a class whose few images happen to agree looks certain. So its
    variance is not taken to be less than n images would have of the spread that the images of all
    classes have.
    """
    others = number - 1
    squares = np.square(moved).sum(axis=1)
    spread = (squares * np.square(number)).sum() / others.sum()
    own = squares * number / np.maximum(others, 1)
    return float((np.maximum(own, spread / number) - squares).sum())

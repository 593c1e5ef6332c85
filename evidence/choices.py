# SPDX-License-Identifier: Apache-2.0
"""One objective for all seeds of a set-up, where every seed could choose its own."""

import math
from collections.abc import Sequence

from dynamicdet_d2.engine.objectives import OBJECTIVES
from evidence.group import Group


def one_objective(on_val: Group, inputs: Sequence[str]) -> str:
    """The objective of the largest area, averaged over the seeds.

    A single seed's area is noisy on a few hundred images, and a choice by each follows the noise.

    Args:
        on_val: the set-up on the images that choose.
        inputs: of the router.
    """

    def area(name: str) -> float:
        mean = on_val.routing(inputs, name, lambda x: x.area).mean
        return -math.inf if mean is None else mean

    return max(OBJECTIVES, key=area)

# SPDX-License-Identifier: Apache-2.0
"""The random numbers of a step: a function of the run's seed, the step and the process."""

import random

import numpy as np
import torch

from dynamicdet_d2.data.loading.epochs import derived_seed


def seed_step(seed: int, iteration: int, rank: int) -> None:
    """Seed torch's, numpy's and Python's generators: a user's own step may draw from each.

    Args:
        seed: of the run.
    """
    own = derived_seed(seed, iteration, rank)
    torch.manual_seed(own % 2**63)
    np.random.seed(own % 2**32)
    random.seed(own)

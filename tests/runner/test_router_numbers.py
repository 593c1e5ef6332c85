# SPDX-License-Identifier: Apache-2.0
"""A router's numbers without torch: by hand, and as the model makes them."""

import numpy as np
import pytest
import torch

from dynamicdet_d2.modeling.router_inputs import proposal_numbers as theirs
from dynamicdet_d2.modeling.router_inputs.scores import score_numbers as their_scores
from dynamicdet_d2.runner.detections import Proposals
from dynamicdet_d2.runner.router_numbers import proposal_numbers, score_numbers


def test_scores_by_hand() -> None:
    numbers = score_numbers(np.array([0.2, 0.6, 0.95], dtype=np.float32))
    assert numbers[:5].tolist() == [3, 2, 2, 1, 1]
    np.testing.assert_allclose(numbers[5:], [1.75, 0.16 + 0.24 + 0.0475], rtol=1e-6)
    assert numbers.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 15, 80])
def test_as_the_model_does(count: int) -> None:
    generator = np.random.default_rng(count)
    corners = generator.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(0.1, 200, (count, 2))], axis=1)
    logits = generator.normal(0, 3, count).astype(np.float32)
    own = Proposals(boxes.astype(np.float32), logits)
    objectness = torch.from_numpy(logits).sigmoid()
    sizes = torch.from_numpy((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).sqrt().float()
    expected = theirs.proposal_numbers(objectness, sizes)
    np.testing.assert_allclose(proposal_numbers(own), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        score_numbers(objectness.numpy()), their_scores(objectness), rtol=1e-5
    )

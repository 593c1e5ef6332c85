# SPDX-License-Identifier: Apache-2.0
"""Numbers of proposals and detections, against values computed by hand."""

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.modeling.router_inputs.detection_numbers import DetectionNumbers
from dynamicdet_d2.modeling.router_inputs.proposal_numbers import ProposalNumbers, proposal_numbers
from dynamicdet_d2.modeling.router_inputs.scores import score_numbers

probabilities = st.lists(st.floats(0, 1, width=32), max_size=70)


def detections(scores: list[float]) -> Instances:
    return Instances((64, 96), scores=torch.tensor(scores))


def proposals(probability: list[float], sides: list[float]) -> Instances:
    """Squares with these sides."""
    corners = [[0.0, 0.0, side, side] for side in sides]
    return Instances(
        (64, 96),
        proposal_boxes=Boxes(torch.tensor(corners).view(-1, 4)),
        objectness_logits=torch.logit(torch.tensor(probability)),
    )


def test_scores_by_hand() -> None:
    # Above 0.1: 3, 0.3: 2, 0.5: 2, 0.7: 1, 0.9: 0. Sum 0.2 + 0.6 + 0.8 = 1.6, and
    # 0.2 * 0.8 + 0.6 * 0.4 + 0.8 * 0.2 = 0.16 + 0.24 + 0.16 = 0.56.
    found = score_numbers(torch.tensor([0.6, 0.2, 0.8]))
    assert found.tolist() == pytest.approx([3, 2, 2, 1, 0, 1.6, 0.56])


def test_a_score_at_the_limit_is_not_above_it() -> None:
    assert score_numbers(torch.tensor([0.5])).tolist()[:5] == [1, 1, 0, 0, 0]


def test_detections_of_a_batch_with_an_empty_image() -> None:
    found = DetectionNumbers()([detections([0.95]), detections([])])
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([1, 1, 1, 1, 1, 0.95, 0.0475])
    assert found[1].tolist() == [0] * 7


def test_proposals_by_hand() -> None:
    # Sizes by falling objectness: e^2, e^4, e^5. Mean log 11 / 3, deviations -5/3, 1/3, 4/3:
    # variance (25 + 1 + 16) / 27 = 14 / 9. e^2 = 7.4 < 32 <= e^4 = 54.6 < 96 <= e^5 = 148.4.
    found = ProposalNumbers()([proposals([0.2, 0.8, 0.6], [math.e**5, math.e**2, math.e**4])])
    expected = [
        *(3, 2, 2, 1, 0, 1.6, 0.56),
        *(1.6 / 3, 1.6 / 3),
        *(11 / 3, math.sqrt(14) / 3),
        *(0.8, 0.6, 0.2),
    ]
    assert found.shape == (1, ProposalNumbers.count)
    assert found[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_only_the_best_proposals_enter_means_and_sizes() -> None:
    # 10 of 0.9 and size e, 50 of 0.3 and size e^3: the best 50 are 10 of 0.9 and 40 of 0.3, the
    # best 20 have as many of either size: mean log 2, standard deviation 1.
    probability = torch.tensor([0.3] * 50 + [0.9] * 10)
    sizes = torch.tensor([math.e**3] * 50 + [math.e] * 10)
    found = proposal_numbers(probability, sizes)[7:].tolist()
    assert found == pytest.approx([0.9, (9 + 12) / 50, 2, 1, 24, 0, 0], rel=1e-5)


def test_size_limits_belong_to_the_larger_class() -> None:
    found = proposal_numbers(torch.tensor([0.5, 0.25]), torch.tensor([32.0, 96.0]))
    assert found[-3:].tolist() == [0, 0.5, 0.25]


def test_without_proposals_all_is_zero() -> None:
    assert ProposalNumbers()([proposals([], [])]).tolist() == [[0] * 14]


def test_a_box_without_area_counts_as_of_one_pixel() -> None:
    found = proposal_numbers(torch.tensor([0.5]), torch.tensor([0.0]))
    assert found[9:].tolist() == [0, 0, 0.5, 0, 0]


@given(probabilities)
def test_order_does_not_matter(scores: list[float]) -> None:
    p = torch.tensor(scores)
    sizes = 1 + 300 * (p * 7919).frac()  # of the score alone, so that equal scores are alike
    turned = proposal_numbers(p.flip(0), sizes.flip(0))
    torch.testing.assert_close(proposal_numbers(p, sizes), turned, rtol=1e-4, atol=1e-4)


@given(probabilities)
def test_sums_by_size_add_up(scores: list[float]) -> None:
    p = torch.tensor(scores)
    found = proposal_numbers(p, 1 + 300 * (p * 7919).frac())
    assert float(found[-3:].sum()) == pytest.approx(float(found[5]), rel=1e-5)

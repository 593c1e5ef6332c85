# SPDX-License-Identifier: Apache-2.0
"""The loss of one YOLO detector: by hand, its units and gradients, and images without objects."""

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from dynamicdet_d2.modeling.yolo.assignment import Matches, Targets, candidates, sim_ota
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, flattened
from dynamicdet_d2.modeling.yolo.losses import (
    LossSettings,
    YOLOLoss,
    matched_losses,
    objectness_target,
    targets_of,
)

LOG2 = math.log(2)
ANCHORS = [[[10, 12], [20, 14]], [[30, 30], [60, 40]], [[80, 60], [90, 64]]]


def random_logits(images: int, classes: int = 3, seed: int = 0) -> list[Tensor]:
    """Three levels of a 64 x 96 image, two anchors, float64."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(images, 2, 64 // s, 96 // s, 5 + classes) for s in (8, 16, 32)]
    return [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]


def random_targets(*counts: int, classes: int = 3, seed: int = 0) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    total, extent = sum(counts), torch.tensor([96.0, 64.0], dtype=torch.float64)
    centres = torch.rand(total, 2, generator=generator, dtype=torch.float64) * extent
    sides = 6 + torch.rand(total, 2, generator=generator, dtype=torch.float64) * extent / 2
    labels = torch.randint(0, classes, (total,), generator=generator)
    return Targets(torch.cat([centres, sides], dim=1), labels, counts)


def loss_of(classes: int = 3, **keys: object) -> YOLOLoss:
    grid = AnchorGrid(ANCHORS, [8, 16, 32]).double()
    return YOLOLoss(grid, LossSettings(**keys), classes)


# Weights


@pytest.mark.parametrize(
    ("keys", "levels", "classes", "expected"),
    [
        ({}, 3, 80, (0.05, 0.7, 0.3)),
        ({"train_size": 1280}, 4, 80, (0.0375, 2.1, 0.225)),
        ({}, 3, 20, (0.05, 0.7, 0.075)),
        ({"train_size": 320, "box_gain": 0.1}, 3, 80, (0.1, 0.175, 0.3)),
    ],
)
def test_gains_by_hand(keys: dict, levels: int, classes: int, expected: tuple) -> None:
    assert LossSettings(**keys).gains(levels, classes) == pytest.approx(expected)


def test_balance_is_of_as_many_levels() -> None:
    assert LossSettings().level_balance(3) == (4.0, 1.0, 0.4)
    assert LossSettings().level_balance(4) == (4.0, 1.0, 0.25, 0.06)
    assert LossSettings(balance=(1.0, 2.0)).level_balance(2) == (1.0, 2.0)
    for settings, levels in ((LossSettings(), 2), (LossSettings(balance=(1.0,)), 3)):
        with pytest.raises(ValueError, match=rf"MODEL.YOLO.LOSS.BALANCE is .*{levels} levels"):
            settings.level_balance(levels)


# By hand: one level of 1 x 2 cells of 8 pixels, one anchor of 8 x 8


def by_hand(classes: int, *matches: tuple, objects: list | None = None) -> tuple[Tensor, ...]:
    """Losses of zero logits, whose boxes are 8 x 8 in the middle of their cells, in two images.

    Args:
        matches: (image, row, object).
        objects: (cx, cy, w, h, class); without, one that a zero logit is right about.
    """
    logits = torch.zeros(2, 1, 1, 2, 5 + classes, dtype=torch.float64)
    grid = AnchorGrid([[[8, 8]]], [8]).double()([logits])
    rows = torch.tensor(objects or [(4, 4, 8, 8, 0)], dtype=torch.float64)
    targets = Targets(rows[:, :4], rows[:, 4].long(), (len(rows), 0))
    columns = torch.tensor(matches, dtype=torch.long).view(-1, 3).T
    return matched_losses(flattened([logits]), targets, grid, Matches(*columns), [1.0])


def test_a_right_box_by_hand() -> None:
    """No loss of the box; the objectness of one of four rows has the target 1, but log 2 all."""
    box, objectness, classes = by_hand(2, (0, 0, 0))
    assert box.item() == pytest.approx(0, abs=1e-6)
    assert objectness.item() == pytest.approx(LOG2)
    assert classes.item() == pytest.approx(LOG2)


def test_a_box_beside_the_object_by_hand() -> None:
    """Half of a 4 x 8 object is seen: IoU 16 / (64 + 32 - 16); no matter for the objectness.

    The box is (0..8, 0..8), the object (6..10, 0..8): IoU = 16 / 80, rho^2 = 16, c^2 = 164, and
    v = 4 / pi^2 (atan 1/2 - atan 1)^2.
    """
    box, _, _ = by_hand(2, (0, 0, 0), objects=[(8, 4, 4, 8, 1)])
    v = 4 / math.pi**2 * (math.atan(0.5) - math.pi / 4) ** 2
    expected = 1 - (0.2 - 16 / 164 - v / (v - 0.2 + 1) * v)
    assert box.item() == pytest.approx(expected, abs=1e-6)


def test_losses_are_means_over_matches() -> None:
    """One right box and one beside: half of the latter's loss."""
    beside = by_hand(2, (0, 0, 0), objects=[(8, 4, 4, 8, 1)])[0]
    box, _, classes = by_hand(2, (0, 0, 0), (1, 0, 1), objects=[(4, 4, 8, 8, 0), (8, 4, 4, 8, 1)])
    assert box.item() == pytest.approx(beside.item() / 2, abs=1e-6)
    assert classes.item() == pytest.approx(LOG2)


def test_a_single_class_has_no_loss() -> None:
    assert by_hand(1, (0, 0, 0))[2].item() == 0


def test_no_matches_leave_the_objectness() -> None:
    box, objectness, classes = by_hand(2)
    assert (box.item(), classes.item()) == (0, 0)
    assert objectness.item() == pytest.approx(LOG2)


def test_objectness_target_by_hand() -> None:
    """Rows of two images; row 1 of image 0 is matched twice: 0.25 came later; CIoU -0.5 is 0."""
    matches = Matches(*(torch.tensor(x) for x in ([0, 1, 0, 0], [1, 2, 0, 1], [0, 1, 2, 3])))
    overlap = torch.tensor([0.75, -0.5, 0.5, 0.25])
    target = objectness_target(overlap, matches, (2, 3))
    assert target.tolist() == [[0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]
    empty = Matches(*(torch.zeros(0, dtype=torch.long) for _ in range(3)))
    assert objectness_target(overlap[:0], empty, (2, 3)).tolist() == [[0.0] * 3] * 2


# Whole


def test_parts_are_gains_times_sums() -> None:
    """Of balance times the levels' means of the objectness, and of the matches' levels."""
    logits, targets, loss = random_logits(2), random_targets(3, 2), loss_of()
    parts = loss(logits, targets)
    assert list(parts) == ["loss_box", "loss_obj", "loss_cls"]
    grid, rows = loss.grid(logits), flattened(logits)
    matches = sim_ota(rows, targets, grid, candidates(targets, grid))
    expected = matched_losses(rows, targets, grid, matches, (4.0, 1.0, 0.4))
    for part, gain, value in zip(parts.values(), (0.05, 0.7, 0.3 * 3 / 80), expected, strict=True):
        torch.testing.assert_close(part, gain * value, rtol=1e-12, atol=0)
    levels = grid.levels[matches.rows]
    box = 0.0
    for level in levels.unique():
        of_level = levels == level
        own = Matches(*(x[of_level] for x in (matches.images, matches.rows, matches.objects)))
        box = box + matched_losses(rows, targets, grid, own, (4.0, 1.0, 0.4))[0]
    assert len(levels.unique()) > 1
    torch.testing.assert_close(expected[0], box, rtol=1e-12, atol=0)


def test_the_loss_is_a_mean() -> None:
    """Twice the same image is the same loss."""
    logits, targets, loss = random_logits(1), random_targets(3), loss_of()
    twice = Targets(targets.boxes.repeat(2, 1), targets.classes.repeat(2), (3, 3))
    once, double = loss(logits, targets), loss([x.repeat(2, 1, 1, 1, 1) for x in logits], twice)
    for name, part in once.items():
        torch.testing.assert_close(double[name], part, rtol=1e-12, atol=0)


def test_images_without_objects() -> None:
    """Only objectness, and only towards 0: b_l mean(log(1 + e^x))."""
    logits, loss = random_logits(2), loss_of()
    parts = loss([x.requires_grad_() for x in logits], random_targets(0, 0))
    expected = 0.7 * sum(
        b * x[..., 4].exp().log1p().mean() for b, x in zip((4.0, 1.0, 0.4), logits, strict=True)
    )
    torch.testing.assert_close(parts["loss_obj"], expected)
    assert parts["loss_box"].item() == parts["loss_cls"].item() == 0
    sum(parts.values()).backward()
    for level in logits:
        assert level.grad[..., 4].min() > 0
        assert not level.grad[..., :4].any() and not level.grad[..., 5:].any()


def test_gradients_stay_in_their_parts() -> None:
    """The objectness' target is detached: boxes learn from loss_box alone."""
    loss, targets = loss_of(), random_targets(3, 2)
    channels = {"loss_box": (0, 4), "loss_obj": (4, 5), "loss_cls": (5, 8)}
    for name, (first, end) in channels.items():
        logits = [x.requires_grad_() for x in random_logits(2)]
        loss(logits, targets)[name].backward()
        grads = flattened([x.grad for x in logits])
        assert grads[..., first:end].any()
        assert not grads[..., :first].any() and not grads[..., end:].any()


def test_single_class_and_three_levels() -> None:
    parts = loss_of(classes=1)(random_logits(2, classes=1), random_targets(3, 1, classes=1))
    assert parts["loss_cls"].item() == 0 and parts["loss_box"].item() > 0


def test_losses_of_low_precision_are_taken_in_float32() -> None:
    loss = YOLOLoss(AnchorGrid(ANCHORS, [8, 16, 32]), LossSettings(), 3)
    targets = random_targets(3, 2)
    targets = Targets(targets.boxes.float(), targets.classes, targets.counts)
    logits = [x.bfloat16() for x in random_logits(2)]
    low, high = loss(logits, targets), loss([x.float() for x in logits], targets)
    for name, part in high.items():
        assert low[name].dtype == torch.float32
        assert torch.equal(low[name], part)


# The auxiliary head


def test_auxiliary_loss_is_lead_guided_and_coarse() -> None:
    """A quarter of the auxiliary head's loss, matched on the lead's logits with all neighbours."""
    lead, auxiliary = random_logits(2), random_logits(2, seed=1)
    targets, loss = random_targets(3, 2), loss_of(top_k=20)
    parts, alone = loss(lead, targets, auxiliary), loss(lead, targets)
    grid = loss.grid(lead)
    coarse = candidates(targets, grid, reach=1.0)
    matches = sim_ota(flattened(lead), targets, grid, coarse, 20)
    values = matched_losses(flattened(auxiliary), targets, grid, matches, (4.0, 1.0, 0.4))
    for name, gain, value in zip(parts, (0.05, 0.7, 0.3 * 3 / 80), values, strict=True):
        torch.testing.assert_close(parts[name] - alone[name], 0.25 * gain * value)
    on_its_own = sim_ota(flattened(auxiliary), targets, grid, coarse, 20)
    assert set(on_its_own.rows.tolist()) != set(matches.rows.tolist())


def test_both_heads_learn() -> None:
    lead, auxiliary = ([x.requires_grad_() for x in random_logits(1, seed=s)] for s in (0, 1))
    sum(loss_of()(lead, random_targets(3), auxiliary).values()).backward()
    for logits in (lead, auxiliary):
        assert all(x.grad.isfinite().all() and x.grad.any() for x in logits)


# Ground truth


def test_targets_by_hand() -> None:
    boxes = [torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.zeros(0, 4)]
    images = []
    for box in boxes:
        image = Instances((64, 96))
        image.gt_boxes = Boxes(box)
        image.gt_classes = torch.full((len(box),), 2)
        images.append(image)
    found = targets_of(images)
    assert found.boxes.tolist() == [[20, 40, 20, 40]]
    assert (found.classes.tolist(), found.counts) == ([2], (1, 0))
    assert found.images().tolist() == [0]
    assert targets_of(images[1:]).boxes.shape == (0, 4)

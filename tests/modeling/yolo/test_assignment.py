# SPDX-License-Identifier: Apache-2.0
"""Candidates and SimOTA: by hand on small grids, then against the definition in plain loops."""

import math

import pytest
import torch
from torch import Tensor

from dynamicdet_d2.modeling.yolo.assignment import (
    Matches,
    Targets,
    candidates,
    cheapest,
    class_cost,
    dynamic_k,
    sim_ota,
)
from dynamicdet_d2.modeling.yolo.boxes import pairwise_iou
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, Grid, flattened


def one_level(height: int, width: int, anchors: list, stride: int = 8) -> Grid:
    logits = [torch.zeros(1, len(anchors), height, width, 6)]
    return AnchorGrid([anchors], [stride])(logits)


def targets(*objects: tuple, counts: tuple | None = None) -> Targets:
    """Objects (cx, cy, w, h) of class 0 in one image, unless counts say otherwise."""
    boxes = torch.tensor(objects, dtype=torch.float64).view(-1, 4)
    return Targets(boxes, torch.zeros(len(boxes), dtype=torch.long), counts or (len(boxes),))


def cells(found: Matches, grid: Grid) -> list[tuple[int, int]]:
    """(column, row) of each match."""
    return [tuple(cell) for cell in grid.cells[found.rows].long().tolist()]


# Candidates. On a 2 x 2 grid of 8 pixels the middle of the image is at 8 pixels.


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        # In cell (0, 0), nearer to its right and lower neighbours: 6 / 8 = 0.75.
        ((6, 6), [(0, 0), (1, 0), (0, 1)]),
        # In cell (1, 1), nearer to the left and upper ones: 10 / 8 = 1.25.
        ((10, 10), [(1, 1), (0, 1), (1, 0)]),
        # At 0.25 there is no cell further left or up.
        ((2, 2), [(0, 0)]),
        # At 1.75 there is none further right or down.
        ((14, 14), [(1, 1)]),
        # On the boundary of cells, at 1: not "greater than 1" from either border.
        ((8, 8), [(1, 1)]),
        # In the middle of a cell: neither side is nearer than half a cell.
        ((4, 12), [(0, 1)]),
    ],
)
def test_cells_of_a_centre(centre: tuple, expected: list) -> None:
    grid = one_level(2, 2, [[8, 8]])
    found = candidates(targets((*centre, 8, 8)), grid)
    assert cells(found, grid) == expected
    assert found.objects.tolist() == found.images.tolist() == [0] * len(expected)


def test_a_centre_on_a_boundary_repeats_its_cell() -> None:
    """At 2 of 4 cells: left of it is 1 (frac 0 < 0.5), and "right" is floor(2.5) = 2 again."""
    grid = one_level(1, 4, [[8, 8]])
    assert cells(candidates(targets((16, 4, 8, 8)), grid), grid) == [(2, 0), (1, 0), (2, 0)]


def test_coarse_candidates_have_all_neighbours() -> None:
    """Own cell, left, above, right, below, where there are such; at 1.5 of 3 cells all four."""
    grid = one_level(3, 3, [[8, 8]])
    found = cells(candidates(targets((12, 12, 8, 8)), grid, reach=1.0), grid)
    assert found == [(1, 1), (0, 1), (1, 0), (2, 1), (1, 2)]
    corner = cells(candidates(targets((4, 4, 8, 8)), grid, reach=1.0), grid)
    assert corner == [(0, 0), (1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((8, 8), [0]),
        ((31.9, 2.1), [0]),
        ((32, 8), [1]),  # four times the first anchor's width: "smaller than 4" fails
        ((8, 2), []),
        ((20, 20), [0, 1]),
        ((0, 8), []),  # no size at all
        ((500, 500), []),
    ],
)
def test_anchors_of_about_the_objects_size(size: tuple, expected: list) -> None:
    grid = one_level(2, 2, [[8, 8], [40, 24]])
    found = candidates(targets((4, 4, *size)), grid)
    assert (found.rows // 4).tolist() == expected


def test_levels_and_images_are_told_apart() -> None:
    """Two levels of stride 8 and 16, two images: rows 0..31 are of the first level."""
    logits = [torch.zeros(2, 2, 4, 4, 6), torch.zeros(2, 1, 2, 2, 6)]
    grid = AnchorGrid([[[8, 8], [9, 9]], [[40, 40], [60, 60]]], [8, 16])(logits[:1] + logits[1:])
    objects = targets((4, 4, 8, 8), (28, 12, 40, 40), counts=(0, 2))
    found = candidates(objects, grid)
    assert set(found.images.tolist()) == {1}
    small = found.rows[found.objects == 0].tolist()
    assert small == [0, 16]  # one cell, both anchors
    large = found.rows[found.objects == 1].tolist()
    # (28, 12) is in cell (1, 0) of the second level, in the upper right corner: also below it.
    assert [row - 32 for row in large] == [1, 5, 3, 7]


def test_an_object_at_the_far_border_stays_inside() -> None:
    grid = one_level(2, 2, [[8, 8]])
    assert (1, 1) in cells(candidates(targets((16, 16, 8, 8)), grid), grid)
    assert all(max(cell) <= 1 for cell in cells(candidates(targets((16, 16, 8, 8)), grid), grid))


# SimOTA


def test_class_cost_by_hand() -> None:
    """Objectness 1, probabilities 0.81 and 0.25: sqrt gives 0.9 and 0.5.

    Class 0: -log 0.9 - log(1 - 0.5); class 1: -log(1 - 0.9) - log 0.5.
    """
    probabilities = torch.tensor([0.81, 0.25], dtype=torch.float64)
    logits = torch.cat([torch.full((1,), 60.0), probabilities.logit()])[None]
    found = class_cost(logits, torch.tensor([0, 1]))
    expected = torch.tensor([[-math.log(0.9 * 0.5)], [-math.log(0.1 * 0.5)]]).double()
    torch.testing.assert_close(found, expected)


def test_class_cost_is_finite_where_probabilities_are_0_or_1() -> None:
    logits = torch.tensor([[200.0, 200.0, -300.0]])
    found = class_cost(logits, torch.tensor([0, 1]))
    assert found[0, 0] == 0.0 and found[1, 0] == 200.0


def test_dynamic_k_by_hand() -> None:
    """0.9 + 0.8 + 0.4 = 2.1 takes 2; of the two largest 1.7 takes 1; nothing takes 1 too."""
    iou = torch.tensor([[0.4, 0.9, 0.8], [0.0, 0.0, 0.1]])
    assert dynamic_k(iou, top_k=10).tolist() == [2, 1]
    assert dynamic_k(iou, top_k=2).tolist() == [1, 1]


def test_cheapest_by_hand() -> None:
    """Object 0 takes candidates 1 and 3, object 1 takes 3 and 0; 3 is cheaper for object 1."""
    cost = torch.tensor([[5.0, 1.0, 9.0, 2.0], [3.0, 8.0, 9.0, 1.0]])
    index, owner = cheapest(cost, torch.tensor([2, 2]))
    assert (index.tolist(), owner.tolist()) == ([0, 1, 3], [1, 0, 1])


def test_a_contested_candidate_goes_to_the_least_cost_of_all() -> None:
    """Objects 0 and 1 take candidate 0; object 2 took another, but has the least cost there."""
    cost = torch.tensor([[3.0, 9.0], [4.0, 9.0], [2.0, 1.0]])
    index, owner = cheapest(cost, torch.tensor([1, 1, 1]))
    assert (index.tolist(), owner.tolist()) == ([0, 1], [2, 2])


def test_equal_costs_go_to_the_first() -> None:
    cost = torch.ones(2, 4)
    index, owner = cheapest(cost, torch.tensor([2, 1]))
    assert (index.tolist(), owner.tolist()) == ([0, 1], [0, 0])


def scene(images: int, objects: int, seed: int) -> tuple[Tensor, Targets, Grid]:
    """Random logits and objects on two levels of a 64 x 96 image; 3 classes, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = [
        torch.randn(images, 2, 64 // s, 96 // s, 8, generator=generator).double() for s in (8, 16)
    ]
    grid = AnchorGrid([[[10, 12], [20, 14]], [[30, 30], [60, 40]]], [8, 16]).double()(logits)
    counts = tuple(objects if image % 2 == 0 else 0 for image in range(images))
    total = sum(counts)
    extent = torch.tensor([96.0, 64.0])
    centres = torch.rand(total, 2, generator=generator) * extent
    sides = 6 + torch.rand(total, 2, generator=generator) * extent / 2
    classes = torch.randint(0, 3, (total,), generator=generator)
    boxes = torch.cat([centres, sides], dim=1).double()
    return flattened(logits), Targets(boxes, classes, counts), grid


def by_definition(
    logits: Tensor, objects: Targets, grid: Grid, among: Matches, top_k: int
) -> set[tuple[int, int]]:
    """SimOTA in loops: (position among the candidates, object) of every match."""
    images = [i for i, count in enumerate(objects.counts) for _ in range(count)]
    matched = set()
    for image in range(len(logits)):
        own = [c for c in range(len(among.rows)) if among.images[c] == image]
        mine = [g for g, i in enumerate(images) if i == image]
        costs, takes = {}, {}
        for g in mine:
            ious = []
            for c in own:
                row = among.rows[c]
                x = logits[image, row]
                iou = pairwise_iou(objects.boxes[g : g + 1], grid.boxes(x[None, :4], row[None]))
                ious.append(iou.item())
                probability = (x[5:].sigmoid() * x[4].sigmoid()).sqrt()
                label = torch.nn.functional.one_hot(objects.classes[g], 3).double()
                entropy = torch.nn.functional.binary_cross_entropy(
                    probability, label, reduction="sum"
                )
                costs[g, c] = entropy.item() - 3 * math.log(iou.item() + 1e-8)
            k = max(1, int(sum(sorted(ious, reverse=True)[:top_k]))) if own else 0
            takes[g] = sorted(own, key=lambda c, g=g: costs[g, c])[:k]
        for c in own:
            takers = [g for g in mine if c in takes[g]]
            if len(takers) > 1:
                takers = [min(mine, key=lambda g, c=c: costs[g, c])]
            matched.update((c, g) for g in takers)
    return matched


@pytest.mark.parametrize(("reach", "top_k"), [(0.5, 10), (1.0, 20), (0.5, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_sim_ota_is_what_the_definition_says(reach: float, top_k: int, seed: int) -> None:
    logits, objects, grid = scene(images=3, objects=4, seed=seed)
    among = candidates(objects, grid, reach=reach)
    # A cell may be a candidate twice, and then has equal costs: keep each once to compare.
    keys = (among.images * len(grid.cells) + among.rows).tolist()
    first = sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())
    among = Matches(among.images[first], among.rows[first], among.objects[first])
    found = sim_ota(logits, objects, grid, among, top_k)
    expected = by_definition(logits, objects, grid, among, top_k)
    keys = (among.images * len(grid.cells) + among.rows).tolist()
    places = [keys.index(k) for k in (found.images * len(grid.cells) + found.rows).tolist()]
    assert set(zip(places, found.objects.tolist(), strict=True)) == expected
    assert len(places) == len(expected) > 4


def test_images_are_matched_alone() -> None:
    """A batch gives each image the matches that it has by itself."""
    logits, objects, grid = scene(images=3, objects=4, seed=0)
    whole = sim_ota(logits, objects, grid, candidates(objects, grid))
    first = 0
    for image, count in enumerate(objects.counts):
        own = slice(first, first + count)
        single = Targets(objects.boxes[own], objects.classes[own], (count,))
        alone = sim_ota(logits[image : image + 1], single, grid, candidates(single, grid))
        here = whole.images == image
        assert torch.equal(whole.rows[here], alone.rows)
        assert torch.equal(whole.objects[here], alone.objects + first)
        first += count


def test_an_object_without_candidates_of_its_own_takes_anothers() -> None:
    """The large object fits no anchor, yet takes the small one's cell if it is the cheapest."""
    grid = one_level(2, 2, [[8, 8]])
    objects = targets((4, 4, 8, 8), (8, 8, 16, 16))
    among = candidates(objects, grid, max_ratio=1.5)
    assert among.objects.tolist() == [0]
    logits = torch.zeros(1, 4, 6, dtype=torch.float64)
    found = sim_ota(logits, objects, grid, among)
    assert (found.rows.tolist(), found.objects.tolist()) == ([0], [0])


def test_nothing_to_match() -> None:
    logits, _, grid = scene(images=2, objects=1, seed=0)
    none = targets(counts=(0, 0))
    among = candidates(none, grid)
    found = sim_ota(logits, none, grid, among)
    for matches in (among, found):
        assert matches.rows.shape == matches.images.shape == matches.objects.shape == (0,)
    unmatched = targets((5, 5, 900, 900), counts=(1, 0))  # fits no anchor
    assert len(sim_ota(logits, unmatched, grid, candidates(unmatched, grid)).rows) == 0

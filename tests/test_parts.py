# SPDX-License-Identifier: Apache-2.0
"""What detectors say that they consist of."""

from typing import Any

import pytest
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import ROIHeads
from torch import nn

from dynamicdet_d2.evaluation.cost import RouteCost, count_parts, kept_proposals, route_flops
from dynamicdet_d2.parts import BOTH, EASY, HARD, Part, Takes, parts_of
from tests.support.optimized import MASK, STATIC
from tests.support.toy import toy_cfg, toy_model

RCNN = ["neck", "rpn_head", "box_head", "mask_head"]


def test_a_dynamic_detector_by_route() -> None:
    model = toy_model()
    routes = parts_of(model).routes
    hard = ["connections", "bottom_up2"]
    assert list(routes) == ["bottom_up1", "router", *hard, *RCNN]
    assert {name for name, on in routes.items() if on == HARD} == set(hard)
    assert {routes[name] for name in ("bottom_up1", "router", *RCNN)} == {BOTH}


def test_a_static_detector_has_one_route() -> None:
    parts = parts_of(build_model(toy_cfg(*STATIC)))
    assert list(parts.routes) == ["bottom_up1", *RCNN]
    assert set(parts.routes.values()) == {BOTH}
    assert kept_proposals(build_model(toy_cfg(*STATIC))) == 50


def test_every_weight_that_runs_belongs_to_a_part() -> None:
    model = toy_model(*MASK)
    owned = {id(w) for part in parts_of(model).parts for w in part.owner.parameters()}
    assert {id(w) for w in model.parameters()} == owned


def test_layers_inside_roi_heads_are_run_apart_and_not_counted_apart() -> None:
    model = toy_model(*MASK)
    inside = [p for p in parts_of(model).parts if p.takes is Takes.REGIONS]
    assert [(p.owner, p.function) for p in inside] == [
        (model.roi_heads.box_head, "forward"),
        (model.roi_heads.mask_head, "layers"),
    ]
    assert all(p.dense for p in inside)
    assert not any(p.dense for p in parts_of(model).parts if p.owner is model.roi_heads)


def test_parts_of_one_detector_alone_are_on_its_route_alone() -> None:
    """A hard image does not go through the easy route's neck where each detector has one."""
    routes = {"bottom_up1": BOTH, "router": BOTH, "neck1": EASY, "bottom_up2": HARD, "neck2": HARD}
    work = dict(zip(routes, (100, 1, 20, 300, 4000), strict=True))
    assert route_flops(work, routes) == {"easy": 121, "hard": 4401, "router": 1}


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential is a detector whose parts are not described"):
        parts_of(nn.Sequential())
    with pytest.raises(ValueError, match="whose parts are not described"):
        RouteCost(nn.Sequential()).at(64, 64)


def test_wrapping_a_function() -> None:
    layer = nn.Identity()
    Part("layer", layer).wrap(lambda function: lambda x: 2 * function(x))
    assert layer(3) == 6


def test_roi_heads_that_look_at_proposals_alone() -> None:
    class Scores(ROIHeads):
        """A score from the middle of each box."""

        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.score = nn.Linear(16, 4, bias=False)

        def forward(self, images: Any, features: Any, proposals: Any, targets: Any = None) -> Any:
            (boxes,) = (own.proposal_boxes for own in proposals)
            column, row = (boxes.get_centers() / 4).long().unbind(dim=1)
            return self.score(features["p2"][0, :, row, column].T), {}

    model = toy_model()
    model.roi_heads = Scores()
    parts = count_parts(model, 64, 64, num_proposals=10)
    assert parts["box_head"] == 10 * 16 * 4 and "mask_head" not in parts


@pytest.mark.parametrize(
    ("field", "given", "says"),
    [
        ("name", "", "Part '': name is ''; it must be text."),
        ("name", 5, "Part 5: name is 5; it must be text."),
        ("routes", "hard", "routes is 'hard'; it must be a tuple of one or both of ('easy', 'hard"),
        ("routes", (), "routes is (); it must be a tuple"),
        ("routes", ("Hard",), "routes is ('Hard',); it must be a tuple"),
        ("takes", "image", "takes is 'image'; it must be one of dynamicdet_d2.parts.Takes."),
        ("exact", ("0", "1"), "exact is ('0', '1'); it must be a tuple of names of layers in its "),
        ("exact", "0", "exact is '0'; it must be a tuple of names of layers in its Sequential."),
        ("exact", (0,), "exact is (0,); it must be a tuple of names of layers in its Sequential."),
        ("function", "run_it", "function is 'run_it'; it must be a method's name of its Seq"),
        ("function", "training", "function is 'training'; it must be a method's name of its Seq"),
        ("function", None, "function is None; it must be a method's name of its Sequential."),
    ],
)
def test_a_part_that_says_nothing_of_use(field: str, given: Any, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        Part(**{"name": "neck", "owner": nn.Sequential(nn.Linear(2, 2)), field: given})
    assert says in str(refused.value) and str(refused.value).startswith("Part ")

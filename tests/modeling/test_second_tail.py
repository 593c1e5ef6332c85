# SPDX-License-Identifier: Apache-2.0
"""Neck and heads that detector2 has for itself: equal to shared ones at equal weights."""

import copy

import pytest
import torch
from detectron2.structures import BitMasks
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.checkpoint import load_weights
from dynamicdet_d2.evaluation.cost import count_flops, count_parts
from dynamicdet_d2.modeling import DynamicDetector
from tests.support.optimized import MASK, assert_same, decided
from tests.support.toy import dense_keys, toy_inputs, toy_model

NECK = ("MODEL.COMPOSITE.SHARE_NECK", False)
HEADS = ("MODEL.COMPOSITE.SHARE_HEADS", False)
OWN = {"neck": NECK, "heads": HEADS, "both": NECK + HEADS}
KINDS = {
    "masks": MASK,
    "RetinaNet": (*dense_keys("RetinaNet"), "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0),
}
LITE2 = (
    *("MODEL.BACKBONE.NAME", "build_composite_efficientnet_lite_backbone"),
    *("MODEL.FPN.IN_FEATURES", ["stage1", "stage2", "stage3", "stage4"]),
    *("MODEL.EFFICIENTNET_LITE.SIZE2", 2, "MODEL.EFFICIENTNET_LITE.NORM", "BN"),
    *("MODEL.COMPOSITE.NUM_BLOCKS1", []),
)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["roi_heads"], "tail2 has no 'proposal_generator': detector2 has all of proposal_gener"),
        (["roi_head"], "tail2 has 'roi_head'; it can have neck, proposal_generator, roi_heads."),
    ],
)
def test_a_tail_of_its_own_that_would_not_be_used(names: list[str], says: str) -> None:
    with pytest.raises(ValueError) as refused:
        toy_model().own_parts({name: nn.Identity() for name in names})
    assert str(refused.value).startswith(says)


def test_a_tail_of_its_own_is_another_one() -> None:
    model = toy_model()
    heads = {name: getattr(model, name) for name in model.head_names}
    with pytest.raises(ValueError, match=r"^tail2 has detector1's own 'proposal_generator'; what"):
        model.own_parts(heads)


def masked_inputs(count: int) -> list[dict]:
    """Toy inputs whose objects are rectangles, as masks too."""
    inputs = toy_inputs(count)
    for entry in inputs:
        found = entry["instances"]
        masks = torch.zeros(len(found), *found.image_size, dtype=torch.bool)
        for mask, box in zip(masks, found.gt_boxes.tensor.int().tolist(), strict=True):
            mask[box[1] : box[3], box[0] : box[2]] = True
        found.gt_masks = BitMasks(masks)
    return inputs


@pytest.fixture(scope="module", params=[(k, o) for k in KINDS for o in OWN], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[DynamicDetector, DynamicDetector]:
    """A model whose tail is shared, and one with parts of it twice and the same weights."""
    kind, own = request.param
    shared = decided(toy_model(*KINDS[kind]))
    twin = toy_model(*KINDS[kind], *OWN[own], seed=1)
    # A checkpoint of a shared tail fills both.
    report = load_weights(twin, shared.state_dict(), "shared.pth")
    assert not report.initial and not report.unmatched
    with torch.no_grad():
        shared.threshold = twin.threshold = sorted(shared.difficulties(toy_inputs(4)))[1]
    return shared, twin


@torch.no_grad()
def test_equal_weights_give_equal_detections(
    pair: tuple[DynamicDetector, DynamicDetector],
) -> None:
    shared, twin = pair
    inputs = toy_inputs(4)
    for ours, theirs in zip(twin(inputs), shared(inputs), strict=True):
        assert (ours["route"], ours["difficulty"]) == (theirs["route"], theirs["difficulty"])
        assert len(ours["instances"]) > 0
        assert_same(ours["instances"], theirs["instances"])
    learnt = masked_inputs(2)
    expected = shared.detector_losses_per_image(learnt)
    torch.testing.assert_close(twin.detector_losses_per_image(learnt), expected)


def test_equal_routes_cost_the_same(pair: tuple[DynamicDetector, DynamicDetector]) -> None:
    shared, twin = pair
    assert count_flops(twin, 64, 96, 50) == count_flops(shared, 64, 96, 50)
    once, twice = count_parts(shared, 64, 96, 50), count_parts(twin, 64, 96, 50)
    added = {name: cost for name, cost in twice.items() if name not in once}
    assert added and all(cost == once[name.removesuffix("2")] for name, cost in added.items())


def test_an_optimised_copy_has_both(pair: tuple[DynamicDetector, DynamicDetector]) -> None:
    _, twin = pair
    inputs = toy_inputs(2)
    for ours, theirs in zip(
        optimize_for_inference(twin).exits(inputs), twin.exits(inputs), strict=True
    ):
        for name in ("detector1", "detector2"):
            torch.testing.assert_close(ours[name].scores, theirs[name].scores, rtol=1e-4, atol=1e-4)


def test_phase_detector2_trains_what_detector2_has_for_itself(
    pair: tuple[DynamicDetector, DynamicDetector],
) -> None:
    _, twin = pair
    twin.requires_grad_(False)
    for part in twin.second_parts():
        part.requires_grad_(True).train()
    with EventStorage():
        losses = twin.losses_of_second(masked_inputs(2))
    sum(losses.values()).backward()
    with_gradient = {n for n, w in twin.named_parameters() if w.grad is not None and w.grad.any()}
    assert all(n.startswith(("backbone.", "tail2.")) for n in with_gradient)
    assert {n for n in with_gradient if n.startswith("tail2.")}
    twin.zero_grad()
    twin.eval()


@torch.no_grad()
def test_losses_of_detector2_change_no_statistics_but_its_own(
    pair: tuple[DynamicDetector, DynamicDetector],
) -> None:
    """Though a loop of a program's own has all of the model in training mode."""
    twin = copy.deepcopy(pair[1]).train()
    before = copy.deepcopy(twin.state_dict())
    with EventStorage():
        twin.losses_of_second(masked_inputs(2))
    after = twin.state_dict()
    changed = {k for k, x in before.items() if not torch.equal(x, after[k]) and not x.isnan().any()}
    changed -= {"loss_normalizers"}  # of both detectors, of which only the second's is another
    own = ("backbone.connections.", "backbone.bottom_up2.")
    assert changed and all(name.startswith(own) for name in changed)
    assert all(module.training for module in twin.modules())


@torch.no_grad()
@pytest.mark.parametrize("own", OWN)
def test_an_easy_image_never_sees_the_second_tail(own: str) -> None:
    model = decided(toy_model(*OWN[own]))
    inputs = toy_inputs(4)
    model.threshold = sorted(model.difficulties(inputs))[1]
    before = model(inputs)
    for weight in model.tail2.parameters():
        nn.init.normal_(weight, std=0.1)
    for ours, theirs in zip(model(inputs), before, strict=True):
        same = torch.equal(ours["instances"].scores[:5], theirs["instances"].scores[:5])
        assert same is (ours["route"] == "easy")


@torch.no_grad()
def test_given_boxes_get_the_masks_of_their_routes() -> None:
    model = decided(toy_model(*MASK, *HEADS))
    inputs = toy_inputs(4)
    model.threshold = sorted(model.difficulties(inputs))[1]
    found = model.inference(inputs, do_postprocess=False)
    boxes = [x[:3] for x in found]
    masks = [x.pred_masks.clone() for x in boxes]
    again = model.inference(inputs, boxes, do_postprocess=False)
    for ours, expected in zip(again, masks, strict=True):
        torch.testing.assert_close(ours.pred_masks, expected)


def test_a_shared_tail_adds_nothing_to_a_checkpoint() -> None:
    names = toy_model().state_dict()
    assert not [name for name in names if name.startswith("tail2")]


def test_backbones_of_other_widths_feed_necks_of_their_own() -> None:
    """EfficientNet-Lite0 and Lite2, whose first stages are equal and shared."""
    model = toy_model(*LITE2, *NECK)
    links = model.backbone.connections.links
    source, target = model.backbone.output_shape(), model.backbone.output_shape2()
    assert [s.channels for s in source.values()] == [24, 40, 112, 320]
    assert [s.channels for s in target.values()] == [24, 48, 120, 352]
    link = links["stage3_from_stage4"]
    assert (link.in_channels, link.out_channels) == (320, 48)
    assert model.tail2["neck"].fpn_lateral5.in_channels == 352
    with EventStorage():
        losses = model.train()(toy_inputs(2))
    sum(losses.values()).backward()
    assert link.norm.weight.grad.any()
    with torch.no_grad():
        model.eval()
        model.threshold = sorted(model.difficulties(toy_inputs(4)))[1]
        assert {x["route"] for x in model(toy_inputs(4))} == {"easy", "hard"}


def test_other_widths_over_one_neck_are_refused() -> None:
    with pytest.raises(ValueError, match="or MODEL.COMPOSITE.SHARE_NECK must be False"):
        toy_model(*LITE2)


def test_members_whose_first_stages_differ_cannot_share_them() -> None:
    keys = (*LITE2, *NECK, "MODEL.EFFICIENTNET_LITE.SIZE2", 3)
    with pytest.raises(ValueError, match=r"with MODEL.COMPOSITE.SHARE_STEM True: \['stage1'\]"):
        toy_model(*keys)
    apart = toy_model(*keys, "MODEL.COMPOSITE.SHARE_STEM", False)
    with torch.no_grad():
        assert len(apart.exits(toy_inputs(1))) == 1

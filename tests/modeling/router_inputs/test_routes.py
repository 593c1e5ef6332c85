# SPDX-License-Identifier: Apache-2.0
"""A router that looks further than F1 changes who goes where, and nothing of what is found."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.evaluation.cost import count_flops, count_parts
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.routed_batch import features_and_objectness
from tests.support.optimized import assert_same, decided
from tests.support.stock import stock_detector
from tests.support.toy import dense_cfg, dense_model, toy_cfg, toy_inputs, toy_model
from tests.support.toy_yolo import dynamic_yolo

INPUTS = (
    ["features"],
    ["map"],
    ["rpn"],
    ["detections"],
    ["detections", "features"],
    ["map", "rpn"],
)


def sees(inputs: list[str]) -> DynamicDetector:
    """With difficulties that differ, whatever the router sees."""
    model = decided(toy_model("MODEL.ROUTER.INPUTS", inputs))
    return with_spread(model)


def with_spread(model: DynamicDetector) -> DynamicDetector:
    if "map" in model.router.inputs:
        own = model.router.inputs["map"]
        own.teach(own.lessons(*features_and_objectness(model, toy_inputs(6))))
    model.router.set_standard(model.router_inputs_and_losses(toy_inputs(6))[0])
    nn.init.normal_(model.router.score.weight, std=0.1)
    return model


def middle_threshold(model: DynamicDetector, inputs: list[dict]) -> float:
    """Between two images, so that rounding sends none the other way."""
    below, above = sorted(model.difficulties(inputs))[len(inputs) // 2 - 1 :][:2]
    return (below + above) / 2


def same(ours: Instances, theirs: Instances) -> bool:
    """Bit for bit."""
    boxes = ours.pred_boxes.tensor, theirs.pred_boxes.tensor
    return torch.equal(*boxes) and torch.equal(ours.scores, theirs.scores)


def load_all_but_router(model: nn.Module, source: nn.Module) -> None:
    weights = {k: v for k, v in source.state_dict().items() if not k.startswith("router.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith("router.") for name in missing)


@pytest.fixture(scope="module", params=INPUTS, ids=["+".join(names) for names in INPUTS])
def model(request: pytest.FixtureRequest) -> DynamicDetector:
    return sees(request.param)


@torch.no_grad()
def test_easy_images_leave_with_the_plain_detectors_results(model: DynamicDetector) -> None:
    model.threshold = 1.0
    plain = stock_detector(model)
    for image in toy_inputs(3):
        ours, theirs = model([image])[0]["instances"], plain([image])[0]["instances"]
        assert len(ours) > 0
        assert same(ours, theirs)


@torch.no_grad()
def test_hard_images_have_the_results_of_a_router_that_sees_f1(model: DynamicDetector) -> None:
    paper = toy_model()
    load_all_but_router(paper, model)
    model.threshold = paper.threshold = 0.0
    for image in toy_inputs(2):
        assert same(model([image])[0]["instances"], paper([image])[0]["instances"])


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.0, 1.0, None])
def test_a_batch_is_what_its_images_are(model: DynamicDetector, threshold: float | None) -> None:
    inputs = toy_inputs(5)
    model.threshold = middle_threshold(model, inputs) if threshold is None else threshold
    together, exits = model(inputs), model.exits(inputs)
    routes = {"easy"} if threshold == 1 else {"hard"} if threshold == 0 else {"easy", "hard"}
    assert {x["route"] for x in together} == routes
    for image, ours, both in zip(inputs, together, exits, strict=True):
        alone = model([image])[0]
        assert alone["route"] == ours["route"]
        assert alone["difficulty"] == pytest.approx(ours["difficulty"], abs=1e-6)
        assert both["difficulty"] == ours["difficulty"]
        assert_same(ours["instances"], alone["instances"])
        detector = {"easy": "detector1", "hard": "detector2"}[ours["route"]]
        assert_same(ours["instances"], both[detector])


@torch.no_grad()
def test_the_optimised_copy_routes_alike(model: DynamicDetector) -> None:
    inputs = toy_inputs(4)
    model.threshold = middle_threshold(model, inputs)
    fast = optimize_for_inference(model)
    for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
        assert ours["difficulty"] == pytest.approx(theirs["difficulty"], abs=1e-4)
        if ours["route"] == theirs["route"]:
            assert_same(ours["instances"], theirs["instances"])


def test_learning_sees_what_inference_sees(model: DynamicDetector) -> None:
    inputs = toy_inputs(3)
    numbers, _ = model.router_inputs_and_losses(inputs)
    with torch.no_grad():
        learnt = model.router.difficulty(numbers).tolist()
    assert learnt == pytest.approx(model.difficulties(inputs), abs=1e-6)


# What it costs


def calls(model: DynamicDetector, threshold: float) -> dict[str, int]:
    """How often the neck, the RPN head and the box head run for one image."""
    heads = {
        "neck": model.neck,
        "rpn_head": model.proposal_generator.rpn_head,
        "box_head": model.roi_heads.box_head,
    }
    seen = dict.fromkeys(heads, 0)

    def count(name: str) -> None:
        seen[name] += 1

    hooks = [
        head.register_forward_hook(lambda *_, name=name: count(name))
        for name, head in heads.items()
    ]
    model.threshold = threshold
    with torch.no_grad():
        model(toy_inputs(1))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("inputs", "hard"),
    [
        (["features"], (1, 1, 1)),
        (["map"], (1, 1, 1)),
        (["rpn"], (2, 2, 1)),
        (["map", "rpn"], (2, 2, 1)),
        (["rpn", "detections"], (2, 2, 2)),
    ],
)
def test_what_was_looked_at_is_paid_twice_on_the_hard_route(
    inputs: list[str], hard: tuple[int, int, int]
) -> None:
    model = sees(inputs)
    names = ("neck", "rpn_head", "box_head")
    assert calls(model, 1.0) == dict.fromkeys(names, 1)
    assert calls(model, 0.0) == dict(zip(names, hard, strict=True))
    counted = count_parts(model, 64, 96, 50)
    routes = count_flops(model, 64, 96, 50)
    plain = count_flops(toy_model(), 64, 96, 50)
    again = sum(counted[name] * (runs - 1) for name, runs in zip(names, hard, strict=True))
    assert routes["hard"] - routes["router"] == plain["hard"] - plain["router"] + again
    assert routes["easy"] - routes["router"] == plain["easy"] - plain["router"]


def test_the_router_itself_by_hand() -> None:
    # 64 x 96: res2 has 16 x 24 positions of 8 channels, and so on; three anchors per position.
    conv = 3 * (8 * 384 + 16 * 96 + 32 * 24 + 64 * 6)
    assert count_flops(sees(["map"]), 64, 96)["router"] == conv + 12 * 8 + 8
    assert count_flops(sees(["rpn"]), 64, 96)["router"] == 14 * 8 + 8
    assert count_flops(sees(["detections"]), 64, 96)["router"] == 7 * 8 + 8
    assert count_flops(sees(["features"]), 64, 96)["router"] == 120 * 30 + 30


# Other kinds of detectors


@torch.no_grad()
@pytest.mark.parametrize(
    ("head", "inputs"), [*itertools.product(["RetinaNet", "FCOS"], [["detections"], ["map"]])]
)
def test_dense_detectors(head: str, inputs: list[str]) -> None:
    paper = dense_model(head)
    model = dense_model(head, "MODEL.ROUTER.INPUTS", inputs)
    load_all_but_router(model, paper)
    with_spread(model)
    images = toy_inputs(4)
    model.threshold = middle_threshold(model, images)
    exits = paper.exits(images)
    for ours, both in zip(model(images), exits, strict=True):
        assert_same(
            ours["instances"], both["detector1" if ours["route"] == "easy" else "detector2"]
        )
    again = inputs == ["detections"]
    parts, routes = count_parts(model, 64, 96), count_flops(model, 64, 96)
    plain = count_flops(paper, 64, 96)
    more = routes["hard"] - routes["router"] - plain["hard"] + plain["router"]
    assert more == again * (parts["neck"] + parts["head"])


@torch.no_grad()
@pytest.mark.parametrize("inputs", [["detections"], ["map", "detections"]])
def test_a_yolo_has_a_tail_for_each_route(inputs: list[str]) -> None:
    """What the router looks at is detector1's, which the hard route pays beside its own."""
    paper = dynamic_yolo("TEST.DETECTIONS_PER_IMAGE", 50)
    keys = ("MODEL.ROUTER.INPUTS", inputs, "TEST.DETECTIONS_PER_IMAGE", 50)
    model = dynamic_yolo(*keys)
    load_all_but_router(model, paper)
    with_spread(model)
    images = toy_inputs(4)
    model.threshold = middle_threshold(model, images)
    found = model(images)
    assert {x["route"] for x in found} == {"easy", "hard"}
    for ours, both in zip(found, paper.exits(images), strict=True):
        assert_same(
            ours["instances"], both["detector1" if ours["route"] == "easy" else "detector2"]
        )
    parts, routes = count_parts(model, 64, 96), count_flops(model, 64, 96)
    plain = count_flops(paper, 64, 96)
    again = parts["neck1"] + parts["head1"]
    assert routes["hard"] - routes["router"] == plain["hard"] - plain["router"] + again
    assert routes["easy"] - routes["router"] == plain["easy"] - plain["router"]


def test_a_dense_detector_has_no_rpn() -> None:
    with pytest.raises(ValueError, match=r"MODEL.ROUTER.INPUTS is \['rpn'\]; of a DynamicDense"):
        build_model(dense_cfg("FCOS", "MODEL.ROUTER.INPUTS", ["rpn"]))


@pytest.mark.parametrize(
    "inputs, said",
    [([], "each once"), (["rpn", "rpn"], "each once"), (["pyramid"], "each must be")],
)
def test_inputs_that_are_none(inputs: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_model(toy_cfg("MODEL.ROUTER.INPUTS", inputs))


def test_the_order_of_the_names_does_not_matter() -> None:
    models = [sees(names) for names in (["rpn", "detections"], ["detections", "rpn"])]
    assert models[0].difficulties(toy_inputs(2)) == models[1].difficulties(toy_inputs(2))


# Standardisation


def test_inputs_are_standardised_by_the_table() -> None:
    router = sees(["detections"]).router
    numbers = torch.tensor([[0.0] * 6 + [5.0], [2.0] * 6 + [5.0]])
    router.set_standard(numbers)
    assert router.mean.tolist() == [1, 1, 1, 1, 1, 1, 5]
    assert router.spread.tolist() == [1] * 7  # the last one never varies
    nn.init.ones_(router.hidden.weight)
    nn.init.zeros_(router.hidden.bias)
    nn.init.ones_(router.score.weight)
    nn.init.zeros_(router.score.bias)
    # Second row: six ones and a zero: relu(6) in 8 units.
    difficulties = router.difficulty(numbers)
    assert difficulties[0].item() == 0.5
    assert difficulties[1].item() == pytest.approx(torch.tensor(48.0).sigmoid().item())


def test_a_number_that_varies_by_rounding_alone_is_a_constant() -> None:
    """Divided by it, difficulties in a batch were up to 0.02 beside those of one image alone."""
    router = sees(["detections"]).router
    router.set_standard(torch.tensor([[0.05], [0.05 * (1 + 1e-7)]]).expand(2, 7))
    assert router.spread.tolist() == [1] * 7
    router.set_standard(torch.tensor([[0.05], [0.05 * (1 + 1e-4)]]).expand(2, 7))
    assert max(router.spread.tolist()) < 1e-4


def test_the_paper_has_no_standard_in_its_checkpoint() -> None:
    paper = toy_model()
    names = [name for name in paper.state_dict() if name.startswith("router.")]
    layers = ("hidden.weight", "hidden.bias", "score.weight", "score.bias")
    assert names == [f"router.{name}" for name in layers]
    before = copy.deepcopy(paper.router)
    paper.router.set_standard(torch.rand(5, paper.router.count))
    numbers = torch.rand(2, paper.router.count)
    assert torch.equal(before.difficulty(numbers), paper.router.difficulty(numbers))


def test_the_standard_travels_with_the_checkpoint(tmp_path: Path) -> None:
    model = sees(["map", "rpn"])
    DynamicCheckpointer(model, str(tmp_path)).save("model")
    other = toy_model("MODEL.ROUTER.INPUTS", ["map", "rpn"], seed=5)
    DynamicCheckpointer(other).load(tmp_path / "model.pth")
    inputs = toy_inputs(3)
    assert other.difficulties(inputs) == model.difficulties(inputs)


def test_a_checkpoint_from_before_loads_as_it_was(tmp_path: Path) -> None:
    paper = toy_model()
    DynamicCheckpointer(paper, str(tmp_path)).save("model")
    other = toy_model("MODEL.ROUTER.STANDARDIZE", True, seed=5)
    checkpointer = DynamicCheckpointer(other)
    checkpointer.load(tmp_path / "model.pth")
    inputs = toy_inputs(3)
    assert other.difficulties(inputs) == paper.difficulties(inputs)
    check_complete(checkpointer)


def test_a_standardised_router_is_not_measured_without_its_standard(tmp_path: Path) -> None:
    model = toy_model("MODEL.ROUTER.STANDARDIZE", True)
    DynamicCheckpointer(model, str(tmp_path)).save("model")
    checkpointer = DynamicCheckpointer(toy_model())
    checkpointer.load(tmp_path / "model.pth")
    with pytest.raises(ValueError, match="STANDARDIZE must be True"):
        check_complete(checkpointer)


def test_few_inputs_have_eight_hidden_units() -> None:
    assert sees(["detections"]).router.hidden.out_features == 8
    assert sees(["detections", "features"]).router.hidden.out_features == (7 + 120) // 4

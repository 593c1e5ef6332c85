# SPDX-License-Identifier: Apache-2.0
"""The meta architecture: routes, equality with stock Detectron2 and with single images, losses."""

import math
from pathlib import Path

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage, EventWriter, TensorboardXWriter
from torch import nn

from tests.support.stock import STAGES, stock_detector
from tests.support.toy import toy_cfg, toy_inputs, toy_model

FIELDS = ("pred_boxes", "scores", "pred_classes")


def equal(a: Instances, b: Instances) -> bool:
    """The same detections bit for bit."""
    boxes = torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
    return boxes and all(torch.equal(a.get(f), b.get(f)) for f in FIELDS[1:])


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return toy_model()


def middle_threshold(model: nn.Module, inputs: list[dict]) -> float:
    return sorted(model.difficulties(inputs))[len(inputs) // 2 - 1]


def test_is_registered() -> None:
    assert META_ARCH_REGISTRY.get("DynamicRCNN").__name__ == "DynamicRCNN"


@torch.no_grad()
def test_easy_route_is_stock_detectron2_bit_for_bit(model: nn.Module) -> None:
    stock = stock_detector(model)
    model.threshold = 1.0
    inputs = toy_inputs(3)
    for ours, theirs in zip(model(inputs), stock(inputs), strict=True):
        assert ours["route"] == "easy"
        assert len(ours["instances"]) > 0
        assert equal(ours["instances"], theirs["instances"])


@torch.no_grad()
def test_at_the_start_the_hard_route_is_stock_detectron2_too() -> None:
    torch.manual_seed(0)
    model = toy_model()
    for link in model.backbone.connections.links.values():
        nn.init.zeros_(link.norm.weight)
    stages = [model.backbone.bottom_up1.res2]
    stages += [getattr(model.backbone.bottom_up2, name) for name in STAGES[1:]]
    model.threshold = 0.0
    inputs = toy_inputs(2)
    for ours, theirs in zip(model(inputs), stock_detector(model, stages)(inputs), strict=True):
        assert ours["route"] == "hard"
        assert equal(ours["instances"], theirs["instances"])


@torch.no_grad()
def test_a_mixed_batch_equals_single_images(model: nn.Module) -> None:
    inputs = toy_inputs(5)
    model.threshold = middle_threshold(model, inputs)
    batch = model(inputs)
    assert {x["route"] for x in batch} == {"easy", "hard"}
    for one, together in zip([model([x])[0] for x in inputs], batch, strict=True):
        assert one["route"] == together["route"]
        assert one["difficulty"] == pytest.approx(together["difficulty"], abs=1e-6)
        assert len(one["instances"]) == len(together["instances"])
        for field in FIELDS[1:]:
            torch.testing.assert_close(
                one["instances"].get(field), together["instances"].get(field), atol=1e-5, rtol=1e-4
            )
        torch.testing.assert_close(
            one["instances"].pred_boxes.tensor,
            together["instances"].pred_boxes.tensor,
            atol=1e-3,
            rtol=1e-4,
        )


@torch.no_grad()
def test_exits_are_both_ends(model: nn.Module) -> None:
    inputs = toy_inputs(2)
    exits = model.exits(inputs)
    for threshold, name in ((1.0, "detector1"), (0.0, "detector2")):
        model.threshold = threshold
        for routed, both in zip(model(inputs), exits, strict=True):
            assert equal(routed["instances"], both[name])
            assert routed["difficulty"] == both["difficulty"]


@torch.no_grad()
def test_the_hard_route_sees_more_than_the_easy_one(model: nn.Module) -> None:
    exits = model.exits(toy_inputs(1))[0]
    assert not equal(exits["detector1"], exits["detector2"])


@torch.no_grad()
def test_an_easy_batch_never_touches_backbone_2(model: nn.Module) -> None:
    model.threshold = 1.0
    hooks = [
        m.register_forward_hook(lambda *_: pytest.fail("backbone 2 ran"))
        for m in (model.backbone.bottom_up2.res3, model.backbone.connections)
    ]
    model(toy_inputs(2))
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan")])
def test_a_threshold_outside_its_range_is_refused(model: nn.Module, threshold: float) -> None:
    with pytest.raises(ValueError, match="must lie in \\[0, 1\\]"):
        model.threshold = threshold
    with pytest.raises(ValueError, match="MODEL.DYNAMIC.THRESHOLD"):
        toy_model("MODEL.DYNAMIC.THRESHOLD", threshold)


def test_training_returns_both_detectors_losses() -> None:
    model = toy_model("MODEL.DYNAMIC.LOSS_WEIGHTS", [0.5, 1.0]).train()
    with EventStorage():
        torch.manual_seed(1)
        losses = model(toy_inputs(2))
    names = ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg")
    assert set(losses) == {f"detector{i}/{name}" for i in (1, 2) for name in names}
    sum(losses.values()).backward()
    assert model.backbone.bottom_up2.res5[0].conv1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.router.parameters())


def test_joint_training_of_a_router_that_is_not_frozen_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = toy_model().train()
    frozen = toy_model().train()
    frozen.router.requires_grad_(False)
    with EventStorage():
        frozen(toy_inputs(1))
        assert not caplog.records
        for _ in range(2):
            model(toy_inputs(1))
    assert [record.getMessage() for record in caplog.records] == [
        "The router learns nothing from the losses of joint training: "
        "dynamicdet_d2.engine.trainer.DynamicTrainer trains it behind the detectors, as "
        "SOLVER.PHASES says; model.router.requires_grad_(False) says that it is not to learn, "
        "which DistributedDataParallel needs. Nor do Detectron2's trainers read SOLVER.OPTIMIZER "
        "(they take SGD), SOLVER.EMA, SOLVER.BEST and INPUT.MOSAIC."
    ]


def test_loss_weights_scale_the_losses() -> None:
    totals = []
    for weights in ([1.0, 1.0], [0.5, 0.0]):
        model = toy_model("MODEL.DYNAMIC.LOSS_WEIGHTS", weights).train()
        with EventStorage():
            torch.manual_seed(1)
            losses = model(toy_inputs(2))
        totals.append({k: v.item() for k, v in losses.items()})
    for name, value in totals[0].items():
        factor = 0.5 if name.startswith("detector1") else 0.0
        assert totals[1][name] == pytest.approx(factor * value)


def test_negative_loss_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="LOSS_WEIGHTS"):
        toy_model("MODEL.DYNAMIC.LOSS_WEIGHTS", [1.0, -1.0])


def test_losses_per_image_do_not_depend_on_the_batch_or_on_chance(model: nn.Module) -> None:
    inputs = toy_inputs(3)
    together = model.detector_losses_per_image(inputs)
    assert together.shape == (3, 2)
    torch.manual_seed(99)
    alone = torch.cat([model.detector_losses_per_image([x]) for x in inputs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert not torch.equal(together[:, 0], together[:, 1])


def test_a_loss_per_image_is_the_training_loss_of_that_image() -> None:
    """With every anchor and proposal sampled there is no chance left, and the losses agree."""
    sizes = ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 4096, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4096]
    limits = ["MODEL.RPN.POSITIVE_FRACTION", 1.0, "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0]
    frozen = ["MODEL.RESNETS.NORM", "FrozenBN"]
    model = toy_model(*sizes, *limits, *frozen, "SOLVER.ROUTER.LOSS_PROPOSALS", 4096)
    image = toy_inputs(1)
    measured = model.detector_losses_per_image(image)[0]
    model.train()
    for link in model.backbone.connections.modules():
        link.eval()
    with EventStorage(), torch.no_grad():
        losses = model(image)
    for i in (1, 2):
        trained = sum(v for k, v in losses.items() if k.startswith(f"detector{i}/"))
        assert measured[i - 1].item() == pytest.approx(trained.item(), rel=1e-5)


def test_measuring_losses_changes_nothing(model: nn.Module) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [m.training for m in model.modules()]
    sizes = (model.proposal_generator.batch_size_per_image, model.roi_heads.batch_size_per_image)
    state = torch.get_rng_state()
    model.detector_losses_per_image(toy_inputs(2))
    after = model.state_dict()
    assert all(torch.equal(v, after[k]) or math.isnan(v) for k, v in before.items())
    assert flags == [m.training for m in model.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert sizes == (
        model.proposal_generator.batch_size_per_image,
        model.roi_heads.batch_size_per_image,
    )


def test_an_image_may_be_called_what_is_no_utf_8(model: nn.Module) -> None:
    """As Python reads a file's name that is in Latin-1."""
    (image,) = toy_inputs(1)
    losses = model.detector_losses_per_image([{**image, "image_id": "caf\udce9.png"}])
    assert losses.isfinite().all()


def test_an_image_without_objects_has_losses(model: nn.Module) -> None:
    losses = model.detector_losses_per_image(toy_inputs(1, objects=0))
    assert torch.isfinite(losses).all()
    both = model.detector_losses_per_image(toy_inputs(1) + toy_inputs(1, objects=0))
    assert torch.isfinite(both).all()


def test_losses_without_ground_truth_name_the_image(model: nn.Module) -> None:
    inputs = toy_inputs(1)
    del inputs[0]["instances"]
    with pytest.raises(ValueError, match="some.jpg .* came without 'instances'"):
        model.detector_losses_per_image([{**inputs[0], "file_name": "some.jpg"}])


@torch.no_grad()
def test_given_boxes_and_raw_outputs_follow_detectron2(model: nn.Module) -> None:
    inputs = toy_inputs(1)
    given = Instances((64, 96))
    given.pred_boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 40.0]]))
    given.pred_classes = torch.tensor([0])
    output = model.inference(inputs, [given])[0]
    assert torch.equal(output["instances"].pred_boxes.tensor, given.pred_boxes.tensor)
    raw = model.inference(inputs, do_postprocess=False)[0]
    assert isinstance(raw, Instances)
    must = "^detected_instances must be a list of Instances, one an image; found "
    for wrong, found in (("x", "'x'"), ([None], "[[]None[]]"), ([given] * 2, "2 for 1 images")):
        with pytest.raises(ValueError, match=f"{must}{found}[.]$"):
            model.inference(inputs, wrong)


@pytest.mark.parametrize("optimize", [False, True])
def test_default_predictor_carries_difficulty_and_route(tmp_path: Path, optimize: bool) -> None:
    cfg = toy_cfg("INPUT.MIN_SIZE_TEST", 64, "MODEL.INFERENCE.OPTIMIZE", optimize)
    torch.manual_seed(0)
    trained = toy_model()
    path = tmp_path / "model.pth"
    torch.save({"model": trained.state_dict()}, path)
    cfg.MODEL.WEIGHTS = str(path)
    image = (torch.rand(64, 96, 3) * 255).byte().numpy()
    predictor = DefaultPredictor(cfg)
    output = predictor(image)
    assert (predictor.model.optimized_copy.of(predictor.model) is predictor.model) is not optimize
    trained_on = [{"image": torch.from_numpy(image.astype("float32")).permute(2, 0, 1)}]
    assert output["difficulty"] == pytest.approx(trained.difficulties(trained_on)[0], rel=1e-4)
    assert 0 < output["difficulty"] < 1
    assert output["route"] == ("hard" if output["difficulty"] > 0.5 else "easy")
    assert output["instances"].image_size == (64, 96)


@pytest.mark.parametrize("name", ["CascadeROIHeads", "StandardROIHeads"])
def test_other_heads_follow(name: str) -> None:
    overrides = ["MODEL.ROI_HEADS.NAME", name, "MODEL.MASK_ON", True]
    if name == "CascadeROIHeads":
        overrides += ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True]
    overrides += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8]
    model = toy_model(*overrides)
    with torch.no_grad():
        output = model(toy_inputs(1))[0]
    assert output["instances"].pred_masks.shape[1:] == (64, 96)


@pytest.mark.parametrize(
    ("key", "value"),
    [("LOAD_PROPOSALS", True), ("PROPOSAL_GENERATOR.NAME", "PrecomputedProposals")],
)
def test_proposals_from_a_file_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"MODEL.{key} is .*{value}.* proposals"):
        toy_model(f"MODEL.{key}", value)


def pictures(writer: EventWriter, storage: EventStorage) -> list[str]:
    """Names under which TensorBoard gets to see pictures."""
    names = []
    writer._writer.add_image = lambda name, image, step: names.append((name, image.shape[0], step))
    with storage:
        writer.write()
    return names


@pytest.mark.parametrize(("iteration", "drawn"), [(4, True), (5, False)])
def test_vis_period_draws_both_detectors_proposals(
    tmp_path: Path, iteration: int, drawn: bool
) -> None:
    model = toy_model("VIS_PERIOD", 2).train()
    inputs = toy_inputs(2)
    for image in inputs:
        image["image"] = image["image"].byte()
    with EventStorage(iteration) as storage:
        model(inputs)
        model.detector_losses_per_image(inputs)  # is no training step, and draws nothing
    found = pictures(TensorboardXWriter(str(tmp_path)), storage)
    name = "Left: GT bounding boxes;  Right: Predicted proposals"
    expected = [(f"detector{i}/{name}", 3, iteration) for i in (1, 2)]
    assert found == (expected if drawn else [])


def test_measuring_in_training_mode_changes_nothing_either() -> None:
    model = toy_model().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    inputs = toy_inputs(2)
    measured = model.detector_losses_per_image(inputs)
    assert all(torch.equal(v, before[k]) or math.isnan(v) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert torch.equal(measured, model.eval().detector_losses_per_image(inputs))


@pytest.mark.parametrize("given", [None, {"loss": 0}, ([], None)])
def test_own_heads_that_give_something_else(given: object) -> None:
    """As where a user's own ROI heads forget what Detectron2's give."""
    model = toy_model()
    model.roi_heads = Given(given)
    says = r"^Given gives an object of type \w+; it must give two: a list of Instances, one an"
    with pytest.raises(ValueError, match=says):
        model(toy_inputs(1))
    with pytest.raises(ValueError, match=says):
        model.detector_losses_per_image(toy_inputs(1))


class Given(nn.Module):
    def __init__(self, given: object) -> None:
        super().__init__()
        self.given = given

    def forward(self, *arguments: object) -> object:
        return self.given

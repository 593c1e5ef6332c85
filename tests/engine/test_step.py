# SPDX-License-Identifier: Apache-2.0
"""A step of training in one and in mixed precision, and what is not finite."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances, Keypoints, PolygonMasks, RotatedBoxes
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dynamicdet_d2.engine.batch_file import decoded, encoded
from dynamicdet_d2.engine.divergence import FailedStep, check_weights, diverged
from dynamicdet_d2.engine.replay import replay
from dynamicdet_d2.engine.step import TrainingStep, check_finite, losses_of
from dynamicdet_d2.engine.step_seed import seed_step
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from tests.support.toy import STATIC_RETINANET, toy_cfg, toy_inputs, toy_model


class Line(nn.Module):
    """A loss that is its weight times the batch, and a running quantity."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))
        self.norm = nn.BatchNorm1d(1)

    def forward(self, batch: float) -> dict[str, Tensor]:
        self.seen += 1
        return {"loss_a": self.weight * batch, "loss_b": self.weight * 0}


def step_of(*batches: float, kind: type = TrainingStep, **options: object) -> SimpleTrainer:
    model = Line()
    return kind(model, batches, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def run(step: SimpleTrainer, count: int = 1) -> EventStorage:
    with EventStorage() as storage:
        for step.iter in range(count):
            storage.iter = step.iter
            step.run_step()
    return storage


def test_it_is_detectron2s_step() -> None:
    ours, theirs = step_of(1.0, 2.0), step_of(1.0, 2.0, kind=SimpleTrainer)
    names = [run(step, 2).histories().keys() for step in (ours, theirs)]
    assert names[0] == names[1]
    assert torch.equal(ours.model.weight, theirs.model.weight)
    assert ours.state_dict() == theirs.state_dict()


def test_a_learning_rate_that_its_schedule_has_made_too_large() -> None:
    step = step_of(1.0)
    step.optimizer.param_groups[0]["lr"] = 1e42
    with pytest.raises(FloatingPointError, match=r"^a learning rate is 1e\+42, of SOLVER"):
        run(step)
    assert step.model.weight.isfinite().all()


def test_losses_do_not_depend_on_what_the_process_has_done() -> None:
    """torch would fuse Detectron2's focal loss after some calls, and round otherwise."""
    model = build_model(toy_cfg(*STATIC_RETINANET)).train()
    rounded = set()
    for _ in range(5):
        model.loss_normalizer = 100
        model.zero_grad()
        with EventStorage():
            sum(losses_of(model, toy_inputs(2)).values()).backward()
        gradients = [x.grad.numpy().tobytes() for x in model.parameters() if x.grad is not None]
        rounded.add(tuple(gradients))
    assert len(rounded) == 1


def test_losses_without_a_gradient() -> None:
    step = step_of(1.0)
    step.model.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="^The losses loss_a, loss_b have no gradient, by which"):
        run(step)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_not_trained_on(bad: float) -> None:
    step = step_of(bad)
    with pytest.raises(FloatingPointError, match=f"^loss_a is {bad}$"):
        run(step)
    assert step.model.weight == 1
    assert step.batch is bad
    # What the model was when the step began; statistics of norms do not matter.
    assert step.model.seen == 1
    assert list(step.buffers.values()) == [0]
    check_finite({})


class Root(Line):
    """The root of 0 is a loss of 0, whose gradient is infinite times 0."""

    def forward(self, batch: float) -> dict[str, Tensor]:
        return {"loss_a": (self.weight * 0).sqrt()}


def test_a_gradient_that_is_not_finite_is_named_and_not_trained_on() -> None:
    model = Root()
    step = TrainingStep(model, [1.0], torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FloatingPointError, match="^the gradient of weight is not finite$"):
        run(step)
    assert step.losses["loss_a"] == 0 and model.weight == 1


@pytest.fixture
def one_process() -> Iterator[None]:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_weights_that_no_loss_depends_on_in_several_processes() -> None:
    """The norm of a ``Line``, of two weights, is in no loss."""

    def wrapped(unused: bool = False, trained: bool = True) -> TrainingStep:
        line = Line()
        line.norm.requires_grad_(trained)
        model = DistributedDataParallel(line, find_unused_parameters=unused)
        return TrainingStep(model, [1.0], torch.optim.SGD(line.parameters(), lr=0.1))

    with pytest.raises(ValueError) as error:
        run(wrapped())
    assert str(error.value) == (
        "No loss depends on norm (2): in several processes a part that is not used must not be in "
        "the model, or needs requires_grad_(False)."
    )
    for fine in (wrapped(unused=True), wrapped(trained=False)):
        run(fine)
        assert torch.isclose(fine.model.module.weight, torch.tensor(0.9))


@pytest.mark.parametrize(
    ("said", "kind"),
    [("bad box: y1 larger than y2", FloatingPointError), ("another one", AssertionError)],
)
def test_boxes_that_are_not_finite_are_a_divergence(said: str, kind: type[Exception]) -> None:
    """NaN is no x1 <= x2, which losses by overlap assert."""

    class Overlap(Line):
        def forward(self, batch: float) -> dict[str, Tensor]:
            raise AssertionError(said)

    says = "predicted boxes are not finite" if kind is FloatingPointError else said
    with pytest.raises(kind, match=f"^{says}$"):
        losses_of(Overlap(), 1.0)


def test_a_batch_norm_of_one_value_names_the_keys() -> None:
    norm = nn.BatchNorm2d(2)
    with pytest.raises(ValueError, match=r"one value of each channel: larger images \(INPUT\."):
        losses_of(lambda batch: norm(batch).sum(), torch.ones(1, 2, 1, 1))  # type: ignore[arg-type]
    assert losses_of(lambda batch: norm(batch).sum(), torch.ones(2, 2, 1, 1))  # type: ignore[arg-type]


def test_an_overflow_of_mixed_precision_is_no_divergence(caplog: pytest.LogCaptureFixture) -> None:
    """A gradient of 1e34 at a scale of 65536 is no number of float32; at half of that it is."""
    step = step_of(1e34, 1e34, mixed_precision=True)
    with caplog.at_level(logging.INFO):
        storage = run(step)
        assert step.model.weight == 1
        assert "That is no divergence." in caplog.text
    storage = run(step)
    assert step.model.weight != 1
    assert storage.latest()["amp/scale"][0] == 32768


def test_gradients_that_overflow_at_every_scale_diverge() -> None:
    class Steep(Line):
        def forward(self, batch: float) -> dict[str, Tensor]:
            return {"loss": (self.weight - 1).sqrt()}  # of an infinite slope

    model = Steep()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = TrainingStep(model, itertools.repeat(0.0), optimizer, mixed_precision=True)
    with pytest.raises(FloatingPointError, match="overflow float16 at every scale down to 1"):
        run(step, 40)
    assert model.weight == 1


def test_a_resumed_run_goes_on_at_its_scale() -> None:
    step = step_of(1e34, mixed_precision=True)
    run(step)
    state = step.state_dict()
    resumed = step_of(mixed_precision=True)
    resumed.load_state_dict(state)
    assert resumed.scaler.get_scale() == step.scaler.get_scale() != 65536
    # Mixed precision can be begun and ended by a resumption.
    step_of().load_state_dict(state)
    step_of(mixed_precision=True).load_state_dict(step_of().state_dict())


def test_weights_that_are_not_finite_are_named() -> None:
    model = Line()
    check_weights(model)
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(FloatingPointError, match="the weights of weight are not finite"):
        check_weights(model)
    check_weights(model, left_out=("weight",))


# The file of a step


def test_a_batch_survives_its_file(tmp_path: Path) -> None:
    instances = Instances((8, 9))
    instances.gt_boxes = toy_inputs(1)[0]["instances"].gt_boxes
    instances.gt_classes = torch.tensor([1, 2])
    instances.gt_masks = PolygonMasks([[np.arange(6.0)], [np.arange(8.0), np.arange(6.0)]])
    instances.other = BitMasks(torch.ones(2, 3, 4, dtype=torch.bool))
    instances.points = Keypoints(torch.ones(2, 5, 3))
    instances.turned = RotatedBoxes(torch.ones(2, 5))
    batch = [{"image": torch.ones(3, 2, 2), "image_id": 4, "instances": instances, "n": None}]
    torch.save(encoded(batch), tmp_path / "batch.pth")
    (image,) = decoded(torch.load(tmp_path / "batch.pth", weights_only=True))
    found = image["instances"]
    assert (image["image_id"], image["n"], found.image_size) == (4, None, (8, 9))
    for name, field in instances.get_fields().items():
        assert type(found.get(name)) is type(field)
    assert torch.equal(found.gt_boxes.tensor, instances.gt_boxes.tensor)
    assert torch.equal(found.other.tensor, instances.other.tensor)
    assert [len(rings) for rings in found.gt_masks.polygons] == [1, 2]
    assert found.gt_masks.polygons[1][0].tolist() == list(range(8))
    with pytest.raises(ValueError, match="the batch is of type object"):
        encoded([object()])


def failed(cfg: CfgNode, model: nn.Module, phase: str, step: TrainingStep) -> FailedStep:
    return FailedStep(cfg, 3, 7, phase, {}, model, step, (4, "a"))


def step_of_a_detector(
    spoil: Callable[[nn.Module], None], *keys: object
) -> tuple[nn.Module, TrainingStep]:
    """A step of a toy detector that was spoilt."""
    model = toy_model(*keys, seed=1).train()
    model.router.requires_grad_(False)
    spoil(model)
    batch = toy_inputs(2)
    trained = [p for p in model.parameters() if p.requires_grad]
    step = TrainingStep(model, [batch], torch.optim.SGD(trained, lr=0.25))
    return model, step


def nearly_infinite(model: nn.Module) -> None:
    nn.init.constant_(model.backbone.bottom_up1.stem.conv1.weight, 1e38)


def test_a_failed_step_is_explained_and_can_be_repeated(tmp_path: Path) -> None:
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path), "SOLVER.BASE_LR", 0.25)
    model, step = step_of_a_detector(nearly_infinite)
    torch.manual_seed(0)
    with pytest.raises(FloatingPointError) as raised:
        run(step)
    said = str(diverged(failed(cfg, model, "detectors", step), str(raised.value)))
    assert said.startswith("Training diverged at iteration 7, in phase detectors: ")
    assert "learning rate 0.25; images: 4, a." in said
    path = tmp_path / "diverged_0000007.pth"
    assert f"'python -m dynamicdet_d2 replay {path}' repeats the step." in said
    found = replay(str(path))
    assert (found.iteration, found.phase, found.images) == (7, "detectors", (4, "a"))
    assert not found.is_finite
    assert found.weights == ()
    assert found.learning_rate == 0.25
    assert found.first.startswith("backbone.bottom_up1.stem.conv1")
    assert found.fault == str(raised.value).partition("\n")[0]


def test_a_gradient_that_is_not_finite_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And named as in the run, which learns nothing of what FREEZE_AT has frozen."""

    def with_root(self: DynamicDetector, batch: list[dict]) -> dict[str, Tensor]:
        weights = (
            self.backbone.bottom_up1.stem.conv1.weight,
            self.proposal_generator.rpn_head.conv.bias,
        )
        return {"loss_root": sum((weight * 0).sum() for weight in weights).sqrt()}

    monkeypatch.setattr(DynamicDetector, "forward", with_root)
    frozen = ("MODEL.BACKBONE.FREEZE_AT", 1)
    model, step = step_of_a_detector(lambda model: None, *frozen)
    with pytest.raises(FloatingPointError, match="gradient of proposal_generator") as raised:
        run(step)
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path), *frozen)
    diverged(failed(cfg, model, "detectors", step), "made up")
    found = replay(str(tmp_path / "diverged_0000007.pth"))
    assert not found.is_finite and found.fault == str(raised.value)
    assert found.again == found.before == {"loss_root": 0}


def test_a_step_that_goes_well_when_repeated_is_said_to(tmp_path: Path) -> None:
    """Of a sound batch the losses are those of the run, by the step's own random numbers."""
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path))
    model, step = step_of_a_detector(lambda model: None)
    seed_step(3, 7, 0)
    step.batch = next(iter(step.data_loader))
    with EventStorage():
        step.losses = model(step.batch)
    diverged(failed(cfg, model, "detectors", step), "made up")
    found = replay(str(tmp_path / "diverged_0000007.pth"))
    assert found.is_finite
    assert found.again == found.before
    assert len(found.again) == 8


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="has no 'config'; replay needs a file diverged_"):
        replay(str(path))


def test_an_overflow_in_the_forward_pass_is_told_from_divergence(tmp_path: Path) -> None:
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path))
    step = step_of(2.0, mixed_precision=True)
    step.batch, step.losses = 2.0, {"loss_a": torch.tensor(float("inf"))}
    said = str(diverged(failed(cfg, step.model, "", step), "loss_a is inf"))
    assert said.startswith(
        "Mixed precision overflowed at iteration 7, training did not diverge: loss_a is inf, and "
        "in float32 the losses are loss_a 2, loss_b 0; SOLVER.AMP.ENABLED False goes on"
    )
    step.batch = float("nan")
    said = str(diverged(failed(cfg, step.model, "", step), "loss_a is nan"))
    assert said.startswith("Training diverged at iteration 7: loss_a is nan.")

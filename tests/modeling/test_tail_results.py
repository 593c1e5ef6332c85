# SPDX-License-Identifier: Apache-2.0
"""What a user's own detector gives in the place of losses and detections."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from dynamicdet_d2.modeling.batch import Batch
from dynamicdet_d2.modeling.routed_batch import features_and_objectness
from dynamicdet_d2.modeling.tail_pass import ProposalPass, TailPass
from dynamicdet_d2.modeling.tail_results import (
    detections_of_tail,
    loss_of_image,
    losses_of_tail,
    objectness_of_tail,
    parts_of_tail,
)
from dynamicdet_d2.parts import Part
from tests.support.toy import dense_model, toy_inputs, toy_model


class Points(nn.Module):
    """A kind of detector of three classes that gives what it is told to."""

    known_classes: int | None = 3
    heads = (nn.Linear(2, 2),)
    pass_type = TailPass

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def losses(self, *_: object) -> Any:
        return self.result

    detections = image_losses = objectness = tail_parts = losses


class OneImage:
    """A batch of which no tail here looks at anything."""

    def one(self, place: int) -> "OneImage":
        return self

    def with_own_places(self) -> "OneImage":
        return self


def found(size: tuple[int, int] = (4, 6), without: str = "", **given: Any) -> Instances:
    fields = {
        "pred_boxes": Boxes(torch.tensor([[0.0, 1, 2, 3]])),
        "scores": torch.tensor([0.5]),
        "pred_classes": torch.tensor([2]),
        **given,
    }
    return Instances(size, **{k: v for k, v in fields.items() if k != without})


LOSSES = [
    (None, "losses() of Points gives None; it must be a dict of losses by name."),
    ({}, "losses() of Points gives {}; it must be a dict of losses by name."),
    (
        {"loss_cls": 0.5},
        "losses() of Points gives 'loss_cls', which is 0.5; a loss must be a tensor of one number.",
    ),
    (
        {"loss_cls": torch.ones(2, 3)},
        "losses() of Points gives 'loss_cls', which has the shape (2, 3); a loss must be a tensor "
        "of one number.",
    ),
]


@pytest.mark.parametrize(("given", "says"), LOSSES)
def test_losses_that_are_none(given: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:
        losses_of_tail(Points(given), 1, OneImage(), {})  # type: ignore[arg-type]
    assert str(error.value) == says


@pytest.mark.parametrize(("given", "says"), LOSSES)
def test_losses_of_an_image_that_are_none(given: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:
        loss_of_image(Points(given), 1, OneImage(), {}, 0, {})  # type: ignore[arg-type]
    assert str(error.value) == f"image_{says}"


def test_the_loss_of_an_image() -> None:
    given = Points({"loss_cls": torch.tensor(0.5), "loss_box": torch.tensor([0.25])})
    assert loss_of_image(given, 1, OneImage(), {}, 0, {}) == 0.75  # type: ignore[arg-type]


class Counting(Points):
    """Counts its images in two buffers, one of which is another tensor each time."""

    def __init__(self) -> None:
        super().__init__(None)
        self.register_buffer("seen", torch.tensor(0.0))
        self.register_buffer("added", torch.tensor(0.0))

    def image_losses(self, *_: object) -> dict[str, torch.Tensor]:
        self.seen += 1
        self.added = self.added + 1
        return {"loss_cls": self.seen + 10 * self.added}


def test_what_losses_count_is_not_counted_on_by_the_losses_of_an_image() -> None:
    model = Counting()
    own = dict(model.named_buffers())
    # 1 + 10 * 1 for each image, whatever was looked at before.
    assert [loss_of_image(model, 1, OneImage(), {}, 0, {}) for _ in range(2)] == [11, 11]  # type: ignore[arg-type]
    assert all(buffer is own[name] for name, buffer in model.named_buffers())
    assert [float(x) for x in own.values()] == [0, 0]


@pytest.mark.parametrize("given", [None, {}, torch.zeros(1, 3, 4, 4), {8: torch.zeros(3)}])
def test_objectness_that_is_none(given: Any) -> None:
    says = r"^objectness\(\) of Points gives .*; it must be a dict of logits \(N, C, H, W\) by"
    with pytest.raises(ValueError, match=says):
        objectness_of_tail(Points(given), {})  # type: ignore[arg-type]


def test_heads_that_are_no_modules() -> None:
    points = Points({"loss_cls": torch.tensor(0.5)})
    points.heads = (None,)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^heads of Points has None, which is no module\.$"):
        losses_of_tail(points, 1, OneImage(), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "shows"), [([nn.Identity()], r"Identity\(\)"), (None, "None")])
def test_parts_that_are_none(given: Any, shows: str) -> None:
    points = Points({"loss_cls": torch.tensor(0.5)})
    points.tail_parts = lambda: given  # type: ignore[method-assign]
    says = rf"^tail_parts\(\) of Points gives {shows}; it must be a tuple of dynamicdet_d2\.parts"
    with pytest.raises(ValueError, match=says):
        parts_of_tail(points)


def part(**fields: Any) -> Part:
    return Part("neck", nn.Linear(2, 2), **fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"step": "pyramids"}, "step is 'pyramids'; it must be one of pyramid, detections."),
        ({"step": "proposals"}, "step is 'proposals'; it must be one of pyramid, detections."),
        ({"routes": ("hard", "hard")}, "routes are ('hard', 'hard'); each can be named once."),
    ],
)
def test_parts_that_no_step_runs(fields: Any, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        parts_of_tail(Points([part(**fields)]))  # type: ignore[arg-type]
    assert str(refused.value) == f"tail_parts() of Points gives 'neck', whose {says}"


def test_a_part_of_proposals() -> None:
    points: Any = Points([part(step="proposals", routes=("hard", "easy"))])
    points.pass_type = ProposalPass
    assert parts_of_tail(points) == tuple(points.result)


def logits(value: float, channels: int = 3) -> dict[int, torch.Tensor]:
    maps = torch.zeros(1, channels, 2, 2)
    maps[0, 0, 0, 1] = value
    return {8: maps}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_objectness_that_is_not_finite(value: float) -> None:
    given = {8: logits(0)[8].double().fill_(value)}
    says = r"^objectness\(\) of Points gives logits at stride 8 that are NaN or too large\.$"
    with pytest.raises(FloatingPointError, match=says):
        objectness_of_tail(Points(given), {}, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, float("-inf")])
def test_objectness(value: float) -> None:
    given = logits(value)
    assert objectness_of_tail(Points(given), {}, 3) == given  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "says"),
    [(logits(0), "1 images at the stride 8"), ({"p3": torch.zeros(2, 3, 2, 2)}, "stride 'p3'")],
)
def test_objectness_of_other_images_or_strides(given: Any, says: str) -> None:
    pyramid = {"p3": torch.zeros(2, 4, 2, 2)}
    with pytest.raises(ValueError, match=rf"^objectness\(\) of Points gives .*{says}; it must be"):
        objectness_of_tail(Points(given), pyramid, 3)  # type: ignore[arg-type]


def test_objectness_of_other_channels_than_the_routers_map() -> None:
    model: Any = toy_model("MODEL.ROUTER.INPUTS", ["map"])
    model.objectness = lambda *_: logits(0, channels=5)
    says = (
        r"^objectness\(\) of DynamicRCNN gives logits of the shape \(1, 5, 2, 2\) at stride 8; by "
        r"objectness_channels\(\) they are \(N, 3, H, W\)\.$"
    )
    with pytest.raises(ValueError, match=says):
        features_and_objectness(model, toy_inputs(1))


def test_losses() -> None:
    given = {"loss_cls": torch.tensor(0.5), "loss_box": torch.tensor([0.25])}
    assert losses_of_tail(Points(given), 1, OneImage(), {}) == given  # type: ignore[arg-type]


DETECTIONS = [
    (None, "detections() of Points gives None; it must be a list of 1 Instances."),
    ([], "detections() of Points gives 0; it must be a list of 1 Instances."),
    ([3], "detections() of Points gives 3; each image has Instances."),
    ([found(without="scores")], "detections() of Points gives Instances without 'scores'."),
    (
        [found((8, 8))],  # of the padded batch
        "detections() of Points gives Instances of an image of (8, 8) (height, width), where it is "
        "(4, 6) without padding: images.image_sizes has them.",
    ),
    (
        [found(pred_boxes=torch.zeros(1, 4))],
        "detections() of Points gives pred_boxes of type Tensor; they must be "
        "detectron2.structures.Boxes.",
    ),
    (
        [found(pred_boxes=Boxes(torch.tensor([[0.0, 1, float("nan"), 3]])))],
        "detections() of Points gives pred_boxes that are not finite.",
    ),
    (
        [found(scores=torch.tensor([[0.5]]))],
        "detections() of Points gives scores of shape (1, 1) and torch.float32; they must be a "
        "tensor (n,) of floats.",
    ),
    (
        [found(scores=[0.5])],
        "detections() of Points gives scores of type list; they must be a tensor (n,) of floats.",
    ),
    (
        [found(scores=torch.tensor([float("nan")]))],
        "detections() of Points gives scores that are not finite.",
    ),
    (
        [found(names=["a"])],
        "detections() of Points gives 'names' as a list, which cannot be indexed as detections are "
        "chosen; it must be a tensor, or an object that can be.",
    ),
    (
        [found(pred_classes=torch.tensor([1.5]))],
        "detections() of Points gives pred_classes of torch.float32; they must be a tensor of "
        "int64.",
    ),
    (
        [found(pred_classes=[1])],
        "detections() of Points gives pred_classes of type list; they must be a tensor of int64.",
    ),
    (
        [found(pred_classes=torch.tensor([3]))],  # counted from 1
        "detections() of Points gives class 3; the first class is 0, and the last one is 2.",
    ),
    (
        [found(pred_classes=torch.tensor([-1]))],
        "detections() of Points gives class -1; the first class is 0, and the last one is 2.",
    ),
]


@pytest.mark.parametrize(("given", "says"), DETECTIONS)
def test_detections_that_are_none(given: Any, says: str) -> None:
    with pytest.raises((ValueError, FloatingPointError)) as error:
        detections_of_tail(Points(given), 1, _images(), {}, [0])  # type: ignore[arg-type]
    assert str(error.value) == says


def test_boxes_that_cannot_be_clipped() -> None:
    class Clips(Points):
        def detections(self, *_: object) -> Any:
            Boxes(torch.full((1, 4), float("nan"))).clip((4, 6))

    says = r"^detections\(\) of Clips: predicted boxes are not finite\.$"
    with pytest.raises(FloatingPointError, match=says):
        detections_of_tail(Clips(None), 1, _images(), {}, [0])  # type: ignore[arg-type]


def test_each_detector_learns_from_boxes_of_its_own() -> None:
    """Boxes are scaled in place, as by a detector that learns in units of its stride."""
    given = Instances((4, 6), gt_boxes=Boxes(torch.tensor([[0.0, 1, 2, 3]])))
    batch, seen = Batch([], _images(), [given]), []

    class InStrides(Points):
        def losses(self, detector: int, batch: Batch, pyramid: object) -> Any:
            (objects,) = batch.gt_instances
            objects.gt_boxes.scale(0.5, 0.5)
            seen.append(objects.gt_boxes.tensor.tolist())
            return {"loss": objects.gt_boxes.tensor.sum()}

    for detector in (1, 2):
        losses_of_tail(InStrides(None), detector, batch, {})  # type: ignore[arg-type]
    assert seen == [[[0.0, 0.5, 1.0, 1.5]]] * 2
    assert given.gt_boxes.tensor.tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_a_pyramid_that_is_none() -> None:
    says = r"^pyramid\(\) of Points gives an object of type list; it must be a dict of feature maps"
    with pytest.raises(ValueError, match=says):
        losses_of_tail(Points({"loss": torch.tensor(0.5)}), 1, OneImage(), [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says):
        detections_of_tail(Points([found()]), 1, _images(), [], [0])  # type: ignore[arg-type]


LACKING = [
    (toy_model, "p6", "DynamicRCNN gives no 'p6', which RPN reads; it gives p2, p3, p4, p5, p7."),
    (
        lambda: dense_model("FCOS"),
        "p3",
        "DynamicDenseDetector gives no 'p3', which FCOS reads; it gives p4, p5, p6, p7.",
    ),
]


@pytest.mark.parametrize(("build", "level", "says"), LACKING)
def test_a_pyramid_without_a_level(build: Callable[[], Any], level: str, says: str) -> None:
    model = build()
    levels = [f"p{number}" for number in range(2 if build is toy_model else 3, 8)]
    pyramid = {name: torch.zeros(1, 16, 4, 4) for name in levels if name != level}
    with pytest.raises(ValueError) as error:
        losses_of_tail(model, 1, OneImage(), pyramid)  # type: ignore[arg-type]
    assert str(error.value) == f"pyramid() of {says}"
    with pytest.raises(ValueError, match=f"gives no '{level}'"):
        detections_of_tail(model, 1, _images(), pyramid, [0])


@pytest.mark.parametrize("given", [found(), found()[:0]])
def test_detections(given: Instances) -> None:
    assert detections_of_tail(Points([given]), 1, _images(), {}, [0]) == [given]  # type: ignore[arg-type]


def test_classes_that_nobody_counts() -> None:
    tails: Any = Points([found(pred_classes=torch.tensor([7]))])
    tails.known_classes = None
    assert len(detections_of_tail(tails, 1, _images(), {}, [0])) == 1
    tails.result = [found(pred_classes=torch.tensor([-2]))]
    says = r"^detections\(\) of Points gives class -2; the first class is 0\.$"
    with pytest.raises(ValueError, match=says):
        detections_of_tail(tails, 1, _images(), {}, [0])


def _images() -> ImageList:
    return ImageList(torch.zeros(1, 3, 8, 8), [(4, 6)])

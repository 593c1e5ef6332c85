# SPDX-License-Identifier: Apache-2.0
"""What is refused to be measured: weights that leave parts random, or are not finite."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import (
    DynamicCheckpointer,
    check_complete,
    check_finite,
    load_complete,
    load_weights,
)
from tests.support.toy import toy_cfg, toy_model
from tests.support.toy_yolo import DYNAMIC, yolo_cfg, yolo_model

Weights = dict[str, Tensor]


def without(*prefixes: str) -> Callable[[Weights], Weights]:
    return lambda weights: {n: w for n, w in weights.items() if not n.startswith(prefixes)}


def single_detector(weights: Weights) -> Weights:
    """Backbone 1, neck and heads by the names of a plain Detectron2 detector."""
    renamed = {}
    for name, tensor in without("router.", "backbone.connections.", "loss_offset")(weights).items():
        if not name.startswith("backbone.bottom_up2."):
            name = name.replace("backbone.bottom_up1.", "backbone.bottom_up.")
            renamed[name.replace("neck.", "backbone.")] = tensor
    return renamed


def loaded(weights: Weights, folder: Path) -> DynamicCheckpointer:
    torch.save({"model": weights}, folder / "w.pth")
    checkpointer = DynamicCheckpointer(toy_model())
    checkpointer.load(str(folder / "w.pth"))
    return checkpointer


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., None]:
    """Of the toy detector's own weights, changed."""

    def check_changed(change: Callable[[Weights], Weights], one_exit: bool = False) -> None:
        weights = {name: tensor.clone() for name, tensor in toy_model().state_dict().items()}
        check_complete(loaded(change(weights), tmp_path), one_exit=one_exit)

    return check_changed


@pytest.mark.parametrize("phase", ["detectors", "detector2"])
def test_a_router_that_has_learnt_nothing_yet_is_said(
    phase: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.pth"
    measured = {"loss_offset": torch.tensor(0.5).double()}
    checkpointer = loaded({**toy_model().state_dict(), **measured}, tmp_path)
    for kept in ({}, {"trainer": {"phase": "router"}}, {"trainer": {"phase": ["detectors"]}}):
        torch.save({"model": {}, **kept}, path)
        check_complete(checkpointer)
    torch.save({"model": {}, "trainer": {"phase": phase}}, path)
    check_complete(checkpointer, one_exit=True)
    check_complete(checkpointer, without_router=True)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    check_complete(checkpointer)
    assert caplog.records[-1].getMessage() == (
        f"{path} is of phase '{phase}', before the router was trained for these detectors: which "
        "images are hard is left to chance."
    )


def test_a_router_beside_which_detectron2s_own_trainer_has_trained_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.pth"
    checkpointer = loaded(dict(toy_model().state_dict()), tmp_path)
    own = {"iteration": 1, "hooks": {}}
    torch.save({"model": {}, "trainer": {**own, "phase": "router"}}, path)
    check_complete(checkpointer)
    torch.save({"model": {}, "trainer": own}, path)
    check_complete(checkpointer, one_exit=True)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    check_complete(checkpointer)
    assert caplog.records[-1].getMessage() == (
        f"{path} is of Detectron2's own trainer, which trains no router: which images are hard is "
        "left to chance."
    )


def test_a_router_without_a_loss_offset_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As of weights alone, from which the name of their phase was taken."""
    weights = dict(toy_model().state_dict())
    offset = weights.pop("loss_offset")
    assert offset.isnan()
    for known in ({}, {"loss_offset": torch.tensor(0.5).double()}):
        check_complete(loaded({**weights, **known}, tmp_path))
    assert "chance" not in caplog.text
    check_complete(loaded({**weights, "loss_offset": offset}, tmp_path))
    assert " has no loss offset, with which the training of a router begins: " in caplog.text


def test_complete_weights_are_accepted_with_or_without_a_loss_offset(
    check: Callable[..., None],
) -> None:
    check(without())
    check(without("loss_offset"))


@pytest.mark.parametrize("one_exit", [False, True])
@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (
            "router.",
            r"w.pth leaves parts of the model at random values, .* measure: router \(4\).$",
        ),
        ("backbone.bottom_up2.", r"measure: backbone.bottom_up2 \(\d+\).$"),
        ("roi_heads.box_predictor.", r"measure: roi_heads.box_predictor \(4\).$"),
    ],
)
def test_missing_parts_are_named(
    check: Callable[..., None], missing: str, says: str, one_exit: bool
) -> None:
    with pytest.raises(ValueError, match=says):
        check(without(missing), one_exit)


def test_other_classes_are_named_with_both_shapes(tmp_path: Path) -> None:
    other = toy_model("MODEL.ROI_HEADS.NUM_CLASSES", 6).state_dict()
    with pytest.raises(ValueError, match=r"roi_heads.box_predictor \(4\) .*\(7, 32\) in the file"):
        check_complete(loaded(other, tmp_path))


def test_norms_of_another_kind_leave_statistics_out(tmp_path: Path) -> None:
    """A group norm has none, and a FrozenBN, which has, would take them for folded away."""
    width = ("MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32)
    trained = toy_model(*width, "MODEL.RESNETS.NORM", "GN")
    torch.save({"model": trained.state_dict()}, tmp_path / "w.pth")
    checkpointer = DynamicCheckpointer(toy_model(*width, "MODEL.RESNETS.NORM", "FrozenBN"))
    checkpointer.load(str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match=r"conv1\.norm\.{running_mean, running_var} \(2\)"):
        check_complete(checkpointer)


def test_weights_of_backbone_2_alone_are_checked_too(tmp_path: Path) -> None:
    complete = toy_model().state_dict()
    checkpointer = loaded(complete, tmp_path)
    second = {n: w for n, w in complete.items() if n.startswith("backbone.bottom_up2.res3")}
    checkpointer.report2 = load_weights(
        checkpointer.model,
        second,
        "two.pth",
        place=lambda name: name.startswith("backbone.bottom_up2."),
    )
    with pytest.raises(ValueError, match=r"^two.pth leaves .*: backbone.bottom_up2.{res4, res5}"):
        check_complete(checkpointer)


def test_a_model_that_nothing_was_loaded_into_is_its_users_own_affair() -> None:
    checkpointer = DynamicCheckpointer(toy_model())
    checkpointer.load("")
    check_complete(checkpointer)


def test_a_single_detector_is_complete_where_all_images_take_one_exit(
    check: Callable[..., None], tmp_path: Path
) -> None:
    """The connections of a new detector add nothing; others are not those of the file."""
    torch.save({"model": single_detector(toy_model().state_dict())}, tmp_path / "single.pth")
    cfg = toy_cfg()
    load_complete(build_model(cfg), cfg, str(tmp_path / "single.pth"), one_exit=True)
    with pytest.raises(ValueError, match=r"measure: backbone.connections \(\d+\).$"):
        check(single_detector, one_exit=True)
    with pytest.raises(ValueError, match=r"measure: backbone.connections \(\d+\), router \(4\).$"):
        check(single_detector)


@pytest.mark.parametrize("start", ["default", "zero"])
def test_connections_of_a_yolo_that_begin_at_random_values_are_named(
    start: str, tmp_path: Path
) -> None:
    torch.save({"model": yolo_model().state_dict()}, tmp_path / "single.pth")
    cfg = yolo_cfg(*DYNAMIC, "MODEL.YOLO.CONNECTION_INIT", start)
    says = pytest.raises(ValueError, match=r"measure: backbone.connections \(\d+\).$")
    with says if start == "default" else nullcontext():
        load_complete(build_model(cfg), cfg, str(tmp_path / "single.pth"), one_exit=True)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite_are_named(check: Callable[..., None], value: float) -> None:
    def broken(weights: Weights) -> Weights:
        weights["neck.fpn_output3.bias"][2] = value
        return weights

    with pytest.raises(ValueError, match="w.pth has values in neck.fpn_output3.bias that are not"):
        check(broken)


def test_a_variance_below_0_is_named(check: Callable[..., None]) -> None:
    name = "backbone.bottom_up1.res3.0.conv1.norm.running_var"

    def broken(weights: Weights) -> Weights:
        weights[name][1] = -1e-3
        return weights

    with pytest.raises(ValueError, match=rf"w\.pth has values in {name} that are negative, and no"):
        check(broken)


def test_values_of_backbone_2_s_own_file_are_said_to_be_in_that(tmp_path: Path) -> None:
    weights = {n: w.clone() for n, w in toy_model().state_dict().items()}
    name = "backbone.bottom_up1.res3.0.conv1.weight"
    weights[name][0] = float("nan")
    backbone = {n: w for n, w in weights.items() if n.startswith("backbone.bottom_up1.")}
    torch.save({"model": single_detector(backbone)}, tmp_path / "two.pth")
    checkpointer = DynamicCheckpointer(toy_model(), weights2=str(tmp_path / "two.pth"))
    checkpointer.load("")
    with pytest.raises(ValueError, match="two.pth has values in backbone.bottom_up2.res3.0.conv1"):
        check_finite(checkpointer)


def test_weights_of_backbone_2_beside_a_whole_dynamic_detector(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"model": toy_model().state_dict()}, tmp_path / "whole.pth")
    path = str(tmp_path / "whole.pth")
    with caplog.at_level(logging.INFO):
        DynamicCheckpointer(toy_model(), weights2="gone.pth").load(path)
    says = f"MODEL.COMPOSITE.WEIGHTS2 gone.pth is not read: {path} is a whole dynamic detector"
    assert len([x for x in caplog.messages if x.startswith(says)]) == 1


def test_nan_of_an_offset_that_was_never_measured_is_no_fault(check: Callable[..., None]) -> None:
    assert torch.isnan(toy_model().loss_offset)
    check(without())


def test_whole_weights_behind_those_of_a_single_detector(tmp_path: Path) -> None:
    """What was noted of the first file does not hold for the second."""
    model = toy_model()
    torch.save({"model": model.state_dict()}, tmp_path / "whole.pth")
    model.without_router = "single.pth"
    looked: list[None] = []
    model.operating_point.look_again = lambda: looked.append(None)
    DynamicCheckpointer(model).load(tmp_path / "whole.pth")
    model.threshold = 0.3
    assert len(looked) == 1  # at the calibration, which may be of other weights


def test_a_single_detector_is_loaded_once_more(tmp_path: Path) -> None:
    """The router's own values are put back, and are no more learnt than they were."""
    single = single_detector(dict(toy_model().state_dict()))
    torch.save({"model": single}, tmp_path / "w.pth")
    checkpointer = DynamicCheckpointer(build_model(toy_cfg()))
    checkpointer.load(str(tmp_path / "w.pth"))
    check_complete(checkpointer, one_exit=True)
    checkpointer.load(str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match=r"w\.pth has no weights of the router, and the threshold"):
        checkpointer.model.threshold = 0.5


def test_a_part_that_a_dynamic_detector_has_got_since_is_not_taken_from_another(
    tmp_path: Path,
) -> None:
    """Of a program's own detector with a head for scores and one for boxes."""
    model = toy_model()
    model.head, model.head2 = nn.Linear(2, 2), nn.Linear(2, 2)
    earlier = without("head2.")(dict(model.state_dict()))
    torch.save({"model": earlier}, tmp_path / "w.pth")
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match=r"w\.pth leaves .*, so there is .*: head2 \(2\)\.$"):
        check_complete(checkpointer)

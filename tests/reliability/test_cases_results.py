# SPDX-License-Identifier: Apache-2.0
"""What a run leaves, changed by hand: steps to be repeated, reports to be drawn again, splits."""

import dataclasses
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.engine import DefaultTrainer

from dynamicdet_d2.checkpoint.files import read_checkpoint
from dynamicdet_d2.checkpoint.filling import load_weights
from dynamicdet_d2.commands.train import evaluate, say_unread_weights
from dynamicdet_d2.data.split import split_coco
from dynamicdet_d2.engine.checks import check_optimizer, check_schedule, check_state, state_fits
from dynamicdet_d2.engine.divergence import diverged
from dynamicdet_d2.engine.replay import replay
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.evaluation.report.comparisons import (
    parse_comparison,
    say_incomparable,
    say_same_names,
)
from dynamicdet_d2.evaluation.report.files import redraw
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import write_routes
from tests.engine.test_step import failed, step_of_a_detector
from tests.support.coco_files import image_entry
from tests.support.toy import toy_cfg, toy_model
from tests.support.tradeoffs import GOOD, ROUTES

# A step

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("step")
    model, trained = step_of_a_detector(lambda _: None)
    trained.batch = next(iter(trained.data_loader))
    diverged(failed(toy_cfg("OUTPUT_DIR", str(folder)), model, "detectors", trained), "made up")
    return folder / "diverged_0000007.pth"


def put(name: str, value: Any) -> Change:
    return lambda content: content.update({name: value})


def of_first(name: str, value: Any) -> Change:
    return lambda content: content["batch"][0].update({name: value})


def classes(value: Any) -> Change:
    return lambda content: content["batch"][0]["instances"]["content"].update(gt_classes=value)


STEPS: list[tuple[Change, str]] = [
    (put("config", None), "has None for 'config'; replay needs a file diverged_*.pth"),
    (put("config", "x"), "The config in {path} holds 'x'; it must hold keys"),
    (put("config", "A: !!python/name:os.system ''"), "The config in {path} holds more than plain"),
    (put("config", "GONE: 1"), "{path}: GONE is no key."),
    (put("iteration", "x"), "{path} has 'x' for 'iteration'"),
    (put("seed", None), "{path} has None for 'seed'"),
    (put("phase", "gone"), "{path} has 'gone' for 'phase'"),
    (put("phase", []), "{path} has [] for 'phase'"),
    (put("phase", "router"), "{path} holds no step that can be repeated"),
    (put("images", 3), "{path} has 3 for 'images'"),
    (put("kept", 3), "{path} has 3 for 'kept'"),
    (put("losses", {"a": "x"}), "{path} has {{'a': 'x'}} for 'losses'"),
    (put("learning_rates", []), "{path} has [] for 'learning_rates'"),
    (put("learning_rates", ["x"]), "{path} has ['x'] for 'learning_rates'"),
    (put("mixed_precision", "x"), "{path} has 'x' for 'mixed_precision'"),
    (lambda content: content.pop("learning_rates"), "{path} has no 'learning_rates'"),
    (put("model", {"a": torch.zeros(1)}), "{path} holds no step that can be repeated"),
    (put("model", "x"), "{path} has 'x' for 'model', where weights belong; replay needs a file"),
    (put("batch", None), "{path} holds no step that can be repeated"),
    (of_first("image", "x"), "Image 1 is str, where a tensor"),
    (of_first("image", torch.zeros(1, 5, 5)), "Image 1 is shape (1, 5, 5)"),
    (of_first("instances", {"kind of structure": "Gone", "content": 1}), "there is no 'Gone'"),
    (classes(torch.zeros(77)), "{path} holds no step that can be repeated"),
]


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step(step: Path, tmp_path: Path, number: int) -> None:
    change, says = STEPS[number]
    content = torch.load(step, weights_only=True)
    change(content)
    path = tmp_path / "changed.pth"
    torch.save(content, path)
    with pytest.raises(ValueError) as refused:
        replay(str(path))
    assert says.format(path=path) in str(refused.value) and "/tmp/tmp" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", b"not a step", "{path} is no checkpoint or is damaged: it cannot be read as"),
        ("empty.pth", b"", "{path} is no checkpoint or is damaged: it cannot be read as a file of"),
        ("cut.pth", None, "{path} is no checkpoint or is damaged: it cannot be read as a file of"),
        ("", b"", "The checkpoint {path} is a folder; it must be a file; replay needs a file"),
        ("gone.pth", b"", "The checkpoint {path} does not exist; it must be a file; replay needs"),
    ],
)
def test_what_is_no_step(
    step: Path, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if name and name != "gone.pth":
        path.write_bytes(step.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError) as refused:
        replay(str(path))
    end = "; replay needs a file diverged_*.pth, which a run writes of a step that was not finite."
    assert str(refused.value).startswith(says.format(path=path))
    assert str(refused.value).endswith(end) and str(refused.value).count(". ") == 0


# A report

TRADEOFFS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c["points"].reverse(), "the points' hard fractions do not rise"),
    (lambda c: c["points"][0].update(gflops=0), "points[0]: gflops is 0; it must be above 0"),
    (lambda c: c["points"][0]["box"].update(AP=1e308), "AP is 1e+308; it must be from 0 to 100"),
    (lambda c: c["points"][1]["box"].update(AP=-5), "AP is -5; it must be from 0 to 100"),
    (lambda c: c.update(num_images=0), "num_images is 0"),
    (lambda c: c.update(num_images=-1), "num_images is -1"),
    (lambda c: c.update(images_missing=-1), "images_missing -1"),
    (lambda c: c.update(dataset=""), "dataset has a name of 0 characters"),
    (lambda c: c.update(dataset="x" * 10**6), "dataset has a name of 1000000 characters"),
    (lambda c: c["points"][1]["box_classes"].popitem(), "have figures of different classes"),
]


@pytest.mark.parametrize("number", range(len(TRADEOFFS)))
def test_a_tradeoff(tmp_path: Path, number: int) -> None:
    change, says = TRADEOFFS[number]
    path = tmp_path / "tradeoff.json"
    GOOD.to_json(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError) as refused:
        Tradeoff.from_json(path)
    assert says in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize("routes", [ROUTES[:3], [], [*ROUTES, ROUTES[0]]])
def test_routes_of_other_images_make_no_report(tmp_path: Path, routes: list) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    write_routes(routes, tmp_path / "routes.jsonl")
    with pytest.raises(ValueError, match=f"routes.jsonl has {len(routes)} images and tradeoff.js"):
        redraw(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_routes_of_an_image_that_stands_for_another_make_no_report(tmp_path: Path) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    write_routes([*ROUTES[:3], ROUTES[0]], tmp_path / "routes.jsonl")
    with pytest.raises(ValueError, match=r"routes.jsonl has the image id 0 2 times\."):
        redraw(tmp_path)


def test_long_ids_that_differ_in_the_middle_make_a_report(tmp_path: Path) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    start, end = "a" * 100, "z" * 100
    named = [
        dataclasses.replace(route, image_id=f"{start}{i}{end}") for i, route in enumerate(ROUTES)
    ]
    write_routes(named, tmp_path / "routes.jsonl")
    redraw(tmp_path)
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("compared", ["R101,39.4,283,55", None, [("R101", 39.4, 283, 55)], [3]])
def test_what_is_no_list_of_detectors(tmp_path: Path, compared: Any) -> None:
    with pytest.raises(
        ValueError, match="^What is compared is .*; it must be a list of texts such"
    ):
        redraw(tmp_path, compared)
    with pytest.raises(ValueError, match=r"^None is no path of a file or a folder"):
        redraw(None)  # type: ignore[arg-type]


def test_a_detector_may_be_a_path(tmp_path: Path) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    write_routes(ROUTES, tmp_path / "routes.jsonl")
    assert redraw(tmp_path, [tmp_path / "tradeoff.json"]) == tmp_path / "report.html"


def test_folders_may_have_an_equals_sign_in_their_names(tmp_path: Path) -> None:
    (tmp_path / "lr=0.1").mkdir()
    path = tmp_path / "lr=0.1" / "tradeoff.json"
    GOOD.to_json(path)
    assert parse_comparison(str(path)).series.name == GOOD.dataset
    for text in (f"mine={path}", f"mine = {path}"):
        assert parse_comparison(text).series.name == "mine"


@pytest.mark.parametrize(
    ("names", "said"), [("AA", True), ("ABA", True), ("AB", False), ("A", False)]
)
def test_two_detectors_of_one_name_are_said(
    caplog: pytest.LogCaptureFixture, names: str, said: bool
) -> None:
    say_same_names([parse_comparison(f"{name},1,2,3") for name in names])
    assert ("--compare has 2 detectors called A, which charts and" in caplog.text) == said


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, ""), ({"dataset": "other"}, "images of other, "), ({"num_images": 3}, "on 3 images of ")],
)
def test_a_comparison_with_other_images_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], said: str
) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    write_routes(ROUTES, tmp_path / "routes.jsonl")
    dataclasses.replace(GOOD, **changes).to_json(tmp_path / "other.json")
    redraw(tmp_path, [f"mine={tmp_path / 'other.json'}", "A,1,2,3"])
    assert said in caplog.text
    assert ("AP of other images cannot be compared" in caplog.text) == bool(said)


@pytest.mark.usefixtures("undrawn")
def test_a_comparison_with_another_machine_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    write_routes(ROUTES, tmp_path / "routes.jsonl")
    dataclasses.replace(GOOD, device="another").to_json(tmp_path / "other.json")
    redraw(tmp_path, [f"mine={tmp_path / 'other.json'}"])
    said = f"was timed on another, and what it is drawn beside on {GOOD.device}: milliseconds of "
    assert said in caplog.text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (True, False, "counts the two products of attention in its GFLOPs, and what it is drawn "),
        (False, True, "leaves out the two products of attention in its GFLOPs, and what it is "),
        (True, True, ""),
        (None, True, ""),
        (False, None, ""),
    ],
)
def test_a_comparison_by_other_flops_is_said(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    theirs: bool | None,
    ours: bool | None,
    said: str,
) -> None:
    dataclasses.replace(GOOD, attention_matmul=ours).to_json(tmp_path / "tradeoff.json")
    write_routes(ROUTES, tmp_path / "routes.jsonl")
    dataclasses.replace(GOOD, attention_matmul=theirs).to_json(tmp_path / "other.json")
    redraw(tmp_path, [f"mine={tmp_path / 'other.json'}"])
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A,39,283e9,55", "has GFLOPS of 2.83e+11, and is drawn there beside 280: "),
        ("A,39,0.2,-", "has GFLOPS of 0.2, and is drawn there"),
        ("A,39,283,0.055", "has MS of 0.055, and is drawn there beside 30: "),
        ("A,39,2,2000", ""),
        ("A,39,,", ""),
    ],
)
def test_figures_that_may_be_in_another_unit_are_said(
    caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    say_incomparable(parse_comparison(text), GOOD)
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A,101,2,3", "has an AP of 101; it must be from 0 to 100."),
        ("A,-1,2,3", "has an AP of -1; it must be from 0 to 100."),
        ("A,1,-2,3", "has GFLOPS of -2; it must be above 0, or - where it is not known."),
        ("A,1,2,-3", "has MS of -3; it must be above 0, or - where it is not known."),
        ("A,1,0,0", "has GFLOPS of 0; it must be above 0, or - where it is not known."),
        ("A,1e999,2,3", "has '1e999' for a number"),
        ("A,1,2,3,4", "must be NAME,AP,GFLOPS,MS"),
        ("A,37,6,283,55", "MS such as R101,39.4,283,55 (- for what is not known), or "),
        ("A:37,6:283:55", "tradeoff.json. A comma stands between figures, and a point in them."),
        ("A,39.4%,283,55", "has '39.4%' for a number; it must be NAME,AP,GFLOPS,MS such as R101,"),
        ("A,39.4,283G,55", "has '283G' for a number; it must be NAME,AP,GFLOPS,MS such as R101,"),
        ("x" * 10_000 + ",1,2,3", "has a NAME that no chart has room for"),
        ("a=/dev/zero", "must be NAME,AP,GFLOPS,MS"),
        ("a\udcff,1,2,3", "has a character that is none."),
    ],
)
def test_a_comparison(text: str, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_comparison(text)
    assert says in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize(("ap", "said"), [("0.394", True), ("39.4", False), ("0", False)])
def test_an_ap_that_may_be_a_share_is_said(
    caplog: pytest.LogCaptureFixture, ap: str, said: bool
) -> None:
    assert parse_comparison(f"A,{ap},2,3").series.points[0].AP == float(ap)
    assert (f"--compare A,{ap},2,3 has an AP of {ap}, and is drawn there" in caplog.text) == said


def test_a_report_keeps_figures_of_zero() -> None:
    none = dataclasses.replace(GOOD.points[0].box, AP=0.0)
    assert none.AP == 0.0


# The state of a run

STATE = {
    **{"iteration": 5, "seed": 1, "phase": "detectors", "plan": {"detectors": 8}, "config": {}},
    **{"_trainer": {"iteration": 5, "optimizer": {}}, "scheduler": {}, "hooks": {}},
}
STATES: list[tuple[Any, str]] = [
    (None, "has no state of a run and cannot be resumed; without --resume, MODEL.WEIGHTS takes"),
    (3, "has no state of a run"),
    ({}, "has no state of a run"),
    ({**STATE, "iteration": None}, "it has None for 'iteration', which must be a whole number"),
    ({**STATE, "iteration": "5"}, "it has '5' for 'iteration'"),
    ({**STATE, "iteration": 3.5}, "it has 3.5 for 'iteration'"),
    ({**STATE, "iteration": -5}, "it has -5 for 'iteration'"),
    ({**STATE, "iteration": 10**30}, "for 'iteration'"),
    ({**STATE, "seed": "x"}, "it has 'x' for 'seed'"),
    ({**STATE, "phase": []}, "it has [] for 'phase', which must be the name of a phase."),
    ({**STATE, "plan": {"detectors": "x"}}, "it has {'detectors': 'x'} for 'plan'"),
    ({x: STATE[x] for x in STATE if x != "plan"}, "is of another trainer (its state has no 'plan'"),
    ({**STATE, "plan": None}, "it has None for 'plan'"),
    ({**STATE, "config": [1]}, "it has [1] for 'config', which must be keys and their values."),
    ({**STATE, "_trainer": 3}, "it has 3 for '_trainer'"),
    ({**STATE, "scheduler": None}, "it has None for 'scheduler'"),
    ({**STATE, "hooks": 3}, "it has 3 for 'hooks'"),
    ({k: v for k, v in STATE.items() if k != "seed"}, "is of another trainer (its state has no 's"),
]


@pytest.mark.parametrize("number", range(len(STATES)))
def test_a_state(number: int) -> None:
    state, says = STATES[number]
    with pytest.raises(ValueError) as refused:
        check_state(state, toy_cfg("OUTPUT_DIR", "there"), ("seed", "phase", "plan"))
    said = str(refused.value)
    assert said.startswith("The last checkpoint in OUTPUT_DIR there ") and says in said


def test_a_right_state() -> None:
    check_state(STATE, toy_cfg(), ("seed", "phase", "plan"))


def groups(**changes: Any) -> Callable[[Any], object]:
    return lambda optimizer: optimizer.param_groups[0].update(changes)


def momentum(value: torch.Tensor) -> Callable[[Any], object]:
    return lambda optimizer: optimizer.state[optimizer.param_groups[0]["params"][0]].update(
        momentum_buffer=value
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (groups(lr="x"), "lr is 'x'"),
        (groups(lr=torch.tensor(-1.0)), "lr is tensor(-1.)"),
        (groups(lr=torch.ones(2)), "lr is tensor([1., 1.])"),
        (groups(momentum=-5.0), "momentum is -5.0"),
        (momentum(torch.zeros(3)), "momentum_buffer has shape (3,) of a parameter (2, 2)"),
        (momentum(torch.full((2, 2), float("nan"))), "momentum_buffer is not finite"),
        (lambda optimizer: optimizer.load_state_dict({}), "there is no 'param_groups'"),
        (lambda optimizer: optimizer.load_state_dict(None), "AttributeError"),
    ],
)
def test_an_optimizer(change: Callable[[Any], object], says: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2, 2))], lr=0.1, momentum=0.9)
    check_optimizer(optimizer)
    with pytest.raises(ValueError, match="hooks in it is none of this run") as refused:
        with state_fits(toy_cfg()):
            change(optimizer)
            check_optimizer(optimizer)
    assert says in str(refused.value)


def test_a_learning_rate_that_is_a_tensor_is_the_number_in_it() -> None:
    """As torch takes it, and as a schedule that computes with tensors gives it."""
    weights = [torch.nn.Parameter(torch.ones(2, 2))]
    check_optimizer(torch.optim.AdamW(weights, lr=torch.tensor(1e-4), foreach=False))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"last_epoch": -99}, "the schedule is at step -99, not at 2"),
        ({"base_lrs": []}, "the schedule has 0 learning rates, not 1"),
    ],
)
def test_a_schedule(changes: dict[str, Any], says: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    scheduler.load_state_dict({"last_epoch": 2})
    check_schedule(scheduler, 2)
    scheduler.load_state_dict(changes)
    with pytest.raises(ValueError) as refused:
        check_schedule(scheduler, 2)
    assert str(refused.value) == says


@pytest.mark.parametrize("weights", ["", "somewhere.pth"])
def test_no_checkpoint_to_evaluate(tmp_path: Path, weights: str) -> None:
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path), "MODEL.WEIGHTS", weights)
    with pytest.raises(ValueError, match="has no last_checkpoint, which --resume evaluates"):
        evaluate(cfg, resume=True)


def test_no_data_set_to_evaluate_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^DATASETS.TEST names no data set to evaluate on.$"):
        evaluate(toy_cfg("OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", ()), resume=False)


@pytest.mark.parametrize("sets", [("own",), ("own", "own"), ("other", "own")])
def test_no_image_to_evaluate_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...]
) -> None:
    """All were left out by DATALOADER.SKIP_CORRUPT_IMAGES."""
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", sets)
    results = {"other": {"bbox": {}}, "own": {}} if "other" in sets else {}
    monkeypatch.setattr(DynamicTrainer, "test", lambda *_: results)
    with pytest.raises(ValueError, match=r"^No image of data set own was read: there are no fig"):
        evaluate(cfg, resume=False)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("MODEL.WEIGHTS", "w.pth"), "MODEL.WEIGHTS: not read, as --resume goes on from what"),
        (("MODEL.COMPOSITE.WEIGHTS2", "w.pth"), "MODEL.COMPOSITE.WEIGHTS2: not read, as --resume"),
        (("OUTPUT_DIR", "MODEL.WEIGHTS"), ""),
    ],
)
def test_weights_that_a_resumed_run_does_not_read_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, typed: tuple, says: str
) -> None:
    cfg = toy_cfg("OUTPUT_DIR", str(tmp_path))
    args = Namespace(resume=True, opts=list(typed))
    say_unread_weights(args, cfg)
    assert not caplog.text  # a first start, with the options of a restart
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    say_unread_weights(args, cfg)
    assert (says in caplog.text) if says else not caplog.text


@pytest.mark.parametrize(("weights", "asks"), [("w.pth", False), ("w.pth", True), ("", False)])
def test_weights_that_a_trainer_was_not_asked_for_are_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, weights: str, asks: bool
) -> None:
    monkeypatch.setattr(DefaultTrainer, "train", lambda _: None)
    trainer = object.__new__(DynamicTrainer)
    trainer.cfg, trainer._asked_for_weights = toy_cfg("MODEL.WEIGHTS", weights), asks
    trainer._hooks = []
    trainer.train()
    said = "resume_or_load was not called, so that nothing of MODEL.WEIGHTS w.pth is loaded"
    assert (said in caplog.text) == (bool(weights) and not asks)


# A split

SPLITS: list[tuple[Any, Any, str]] = [
    ([{}] * 30, [], "the image {} has no 'id'."),
    (["a"] * 30, [], "the image 'a' has no 'id'."),
    ([{"id": [1]}] * 30, [], "{'id': [1]} has an 'id' that is no whole number and no text."),
    ([{"id": 1.0}] * 30, [], "{'id': 1.0} has an 'id' that is no whole number and no text."),
    ([image_entry(1)] * 30, [], "the image id 1 is used more than once."),
    ([image_entry(i) for i in range(30)], ["a"], "the annotation 'a' has no 'image_id'."),
    (
        [image_entry(i) for i in range(30)],
        [{"image_id": [1]}],
        "an annotation has the image_id [1],",
    ),
    ([image_entry(i) for i in range(30)], [{"id": 7, "image_id": 1.0}], "7 has the image_id 1.0, "),
    ([{"id": i} for i in range(30)], [], "the image 0 has no 'file_name'."),
    ([{"id": 3, "file_name": 7}], [], "the image 3 has the 'file_name' 7; it must be text."),
    ([image_entry(i) for i in range(5)], [], "has 5 image(s); at least 20 are needed"),
    (
        [image_entry(i) for i in range(30)],
        [{"image_id": 99}],
        "has the image_id 99, which no image",
    ),
    ([image_entry(i) for i in range(30)], [{"image_id": "1"}], "has the image_id '1', which no"),
    (
        [{**image_entry(i), "file_name": "a"} for i in range(30)],
        [],
        "the file 'a' is that of two images.",
    ),
]
CATEGORIES: list[tuple[Any, str]] = [
    (None, "has no list of 'categories', or it is empty."),
    ({}, "has no list of 'categories', or it is empty."),
    ([{"id": 1}], "the category {'id': 1} needs an integer 'id' and a 'name'"),
    ([{"id": 1, "name": 3}], "needs an integer 'id' and a 'name'"),
]


@pytest.mark.parametrize(("categories", "says"), CATEGORIES)
def test_a_split_of_no_classes(tmp_path: Path, categories: Any, says: str) -> None:
    file = tmp_path / "set.json"
    images = [image_entry(i) for i in range(30)]
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    with pytest.raises(ValueError, match="set.json") as refused:
        split_coco(str(file), tmp_path)
    assert says in str(refused.value) and len(list(tmp_path.iterdir())) == 1


def test_shares_that_leave_a_part_empty(tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    content = {"images": [image_entry(i) for i in range(30)], "annotations": []}
    file.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "a"}]}))
    says = r"has 30 images, of which 0.1 % for train, 99.9 % for val leave none for train\."
    with pytest.raises(ValueError, match=says):
        split_coco(str(file), tmp_path, shares={"train": 0.1, "val": 99.9})


@pytest.mark.parametrize("number", range(len(SPLITS)))
def test_a_split(tmp_path: Path, number: int) -> None:
    images, annotations, says = SPLITS[number]
    file = tmp_path / "set.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    with pytest.raises(ValueError) as refused:
        split_coco(str(file), tmp_path)
    assert says in str(refused.value) and "set.json" in str(refused.value)


# Weights

FIRST = "backbone.bottom_up1.stem.conv1.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x.to_sparse(), f"its tensor '{FIRST}' is sparse, quantized, nested"),
        (lambda x: x.to("meta"), f"its tensor '{FIRST}' is sparse, quantized, nested"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "is sparse, quantized"),
        (lambda x: x.to(torch.complex64), f"values of type torch.complex64 for {FIRST}"),
        (lambda x: x > 0, f"values of type torch.bool for {FIRST}"),
        (lambda x: x.to(torch.int8), f"values of type torch.int8 for {FIRST}"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_that_are_no_weights(tmp_path: Path, change: Callable, says: str) -> None:
    model = toy_model()
    state = model.state_dict()
    state[FIRST] = change(state[FIRST])
    path = tmp_path / "w.pth"
    torch.save({"model": state}, path)
    with pytest.raises(ValueError) as refused:
        load_weights(model, read_checkpoint(str(path))["model"], str(path))
    assert says in str(refused.value) and str(path) in str(refused.value)


def test_a_name_that_no_chart_has_room_for(tmp_path: Path) -> None:
    dataclasses.replace(GOOD, device="x" * 1000).to_json(tmp_path / "tradeoff.json")
    with pytest.raises(ValueError, match="device has a name of 1001 characters"):
        dataclasses.replace(GOOD, device="x" * 1001)

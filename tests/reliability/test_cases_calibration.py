# SPDX-License-Identifier: Apache-2.0
"""Calibrations, reports and routes that are wrong, each with what its sentence names."""

import dataclasses
import json
import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from dynamicdet_d2.budget import DriftMonitor
from dynamicdet_d2.budget.goals import MeanLatency, PercentileLatency, Share
from dynamicdet_d2.budget.machine_speed import MachineSpeed
from dynamicdet_d2.calibration.plot import calibration_png
from dynamicdet_d2.calibration.run import calibrate, calibration_config
from dynamicdet_d2.calibration.summary import latency_interval, summary
from dynamicdet_d2.calibration.targets import HardFraction
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.check.run import warn_of_learnt_set
from dynamicdet_d2.evaluation.report.files import redraw
from dynamicdet_d2.evaluation.tradeoff.routes import read_routes, write_routes
from dynamicdet_d2.operating_point import (
    Calibration,
    OperatingPoint,
    check_fingerprint,
    differences,
    fingerprint,
    hard_fraction_for_ap_drop,
    realised_hard_fraction,
)
from dynamicdet_d2.operating_point.front import pareto_front
from dynamicdet_d2.operating_point.guarantee import Guarantee
from dynamicdet_d2.operating_point.thresholds import held_out, threshold_grid, threshold_table
from dynamicdet_d2.utils.device import device_name
from tests.support.coco_files import clean_catalogs
from tests.support.predicting import KEYS, made_up_calibration
from tests.support.toy import toy_cfg, toy_inputs, toy_model
from tests.support.tradeoffs import GOOD, ROUTES

NAN, HUGE = float("nan"), 10**400
DIFFICULTIES = [0.1, 0.2, 0.3, 0.4]
MS = {"p50": 2.0, "p95": 3.0, "mean": 2.5}
RECORD = Calibration(
    num_images=4,
    fingerprint={"weights": "0", "input": {}, "dtype": "float32"},
    latency_ms={"easy": {"p50": 1.0, "p95": 1.0, "mean": 1.0}, "hard": MS},
    device="a machine",
    thresholds=threshold_table(DIFFICULTIES),
    grid=threshold_grid(DIFFICULTIES),
    histogram={"edges": [0.0, 0.5, 1.0], "counts": [4, 0]},
    measured={"dataset": "own", "inference": {"optimize": False, "compile": False}},
    held_out=held_out(DIFFICULTIES),
)
ROW = {"hard_fraction": 0.5, "threshold": 0.25}


def refused(path: Path) -> str:
    """By the model's operating point, as every command reads it."""
    cfg = toy_cfg("MODEL.DYNAMIC.CALIBRATION", str(path), "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    with pytest.raises(ValueError) as error:
        OperatingPoint.from_config(cfg)
    said = str(error.value)
    assert str(path) in said and "\n" not in said and len(said) < 500
    return said


FILES = {
    "empty": (b"", "is not a JSON file: "),
    "a word": (b"hello", "is not a JSON file: "),
    "cut short": (b'{"num_images": 4, ', "is not a JSON file: "),
    "bytes": (bytes(range(256)), "is not a JSON file: "),
    "byte 0": (b"\0", "is not a JSON file: "),
    "a picture": (b"\x89PNG\r\n\x1a\n", "is not a JSON file: "),
    "two objects": (b"{}{}", "is not a JSON file: "),
    "thousands of digits": (b"9" * 5000, "is not a JSON file: "),
    "deep lists": (b"[" * 100_000, "is nested too deeply."),
    "deep objects": (b'{"a":' * 100_000, "is nested too deeply."),
    "half of a character": (rb'{"a": "\ud800"}', "has half of a character (a lone surrogate)"),
    "a list": (b"[]", " is []; it must be an object, as 'dynamicdet calibrate' writes it."),
    "a number": (b"3", " is 3; it must be an object"),
    "null": (b"null", " is None; it must be an object"),
    "an empty object": (b"{}", "lacks num_images, fingerprint"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(tmp_path: Path, name: str) -> None:
    content, says = FILES[name]
    (tmp_path / "c.json").write_bytes(content)
    assert says in refused(tmp_path / "c.json")


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert "is a pipe or a device" in refused(tmp_path / "pipe.json")
    assert "is a pipe or a device" in refused(Path("/dev/zero"))
    assert "cannot be read: Is a directory." in refused(tmp_path)
    assert "cannot be read: No such file" in refused(tmp_path / "gone.json")


FIELDS: list[tuple[str, Any]] = [
    *(("num_images", value) for value in (0, -1, 1.5, "4", None, True, HUGE, 10**13, [4])),
    *(("fingerprint", value) for value in (None, [], "x", 3)),
    *(("fingerprint", {**RECORD.fingerprint, "weights": x}) for x in (NAN, float("-inf"))),
    ("held_out", [{**ROW, "interval": [0.0, NAN]}]),
    *(("latency_ms", value) for value in (None, [], {}, {"easy": MS}, {"easy": MS, "hard": 3})),
    *(("latency_ms", {"easy": MS, "hard": {**MS, "mean": x}}) for x in (0, -1, NAN, HUGE, "1")),
    *(("latency_ms", {"easy": MS, "hard": {**MS, "p95": x}}) for x in (None, True, float("inf"))),
    *(("device", value) for value in (None, 3, ["a"])),
    *(("thresholds", value) for value in (None, 3, {}, [3], [{}], [{**ROW, "threshold": 2}])),
    *(("thresholds", [{**ROW, "hard_fraction": x}]) for x in (NAN, HUGE, "0.5", True)),
    *(("grid", value) for value in (None, [], [0.5], {}, "x" * 1001, [0.5] * 1000, [0.5] * 1002)),
    *(("grid", [x] * 1001) for x in (NAN, HUGE, 1.5, -0.1, "0.5", None, True)),
    ("grid", [0.4] * 500 + [0.5] * 501),
    *(("histogram", value) for value in (None, [], {}, {"edges": [0, 1]}, {"edges": 1})),
    *(("histogram", {"edges": [0, 1], "counts": x}) for x in ([], [0], [-1], [1.5], [NAN], [1, 1])),
    *(("histogram", {"edges": x, "counts": [1]}) for x in ([1, 0], [0, 2], [0, NAN], [0, 0], "ab")),
    *(("measured", value) for value in (None, [], 3, {"dataset": 3}, {"inference": []})),
    ("measured", {"inference": {"optimize": "yes"}}),
    *(("held_out", value) for value in (None, 3, {}, [3], [{**ROW, "threshold": NAN}])),
    *(("operating_point", value) for value in (3, [], {}, {**ROW, "threshold": 1.5}, {"x": 1})),
    *(("operating_point", {**ROW, "keys": x}) for x in (None, 3, [], {"MODEL.WEIGHTS": "x"})),
    *(
        ("operating_point", {**ROW, "keys": {"INPUT.MIN_SIZE_TEST": x}})
        for x in (HUGE, [], NAN, "64")
    ),
    ("operating_point", {**ROW, "keys": {"MODEL.INFERENCE.PRECISION": 64}}),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_field(tmp_path: Path, field: str, value: object) -> None:
    content = {**dataclasses.asdict(RECORD), field: value}
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert f"is not valid: '{field}' must be " in refused(tmp_path / "c.json")


def test_numbers_and_arrays_of_numpys_are_written_as_plain_ones(tmp_path: Path) -> None:
    ms = {name: np.float32(value) for name, value in MS.items()}
    latency_ms = {"easy": RECORD.latency_ms["easy"], "hard": ms}
    counts = {"edges": np.array([0.0, 0.5, 1.0]), "counts": np.array([4, 0])}
    changes = {"num_images": np.int64(4), "latency_ms": latency_ms, "histogram": counts}
    record = dataclasses.replace(RECORD, grid=np.array(RECORD.grid), **changes)
    assert record == RECORD
    record.to_json(tmp_path / "c.json")
    assert Calibration.from_json(tmp_path / "c.json") == RECORD


@pytest.mark.parametrize("value", [object(), {np.int64(1): 1}, torch.float32])
def test_what_no_file_can_hold(value: Any) -> None:
    with pytest.raises(ValueError, match="^'measured' holds what no file can: TypeError: "):
        dataclasses.replace(RECORD, measured={"x": value})


@pytest.mark.parametrize("path", ["", None, 3, True, b"c.json", ["c.json"]])
def test_what_is_no_path(path: Any) -> None:
    """0 and 1 are open files to the system."""
    makes_config = partial(calibration_config, weights="w.pth", opts=[])
    for use in (Calibration.from_json, RECORD.to_json, read_routes, makes_config):
        with pytest.raises(ValueError, match=r"is no path of a file or a folder\.$"):
            use(path)


MADE: list[tuple[Callable[[Any], object], str]] = [
    (MachineSpeed, r"^'latency_ms' must be p50, p95 and mean above 0 for 'easy' and 'hard'\."),
    (lambda x: MachineSpeed(RECORD.latency_ms).observe(x, 1, 3), "^A number of images is .*; it"),
    (lambda x: MachineSpeed(RECORD.latency_ms).observe(1, 1, x), "^A batch's time in millisec"),
    (lambda x: DriftMonitor(x, 4), "^'grid' must be 1001 thresholds in"),
    (lambda x: DriftMonitor(RECORD.grid, x), "^'num_images' must be a whole number above 0"),
    (lambda x: DriftMonitor(RECORD.grid, 4, x), "^size is .*; it must be a "),
    (Share, "^hard_fraction is .*; it must "),
    (MeanLatency, "^target_ms is .*; it must be a number"),
    (lambda x: PercentileLatency(2, x), "^percentile is .*; it must be a number"),
    (HardFraction, "^--hard-fraction is .*; it must "),
    (
        lambda x: HardFraction(0.5, 1 if x is None else x),
        "^The guarantee is .*; it must be None or a Guarantee",
    ),
    (Guarantee, "^--confidence is .*; it must be a number"),
    (lambda x: Guarantee(0.95, x), "^--mode is .*; it must "),
    (lambda x: Guarantee(0.95, "finite", x), "^--share is .*; it must be a number"),
    (lambda x: OperatingPoint(threshold=0, easy_proposals=x), "^easy_proposals is .*; it must"),
    (lambda x: hard_fraction_for_ap_drop([1], [1], x), "^The AP drop in points is .*; it must"),
    (lambda x: latency_interval(RECORD, 0.5, x), "^A number of images is .*; it must be a"),
    (lambda x: summary(x, "c.json"), "^The calibration is .*; it must be a Calibration, as "),
    (lambda x: pareto_front([x, {}], [1, 2]), r"^Costs are .*; they must be a list of numbers\."),
]


@pytest.mark.parametrize("number", range(len(MADE)))
def test_arguments_of_other_types(number: int) -> None:
    make, says = MADE[number]
    for value in ("0.5", None, True, NAN, -1, [0.5, 0.5], HUGE, np.ones((9, 9))):
        with pytest.raises(ValueError, match=says) as refused:
            make(value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("config.yaml", "c.json"), "^The config is of type str; it must be a CfgNode"),
        ((CfgNode(), "c.json", 0.5), "^The target is 0.5; it must be None or a Target, such as"),
        ((CfgNode(), None), "^--output None names no file"),
    ],
)
def test_a_calibration_run_by_code(arguments: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        calibrate(*arguments)


def test_numbers_of_numpys_and_tensors_are_numbers() -> None:
    assert MachineSpeed(RECORD.latency_ms).expected(np.int64(1), 1) == 3.5
    assert MeanLatency(np.float32(2)) == MeanLatency(2)
    assert PercentileLatency(torch.tensor(2.0), np.int64(95)).percentile == 95
    assert HardFraction(np.float32(0.5)).value == 0.5
    assert threshold_grid(torch.tensor(DIFFICULTIES, dtype=torch.float64)) == RECORD.grid


def test_what_was_put_into_a_record_is_not_written(tmp_path: Path) -> None:
    record = dataclasses.replace(RECORD)
    record.grid[0] = 7.0
    with pytest.raises(ValueError, match="^'grid' must be 1001 thresholds"):
        record.to_json(tmp_path / "c.json")
    assert not list(tmp_path.iterdir())


def test_the_content_in_the_place_of_a_file() -> None:
    with pytest.raises(ValueError, match="cannot be read: File name too long") as error:
        Calibration.from_json(json.dumps(dataclasses.asdict(RECORD)))
    assert len(str(error.value)) < 400


def test_milliseconds_that_no_threshold_meets_name_key_and_file(tmp_path: Path) -> None:
    slow = {"easy": MS, "hard": RECORD.latency_ms["easy"]}
    dataclasses.replace(RECORD, latency_ms=slow).to_json(tmp_path / "c.json")
    keys = ("MODEL.DYNAMIC.CALIBRATION", str(tmp_path / "c.json"))
    with pytest.raises(
        ValueError, match=r"^MODEL.DYNAMIC.TARGET_LATENCY_MS by .*c\.json: The hard"
    ):
        OperatingPoint.from_config(toy_cfg(*keys, "MODEL.DYNAMIC.TARGET_LATENCY_MS", 2))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_as_other_systems_write_them(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(dataclasses.asdict(RECORD), indent=4).replace("\n", "\r\n")
    (tmp_path / "c.json").write_bytes(text.encode(encoding))
    assert Calibration.from_json(tmp_path / "c.json") == RECORD


@pytest.mark.parametrize(
    "value", ["0.5", None, True, np.True_, torch.tensor(True), [0.1, 0.5], np.ones(2)]
)
def test_what_is_no_number(value: Any) -> None:
    """As an environment's variable is none, and one that is not set."""
    for ask in (RECORD.threshold, RECORD.threshold_for_latency):
        with pytest.raises(ValueError, match=r"^The .* is .*; it must be a number\.$"):
            ask(value)
    with pytest.raises(ValueError, match=r"^The threshold \(MODEL.DYNAMIC.THRESHOLD\) is .*; it"):
        OperatingPoint(threshold=value)
    for number in (0.5, np.float32(0.5), torch.tensor(0.5)):
        assert RECORD.threshold(number) == RECORD.threshold(0.5)


def test_a_range_that_was_said_can_be_typed() -> None:
    """Neither its ends nor what is just beyond them is said to be what it is not."""
    easy = {"easy": {"p50": 1.0, "p95": 1.0, "mean": 1.23456789}, "hard": MS}
    record = dataclasses.replace(RECORD, latency_ms=easy)
    with pytest.raises(ValueError, match=r"of 1 ms cannot be reached; 1\.23457 to 2\.5 ms can"):
        record.threshold_for_latency(1)
    assert record.threshold_for_latency(1.23457) <= 1
    for ask in (record.threshold, lambda value: OperatingPoint(threshold=value)):
        with pytest.raises(ValueError, match=r"1\.0000001"):
            ask(1.0000001)


@pytest.mark.parametrize("value", [50, -0.1, NAN, "0.5", None])
def test_a_share_above_what_is_no_threshold(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^The threshold (must be in \[0, 1\], not|is) "):
        realised_hard_fraction(DIFFICULTIES, value)


@pytest.mark.parametrize(
    ("train", "said"),
    [(("own",), True), (("same",), True), (("other",), False), ((), False), (("gone",), False)],
)
def test_a_data_set_that_is_learnt_is_not_calibrated_on_in_silence(
    caplog: pytest.LogCaptureFixture, train: tuple[str, ...], said: bool
) -> None:
    with clean_catalogs():
        for name, file in (("own", "a/../own.json"), ("same", "own.json"), ("other", "other.json")):
            MetadataCatalog.get(name).json_file = file
        warn_of_learnt_set(train, "own")
    assert ("figures on it say nothing of new images" in caplog.text) == said


def test_a_fingerprint_of_any_length_is_a_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"made with weights x{80}\.\.\. \(here 0\)\. Run"
    ) as refused:
        check_fingerprint({"weights": "x" * 10**6}, {"weights": "0"})
    assert len(str(refused.value)) < 500


def test_what_a_fingerprint_has_only_where_it_is_unusual() -> None:
    with pytest.raises(ValueError, match=r"made with easy_proposals as usual \(here 5\)\. Run"):
        check_fingerprint({"weights": "0"}, {"weights": "0", "easy_proposals": 5})


def test_weights_that_are_loaded_into_a_calibrated_model_are_looked_at(tmp_path: Path) -> None:
    made_up_calibration(toy_model(), toy_cfg(*KEYS)).to_json(tmp_path / "c.json")
    point = ("MODEL.DYNAMIC.CALIBRATION", str(tmp_path / "c.json"))
    model = toy_model(*KEYS, *point, "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    model(toy_inputs(1))
    model.load_state_dict(toy_model(seed=1).state_dict())
    with pytest.raises(
        ValueError, match=r"c\.json belongs to another model or input: it was made w"
    ):
        model(toy_inputs(1))


@pytest.mark.parametrize("here", [True, False])
def test_milliseconds_of_another_machine_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, here: bool
) -> None:
    """A calibration that moved with its model: its shares hold there, its milliseconds do not."""
    device = device_name(torch.device("cpu")) if here else "another machine"
    dataclasses.replace(RECORD, device=device).to_json(tmp_path / "c.json")
    keys = ("MODEL.DYNAMIC.CALIBRATION", str(tmp_path / "c.json"))
    OperatingPoint.from_config(toy_cfg(*keys, "MODEL.DYNAMIC.HARD_FRACTION", 0.5))
    assert not caplog.text
    OperatingPoint.from_config(toy_cfg(*keys, "MODEL.DYNAMIC.TARGET_LATENCY_MS", 2))
    said = "MODEL.DYNAMIC.TARGET_LATENCY_MS is met by milliseconds of another machine, where"
    assert (said in caplog.text) == (not here)


@pytest.mark.parametrize(
    ("inputs", "key", "said"),
    [
        (("features",), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", False),
        (("features", "map"), "MODEL.RPN.NMS_THRESH", False),
        (("rpn",), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", False),
        (("rpn",), "MODEL.RPN.NMS_THRESH", True),
        (("features", "detections"), "MODEL.RPN.NMS_THRESH", True),
        (("detections",), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", True),
    ],
)
def test_keys_that_the_router_s_inputs_depend_on(
    inputs: tuple[str, ...], key: str, said: bool
) -> None:
    """With others the threshold of half the images would send all of them one way."""
    keys = ("MODEL.ROUTER.INPUTS", inputs)
    model = toy_model(*keys)
    made, here = (fingerprint(model, toy_cfg(*keys, key, value)) for value in (0.5, 0.25))
    assert differences(made, here) == (f"heads {key} 0.5 (here 0.25)" if said else "")
    before = {name: value for name, value in made.items() if name != "heads"}
    assert differences(before, here).startswith("heads as usual (here {'MODEL.RPN.PRE") == (
        inputs[-1] in ("rpn", "detections")
    )


@pytest.mark.parametrize("name", ["c.json", "my file.json", "2026", "None", "1.5", "'q'", "{}"])
def test_keys_to_paste_name_the_file(name: str) -> None:
    words = shlex.split(summary(RECORD, name).splitlines()[-1])
    assert words[::2] == ["MODEL.DYNAMIC.CALIBRATION", "MODEL.DYNAMIC.HARD_FRACTION"]
    path = read_config("configs/quickstart.yaml", words).MODEL.DYNAMIC.CALIBRATION
    assert os.path.normpath(path) == name


def test_what_is_right_is_read_and_drawn(tmp_path: Path) -> None:
    RECORD.to_json(tmp_path / "c.json")
    assert Calibration.from_json(tmp_path / "c.json") == RECORD
    assert calibration_png(RECORD).startswith(b"\x89PNG")


# Reports and routes

ROUTE = {"image_id": 1, "file_name": "a.jpg", "difficulty": 0.5, "route": "easy", "gain": 1.0}
LINES: list[tuple[str, str]] = [
    ("hello", "is not a file of JSON lines: line 1 is 'hello'."),
    (json.dumps(ROUTE) + "\n", "is not a file of JSON lines: line 2 is ''."),
    ("[" * 100_000, "is nested too deeply."),
    ("9" * 5000, "is not a file of JSON lines: line 1 is '999"),
    ("[]", "line 1 is []; it must be an object"),
    ("{}", "line 1.image_id is missing"),
    *(
        (json.dumps({**ROUTE, "route": x}), "line 1.route is ")
        for x in ("<script>alert(1)</script>", "Easy", None, 3, [], "medium")
    ),
    *((json.dumps({**ROUTE, "gain": x}), "line 1.gain is ") for x in ("1", None, NAN, HUGE)),
    *((json.dumps({**ROUTE, "difficulty": x}), "line 1.difficulty is ") for x in (NAN, "0.5")),
    (json.dumps({**ROUTE, "file_name": 3}), "line 1.file_name is 3; it must be a string"),
]


@pytest.mark.parametrize(("line", "says"), LINES)
def test_a_line_of_routes(tmp_path: Path, line: str, says: str) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    (tmp_path / "routes.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError) as error:
        redraw(tmp_path)
    said = str(error.value)
    assert str(tmp_path / "routes.jsonl") in said and says in said and len(said) < 500
    assert not (tmp_path / "report.html").exists()


def test_routes_of_another_evaluation(tmp_path: Path) -> None:
    """Of as many images, such as of other weights: pictures and figures would be of two routers."""
    GOOD.to_json(tmp_path / "tradeoff.json")
    others = [*ROUTES[:3], dataclasses.replace(ROUTES[3], difficulty=0.95)]
    write_routes(others, tmp_path / "routes.jsonl")
    says = (
        r"routes\.jsonl has difficulties from 0\.1 to 0\.95 .* from 0\.1 to 0\.9: they are not of"
    )
    with pytest.raises(ValueError, match=says):
        redraw(tmp_path)


def test_routes_as_other_systems_write_them(tmp_path: Path) -> None:
    file = tmp_path / "routes.jsonl"
    write_routes(ROUTES, file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_routes(file) == ROUTES


TRADEOFFS: list[tuple[dict[str, Any] | str, str]] = [
    ("", "is not a JSON file: "),
    ("[" * 100_000, "is nested too deeply."),
    ("[]", "is []; it must be an object"),
    ({"num_images": "4"}, "num_images is '4'; it must be a whole number"),
    ({"num_images": HUGE}, "num_images is 1000"),
    ({"points": []}, "there are 0 points; both ends are needed"),
    ({"points": 3}, "points is 3; it must be a list"),
    ({"points": [None]}, "points[0] is None; it must be an object"),
    ({"fingerprint": {}}, "the fingerprint has no dtype"),
    ({"verdict": 3}, "verdict is 3; it must be a string"),
    ({"warnings": "x"}, "warnings is 'x'; it must be a list"),
    ({"loss_offset": NAN}, "loss_offset is nan; it must be a number"),
]


@pytest.mark.parametrize(("change", "says"), TRADEOFFS)
def test_a_tradeoff(tmp_path: Path, change: dict[str, Any] | str, says: str) -> None:
    file = tmp_path / "tradeoff.json"
    GOOD.to_json(file)
    write_routes(ROUTES, tmp_path / "routes.jsonl")
    text = change
    if not isinstance(change, str):
        text = json.dumps({**json.loads(file.read_text()), **change})
    file.write_text(str(text))
    with pytest.raises(ValueError) as error:
        redraw(tmp_path)
    assert str(file) in str(error.value) and says in str(error.value)


MARKUP = "<script>alert('$a_b$')</script> & $x^2$ $"


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Neither markup in the page nor formulas in the charts."""
    tradeoff = dataclasses.replace(
        GOOD, dataset=MARKUP, device=MARKUP, verdict=MARKUP, warnings=(MARKUP,)
    )
    tradeoff.to_json(tmp_path / "tradeoff.json")
    named = [dataclasses.replace(route, file_name=MARKUP) for route in ROUTES]
    write_routes(named, tmp_path / "routes.jsonl")
    page = redraw(tmp_path, [f"{MARKUP.replace(',', '')},30,200,20"]).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;$a_b$&#39;)" in page

# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet predict`` and ``package`` with the toy detector: what they write and refuse."""

import json
import logging
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor

from dynamicdet_d2.budget import BudgetController, ImplausibleTimeWarning
from dynamicdet_d2.commands.main import main
from dynamicdet_d2.prediction.outputs import drawn_files
from dynamicdet_d2.prediction.outputs.coco_results import RESULTS
from dynamicdet_d2.prediction.outputs.json_lines import LINES
from dynamicdet_d2.prediction.outputs.written import WRITTEN
from tests.support.coco_files import clean_catalogs, image_entry, write_coco
from tests.support.predicting import FRAMES, predicting_cfg, write_model_files


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return write_model_files(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def packaged(toy: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder with a calibration, by the command."""
    folder = tmp_path_factory.mktemp("packaged")
    (folder / "names.json").write_text('["cat", "dog", "cow"]')
    words = ["--config-file", toy.config, "--weights", toy.weights]
    words += ["--calibration", toy.calibration, "--hard-fraction", "0.25"]
    words += ["--class-names", str(folder / "names.json"), "--output", str(folder / "model")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dynamicdet_d2.commands.package.setup_logger", lambda **_: logging.getLogger("unused")
        )
        assert main(["package", *words]) == 0
    return str(folder / "model")


def run(toy: SimpleNamespace, output: Path, *more: str, weights: bool = True) -> int:
    given = ["--weights", toy.weights] if weights else []
    paths = ["--config-file", toy.config, *given, "--output", str(output)]
    with clean_catalogs():
        return main(["predict", *paths, *more])


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / LINES).read_text().splitlines()]


def test_a_folder_of_images(
    toy: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "new" / "output"
    more = ["--confidence-threshold", "0", "--batch-size", "2", "--input", str(toy.images)]
    assert run(toy, output, *more) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 images, 2 hard; ") and " FPS (" in out
    assert out.endswith(f": drawn in {output}, detections in {output / LINES}\n")
    assert {path.name for path in output.iterdir()} == {"1.png", "2.png", LINES, WRITTEN}
    expected = DefaultPredictor(predicting_cfg("MODEL.DYNAMIC.THRESHOLD", 0.0))
    expected.model.load_state_dict(torch.load(toy.weights)["model"])
    for line, name in zip(lines(output), ("1.png", "2.png"), strict=True):
        assert line["file_name"] == str(toy.images / name)
        stock = expected(cv2.imread(str(toy.images / name)))
        assert line["difficulty"] == pytest.approx(stock["difficulty"], abs=1e-6)
        assert line["route"] == "hard"
        found = stock["instances"]
        scores = [detection["score"] for detection in line["detections"]]
        assert scores == pytest.approx(found.scores.tolist(), abs=1e-5)
        x, y, width, height = line["detections"][0]["bbox"]
        corners = found.pred_boxes.tensor[0].tolist()
        assert [x, y, x + width, y + height] == pytest.approx(corners, abs=1e-2)
        assert cv2.imread(str(output / name)).shape == (480, 720, 3)


def test_a_video(toy: SimpleNamespace, tmp_path: Path) -> None:
    assert run(toy, tmp_path, "--input", toy.video, "--threshold", "1") == 0
    found = lines(tmp_path)
    assert [line["frame"] for line in found] == list(range(FRAMES))
    assert {line["route"] for line in found} == {"easy"} and found[5]["seconds"] == 0.5
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert capture.get(cv2.CAP_PROP_FRAME_HEIGHT) == 480


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_lines_pictures_and_their_list_agree_after_an_interruption(
    toy: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
) -> None:
    def drawn_at_last(*_: object) -> np.ndarray:
        os.kill(os.getpid(), number)
        return np.zeros((64, 96, 3), np.uint8)

    monkeypatch.setattr("dynamicdet_d2.prediction.outputs.drawn_files.drawn", drawn_at_last)
    more = ["--batch-size", "2", "--input", str(toy.images)]
    assert ended(lambda: run(toy, tmp_path, *more)) == status
    assert [line["file_name"] for line in lines(tmp_path)] == [str(toy.images / "1.png")]
    assert {path.name for path in tmp_path.iterdir()} == {"1.png", LINES, WRITTEN}
    drawn, whole = ([name, (tmp_path / name).stat().st_size] for name in ("1.png", LINES))
    assert json.loads((tmp_path / WRITTEN).read_text()) == [LINES, drawn, whole]


def test_a_picture_that_cannot_be_written_has_no_line(
    toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = drawn_files.write_image

    def full(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "2.png":
            raise OSError(f"{path} cannot be written: No space left on device.")
        written(path, *arguments, **options)

    monkeypatch.setattr(drawn_files, "write_image", full)
    assert ended(lambda: run(toy, tmp_path, "--input", str(toy.images))) == 1
    assert [line["file_name"] for line in lines(tmp_path)] == [str(toy.images / "1.png")]


def ended(command: Callable[[], int]) -> object:
    """Its status, whichever way it ends."""
    try:
        return command()
    except SystemExit as stop:
        return stop.code


def test_keys_and_the_confidence_threshold_are_followed(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    image = str(toy.images / "1.png")
    keys = ["--opts", "MODEL.DYNAMIC.THRESHOLD", "1", "MODEL.WEIGHTS", toy.weights]
    arguments = ["--confidence-threshold", "1", "--input", image, "--no-drawing", *keys]
    assert run(toy, tmp_path, *arguments, weights=False) == 0
    (line,) = lines(tmp_path)
    assert (line["route"], line["detections"]) == ("easy", [])
    assert {path.name for path in tmp_path.iterdir()} == {LINES, WRITTEN}


def test_results_for_coco(toy: SimpleNamespace, tmp_path: Path) -> None:
    images = [{**image_entry(number, 96, 64), "file_name": f"{number}.png"} for number in (1, 2)]
    categories = [{"id": number, "name": str(number)} for number in (10, 20, 30)]
    json_file, _ = write_coco(tmp_path, images, [], categories=categories, draw=False)
    words = ["--confidence-threshold", "0", "--input", str(toy.images), "--no-drawing"]
    assert run(toy, tmp_path / "output", *words, "--coco-ids", json_file) == 0
    results = json.loads((tmp_path / "output" / RESULTS).read_text())
    assert {result["image_id"] for result in results} == {1, 2}
    assert {result["category_id"] for result in results} <= {10, 20, 30}
    assert len(results) == sum(len(line["detections"]) for line in lines(tmp_path / "output"))


def test_classes_without_names_are_said(
    toy: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = ["--input", str(toy.images), "--no-drawing", "--opts", "DATASETS.TEST", "('gone',)"]
    assert run(toy, tmp_path, *more) == 0
    assert (
        "No class names are known: detections will have numbers in their place. DATASETS.TEST is "
        "'gone', which is not registered." in caplog.text
    )


@pytest.mark.parametrize("lowest", ["0.5", "0"])
def test_results_for_coco_that_lack_detections_are_said(
    caplog: pytest.LogCaptureFixture, lowest: str
) -> None:
    words = ["predict", "--model", "gone", "--input", "gone.png", "--coco-ids", "gone.json"]
    with pytest.raises(SystemExit):
        main([*words, "--confidence-threshold", lowest])
    said = "no detection with a score below --confidence-threshold 0.5, and AP of it would be too"
    assert (said in caplog.text) == (lowest == "0.5")


def test_a_model_folder_and_its_calibrated_thresholds(
    toy: SimpleNamespace, packaged: str, tmp_path: Path
) -> None:
    words = ["predict", "--model", packaged, "--input", str(toy.images), "--no-drawing"]
    words += ["--confidence-threshold", "0", "--device", "cpu", "--output", str(tmp_path)]
    routes = {}
    for more in ("", "--hard-fraction 1", "--hard-fraction 0", "--threshold 1"):
        assert main([*words, *more.split()]) == 0
        routes[more] = [line["route"] for line in lines(tmp_path)]
        names = {found["category"] for line in lines(tmp_path) for found in line["detections"]}
        assert names and names <= {"cat", "dog", "cow"}
    threshold = 0.75  # of a hard fraction of 0.25, as packaged
    expected = ["hard" if line["difficulty"] > threshold else "easy" for line in lines(tmp_path)]
    assert routes[""] == expected
    assert routes["--hard-fraction 1"] == ["hard", "hard"]
    assert routes["--hard-fraction 0"] == routes["--threshold 1"] == ["easy", "easy"]


def test_a_budget_out_of_reach_is_named_in_the_log(
    packaged: str, toy: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["predict", "--model", packaged, "--input", toy.video, "--no-drawing"]
    words += ["--output", str(tmp_path), "--target-latency-ms", "0.001", "--percentile", "95"]
    with caplog.at_level(logging.INFO, "dynamicdet_d2"):
        assert main(words) == 0
    assert "BudgetOutOfReachWarning: 0.001 ms for 95 % of the images are out of" in caplog.text
    assert {line["route"] for line in lines(tmp_path)} == {"easy"}


def test_a_pause_of_minutes_says_nothing_of_units(
    packaged: str, toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-Z: of a program's own times it would say that they may be microseconds."""
    observe, late = BudgetController.observe, []

    def paused(controller: BudgetController, difficulties: list, ms: float | None) -> None:
        late.append(None if ms is None else 1e6)
        observe(controller, difficulties, late[-1])

    monkeypatch.setattr(BudgetController, "observe", paused)
    words = ["predict", "--model", packaged, "--input", toy.video, "--no-drawing"]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert main([*words, "--output", str(tmp_path), "--target-latency-ms", "1.5"]) == 0
    assert 1e6 in late
    assert not [x for x in said if x.category is ImplausibleTimeWarning]


def test_a_corrupt_image_is_named_or_left_out(
    toy: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken, output = tmp_path / "broken.jpg", tmp_path / "output"
    broken.write_bytes(b"no image")
    paths = ["--input", str(broken), str(toy.images / "1.png")]
    with pytest.raises(SystemExit) as stop:
        run(toy, output, *paths)
    assert stop.value.code == 2
    assert "broken.jpg" in capsys.readouterr().err
    assert run(toy, output, *paths, "--opts", "DATALOADER.SKIP_CORRUPT_IMAGES", "True") == 0
    assert [Path(line["file_name"]).name for line in lines(output)] == ["1.png"]
    assert "1 left out" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:  # nothing was predicted
        run(toy, output, *paths[:2], "--opts", "DATALOADER.SKIP_CORRUPT_IMAGES", "True")
    assert stop.value.code == 2
    assert "No image of --input can be read: 1 left out." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--input", "gone.jpg"], "--input gone.jpg does not exist."),
        (["--input", "{empty}"], "has no images (.bmp, "),
        (["--input", "{images}", "{images}/1.png"], "1.png twice."),
        (["--input", "{images}", "--output", "{images}"], "would be replaced"),
        (["--input", "{images}", "--confidence-threshold", "2"], "--confidence-threshold is 2.0"),
        (
            ["--input", "{images}", "--batch-size", "0"],
            "--batch-size is 0; it must be from 1 to 65536",
        ),
        (["--input", "{images}", "--threshold", "2"], "--threshold is 2; it must lie in [0, 1]"),
        (["--input", "{images}", "--hard-fraction", "0.5"], "--hard-fraction needs a calibration"),
        (
            ["--input", "{images}", "--hard-fraction", "0.5", "--calibration", "gone.json"],
            "Calibration gone.json cannot be read",
        ),
        (
            ["--input", "{images}", "--target-latency-ms", "0", "--calibration", "{calibration}"],
            "--target-latency-ms is 0; it must be a number above 0",
        ),
        (["--input", "{images}", "--percentile", "95"], "needs --target-latency-ms"),
        (
            ["--input", "{images}", "--coco-ids", "gone.json"],
            "--coco-ids gone.json cannot be read: there",
        ),
        (["--input", "{images}", "--weights", "gone.pth"], "gone.pth does not exist"),
        (["--input", "{images}", "--weights", ""], "--weights is empty."),
        (["--input", "{images}", "--weights", "{half}"], "half.pth"),
        (["--input", "{images}", "--device", "gpu"], "--device is 'gpu'"),
        (["--input", "{images}", "--opts", "GONE", "1"], "GONE is no key."),
        (["--input", "{images}", "--model", "x"], "not allowed with argument"),
    ],
)
def test_refused_by_one_sentence(
    toy: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    more: list[str],
    says: str,
) -> None:
    empty, half = tmp_path / "empty", tmp_path / "half.pth"
    empty.mkdir()
    complete = torch.load(toy.weights, weights_only=True)["model"]
    torch.save({"model": {k: v for k, v in complete.items() if "router" not in k}}, half)
    places = {"images": toy.images, "empty": empty, "half": half, "calibration": toy.calibration}
    words = [word.format(**places) for word in more]
    with pytest.raises(SystemExit) as stop:
        run(toy, tmp_path / "output", *words)
    assert stop.value.code == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("dynamicdet predict: error: ") and says in err
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("command", "more", "says"),
    [
        ("package", ["--class-names", "gone.json"], "--class-names gone.json cannot be read"),
        ("package", ["--hard-fraction", "0.5"], "--hard-fraction needs a calibration"),
        ("package", ["--weights", "gone.pth"], "gone.pth does not exist"),
        ("predict", ["--model", "gone"], "gone is no model folder"),
        ("predict", ["--model", "gone", "--weights", "w"], "a model folder has its own"),
    ],
)
def test_model_folders_that_are_refused(
    toy: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    command: str,
    more: list[str],
    says: str,
) -> None:
    words = ["--output", str(tmp_path / "output"), *more]
    given = ["--config-file", toy.config, "--weights", toy.weights]
    words = given + words if command == "package" else ["--input", str(toy.images), *words]
    with pytest.raises(SystemExit) as stop:
        main([command, *words])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert not (tmp_path / "output").exists()

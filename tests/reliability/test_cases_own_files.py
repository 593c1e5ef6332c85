# SPDX-License-Identifier: Apache-2.0
"""Files of the user's own where a command writes: refused by name, and as they were afterwards."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamicdet_d2.calibration.output import check_output
from dynamicdet_d2.calibration.plan.files import plan_files
from dynamicdet_d2.commands.demo_photos import prepare
from dynamicdet_d2.commands.main import main
from dynamicdet_d2.engine.upgrade.folder import CONFIG, HEAD, RECORD, START, write_config
from dynamicdet_d2.prediction.outputs.place import check_place, own_folder, say_drawn
from dynamicdet_d2.prediction.outputs.written import note_written, written_names
from dynamicdet_d2.prediction.sources import Source, sources_of
from dynamicdet_d2.utils.folder_lock import FolderInUseError
from dynamicdet_d2.utils.run_files import LAST
from tests.support.coco_files import image_entry, object_entry, write_coco, write_image
from tests.support.predicting import write_video

OWN = b"somebody's own"


def put(path: Path, content: bytes = OWN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# Predictions


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """An image and a video."""
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "1.png", width=96, height=64)
    write_video(tmp_path / "in" / "film.avi").rename(tmp_path / "in" / "film.mov")
    return sources_of([str(tmp_path / "in" / name) for name in ("1.png", "film.mov")])


def put_by_predict(folder: Path, *names: str) -> None:
    """As a run does: the file, then its name."""
    with own_folder(folder):
        for name in names:
            note_written(put(folder / name))


def names(sources: list[Source], *more: str) -> list[str]:
    return [source.drawn_name for source in sources] + list(more)


def test_an_input_by_a_link_into_the_output_is_not_replaced(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", width=96, height=64)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "1.png").symlink_to(tmp_path / "1.png")
    found = sources_of([str(tmp_path / "links")])
    (tmp_path / "predictions.jsonl").touch()  # of an earlier run
    with pytest.raises(ValueError, match=r"holds images of --input, which would be replaced: .*1"):
        check_place(tmp_path, found, names(found))


@pytest.mark.parametrize("name", ["1.png", "film.mp4", "coco_instances_results.json"])
def test_what_no_prediction_wrote_is_not_replaced(
    tmp_path: Path, sources: list[Source], name: str
) -> None:
    put(tmp_path / "out" / name)
    written = names(sources, "coco_instances_results.json")
    with pytest.raises(ValueError, match=f"out has {name}, which would be replaced and is of no"):
        check_place(tmp_path / "out", sources, written)
    check_place(tmp_path / "out", sources, [])  # nothing is drawn
    put_by_predict(tmp_path / "out", "predictions.jsonl")
    with pytest.raises(ValueError, match=f"out has {name}"):
        check_place(tmp_path / "out", sources, written)
    put_by_predict(tmp_path / "out", name)
    check_place(tmp_path / "out", sources, written)  # an earlier run's


def test_what_is_no_file_is_not_replaced_either(tmp_path: Path, sources: list[Source]) -> None:
    """A folder, which would be seen when the film is whole, and a link to a disk that is away."""
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(ValueError, match=r"has film.mp4, which would be replaced and is of no"):
        check_place(tmp_path, sources, names(sources))
    (tmp_path / "1.png").symlink_to(tmp_path / "away" / "1.png")
    with pytest.raises(ValueError, match=r"has 1.png, which would be replaced and is of no"):
        check_place(tmp_path, sources, names(sources))


def test_a_name_is_forgotten_with_its_file(tmp_path: Path, sources: list[Source]) -> None:
    """By a run that came between: the file that has the name now is somebody's own."""
    put_by_predict(tmp_path, "1.png", "2.png")
    put_by_predict(tmp_path, "1.png")  # again
    (tmp_path / "1.png").unlink()
    put_by_predict(tmp_path, "predictions.jsonl")
    put(tmp_path / "1.png")
    assert written_names(tmp_path) == {"2.png", "predictions.jsonl"}
    with pytest.raises(ValueError, match=r"has 1.png, which would be replaced and is of no"):
        check_place(tmp_path, sources, names(sources))


def test_a_file_that_was_changed_since_is_somebody_s_own(
    tmp_path: Path, sources: list[Source]
) -> None:
    """The photograph itself, copied to where it was drawn into, or a picture with notes."""
    with own_folder(tmp_path):
        for name in ("1.png", "2.png"):
            note_written(put(tmp_path / name, b"drawn"))
        note_written(put(tmp_path / "predictions.jsonl", b""), grows=True)
        put(tmp_path / "predictions.jsonl", b"{}\n")
    assert written_names(tmp_path) == {"1.png", "2.png", "predictions.jsonl"}
    put(tmp_path / "1.png", b"somebody's")
    with pytest.raises(ValueError, match=r"has 1.png, which would be replaced and is of no"):
        check_place(tmp_path, sources, names(sources))
    put_by_predict(tmp_path)
    assert written_names(tmp_path) == {"2.png", "predictions.jsonl"}
    assert (tmp_path / "1.png").read_bytes() == b"somebody's"


def test_a_list_of_names_alone_is_read(tmp_path: Path) -> None:
    """As runs wrote it before sizes were noted."""
    put(tmp_path / "1.png")
    put(tmp_path / ".written_by_predict.json", b'["1.png", ["2.png"], ["3.png", 1, 2], 4]\n')
    assert written_names(tmp_path) == {"1.png"}


def test_lines_of_one_s_own_are_not_replaced(tmp_path: Path, sources: list[Source]) -> None:
    put(tmp_path / "predictions.jsonl")
    with pytest.raises(ValueError, match=r"has predictions.jsonl, which would be replaced"):
        check_place(tmp_path, sources, [])
    put(tmp_path / ".written_by_predict.json", b"{}")  # damaged
    with pytest.raises(ValueError, match=r"has predictions.jsonl, which would be replaced"):
        check_place(tmp_path, sources, [])


def test_results_of_other_lines_are_taken_away(tmp_path: Path) -> None:
    put_by_predict(tmp_path, "coco_instances_results.json")
    with own_folder(tmp_path):
        assert not (tmp_path / "coco_instances_results.json").exists()


def test_lines_of_an_earlier_run_are_not_replaced_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a shell's loop over films, of which the last one's would be left."""
    caplog.set_level(logging.INFO, "dynamicdet_d2")
    for again in (False, True):
        put_by_predict(tmp_path, "predictions.jsonl")
        assert ("predictions.jsonl of an earlier run is replaced." in caplog.text) == again


@pytest.mark.parametrize("name", ["1.png", "film.mp4"])
def test_drawn_detections_are_not_taken_for_images_in_silence(
    tmp_path: Path, sources: list[Source], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    say_drawn(sources)
    assert not caplog.text
    put_by_predict(tmp_path / "in", name)
    write_image(tmp_path / "in" / "0.png", width=96, height=64)
    say_drawn(sources_of([str(tmp_path / "in" / x) for x in ("0.png", name)]))
    said = "--input has 1 file(s) that an earlier 'dynamicdet predict' has drawn detections into"
    assert f"{said}, such as {tmp_path / 'in' / name}." in caplog.text


def test_two_runs_do_not_mix_their_lines(tmp_path: Path) -> None:
    says = "^--output .*out is in use by this very process: two runs in one folder would mix"
    with own_folder(tmp_path / "out"):
        with pytest.raises(FolderInUseError, match=says), own_folder(tmp_path / "out"):
            pass
    assert not list((tmp_path / "out").iterdir())


# Calibrations and plans

CALIBRATIONS: dict[str, tuple[dict[str, bytes], str]] = {
    "weights": ({"c.json": b"PK\x03\x04"}, "c.json, which 'dynamicdet calibrate' has not written"),
    "another JSON": ({"c.json": b'{"images": []}'}, "c.json, which 'dynamicdet calibrate' has not"),
    "a list": ({"c.json": b"[]"}, "c.json, which"),
    "a picture alone": (
        {"c.png": OWN},
        "c.png, beside which there is no c.json of 'dynamicdet calibrate'; choose another name",
    ),
    "a plan of one's own": ({"plan.md": OWN}, "plan.md, beside which there is no plan.json of"),
    "no plan": ({"plan.json": b'{"monday": "gym"}'}, "plan.json, which"),
}
GOOD = b'{"num_images": 4, "thresholds": []}'
DRAWN = b"\x89PNG Software Matplotlib"  # as its files begin


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_what_no_calibration_wrote_is_not_replaced(tmp_path: Path, name: str) -> None:
    files, says = CALIBRATIONS[name]
    for file, content in files.items():
        put(tmp_path / file, content)
    output = str(tmp_path / "c.json")
    with pytest.raises(ValueError) as refused:
        check_output(output, *plan_files(output))
    assert says in str(refused.value) and "--output would replace" in str(refused.value)


def test_a_calibration_and_its_plan_are_replaced(tmp_path: Path) -> None:
    put(tmp_path / "c.json", GOOD)
    put(tmp_path / "c.png", DRAWN)
    put(tmp_path / "plan.json", b'{"points": [], "front": []}')
    put(tmp_path / "plan.md")
    put(tmp_path / "plan.png", DRAWN)
    output = str(tmp_path / "c.json")
    check_output(output, *plan_files(output))


@pytest.mark.parametrize("name", ["c.png", "plan.png"])
def test_a_picture_of_ones_own_beside_a_calibration_is_not_replaced(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path / "c.json", GOOD)
    put(tmp_path / "plan.json", b'{"points": [], "front": []}')
    put(tmp_path / name)
    output = str(tmp_path / "c.json")
    with pytest.raises(ValueError, match=f"would replace .*{name}, which was not drawn here; move"):
        check_output(output, *plan_files(output))


@pytest.mark.parametrize("output", ["a\0b", "", "\ud800.json", "gone/", "x" * 256])
def test_a_calibration_without_a_name(output: str) -> None:
    with pytest.raises(ValueError, match="--output .* names no file"):
        check_output(output)


def test_a_calibration_in_no_folder(tmp_path: Path) -> None:
    put(tmp_path / "file")
    for folder in (tmp_path / "gone", tmp_path / "file"):
        with pytest.raises(ValueError, match=f"c.json is in {folder}, which is no folder"):
            check_output(str(folder / "c.json"))


# Whole commands


def coco(folder: Path) -> None:
    images = [image_entry(i) for i in range(1, 7)]
    write_coco(folder, images, [object_entry(i, i) for i in range(1, 7)])


def yolo(folder: Path) -> None:
    for number in range(1, 7):
        put(folder / "labels" / f"{number}.txt", b"0 .5 .5 .2 .2\n")
        (folder / "images").mkdir(exist_ok=True)
        write_image(folder / "images" / f"{number}.png", width=40, height=30)
    put(folder / "data.yaml", b"train: images\nnames: [a]\n")


def renamed(folder: Path) -> None:
    coco(folder)
    (folder / "set.json").rename(folder / "instances_train.json")


def upgraded(folder: Path) -> None:
    put(folder / "model_final.pth")


IMPORT = "import-data --coco {folder}/set.json --images {folder}/images --output {folder}"
# Name -> what makes the folder, a file that lies there, the command, what is said.
COMMANDS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "a split": (coco, "instances_val.json", IMPORT, "instances_val.json, which 'dynamicdet import"),
    "what is split": (
        renamed,
        "",
        IMPORT.replace("set.json", "instances_train.json"),
        "instances_train.json, which 'dynamicdet import-data' has not written",
    ),
    "labels": (
        yolo,
        "train.json",
        "import-data --yolo {folder} --output {folder}",
        "train.json, which 'dynamicdet import-data' has not written",
    ),
    "a conversion's config": (
        os.mkdir,
        "yolo.yaml",
        "convert --weights gone.pt --output {folder}/yolo.pth",
        "yolo.yaml, which no conversion has written",
    ),
    "weights and a config of one's own": (
        lambda folder: put(folder / "yolo.yaml", b"MODEL: {WEIGHTS: other.pth}"),
        "yolo.pth",
        "convert --weights gone.pt --output {folder}/yolo.pth",
        "yolo.pth, which no conversion has written",
    ),
    "what is converted": (
        lambda folder: put(folder / "yolo.yaml"),
        "yolo.pth",
        "convert --weights {folder}/yolo.pth --output {folder}/yolo.pth",
        "yolo.pth, which no conversion has written",
    ),
    "figures of an export": (
        os.mkdir,
        "w.pth",
        "check-export --folder gone --config-file gone --output {folder}/w.pth",
        "w.pth, which 'dynamicdet check-export' has not written",
    ),
    "a trained upgrade's proofs": (
        lambda folder: [put(folder / name, HEAD.encode()) for name in (LAST, RECORD, CONFIG)],
        "",
        "upgrade --config-file gone --weights w --output {folder} --prove-only",
        "has an upgrade that has been trained, of whose proofs it would leave the first alone",
    ),
    "a detector's run": (
        upgraded,
        "",
        "upgrade --config-file gone --weights {folder}/model_final.pth --output {folder}",
        "has model_final.pth of another run, which would be replaced",
    ),
    **{
        f"a file where an upgrade writes {name}": (
            os.mkdir,
            name,
            "upgrade --config-file gone --weights gone --output {folder}",
            f"has {name}, which 'dynamicdet upgrade' has not written",
        )
        for name in (CONFIG, START, RECORD)
    },
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    make, own, words, says = COMMANDS[name]
    folder = tmp_path / "own"
    make(folder)
    if own:
        put(folder / own)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        main(words.format(folder=folder).split())
    assert stop.value.code == 2 and says in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_demo_s_config_takes_no_other_one_s_place(tmp_path: Path) -> None:
    coco(tmp_path)
    put(tmp_path / "photos.yaml", b"MODEL: {}\n")
    arguments = (str(tmp_path / "set.json"), str(tmp_path / "images"), tmp_path, 400)
    with pytest.raises(ValueError, match=r"would replace .*photos.yaml, which 'dynamicdet demo-p"):
        prepare(*arguments)
    assert not (tmp_path / "data").exists()


def test_what_a_command_wrote_it_replaces(tmp_path: Path) -> None:
    coco(tmp_path / "set")
    words = IMPORT.replace("--output {folder}", "--output {folder}/out")
    for _ in range(2):
        assert main(words.format(folder=tmp_path / "set").split()) == 0
    kept = json.loads((tmp_path / "set" / "out" / "instances_val.json").read_text())
    assert kept["written_by"] == "dynamicdet import-data" and len(kept["images"]) == 2


def test_annotations_that_were_corrected_since_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    coco(tmp_path)
    words = IMPORT.replace("--output {folder}", "--output {folder}/out").format(folder=tmp_path)
    assert main(words.split()) == 0
    file = tmp_path / "out" / "instances_val.json"
    corrected = json.loads(file.read_text())
    corrected["annotations"][0]["bbox"] = [1, 2, 3, 4]
    file.write_text(json.dumps(corrected, indent=1))
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2 and json.loads(file.read_text()) == corrected
    assert f"{file}, which was changed since 'dynamicdet import-data'" in capsys.readouterr().err
    del corrected["written_sha256"]  # of an earlier version, or a tool that keeps what it knows
    file.write_text(json.dumps(corrected))
    assert main(words.split()) == 0


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("{folder}", "must be a file in a folder that is there and can be written to."),
        ("{folder}/gone/x.json", "must be a file in a folder that is there and can be written to."),
        ("{folder}/pipe", "pipe is a pipe or a device; it must be a file."),
        ("{folder}/link", "link is a link; it must be an ordinary file."),
    ],
)
def test_figures_that_could_not_be_written(
    tmp_path: Path, output: str, says: str, capsys: pytest.CaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("x")
    words = ["check-export", "--folder", "gone", "--config-file", "gone", "--output"]
    with pytest.raises(SystemExit):
        main([*words, output.format(folder=tmp_path)])
    assert says in capsys.readouterr().err


def test_an_upgrade_goes_on_in_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    upgraded(tmp_path)
    put(tmp_path / RECORD, b"{}")
    put(tmp_path / START)
    put(tmp_path / CONFIG, f"{HEAD}_BASE_: x".encode())
    with pytest.raises(SystemExit):
        main(["upgrade", "--config-file", "gone", "--weights", "w", "--output", str(tmp_path)])
    assert "--config-file gone is no file" in capsys.readouterr().err


def test_an_upgrade_s_config_that_was_edited_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its keys are not read: it follows from the stock detector's."""
    stock = str(put(tmp_path / "stock.yaml"))
    for _ in range(2):
        config = Path(write_config(tmp_path, stock, {"SEED": 1}))
    written = config.read_bytes()
    assert not caplog.text
    for name in ("upgrade_1.yaml", "upgrade_2.yaml"):
        put(config, written + b"# mine")
        write_config(tmp_path, stock, {"SEED": 1})
        assert f"type them behind --opts. Kept of it: {name}." in caplog.messages[-1]
        assert config.read_bytes() == written
        assert (tmp_path / name).read_bytes() == written + b"# mine"

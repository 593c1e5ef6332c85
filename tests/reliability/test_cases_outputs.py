# SPDX-License-Identifier: Apache-2.0
"""What ``predict`` writes where it cannot be written, or could be read in two ways."""

import json
import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.prediction.aim import Aim
from dynamicdet_d2.prediction.outputs import CocoResults, DrawnFiles, JsonLines
from dynamicdet_d2.prediction.sources import Frame, ImageFile, Source, VideoFile
from dynamicdet_d2.utils.errors import one_sentence
from dynamicdet_d2.utils.files import read_json, whole_file
from tests.support.coco_files import write_image

NOTHING = Instances(
    (64, 96),
    pred_boxes=Boxes(torch.zeros(0, 4)),
    scores=torch.zeros(0),
    pred_classes=torch.zeros(0, dtype=torch.long),
)
PREDICTION = {"instances": NOTHING, "difficulty": 0.5, "route": "easy"}
NOISE = np.random.RandomState(0).randint(0, 255, (64, 96, 3)).astype(np.uint8)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk is to one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def frame_of(source: Source, number: int | None = None) -> Frame:
    return Frame(source, NOISE, number, None if number is None else number / 10)


def test_lines_on_a_full_disk_name_their_file(tmp_path: Path) -> None:
    says = r"predictions\.jsonl cannot be written: File too large\."
    with pytest.raises(OSError, match=says), files_of_at_most(100), JsonLines(tmp_path, []) as out:
        for _ in range(5):
            out.write(frame_of(ImageFile(Path("a.png"))), PREDICTION)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "is a pipe or a device; it must be a file."),
        (lambda path: path.symlink_to("/dev/full"), "is a pipe or a device"),
        (lambda path: path.symlink_to("/etc/hostname"), "is a link; it must be an ordinary file."),
        (os.mkdir, "predictions.jsonl cannot be written: Is a directory."),
    ],
)
def test_lines_that_go_into_no_file(tmp_path: Path, make: Callable, says: str) -> None:
    make(tmp_path / "predictions.jsonl")
    with pytest.raises((ValueError, OSError), match=says):
        JsonLines(tmp_path, [])


def film(folder: Path) -> VideoFile:
    source = VideoFile(folder / "film.mp4")
    source.fps = 10.0
    return source


@pytest.mark.parametrize("size", [0, 5000])
def test_a_video_on_a_full_disk_is_none(tmp_path: Path, size: int) -> None:
    """OpenCV says nothing."""
    source, drawn = film(tmp_path), DrawnFiles(tmp_path, [])
    with pytest.raises(OSError, match=r"film\.mp4"), files_of_at_most(size), drawn:
        for number in range(12):
            drawn.write(frame_of(source, number), PREDICTION)
    assert list(tmp_path.iterdir()) == []


def test_a_video_where_a_folder_is(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").mkdir()
    source, drawn = film(tmp_path), DrawnFiles(tmp_path, [])
    with pytest.raises(OSError, match=r"film.mp4 cannot be written: Is a directory."), drawn:
        drawn.write(frame_of(source, 0), PREDICTION)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_video_takes_no_name_of_another(tmp_path: Path) -> None:
    """While it is made; two films of such names lost one of them."""
    first, second = VideoFile(tmp_path / "film.unfinished.mp4"), film(tmp_path)
    first.fps = 10.0
    with DrawnFiles(tmp_path / "out", []) as drawn:
        (tmp_path / "out").mkdir()
        for source in (first, second):
            drawn.write(frame_of(source, 0), PREDICTION)
    assert {x.name for x in (tmp_path / "out").glob("*.mp4")} == {"film.mp4", "film.unfinished.mp4"}


@pytest.mark.parametrize("name", ["2026-11-29T12:30", "run:1"])
def test_a_colon_in_a_folder_s_name_is_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    with DrawnFiles(Path(name), []) as drawn:
        drawn.write(frame_of(film(tmp_path), 0), PREDICTION)
    assert (tmp_path / name / "film.mp4").is_file()


def test_a_video_of_a_speed_that_no_file_has(tmp_path: Path) -> None:
    source = film(tmp_path)
    source.fps = 1e9
    with pytest.raises(OSError, match=r"film.mp4 \(mp4v, .*, 1e\+09 frames per second\)\."):
        DrawnFiles(tmp_path, []).write(frame_of(source, 0), PREDICTION)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("a.pgm", "a.pgm.png"), ("a.pbm", "a.pbm.png"), ("a.ppm", "a.ppm"), ("a.jp2", "a.jp2")],
)
def test_what_is_of_grey_images_alone_is_drawn_as_png(name: str, drawn: str) -> None:
    assert ImageFile(Path(name)).drawn_name == drawn


@pytest.mark.parametrize("name", ["n" * 246 + ".png", "ä" * 125 + ".png"])
def test_a_name_as_long_as_names_may_be(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


ONE, TWO = {"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}
IDS: list[tuple[list, str]] = [
    ([{**ONE, "id": [1]}, TWO], "each with an 'id' (a whole number or text)"),
    ([{**ONE, "id": float("nan")}, TWO], "each with an 'id'"),
    ([{**ONE, "id": True}, TWO], "each with an 'id'"),
    ([{**ONE, "file_name": 3}, TWO], "and a 'file_name'."),
    ([1, TWO], "has no list of 'images'"),
    ([ONE], "2.png is no image of "),
    ([ONE, {**TWO, "file_name": "a\\2.png"}], "json: its names have the backslashes of Windows."),
    ([ONE, TWO, {"id": 9, "file_name": "1.png"}], "has 1.png twice, with the ids 1 and 9."),
    ([ONE, {**TWO, "id": 1}], "1.png and 2.png both have the id 1"),
]


@pytest.mark.parametrize("number", range(len(IDS)))
def test_ids_that_results_would_be_wrong_with(tmp_path: Path, number: int) -> None:
    images, says = IDS[number]
    file = tmp_path / "ids.json"
    file.write_text(json.dumps({"images": images, "categories": [{"id": 1, "name": "a"}]}))
    sources = [ImageFile(Path("1.png")), ImageFile(Path("2.png"))]
    with pytest.raises(ValueError) as refused:
        CocoResults(tmp_path, str(file), 1, sources)
    assert says in str(refused.value)


def test_ids_of_images_of_another_size(tmp_path: Path) -> None:
    """Boxes in the pixels of a reduced copy would be wrong for the image that is meant."""
    write_image(tmp_path / "1.png", width=96, height=64)
    file = tmp_path / "ids.json"
    source = ImageFile(tmp_path / "1.png")
    says = r"1\.png is 96x64 pixels \(EXIF rotation applied\), but .*ids\.json says 192(\.0)?x128"
    for size in ({}, {"width": None, "height": None}, {"width": 96, "height": 64}):
        images, categories = [{**ONE, **size}], [{"id": 1, "name": "a"}]
        file.write_text(json.dumps({"images": images, "categories": categories}))
        CocoResults(tmp_path, str(file), 1, [source])
    for size in ({"width": 192, "height": 128}, {"width": 192.0, "height": 128.0}):
        images = [{**ONE, **size}]
        file.write_text(json.dumps({"images": images, "categories": categories}))
        with pytest.raises(ValueError, match=says):
            CocoResults(tmp_path, str(file), 1, [source])


@pytest.mark.parametrize(
    ("in_file", "in_model", "says"),
    [
        (["a", "b"], ["a", "c"], "ids.json has no category 'c', which the model has a class of."),
        (["a", "A"], ["a", "b"], "has no category 'b'"),
        (["a", "b", "b"], ["b", "a", "b"], "which is which cannot be told."),
    ],
)
def test_names_that_categories_cannot_be_told_by(
    tmp_path: Path, in_file: list[str], in_model: list[str], says: str
) -> None:
    file = tmp_path / "ids.json"
    categories = [{"id": number, "name": name} for number, name in enumerate(in_file)]
    file.write_text(json.dumps({"images": [ONE], "categories": categories}))
    sources = [ImageFile(Path("1.png"))]
    with pytest.raises(ValueError, match=re.escape(says)):
        CocoResults(tmp_path, str(file), len(in_model), sources, in_model)


@pytest.mark.parametrize("name", ["{folder}/1.png", "./1.png"])
def test_ids_by_names_as_tools_write_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    name = name.format(folder=tmp_path)
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "1.png", width=96, height=64)
    images, categories = [{**ONE, "file_name": name}, TWO], [{"id": 1, "name": "a"}]
    (tmp_path / "ids.json").write_text(json.dumps({"images": images, "categories": categories}))
    for word in ("1.png", tmp_path / "1.png"):
        CocoResults(tmp_path, "ids.json", 1, [ImageFile(Path(word))])
    assert "1 of 2 image(s) of ids.json are not in --input: AP over all would" in caplog.text


def test_an_image_that_stands_twice_is_not_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ids.json"
    file.write_text(json.dumps({"images": [ONE, ONE], "categories": [{"id": 1, "name": "a"}]}))
    CocoResults(tmp_path, str(file), 1, [ImageFile(Path("1.png"))])
    assert caplog.text == ""


def test_results_of_a_stopped_stream_are_none(tmp_path: Path) -> None:
    """They would look like poor results of all images."""
    file = tmp_path / "ids.json"
    file.write_text(json.dumps({"images": [ONE], "categories": [{"id": 1, "name": "a"}]}))
    with CocoResults(tmp_path, str(file), 1, [ImageFile(Path("1.png"))]) as results:
        results.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["ids.json"]


@pytest.mark.parametrize("inside", [True, False])
def test_a_key_that_is_twice_in_a_json_text(tmp_path: Path, inside: bool) -> None:
    """Readers take the last one, so that images are lost in silence."""
    file = tmp_path / "ids.json"
    image = '{"id": 1, "id": 2, "file_name": "1.png"}' if inside else '{"id": 1}'
    more = "" if inside else ', "images": []'
    file.write_text(f'{{"images": [{image}]{more}, "categories": []}}')
    name = "id" if inside else "images"
    with pytest.raises(ValueError, match=f"ids.json has the key '{name}' twice in one object."):
        CocoResults(tmp_path, str(file), 1, [])
    with pytest.raises(ValueError, match=f"calibration has the key '{name}' twice"):
        read_json(file, "calibration")


def test_a_video_has_no_image_id(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text(json.dumps({"images": [ONE], "categories": []}))
    with pytest.raises(ValueError, match="--coco-ids is of images, and .*film.mp4 is none."):
        CocoResults(tmp_path, str(tmp_path / "ids.json"), 1, [film(tmp_path)])


@pytest.mark.parametrize(
    ("aim", "says"),
    [
        ({"threshold": -0.1}, "--threshold is -0.1; it must lie in [0, 1]."),
        ({"hard_fraction": float("nan")}, "--hard-fraction is nan; it must lie in [0, 1]."),
        (
            {"target_ms": float("nan")},
            "--target-latency-ms is nan; it must be a number above 0.",
        ),
        ({"target_ms": float("inf")}, "--target-latency-ms is inf"),
        ({"target_ms": -1.0}, "--target-latency-ms is -1"),
        (
            {"target_ms": 1e30},
            "--target-latency-ms is 1000000000000000019884624838656; it must lie",
        ),
        ({"target_ms": 5.0, "percentile": 100.0}, "--percentile is 100; it must be from 1 to"),
        ({"target_ms": 5.0, "percentile": 0.95}, "--percentile is 0.95; it must be from 1 to"),
        ({"target_ms": 5.0, "percentile": 0.0}, "--percentile is 0"),
    ],
)
def test_what_a_stream_cannot_keep_names_the_option(aim: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as refused:
        Aim(**aim).check()
    assert says in str(refused.value)


def test_a_model_folder_does_not_take_the_working_folder_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The shell would stay in the one that was there, and see nothing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["package", "--config-file", "configs/quickstart.yaml", "--output", "."])
    assert "--output . is the working folder, which the model folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "import-data --yolo {folder}/set --output {folder}/file/x",
        "predict --config-file configs/quickstart.yaml --input {folder}/film.mp4 --output {folder}",
        "export --config-file configs/quickstart.yaml --format torch --output {folder}",
        "demo-photos --num-images 0 --output {folder}/x",
        "demo-photos --num-images -5 --output {folder}/x",
    ],
)
def test_nothing_is_begun(tmp_path: Path, words: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(words.format(folder=tmp_path).split())
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dynamicdet ") and error.endswith(".") and "[Errno" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), r"There is not enough memory; .* \(MemoryError\)\."),
        (RuntimeError("x: can't allocate memory: 9 bytes.\nmore"), r"can't allocate memory: 9 byt"),
        (RuntimeError("could not create a primitive"), r"\(could not create a primitive\)\.$"),
        (
            ImportError("libx.so: failed to map segment from shared object"),
            r"error: libx.so: failed to map .*: there is not enough memory for it; 'ulimit -v' ",
        ),
        (FileExistsError(17, "File exists", "a/b"), r"error: a/b cannot be used: File exists\."),
    ],
)
def test_what_the_machine_says_is_a_sentence(
    error: Exception, says: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop, one_sentence("program"):
        raise error
    assert stop.value.code == 1
    assert pytest.importorskip("re").search(says, capsys.readouterr().err)

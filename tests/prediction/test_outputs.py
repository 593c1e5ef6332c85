# SPDX-License-Identifier: Apache-2.0
"""What is drawn and written of predictions."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.prediction.drawing import drawn
from dynamicdet_d2.prediction.outputs import CocoResults, DrawnFiles, JsonLines
from dynamicdet_d2.prediction.outputs.coco_results import RESULTS
from dynamicdet_d2.prediction.outputs.json_lines import LINES, line_of
from dynamicdet_d2.prediction.outputs.place import check_place
from dynamicdet_d2.prediction.outputs.written import WRITTEN, note_written, written_names
from dynamicdet_d2.prediction.sources import Camera, Frame, ImageFile, VideoFile
from dynamicdet_d2.utils.class_labels import CLASS_COLORS
from tests.support.coco_files import image_entry, write_coco

NAMES = ["cat", "Straße"]


def found(*, masks: bool = False) -> Instances:
    """A dog, and of a class without a name, in 64x96 pixels."""
    instances = Instances((64, 96))
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 11.0, 22.0], [40.0, 0.0, 80.0, 60.0]]))
    instances.scores = torch.tensor([0.75, 0.5])
    instances.pred_classes = torch.tensor([1, 2])
    if masks:
        instances.pred_masks = torch.zeros(2, 64, 96, dtype=torch.bool)
        instances.pred_masks[1, 10:50, 45:75] = True
    return instances


def prediction(**kinds: bool) -> dict:
    return {"instances": found(**kinds), "route": "hard", "difficulty": 0.25}


def blank(height: int = 64, width: int = 96) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def image_frame(name: str = "x/001.jpg") -> Frame:
    return Frame(ImageFile(Path(name)), blank())


def test_lines() -> None:
    line = line_of(image_frame("a.jpg"), prediction(), NAMES)
    assert line == {
        "file_name": "a.jpg",
        "difficulty": 0.25,
        "route": "hard",
        "detections": [
            {"category_id": 1, "category": "Straße", "bbox": [1, 2, 10, 20], "score": 0.75},
            {"category_id": 2, "bbox": [40, 0, 40, 60], "score": 0.5},
        ],
    }
    frame = Frame(VideoFile(Path("f.mp4")), blank(), 7, 0.7)
    line = line_of(frame, {"instances": found()[:0]}, [])
    assert line == {"file_name": "f.mp4", "frame": 7, "seconds": 0.7, "detections": []}
    masks = line_of(image_frame(), prediction(masks=True), NAMES)["detections"]
    assert json.loads(json.dumps(masks))[1]["segmentation"]["size"] == [64, 96]


def test_lines_can_be_read_while_a_stream_runs(tmp_path: Path) -> None:
    with JsonLines(tmp_path, NAMES) as output:
        output.write(image_frame(), prediction())
        assert json.loads((tmp_path / LINES).read_text())["route"] == "hard"
        assert written_names(tmp_path) == {LINES}


def test_a_name_in_any_bytes_is_known_again(tmp_path: Path) -> None:
    """As of archives from other systems."""
    path = tmp_path / os.fsdecode(b"\xff.png")
    path.write_bytes(b"drawn")
    note_written(path)
    assert written_names(tmp_path) == {path.name}
    (tmp_path / WRITTEN).write_text("{" * 100_000)
    assert written_names(tmp_path) == set()


def test_lines_that_somebody_has_edited_are_theirs(tmp_path: Path) -> None:
    with JsonLines(tmp_path, NAMES) as output:
        output.write(image_frame(), prediction())
    check_place(tmp_path, [], [])
    with open(tmp_path / LINES, "a") as file:
        file.write("looked at\n")
    with pytest.raises(ValueError, match=f"has {LINES}, which would be .* or was changed since"):
        check_place(tmp_path, [], [])


def test_a_small_image_is_drawn_larger_with_all_that_was_found() -> None:
    picture = drawn(blank(), prediction(), NAMES)
    assert picture.shape == (480, 720, 3) and picture.dtype == np.uint8
    # The second box's left edge, 7.5 times as large, in its class's colour (BGR here).
    assert picture[300, 300].tolist() == list(CLASS_COLORS[2][::-1])
    # The route's label in the corner, and nothing between the boxes.
    assert picture[2:12, 2:40].any() and not picture[400:, 120:290].any()


def test_masks_are_seen_through() -> None:
    ground = np.full((64, 96, 3), 100, np.uint8)
    picture = drawn(ground, prediction(masks=True), NAMES)
    expected = 0.55 * 100 + 0.45 * np.array(CLASS_COLORS[2][::-1])
    assert picture[30 * 15 // 2, 60 * 15 // 2] == pytest.approx(expected, abs=1)
    assert ground.mean() == 100


def test_large_images_keep_their_size_but_for_odd_sides() -> None:
    # A detector without routes, and an image without detections: nothing is drawn.
    picture = drawn(blank(601, 900), {"instances": Instances.cat([found()[:0]])}, [])
    assert picture.shape == (600, 900, 3) and not picture.any()


def test_files_of_images_and_videos(tmp_path: Path) -> None:
    video = VideoFile(Path("clips/f.avi"))
    video.fps = 10.0
    with DrawnFiles(tmp_path, NAMES) as output:
        output.write(image_frame(), prediction())
        for number in range(4):
            output.write(Frame(video, blank(), number, number / 10), prediction())
        (unfinished,) = {path.name for path in tmp_path.iterdir()} - {"001.jpg", WRITTEN}
        assert listed(tmp_path) == ["001.jpg"]
        assert unfinished.startswith("unfinished-") and unfinished.endswith(".mp4")
        # The next file completes the video before it.
        output.write(image_frame("x/002.png"), prediction())
        there = {"001.jpg", "002.png", "f.mp4"}
        assert {path.name for path in tmp_path.iterdir()} == {*there, WRITTEN}
        assert set(listed(tmp_path)) == there
    assert cv2.imread(str(tmp_path / "001.jpg")).shape == (480, 720, 3)
    assert frames_of(tmp_path / "f.mp4") == (4, 10.0)


def listed(folder: Path) -> list[str]:
    """Names in the list, whose sizes are those of the files."""
    entries = json.loads((folder / WRITTEN).read_text())
    assert all(size == (folder / name).stat().st_size for name, size in entries)
    return [name for name, _ in entries]


def frames_of(path: Path) -> tuple[int, float]:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize(("live", "frames"), [(True, 10), (False, 4)])
def test_a_cameras_frames_stay_as_long_as_they_were_seen(
    tmp_path: Path, live: bool, frames: int
) -> None:
    source = Camera(0) if live else VideoFile(Path("camera-0.mp4"))
    source.fps = 10.0
    with DrawnFiles(tmp_path, NAMES) as output:
        for number, seconds in enumerate((0.0, 0.32, 0.35, 0.9)):
            output.write(Frame(source, blank(), number, seconds), prediction())
    assert frames_of(tmp_path / "camera-0.mp4")[0] == frames


def test_an_error_leaves_no_file_that_looks_complete(tmp_path: Path) -> None:
    video = VideoFile(Path("f.mp4"))
    video.fps = 10.0
    json_file, _ = write_coco(tmp_path / "coco", [image_entry(1)], [])
    output = tmp_path / "output"
    output.mkdir()
    with pytest.raises(RuntimeError):
        with (
            DrawnFiles(output, NAMES) as files,
            CocoResults(output, json_file, 2, []),
        ):
            files.write(Frame(video, blank(), 0, 0.0), prediction())
            raise RuntimeError
    assert list(output.iterdir()) == []


class Name(str):
    """Counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def test_a_place_is_checked_in_one_pass_over_many_images(tmp_path: Path) -> None:
    sources = [ImageFile(Path(f"x/{number}.png")) for number in range(300)]
    for source in sources:
        source.drawn_name = Name(source.drawn_name)
    check_place(tmp_path / "output", sources, [source.drawn_name for source in sources])
    assert Name.compared < 3000  # each with each: 45,000


def test_coco_results_have_the_ids_of_the_coco_file(tmp_path: Path) -> None:
    images = [
        {**image_entry(7), "file_name": "001.jpg"},
        {**image_entry(9), "file_name": "x/001.jpg"},
    ]
    categories = [{"id": 5, "name": "b"}, {"id": 3, "name": "a"}, {"id": 90, "name": "c"}]
    json_file, _ = write_coco(tmp_path, images, [], categories=categories, draw=False)
    frames = [image_frame("x/001.jpg"), image_frame("y/001.jpg")]
    sources = [frame.source for frame in frames]
    with CocoResults(tmp_path, json_file, 3, sources) as output:
        for frame in frames:
            output.write(frame, prediction())
    results = json.loads((tmp_path / RESULTS).read_text())
    assert [(x["image_id"], x["category_id"]) for x in results] == [
        (9, 5),
        (9, 90),
        (7, 5),
        (7, 90),
    ]
    with CocoResults(tmp_path, json_file, 3, sources, ["c", "b", "a"]) as output:
        output.write(frames[0], prediction())
    results = json.loads((tmp_path / RESULTS).read_text())
    assert [x["category_id"] for x in results] == [5, 3]
    with pytest.raises(ValueError, match="has 3 categories, the model 2 classes"):
        CocoResults(tmp_path, json_file, 2, sources)
    with pytest.raises(ValueError, match="z.jpg is no image of"):
        CocoResults(tmp_path, json_file, 3, [ImageFile(Path("x/z.jpg"))])

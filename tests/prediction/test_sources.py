# SPDX-License-Identifier: Apache-2.0
"""What words of ``--input`` mean, and reading it ahead."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import cv2
import numpy as np
import pytest
from PIL import Image

from dynamicdet_d2.data.loading.corrupt import CorruptImageError
from dynamicdet_d2.prediction.sources import (
    Camera,
    Frame,
    ImageFile,
    ReadAhead,
    Source,
    VideoFile,
    sources_of,
)
from tests.support.predicting import FPS, FRAMES, write_slowing_video

BLANK = np.zeros((2, 2, 3), np.uint8)


def names(*words: object) -> list[str]:
    return [Path(source.name).name for source in sources_of([str(word) for word in words])]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.md", "film.mp4", "deep/er/c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "list.txt").write_text("b.jpg\n\n  deep/er/c.jpg \nfilm.mp4\n")
    return tmp_path


def test_words_and_what_they_mean(tree: Path) -> None:
    assert names(tree) == ["a.PNG", "b.jpg"]
    assert names(tree / "*.jpg", tree / "film.mp4") == ["b.jpg", "film.mp4"]
    assert names(tree / "**" / "*.jpg") == ["b.jpg", "c.jpg"]
    assert names(tree / "list.txt") == ["b.jpg", "c.jpg", "film.mp4"]
    Image.new("RGB", (9, 9)).save(tree / "cached.0", "PNG")
    assert names(tree / "cached.0") == ["cached.0"]
    kinds = sources_of([str(tree / "b.jpg"), str(tree / "film.mp4")])
    assert [type(kind) for kind in kinds] == [ImageFile, VideoFile]
    (camera,) = sources_of(["camera:2"])
    assert isinstance(camera, Camera) and (camera.number, camera.live) == (2, True)
    drawn = [ImageFile(Path("x/a.PNG")), ImageFile(Path("a")), VideoFile(Path("f.avi")), camera]
    assert [x.drawn_name for x in drawn] == ["a.PNG", "a.png", "f.mp4", "camera-2.mp4"]


def test_a_file_may_begin_with_a_tilde(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (tree / "~nobody.jpg").touch()
    assert names("~nobody.jpg") == ["~nobody.jpg"]
    monkeypatch.chdir("/")
    (tree / "own.txt").write_text("~nobody.jpg\n")
    assert names(tree / "own.txt") == ["~nobody.jpg"]


def test_videos_in_a_folder_are_not_left_out_in_silence(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert names(tree) == ["a.PNG", "b.jpg"]
    assert "its videos left out, such as film.mp4." in caplog.text
    caplog.clear()
    (tree / "film.mp4").unlink()
    assert names(tree) == ["a.PNG", "b.jpg"] and not caplog.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gone.jpg"], "--input .*gone.jpg does not exist."),
        (["deep"], "has no images"),
        (["*.gif"], "matches no image and no video"),
        (["empty.txt"], "is empty; a list has a path in each line"),
        (["wrong.txt"], "wrong.txt: .*gone.jpg does not exist"),
        (["nested.txt"], "names list.txt, another list"),
        (["b.jpg", "."], r"b\.jpg twice\."),
        (["notes.md"], "notes.md is no image, and by its ending no video and no list"),
    ],
)
def test_what_they_cannot_mean(tree: Path, words: list[str], says: str) -> None:
    for name, content in (("empty", "\n"), ("wrong", "gone.jpg"), ("nested", "list.txt")):
        (tree / f"{name}.txt").write_text(content)
    with pytest.raises(ValueError, match=says):
        names(*(tree / word for word in words))


def test_a_camera_stands_alone(tree: Path) -> None:
    with pytest.raises(ValueError, match="a camera stands alone"):
        names("camera:0", tree / "b.jpg")
    with pytest.raises(ValueError, match="Camera 99 cannot be opened"):
        list(Camera(99).frames())


def test_frames_of_a_video(files: SimpleNamespace) -> None:
    video = VideoFile(Path(files.video))
    frames = list(video.frames())
    assert (video.count(), video.fps, len(frames)) == (FRAMES, FPS, FRAMES)
    assert [frame.number for frame in frames] == list(range(FRAMES))
    assert frames[5].seconds == pytest.approx(0.5)
    brightness = [float(frame.image.mean()) for frame in frames]
    assert brightness == sorted(brightness) and brightness[5] == pytest.approx(100, abs=5)


def test_frames_are_seen_when_the_video_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = VideoFile(write_slowing_video(tmp_path / "film.mp4"))
    seconds = [round(frame.seconds or 0, 6) for frame in video.frames()]
    assert seconds == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1]
    assert video.fps == 5  # 12 in 2.4 seconds

    class WithoutTimes(FakeCapture):
        images = [BLANK] * 3

    monkeypatch.setattr(cv2, "VideoCapture", WithoutTimes)
    seconds = [round(frame.seconds or 0, 6) for frame in video.frames()]
    assert seconds == [0, 0.04, 0.08]


class FakeCapture:
    """Opens, and knows nothing of itself."""

    images: ClassVar[list] = []

    def __init__(self, where: object) -> None:
        self.left = list(self.images)

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def get(self, what: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self.left.pop()) if self.left else (False, None)

    def release(self) -> None: ...


def test_a_camera_that_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    with pytest.raises(ValueError) as said:
        list(Camera(0).frames())
    assert str(said.value) == "Camera 0 gives no image; another program may be using it."


def test_a_video_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="no.mp4 cannot be opened by OpenCV"):
        list(VideoFile(tmp_path / "no.mp4").frames())


class Counted(Source):
    """Frames without end; each is made when it is asked for."""

    name, drawn_name = "counted", "counted.mp4"

    def __init__(self, live: bool = False, fails_at: int | None = None) -> None:
        self.live, self.fails_at, self.made = live, fails_at, 0
        self.ten = threading.Event()

    def frames(self) -> Iterator[Frame]:
        while self.made != self.fails_at:
            self.made += 1
            if self.made == 10:
                self.ten.set()
            yield Frame(self, BLANK, self.made, 0.0)
        raise RuntimeError("broken")


def test_reading_is_a_few_frames_ahead_and_ends_with_the_context() -> None:
    source = Counted()
    with ReadAhead([source], depth=3) as reader:
        frames = iter(reader)
        assert [next(frames).number for _ in range(5)] == [1, 2, 3, 4, 5]
    assert 5 <= source.made <= 9
    assert "read-ahead" not in [thread.name for thread in threading.enumerate()]


def test_of_a_camera_the_newest_frame_waits() -> None:
    source = Counted(live=True)
    with ReadAhead([source]) as reader:
        assert source.ten.wait(30)
        first = next(iter(reader))
    assert first.number >= 9 and reader.dropped >= 8


def test_errors_arrive_where_frames_are_taken(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    sources = [ImageFile(tmp_path / "broken.jpg"), Counted(fails_at=2)]
    with ReadAhead(sources) as reader:
        items = iter(reader)
        assert isinstance(next(items), CorruptImageError)
        assert [next(items).number for _ in range(2)] == [1, 2]
        with pytest.raises(RuntimeError, match="broken"):
            next(items)

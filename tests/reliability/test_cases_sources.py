# SPDX-License-Identifier: Apache-2.0
"""What ``predict`` is to look at and is none, or cannot be read: each with its sentence."""

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dynamicdet_d2.prediction.drawing import drawn
from dynamicdet_d2.prediction.sources import VideoFile, sources_of
from tests.support.coco_files import write_image
from tests.support.predicting import write_video

NO_TEXT = os.fsdecode(b"\xff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images and a video."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "images").mkdir()
    for number in (1, 2):
        write_image(folder / "images" / f"{number}.png", width=96, height=64)
    write_video(folder / "film.mp4")
    (folder / "film").write_bytes((folder / "film.mp4").read_bytes())
    (folder / "set.json").write_text("{}")
    return folder


# Words

WORDS: dict[str, str] = {
    "": "--input '' names no file.",
    " ": "--input ' ' names no file.",
    "a\0b": "names no file.",
    "{folder}/gone": "/gone does not exist.",
    "{folder}/images/9.png": "9.png does not exist.",
    "x" * 5000: "...",
    "~nobody-has-this-name/1.png": "Could not determine home directory.",
    "{folder}/[": "/[ matches no image and no video.",
    "{folder}/*.bmp": "*.bmp matches no image and no video.",
    "camera:": "camera: is no camera; they are camera:0,",
    "camera:-1": "camera:-1 is no camera",
    "camera:x": "camera:x is no camera",
    "camera:99999999999999999999": "is no camera; they are camera:0, camera:1, ... camera:999.",
    "http://localhost/1.jpg": "http://localhost/1.jpg is an address; files of this machine are",
    "0": "--input 0 does not exist; cameras are camera:0 to camera:999.",
    "webcam": "--input webcam does not exist; cameras are camera:0 to",
    "/dev/video77": "/dev/video77 does not exist; cameras are camera:0 to",
    "{folder}/set.json": "set.json is no image, and by its ending no video and no list (.txt).",
    "{folder}/film": "film is no image, and by its ending no video and no list (.txt).",
    "-": "--input - does not exist.",
    "/dev/zero": "--input /dev/zero is a pipe or a device; it must be a file",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word(folder: Path, word: str) -> None:
    with pytest.raises(ValueError) as refused:
        sources_of([word.format(folder=folder)])
    assert WORDS[word] in str(refused.value) and len(str(refused.value)) < 400


def test_pictures_that_are_not_searched_for_are_not_left_out_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "1.png", width=96, height=64)
    (tmp_path / "IMG_2.HEIC").touch()
    (tmp_path / "IMG_3.MPO").touch()
    says = "its images are taken and its pictures of other kinds left out, such as IMG_2.HEIC. Name"
    for word in (str(tmp_path), str(tmp_path / "*")):
        caplog.clear()
        assert len(sources_of([word])) == 1 and says in caplog.text


def test_images_without_an_ending_are_images(tmp_path: Path) -> None:
    """As downloads and caches have them."""
    write_image(tmp_path / "1.jpg", width=96, height=64)
    (tmp_path / "1.jpg").rename(tmp_path / "1")
    write_image(tmp_path / "2.png", width=96, height=64)
    (tmp_path / "LICENSE").write_text("words")
    (tmp_path / "more").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for word in (str(tmp_path), str(tmp_path / "*")):
        found = sources_of([word])
        assert [source.drawn_name for source in found] == ["1.png", "2.png"]
        assert next(found[0].frames()).image.shape == (64, 96, 3)
    (tmp_path / "2.png").unlink()
    assert len(sources_of([str(tmp_path)])) == 1


def test_what_a_mac_leaves_in_a_folder_is_no_image(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", width=96, height=64)
    (tmp_path / "._1.png").write_bytes(b"resource fork")
    (source,) = sources_of([str(tmp_path)])
    assert source.name == str(tmp_path / "1.png")
    (tmp_path / "1.png").unlink()
    with pytest.raises(ValueError, match=r" has no images \("):
        sources_of([str(tmp_path)])


def test_folders_in_folders_are_not_left_out_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("all/1.png", "all/more/2.png", "all/.hidden/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, width=96, height=64)
    (tmp_path / "all" / "notes").mkdir()
    says = "its images are taken and its folders of images left out, such as more. Name"
    for word in ("all", "all/*"):
        caplog.clear()
        assert len(sources_of([str(tmp_path / word)])) == 1
        assert says in caplog.text and len(caplog.records) == 1
    caplog.clear()
    assert len(sources_of([str(tmp_path / "all" / "**")])) == 2 and not caplog.records


@pytest.mark.parametrize(
    "ending", [".wmv", ".MTS", ".m2ts", ".ts", ".3gp", ".flv", ".ogv", ".vob", ".h264", ".mxf"]
)
def test_endings_of_videos(folder: Path, ending: str) -> None:
    (folder / f"other{ending}").write_bytes((folder / "film.mp4").read_bytes())
    (source,) = sources_of([str(folder / f"other{ending}")])
    assert isinstance(source, VideoFile) and source.count() == 12


@pytest.mark.parametrize("lost", ["one in the middle", "the last two", "none"])
def test_frames_that_are_lost_are_said(
    lost: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of sixty; whoever decodes them goes on with the next one, as if none was missing."""
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for noise in np.random.default_rng(0).integers(0, 256, (60, 64, 96, 3), np.uint8):
        writer.write(noise)
    writer.release()
    content = film.read_bytes()
    starts = [match.start() for match in re.finditer(rb"00dc....\xff\xd8", content, re.DOTALL)]
    if lost == "one in the middle":
        content = content[: starts[20] - 500] + bytes(1000) + content[starts[20] + 500 :]
    film.write_bytes(content[: starts[58]] if lost == "the last two" else content)
    found = len(list(VideoFile(film).frames()))
    assert found == {"one in the middle": 59, "the last two": 58, "none": 60}[lost]
    said = [x for x in caplog.messages if f"{film} gave {found} of the 60 frames that" in x]
    assert caplog.messages == said and len(said) == (found < 60)


def test_two_of_one_name_are_both_named(folder: Path) -> None:
    (folder / "film.webm").write_bytes((folder / "film.mp4").read_bytes())
    with pytest.raises(ValueError, match=r"film.mp4 and .*film.webm, whose results would both be"):
        sources_of([str(folder / "film.mp4"), str(folder / "film.webm")])


def test_names_may_repeat_where_nothing_is_drawn(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "1.png", width=96, height=64)
    words = [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(
        ValueError, match=r"1\.png and .*1\.png, whose results would both be 1\.png"
    ):
        sources_of(words)
    assert len(sources_of(words, drawn=False)) == 2
    for pictures in (True, False):
        with pytest.raises(ValueError, match=r"^--input has .*a/1\.png twice\.$"):
            sources_of([words[0], f"{words[0]}/"], drawn=pictures)


@pytest.mark.parametrize("again", ["./a/../a/1.png", "linked/1.png", "{folder}/a"])
@pytest.mark.parametrize("drawn", [True, False])
def test_one_image_by_two_names_is_not_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str, drawn: bool
) -> None:
    """It would count twice where nothing is drawn."""
    (tmp_path / "a").mkdir()
    write_image(tmp_path / "a" / "1.png", width=96, height=64)
    (tmp_path / "linked").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^--input has .*1\.png twice, as a/1\.png as well\.$"):
        sources_of(["a/1.png", again.format(folder=tmp_path)], drawn=drawn)


def test_a_folder_that_links_to_itself_has_each_image_once(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", width=96, height=64)
    (tmp_path / "loop").symlink_to(".")
    with pytest.raises(ValueError, match=r"loop/1\.png twice, as .*/1\.png as well\.$"):
        sources_of([str(tmp_path / "**" / "*.png")], drawn=False)


def test_links_to_images_keep_their_names(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", width=96, height=64)
    (tmp_path / "2.png").symlink_to("1.png")
    assert len(sources_of([str(tmp_path)], drawn=False)) == 2


# Lists

LISTS: dict[str, tuple[bytes, str]] = {
    "a missing image": (b"images/1.png\nimages/9.png\n", "{folder}/images/9.png does not exist."),
    "another list": (b"l.txt\n", "names l.txt, another list."),
    "a camera and an image": (b"camera:0\nimages/1.png\n", "a camera stands alone."),
    "a camera that is none": (b"camera:x\n", "l.txt: camera:x is no camera"),
    "UTF-16": ("images/1.png\n".encode("utf-16"), "l.txt is no text file in UTF-8."),
    "Latin 1": ("ä.png\n".encode("latin-1"), "l.txt is no text file in UTF-8."),
    "byte 0": (b"images/1\0.png\n", "'images/1\\x00.png' names no file."),
    "zeros": (b"\0" * 5000, "names no file."),
    "nothing": (b"\n \n", "is empty; a list has a path in each line."),
    "twice the same": (b"images/1.png\nimages/1.png\n", "--input has {folder}/images/1.png twice."),
    "a comment": (b"# images\n", "l.txt: {folder}/# images does not exist."),
    "a line without end": (b"x" * 100_000, "File name too long."),
    "nobody's home": (b"~nobody-has-this-name/1.png\n", "Could not determine home directory."),
    "a pattern of nothing": (b"images/*.bmp\n", "images/*.bmp matches no image and no video."),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list(folder: Path, name: str) -> None:
    content, says = LISTS[name]
    (folder / "l.txt").write_bytes(content)
    with pytest.raises(ValueError) as refused:
        sources_of([str(folder / "l.txt")])
    assert (
        says.replace("{folder}", str(folder)) in str(refused.value)
        and len(str(refused.value)) < 600
    )


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf"), -9e18, 1e300])
def test_what_a_video_says_of_itself_may_be_no_number(
    folder: Path, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd:
        def __init__(self, _: str) -> None:
            self.left = 2

        def get(self, _: int) -> float:
            return number

        def read(self) -> tuple[bool, np.ndarray]:
            self.left -= 1
            return self.left >= 0, np.zeros((64, 96, 3), np.uint8)

        isOpened = release = lambda self: True  # noqa: N815

    monkeypatch.setattr(cv2, "VideoCapture", Odd)
    (source,) = sources_of([str(folder / "film.mp4")])
    assert source.count() is None
    frames = list(source.frames())
    assert len(frames) == 2 and source.fps in (25.0, 1e300)


@pytest.mark.parametrize("pattern", ["**/*.png", "**", "*/*.png"])
def test_a_folder_that_may_not_be_looked_into_is_said(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
) -> None:
    for folder in ("open", "closed"):
        (tmp_path / folder).mkdir()
    write_image(tmp_path / "open" / "1.png", width=96, height=64)
    says = f"1 folder(s) may not be looked into, such as {tmp_path}/closed/: what is in them is"
    assert len(sources_of([f"{tmp_path}/{pattern}"])) == 1 and says not in caplog.text
    # Whoever runs the tests may look into every folder.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")
    assert len(sources_of([f"{tmp_path}/{pattern}"])) == 1 and says in caplog.text


def test_a_pattern_in_a_list_is_not_one_of_its_folder(tmp_path: Path) -> None:
    for name, number in (("[1]", 1), ("1", 2)):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / f"{number}.png", width=96, height=64)
    (tmp_path / "[1]" / "l.txt").write_text("*.png\n")
    (source,) = sources_of([str(tmp_path / "[1]" / "l.txt")])
    assert source.name == str(tmp_path / "[1]" / "1.png")


def test_a_colon_in_a_video_s_name_is_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "film.mp4").rename(tmp_path / "file:a.mp4")
    monkeypatch.chdir(tmp_path)
    (source,) = sources_of(["file:a.mp4"])
    assert source.count() == 12


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfimages/1.png\r\nimages/2.png\r\n", b"images/*"])
def test_a_list_as_other_systems_write_it(folder: Path, content: bytes) -> None:
    (folder / "l.txt").write_bytes(content)
    found = [Path(source.name).name for source in sources_of([str(folder / "l.txt")])]
    assert found == ["1.png", "2.png"]


# Files


def header(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and has a hundred bytes of pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    sizes = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes) + pixels + chunk(b"IEND", b"")


def cut_photograph(path: Path) -> None:
    Image.effect_noise((200, 150), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:3000])


def video_without_frames(path: Path) -> None:
    cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64)).release()


def of_floats(path: Path) -> None:
    cv2.imwrite(str(path), np.full((48, 64, 3), 0.5, np.float32))


def pipe_in_a_folder(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "a.png")


def turned_tiff(orientation: int) -> Callable[[Path], None]:
    return lambda path: Image.new("RGB", (64, 48)).save(path, tiffinfo={274: orientation})


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
# Name -> content (or what makes the file), and what is said when it is read.
FILES: dict[str, tuple[bytes | Callable[[Path], object], str]] = {
    "half.mp4": (lambda path: half_of_a_video(path), "half.mp4 cannot be opened by OpenCV."),
    "empty.mp4": (b"", "The video {path} cannot be opened by OpenCV."),
    "text.avi": (b"hello world\n" * 100, "text.avi cannot be opened by OpenCV."),
    "none.mp4": (video_without_frames, "none.mp4 cannot be opened by OpenCV."),
    "folder.mp4": (os.mkdir, "folder.mp4 has no images"),
    f"{NO_TEXT}.mp4": (b"", "has a name that is not UTF-8, which OpenCV needs; rename it."),
    "gone.png": (lambda path: path.symlink_to("nowhere"), "gone.png does not exist."),
    "loop.png": (lambda path: path.symlink_to("loop.png"), "loop.png"),
    "zero.jpg": (b"", "Image {path} cannot be read: UnidentifiedImageError"),
    "one.jpg": (b"\xff", "Image {path} cannot be read"),
    "cut.jpg": (cut_photograph, "Image {path} cannot be read: OSError: image file is truncated"),
    "film.jpg": (bytes(2000), "Image {path} cannot be read"),
    "floats.tiff": (of_floats, "Image {path} cannot be read"),
    "giant.png": (header(2**31 - 1, 2**31 - 1), "cannot be read: DecompressionBombError"),
    "nothing.png": (header(0, 0), "Image {path} cannot be read"),
    "hollow.png": (header(10_000, 10_000), "cannot be read: OSError: image file is truncated"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "vector.svg is no image, and by"),
    "scan.tif": (turned_tiff(6), "Image {path} is a TIFF whose orientation is not 1"),
    "upside down.tiff": (turned_tiff(3), "by which Pillow turns it and Detectron2 turns it once"),
    "program.jpg": (EPS, "Image {path} is PostScript, a program"),
    "pipes": (pipe_in_a_folder, "a.png is a folder, a pipe or a device, not a file"),
    "list.txt": (os.mkfifo, "list.txt is a pipe or a device"),
}


def half_of_a_video(path: Path) -> None:
    whole = write_video(path.with_name("whole.mp4")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", FILES)
def test_a_file(tmp_path: Path, name: str) -> None:
    content, says = FILES[name]
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError) as refused:
        for source in sources_of([str(path)]):
            source.count()
            list(source.frames())
    assert says.format(path=path) in str(refused.value)


def saved(mode: str, name: str) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, (64, 48)).save(path / name)


def deep(path: Path) -> None:
    cv2.imwrite(str(path / "deep.png"), np.full((48, 64, 3), 40_000, np.uint16))


def turned(path: Path, orientation: int) -> None:
    image = Image.new("RGB", (48, 64) if orientation == 6 else (64, 48))
    exif = image.getexif()
    exif[274] = orientation
    image.save(path / "turned.jpg", exif=exif)


def moving(path: Path) -> None:
    more = [Image.new("P", (64, 48), 5)]
    Image.new("P", (64, 48)).save(path / "a.gif", save_all=True, append_images=more)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.gif", True),
        ("a.webp", True),
        ("a.tif", True),
        ("a.png", True),
        ("a.mpo", False),  # by a phone, of one picture
    ],
)
def test_frames_and_pages_that_are_left_out_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, said: bool
) -> None:
    more = [Image.new("RGB", (64, 48), "white")]
    Image.new("RGB", (64, 48)).save(tmp_path / name, save_all=True, append_images=more)
    (source,) = sources_of([str(tmp_path / name)])
    assert len(list(source.frames())) == 1
    says = f"{name} has 2 frames or pages, of which the first one is taken."
    assert (says in caplog.text) == said


@pytest.mark.parametrize(
    ("make", "pixel"),
    [
        (saved("CMYK", "cmyk.jpg"), 255),
        (saved("LA", "la.png"), 0),
        (saved("1", "one bit.png"), 0),
        (saved("P", "of a palette.png"), 0),
        (saved("RGB", "ä 日本.png"), 0),
        (saved("RGB", "two\nlines.png"), 0),
        (saved("RGB", f"{NO_TEXT}.png"), 0),
        (deep, 156),  # 40,000 of 65,535 are 156 of 255
        (moving, 0),
        (lambda path: turned(path, 6), 0),
        (lambda path: turned(path, 99), 0),
        (lambda path: turned_tiff(1)(path / "a.tif"), 0),
    ],
)
def test_what_is_an_image_is_read_and_has_a_result_of_its_name(
    tmp_path: Path, make: Callable[[Path], None], pixel: int
) -> None:
    make(tmp_path)
    (path,) = tmp_path.iterdir()
    (source,) = sources_of([str(path)])
    (frame,) = source.frames()
    assert frame.image.shape == (48, 64, 3) and frame.image[0, 0].tolist() == [pixel] * 3
    assert source.drawn_name.startswith(path.name)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 300), (6, 1920)),
        ((300, 1), (1920, 6)),
        ((1, 60_000), (2, 60_000)),
        ((9, 9), (480,) * 2),
    ],
)
def test_narrow_images_are_not_drawn_endlessly_long(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    from detectron2.structures import Boxes, Instances
    from torch import zeros

    found = Instances(size, pred_boxes=Boxes(zeros(0, 4)), scores=zeros(0), pred_classes=zeros(0))
    pixels = drawn(np.zeros((*size, 3), np.uint8), {"instances": found}, [])
    assert pixels.shape[:2] == expected

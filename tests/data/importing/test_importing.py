# SPDX-License-Identifier: Apache-2.0
"""Annotations of other forms: boxes by hand, splits, what is refused, and the command."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.data.check.run import check_dataset
from dynamicdet_d2.data.importing import ImageEntry, ObjectEntry, copies, read_voc, read_yolo
from dynamicdet_d2.data.importing.copies import count_copies
from dynamicdet_d2.data.importing.dataset import area_of
from dynamicdet_d2.data.importing.yolo import label_file, read_line

SIZE = (40, 30)


def image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
    return path


def label(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def voc(path: Path, *objects: str, file_name: str = "") -> None:
    name = f"<filename>{file_name}</filename>" if file_name else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{name}{''.join(objects)}</annotation>")


def voc_object(name: str, corners: tuple[int, int, int, int], difficult: int = 0) -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{box}</bndbox></object>"
    )


# YOLO, a line at a time


def test_a_box_by_hand() -> None:
    # Centre (10, 15), sides 20 and 15: from (0, 7.5).
    found = read_line("1 0.25 0.5 0.5 0.5", SIZE, 2, "a")
    assert found == ObjectEntry(1, (0.0, 7.5, 20.0, 15.0))


def test_a_polygon_by_hand() -> None:
    found = read_line("0 0 0 0.5 0 0.5 0.5", SIZE, 1, "a")
    assert found.polygon == ((0, 0), (20, 0), (20, 15))
    assert found.box == (0, 0, 20, 15)
    assert area_of(found) == 150


def test_a_box_that_sticks_out_by_a_rounding_is_clipped() -> None:
    assert read_line("0 0.5 0.5 1.002 1.0", SIZE, 1, "a").box == (0, 0, 40, 30)


shares = st.floats(0.1, 0.9)


@given(shares, shares, st.floats(0.01, 0.2), st.floats(0.01, 0.2))
def test_boxes_lie_inside_and_keep_their_centre(x: float, y: float, w: float, h: float) -> None:
    left, top, width, height = read_line(f"0 {x} {y} {w} {h}", SIZE, 1, "a").box
    assert left >= 0 and top >= 0 and left + width <= 40 + 1e-9 and top + height <= 30 + 1e-9
    assert left + width / 2 == pytest.approx(x * 40) and width == pytest.approx(w * 40)
    assert top + height / 2 == pytest.approx(y * 30) and height == pytest.approx(h * 30)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 a 0 0 0", "is '0 a 0 0 0'; it must be numbers."),
        ("2 0.5 0.5 0.1 0.1", "has class 2; it must be one of 0 to 1."),
        ("0.5 0.5 0.5 0.1 0.1", "has class 0.5;"),
        ("0 0.5 0.5 0.1", "has 3 numbers after the class;"),
        ("0 0.5 0.5 0.1 0.1 0.9", "has 5 numbers after the class;"),
        ("0 20 15 10 10", "no shares of the image"),
        ("0 nan 0.5 0.1 0.1", "no shares of the image"),
        ("0 0.5 0.5 0 0.1", "is inside the image."),
    ],
)
def test_a_wrong_line_is_named(line: str, says: str) -> None:
    with pytest.raises(ValueError, match="^l.txt, line 3, ") as refused:
        read_line(line, SIZE, 2, "l.txt, line 3,")
    assert says in str(refused.value)


# YOLO, a data set


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("0 0.4 0.4 0.2 0.2 0.35 0.45 0.4 0.4", True),
        ("0 0.4 0.4 0.2 0.2 0.35 0.45", False),  # another number of points
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9", False),  # a rectangle
    ],
)
def test_polygons_that_may_be_poses_are_said(tmp_path: Path, second: str, said: bool) -> None:
    """A box from 0.3 to 0.7, a point in it, and one that is not to be seen."""
    label(label_file(image(tmp_path / "a.jpg")), "0 0.5 0.5 0.4 0.4 0.4 0.6 0 0")
    label(label_file(image(tmp_path / "b.jpg")), second)
    remarks = read_yolo(tmp_path, ["a"]).remarks
    begins = [x.startswith("Each of the 2 polygon(s) may be a pose") for x in remarks]
    assert begins == ([True] if said else [])


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
@pytest.mark.parametrize("described", [True, False])
def test_both_layouts_with_and_without_a_description(
    tmp_path: Path, layout: str, described: bool
) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        picture = image(tmp_path / layout.format(split) / f"{name}.jpg")
        if name != "b":  # an image without objects
            label(label_file(picture), "0 0.5 0.5 0.5 0.5", "", "1 0.25 0.25 0.1 0.1")
    if described:
        splits = {split: layout.format(split) for split in ("train", "val")}
        content = {"path": ".", **splits, "names": {0: "cat", 1: "dog"}}
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    else:
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
    found = read_yolo(tmp_path)
    assert found.classes == ("cat", "dog") and found.root == tmp_path
    counts = {s: [len(entry.objects) for entry in x] for s, x in found.splits.items()}
    assert counts == {"train": [2, 0], "val": [2]}
    assert all(entry.size == SIZE for entry in found.splits["train"])


def test_paths_of_a_description_as_tools_write_them(tmp_path: Path) -> None:
    """``../train/images`` for a folder beside the file, and a list of images."""
    label(label_file(image(tmp_path / "train" / "images" / "a.jpg")), "0 0.5 0.5 0.5 0.5")
    image(tmp_path / "valid" / "images" / "b.jpg")
    (tmp_path / "valid.txt").write_text("valid/images/b.jpg\n")
    content = {"train": "../train/images", "valid": "valid.txt", "names": ["x"]}
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(content))
    found = read_yolo(tmp_path / "d.yaml")
    assert {s: [e.file.name for e in x] for s, x in found.splits.items()} == {
        "train": ["a.jpg"],
        "val": ["b.jpg"],
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("- a", "holds no keys in YAML, such as 'train' and 'names'; a data set with"),
        ("names: [a]", "has no 'train'"),
        ("{train: gone, names: [a]}", "'train' is gone, which does not exist"),
        ("{train: ., names: 3}", "'names' must be a list"),
        ("{train: ., names: {1: a}}", "'names' must be a list"),
        ("{train: ., names: [a]}", "has no images (.bmp"),
        ("train: !!python/object/apply:os.getcwd []", "no code runs from it"),
    ],
)
def test_a_wrong_description_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(ValueError, match="data.yaml|--classes|tmp") as refused:
        read_yolo(tmp_path)
    assert says in str(refused.value)


# Pascal VOC


def test_voc_boxes_by_hand(tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages" / "1.jpg")
    # Columns 5 to 14 and rows 3 to 10, counted from 1: ten by eight pixels from (4, 2).
    objects = voc_object("dog", (5, 3, 14, 10)), voc_object("cat", (1, 1, 50, 50), difficult=1)
    voc(tmp_path / "Annotations" / "1.xml", *objects, file_name="1.jpg")
    found = read_voc(tmp_path)
    assert found.classes == ("cat", "dog")
    (entry,) = found.splits["train"]
    assert entry.objects == (
        ObjectEntry(1, (4.0, 2.0, 10.0, 8.0)),
        ObjectEntry(0, (0.0, 0.0, 40.0, 30.0), crowd=True, cut=True),
    )


def test_voc_splits_and_annotations_beside_images(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for name in ("a", "b", "c"):
        image(one / "JPEGImages" / f"{name}.PNG")
        voc(one / "Annotations" / f"{name}.xml", voc_object("x", (1, 1, 9, 9)))
        image(other / f"{name}.jpg")
        voc(other / f"{name}.xml", voc_object("x", (1, 1, 9, 9)), file_name="elsewhere/no.jpg")
    label(one / "ImageSets" / "Main" / "train.txt", "a", "c")
    label(one / "ImageSets" / "Main" / "val.txt", "b")
    names = {s: [e.file.stem for e in x] for s, x in read_voc(one).splits.items()}
    assert names == {"train": ["a", "c"], "val": ["b"]}
    assert len(read_voc(other).splits["train"]) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotation>", "is not XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares entities"),
        ("<annotation><object><name>a</name></object></annotation>", "without a 'bndbox'"),
        ("<annotation><object/></annotation>", "without 'name'"),
        (
            f"<annotation>{voc_object('a', (9, 9, 3, 3))}</annotation>",
            "'a' has a box that ends before",
        ),
        (
            f"<annotation>{voc_object('a', ('x', 1, 3, 3))}</annotation>",
            "has xmin 'x'; it must be a number",
        ),
        ("<annotation/>", "have no object."),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, text: str, says: str) -> None:
    image(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_voc(tmp_path)


def test_an_image_beside_its_annotation_is_that_of_it(tmp_path: Path) -> None:
    for name in ("train", "images"):
        (tmp_path / name).mkdir()
        image(tmp_path / name / "a.jpg")
    voc(tmp_path / "train" / "a.xml", voc_object("a", (1, 1, 3, 3)))
    (entry,) = read_voc(tmp_path).splits["train"]
    assert entry.file == tmp_path / "train" / "a.jpg"


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", voc_object("a", (1, 1, 3, 3)))
    with pytest.raises(ValueError, match=r"The image of .*a.xml is in none of "):
        read_voc(tmp_path)


# Both


def test_validation_is_kept_by_names_alone(tmp_path: Path) -> None:
    files = [image(tmp_path / "images" / f"{i}.jpg") for i in range(10)]
    label(label_file(files[9]), "0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("x")
    found = read_yolo(tmp_path).with_validation(0.3)
    kept = {split: [e.file for e in images] for split, images in found.splits.items()}
    assert len(kept["val"]) == 3 and sorted(kept["train"] + kept["val"]) == sorted(files)
    files[0].unlink()
    smaller = read_yolo(tmp_path).with_validation(0.3)
    assert len({e.file for e in smaller.splits["val"]} - set(kept["val"])) <= 1
    assert found.with_validation(0.5) is found
    with pytest.raises(ValueError, match="1 image.s. in train are too few"):
        one: tuple[ImageEntry, ...] = found.splits["val"][:1]
        type(found)(found.root, found.classes, {"train": one}).with_validation(0.5)


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_the_command_writes_what_training_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, form: str
) -> None:
    data = tmp_path / "data"
    for i in range(5):
        picture = image(data / "images" / f"{i}.jpg")
        label(label_file(picture), "0 0.5 0.5 0.5 0.5")
        voc(data / "xml" / f"{i}.xml", voc_object("disc", (5, 5, 30, 20)), file_name=f"{i}.jpg")
    (data / "classes.txt").write_text("disc")
    before = {path: path.read_bytes() for path in (data / "images").iterdir()}
    monkeypatch.chdir(tmp_path)
    assert main(["import-data", f"--{form}", "data", "--output", "coco"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["DATASETS"]["COCO_JSON"]
    assert printed == [
        ["own_train", "coco/train.json", "data"],
        ["own_val", "coco/val.json", "data"],
    ]
    for name, json_file, root in printed:
        report = check_dataset(name, json_file, root, 1, testing=True)
        assert not report.errors, report.error_text()
    content = json.loads(Path("coco/train.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "disc"}]
    assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3, 4]
    assert {path: path.read_bytes() for path in (data / "images").iterdir()} == before


def test_pictures_that_differ_in_a_few_pixels_are_no_copies(tmp_path: Path) -> None:
    """Of a still camera's uncompressed frames most pieces are alike."""
    frame = np.zeros((300, 300, 3), dtype=np.uint8)
    moved = frame.copy()
    moved[2, 250] = 9
    for name, picture in (("a", frame), ("b", moved), ("c", frame)):
        assert cv2.imwrite(str(tmp_path / f"{name}.bmp"), picture)
    a, b, c = (tmp_path / f"{name}.bmp" for name in "abc")
    assert (count_copies([a], [b]), count_copies([a], [b, c])) == (0, 1)


def test_folders_behind_links_are_part_of_a_data_set(tmp_path: Path) -> None:
    """As YOLO's tools read them; links into the data set itself give nothing a second time."""
    for folder, name in (("set", "a"), ("elsewhere", "b")):
        image(tmp_path / folder / "images" / name / f"{name}.jpg")
        label(tmp_path / folder / "labels" / name / f"{name}.txt", "0 0.5 0.5 0.2 0.2")
    own = tmp_path / "set"
    for part in ("images", "labels"):
        (own / part / "b").symlink_to(tmp_path / "elsewhere" / part / "b")
        (own / part / "again").symlink_to(own / part / "a")
        (own / part / "up").symlink_to(own)
        (own / part / "gone").symlink_to(tmp_path / "gone")
    found = read_yolo(own, ["disc"])
    assert [entry.file.name for entry in found.splits["train"]] == ["a.jpg", "b.jpg"]
    assert [len(entry.objects) for entry in found.splits["train"]] == [1, 1]
    assert found.remarks == ()


def test_voc_annotations_behind_links_are_read(tmp_path: Path) -> None:
    for folder, name in (("set/Annotations", "a"), ("elsewhere", "b")):
        voc(tmp_path / folder / f"{name}.xml", voc_object("disc", (1, 1, 9, 9)))
        image(tmp_path / "set" / "JPEGImages" / f"{name}.jpg")
    (tmp_path / "set" / "Annotations" / "more").symlink_to(tmp_path / "elsewhere")
    found = read_voc(tmp_path / "set")
    assert [entry.file.name for entry in found.splits["train"]] == ["a.jpg", "b.jpg"]


def test_each_file_is_read_whole_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are alike in the pieces that are looked at first."""
    read: list[Path] = []
    monkeypatch.setattr(copies, "sampled_digest", lambda file, pieces: b"alike")
    whole = copies._whole_digest
    monkeypatch.setattr(copies, "_whole_digest", lambda file: read.append(file) or whole(file))
    files = [tmp_path / f"{number}.bmp" for number in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(b"%d" % (number % 5))
    assert count_copies(files[:3], files[3:]) == 1  # the first and the last
    assert sorted(read) == files

# SPDX-License-Identifier: Apache-2.0
"""Data sets of YOLO's and VOC's tools that are malformed: what each sentence names."""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.data.importing import Found, read_voc, read_yolo
from tests.support.coco_files import image_entry, object_entry, write_coco

GOOD = "0 0.5 0.5 0.2 0.2\n"
Change = Callable[[Path], object]


def pictures(folder: Path, names: tuple[str, ...] = ("1.png", "2.png", "3.png")) -> None:
    folder.mkdir(parents=True)
    for name in names:
        colour = zlib.crc32(str(folder / name).encode()) % 2**24
        Image.new("RGB", (40, 30), f"#{colour:06x}").save(folder / name)


def yolo(folder: Path, labels: bytes | str = GOOD, description: bytes | str | None = None) -> Path:
    """Three images, the first with labels."""
    pictures(folder / "images")
    (folder / "labels").mkdir()
    content = "train: images\nnames: [a, b]\n" if description is None else description
    for file, text in ((folder / "labels" / "1.txt", labels), (folder / "data.yaml", content)):
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def refused(read: Callable[[Path], Found], folder: Path) -> str:
    with pytest.raises(ValueError) as error:
        read(folder)
    said = str(error.value)
    assert len(said) < 700 and "\n" not in said
    return said


# YOLO

LINES: dict[str, tuple[bytes | str, str]] = {
    "class -1": ("-1 .5 .5 .2 .2", "1.txt, line 1, has class -1; it must be one of 0 to 1."),
    "class 2 of 2": ("2 .5 .5 .2 .2", "1.txt, line 1, has class 2"),
    "class NaN": (f"{GOOD}nan .5 .5 .2 .2", "1.txt, line 2, has class nan"),
    "class infinite": ("inf .5 .5 .2 .2", "has class inf"),
    "class a half": ("0.5 .5 .5 .2 .2", "has class 0.5"),
    "class a name": ("a .5 .5 .2 .2", "is 'a .5 .5 .2 .2'; it must be numbers."),
    "class with an underscore": ("1_0 .5 .5 .2 .2", "has class 10"),
    "box NaN": ("0 nan .5 .2 .2", "no shares of the image"),
    "box infinite": ("0 .5 .5 inf .2", "no shares of the image"),
    "box in pixels": ("0 20 15 8 6", "no shares of the image"),
    "box negative": ("0 .5 .5 -.2 .2", "no shares of the image"),
    "box of no size": ("0 .5 .5 0 0", "of which nothing, or a line at most, is inside"),
    "box of a billionth": ("0 .5 .5 1e-9 1e-9", "a line at most, is inside the image."),
    "box at the border": ("0 1.005 .5 .01 .2", "a line at most, is inside the image."),
    "box outside": ("0 1.005 .5 .001 .2", "a line at most, is inside the image."),
    "three numbers": ("0 .5 .5 .2", "has 3 numbers after the class"),
    "with a score": ("0 .5 .5 .2 .2 .9", "has 5 numbers after the class"),
    "a class alone": ("0", "has 0 numbers after the class"),
    "commas": ("0,.5,.5,.2,.2", "it must be numbers."),
    "decimal commas": ("0 0,5 0,5 0,2 0,2", "it must be numbers."),
    "polygon of a point": ("0 .1 .1 .1 .1 .1 .1", "a line at most, is inside the image."),
    "endless": (f"0 {'.5 ' * 100_000}", "a line at most, is inside the image."),
    "digits without end": (f"0 {'9' * 5000} .5 .2 .2", "no shares of the image"),
    "UTF-16": (GOOD.encode("utf-16"), "1.txt is no text file in UTF-8."),
    "Latin 1": (b"\xe4 .5 .5 .2 .2", "1.txt is no text file in UTF-8."),
    "zeros": (bytes(100), "line 1, is '\\x00"),
    "a comment": ("# c\n", "it must be numbers."),
    "nothing anywhere": ("", "has no labelled object; those of "),
}


@pytest.mark.parametrize("name", LINES)
def test_a_label(tmp_path: Path, name: str) -> None:
    content, says = LINES[name]
    assert says in refused(read_yolo, yolo(tmp_path / "set", content))


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n\n", "\f"])
def test_lines_of_all_systems_count(tmp_path: Path, ends: str) -> None:
    text = "\ufeff" + ends.join(["0 .5 .5 .2 .2", "1 .5 .5 .2 .2", ""])
    found = read_yolo(yolo(tmp_path / "set", text))
    assert [entry.category for entry in found.splits["train"][0].objects] == [0, 1]


def test_a_class_is_called_as_it_is_written(tmp_path: Path) -> None:
    """To YAML 010 is 8 and 12:30 is 750."""
    text = "train: images\nnames: {1: 010, 0: 12:30, 2: 1e3}\n"
    assert read_yolo(yolo(tmp_path / "set", description=text)).classes == ("12:30", "010", "1e3")


def by_split(folder: Path, *splits: str, pattern: str = "{}/images") -> Path:
    """Three labelled images in each."""
    for split in splits:
        images = folder / pattern.format(split)
        pictures(images)
        labels = Path(str(images).replace("/images", "/labels"))
        labels.mkdir(parents=True, exist_ok=True)
        (labels / "1.txt").write_text(GOOD)
    (folder / "classes.txt").write_text("a")
    return folder


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_images_is_no_split_of_the_others(tmp_path: Path, split: str) -> None:
    places = {"train": "images", "val": "images", split: "none"}
    description = yaml.safe_dump({**places, "names": ["a"]})
    folder = yolo(tmp_path / "described", description=description)
    (folder / "none").mkdir()
    says = f" for '{split}' in {{}}: fill it, or leave it out."
    assert says.format(folder / "none") in refused(read_yolo, folder)
    (folder / "none").rmdir()
    (folder / "none").write_text("\n")  # a list
    assert says.format(folder / "none") in refused(read_yolo, folder)
    if split != "train":
        folder = by_split(tmp_path / "found", "train")
        (folder / split / "images").mkdir(parents=True)
        assert says.format(folder / split / "images") in refused(read_yolo, folder)


@pytest.mark.parametrize("text", ["a\n\nb\n", "\na\nb", "a\n \t\nb"])
def test_an_empty_line_among_the_classes_is_refused(tmp_path: Path, text: str) -> None:
    """Labels count it."""
    folder = yolo(tmp_path / "set")
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text(text)
    assert "classes.txt has '' for a class" in refused(read_yolo, folder)
    (folder / "classes.txt").write_text("a\n# b\nc")
    says = "classes.txt has '# b'; each line is a class, and none a comment."
    assert says in refused(read_yolo, folder)
    (folder / "classes.txt").write_text("a\r\nb \n\n")
    assert read_yolo(folder).classes == ("a", "b")


@pytest.mark.parametrize("name", ["obj.names", "labels/classes.txt"])
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("typed", [(), ("b", "a")])
def test_names_of_classes_that_contradict_each_other_are_said(
    tmp_path: Path, name: str, described: bool, typed: tuple[str, ...]
) -> None:
    folder = yolo(tmp_path / "set")
    (folder / "classes.txt").write_text("a\nb\n")
    (folder / name).write_text("b\na\n")
    if not described:
        (folder / "data.yaml").unlink()
    found = read_yolo(folder, typed)
    others = [name] if not typed else [*(["data.yaml"] if described else []), "classes.txt"]
    assert found.classes == (typed or ("a", "b"))
    assert [said.split(" has others")[0].split("/set/")[-1] for said in found.remarks] == others
    (folder / name).write_bytes(b"\xff")  # nobody needs it
    assert len(read_yolo(folder, typed).remarks) == len(others) - (not typed)


@pytest.mark.parametrize("typed", [(), ("a", "b")])
def test_names_of_classes_beside_the_labels_of_a_split_are_said(
    tmp_path: Path, typed: tuple[str, ...]
) -> None:
    """LabelImg writes them there, in an order of its own: two people's need not agree."""
    for split, names in (("train", "a\nb\n"), ("val", "b\na\n")):
        pictures(tmp_path / "images" / split)
        labels = tmp_path / "labels" / split
        labels.mkdir(parents=True)
        (labels / "1.txt").write_text(GOOD)
        (labels / "classes.txt").write_text(names)
    found = read_yolo(tmp_path, typed)
    holds = "--classes" if typed else tmp_path / "labels" / "train" / "classes.txt"
    other = tmp_path / "labels" / "val" / "classes.txt"
    assert found.classes == ("a", "b")
    assert found.remarks == (f"The classes are those of {holds}; {other} has others: b, a.",)


@pytest.mark.parametrize(
    "names",
    [
        ("train2017", "val2017"),
        ("Train", "Val"),
        ("training", "validation"),
        ("train_images", "test_images"),
        ("train", "eval"),
    ],
)
@pytest.mark.parametrize("pattern", ["{}/images", "images/{}"])
def test_splits_as_people_call_them(tmp_path: Path, names: tuple[str, str], pattern: str) -> None:
    """Images to validate on would be learnt."""
    found = read_yolo(by_split(tmp_path / "set", *names, pattern=pattern))
    other = "test" if "test" in names[1] else "val"
    assert {name: len(images) for name, images in found.splits.items()} == {"train": 3, other: 3}


@pytest.mark.parametrize("names", [("train", "valid"), ("obj_train_data", "obj_Validation_data")])
def test_splits_with_labels_beside_their_images(tmp_path: Path, names: tuple[str, str]) -> None:
    found = read_yolo(by_split(tmp_path / "set", *names, pattern="{}"))
    assert {name: len(images) for name, images in found.splits.items()} == {"train": 3, "val": 3}


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("clean_train", "clean_val"), "{}/images"),
        (("1-train", "2-validation"), "images/{}"),
        (("train", "valid"), "set/{}/images"),
        (("train", "test"), "set/images/{}"),
        (("images_train", "images_val"), "{}"),
    ],
)
def test_splits_that_are_not_found_are_not_learnt(
    tmp_path: Path, names: tuple[str, str], pattern: str
) -> None:
    folder = by_split(tmp_path / "set", *names, pattern=pattern)
    assert f"1.png would be learnt, but is in '{names[1]}', which is" in refused(read_yolo, folder)


def test_a_label_names_the_option_that_classes_are_from(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set", "1 .5 .5 .2 .2")
    with pytest.raises(ValueError, match=r"be one of 0 to 0, as --classes has 1 name\(s\)\.$"):
        read_yolo(folder, ["a b"])


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    found = read_yolo(by_split(tmp_path / "set", "bus", "train", pattern="{}"))
    assert {name: len(images) for name, images in found.splits.items()} == {"train": 6}


@pytest.mark.parametrize("name", ["val.txt", "Valid.txt", "test.txt", "autosplit_val.txt"])
def test_lists_of_splits_that_no_description_names(tmp_path: Path, name: str) -> None:
    folder = yolo(tmp_path / "set")
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text("a")
    for text in ("", GOOD, "of spring\n"):  # labels of an image of that name, or notes
        (folder / name).write_text(text)
        assert read_yolo(folder).splits.keys() == {"train"}
    (folder / name).write_text("./images/1.png\n")
    assert f"{name} is called as the list of a split is: name" in refused(read_yolo, folder)


@pytest.mark.parametrize("pattern", ["{}/images", "images/{}"])
def test_folders_beside_the_splits(tmp_path: Path, pattern: str) -> None:
    found = read_yolo(by_split(tmp_path / "a", "train", "valid", pattern=pattern))
    assert {name: len(images) for name, images in found.splits.items()} == {"train": 3, "val": 3}
    says = "has images and is none of train, val, test, beside which it lies"
    assert says in refused(read_yolo, by_split(tmp_path / "b", "train", "dev", pattern=pattern))


def test_labels_in_capitals_are_not_passed_over(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set")
    (folder / "labels" / "1.txt").rename(folder / "labels" / "1.TXT")
    assert "1.TXT must end in .txt, in small letters" in refused(read_yolo, folder)


DESCRIPTIONS: dict[str, tuple[bytes | str, str]] = {
    "empty": ("", "data.yaml holds no keys in YAML, such as"),
    "no names": ("train: images", "(looked for 'names'): --classes A B C gives them."),
    "a gap": ("train: images\nnames: {0: a, 2: b}", "'names' must be a list, or have the keys"),
    "a name twice": ("train: images\nnames: [a, a]", "'names' has the class 'a' twice."),
    "yes and no": ("train: images\nnames: [yes, no]", "'names' has True for a class"),
    "null": ("train: images\nnames: [a, ~]", "'names' has None for a class"),
    "lists": ("train: images\nnames: [[a], [b]]", "'names' has ['a'] for a class"),
    "an empty name": ("train: images\nnames: ['', b]", "'names' has '' for a class"),
    "an endless name": (f"train: images\nnames: [{'a' * 9999}, b]", "for a class; each must"),
    "two lines": ('train: images\nnames: ["a\\nx", b]', "for a class; each must be text"),
    "another number": ("train: images\nnc: 5\nnames: [a, b]", "'nc' is 5; it must be the number"),
    "a number in quotes": ("train: images\nnc: '2'\nnames: [a, b]", "'nc' is '2'; it must be the"),
    "poses": ("train: images\nkpt_shape: [2, 2]\nnames: [a, b]", "has 'kpt_shape': its labels"),
    "a tag": ("train: !!python/name:os.system ''\nnames: [a]", "data.yaml holds more than plain"),
    "a key twice": ("train: images\ntrain: gone\nnames: [a, b]", "data.yaml has 'train' twice in"),
    "aliases of aliases": (
        "".join(f"k{i}: &k{i} [{f'*k{i - 1}, ' * 9 if i else 'a'}]\n" for i in range(9)),
        "data.yaml has more than 100000 values, with its aliases.",
    ),
    "deep": ("[" * 3000, "data.yaml is nested too deeply."),
    "Latin 1": (b"train: images\nnames: [\xe4, b]", "data.yaml is no text file in UTF-8."),
    "a split by another name": (
        "train: images\nvalidation: images\nnames: [a]",
        "data.yaml has 'validation'; the key must be 'val'.",
    ),
    "a split in capitals": ("train: images\nVal: images\nnames: [a]", "has 'Val'; the key must"),
    "an address": ("train: https://x/y.zip\nnames: [a, b]", "'train' is https://x/y.zip, which"),
    "an image": ("train: images/1.png\nnames: [a, b]", "1.png, a list of images, is no text"),
    "a device": ("train: /dev/zero\nnames: [a, b]", "/dev/zero, a list of images, is a pipe or"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description(tmp_path: Path, name: str) -> None:
    content, says = DESCRIPTIONS[name]
    assert says in refused(read_yolo, yolo(tmp_path / "set", description=content))


def listed(content: bytes) -> Change:
    return lambda folder: (folder / "list.txt").write_bytes(content)


def replaced(name: str, make: Change) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


PLACES: dict[str, tuple[Change, str]] = {
    "a missing image": (
        listed(b"images/1.png\nimages/9.png\n"),
        "list.txt has 'images/9.png', but ",
    ),
    "a folder": (listed(b"images/1.png\nimages\n"), "list.txt has 'images', but "),
    "no image": (listed(b"images/1.png\nlabels/1.txt\n"), "1.txt cannot be read as an image"),
    "bytes": (listed(b"\xff\xfe\0"), "list.txt, a list of images, is no text file"),
    "byte 0": (listed(b"images/1\0.png\n"), "does not exist."),
    "a pipe": (lambda folder: os.mkfifo(folder / "list.txt"), "list.txt, a list of images, is a p"),
    "a label that is a pipe": (replaced("labels/1.txt", os.mkfifo), "1.txt is a pipe or a device"),
    "a label that is a folder": (replaced("labels/1.txt", os.mkdir), "1.txt cannot be read: Is a"),
    "a label without end": (
        replaced("labels/1.txt", lambda path: path.symlink_to("/dev/zero")),
        "1.txt is a pipe or a device",
    ),
    "an image that is a pipe": (replaced("images/1.png", os.mkfifo), "1.png is no file."),
    "an image of nothing": (replaced("images/1.png", Path.touch), "cannot be read as an image"),
    "two of one label": (
        lambda folder: Image.new("RGB", (40, 30)).save(folder / "images" / "1.jpg"),
        "1.jpg and {folder}/images/1.png would both have the labels of {folder}/labels/1.txt",
    ),
    "two descriptions": (
        lambda folder: (folder / "dataset.yaml").write_text("train: images\nnames: [x]"),
        "data.yaml and {folder}/dataset.yaml both describe a data set: name one of them.",
    ),
    "a name that is no text": (
        lambda folder: (folder / "images/2.png").rename(folder / "images" / "\udcff.png"),
        "has a name that is not UTF-8",
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place(tmp_path: Path, name: str) -> None:
    change, says = PLACES[name]
    folder = yolo(tmp_path / "set")
    change(folder)
    if (folder / "list.txt").exists():
        (folder / "data.yaml").write_text("train: list.txt\nnames: [a, b]")
    assert says.format(folder=folder) in refused(read_yolo, folder)


def test_a_list_of_cvat(tmp_path: Path) -> None:
    """Its lines begin with "data", which is what it calls the folder that the list is in."""
    folder = yolo(tmp_path / "set", description="train: list.txt\nnames: [a, b]")
    listed(b"data/images/1.png\ndata/images/2.png\n")(folder)
    assert [x.file for x in read_yolo(folder).splits["train"]] == [
        folder / "images" / f"{i}.png" for i in (1, 2)
    ]
    listed(b"data/images/9.png\n")(folder)
    says = f"list.txt has 'data/images/9.png', but {folder}/data/images/9.png does not exist."
    assert says in refused(read_yolo, folder)


def test_an_image_that_is_listed_twice_is_there_once(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set", description="train: list.txt\nnames: [a, b]")
    listed(b"\xef\xbb\xbfimages/1.png\nimages/1.png\nimages/2.png\n")(folder)
    assert [x.file.name for x in read_yolo(folder).splits["train"]] == ["1.png", "2.png"]


# VOC


def obj(corners: str = "1 1 10 10", name: str = "a", more: str = "") -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    pairs = zip(names, corners.split(" "), strict=True)
    box = "".join(f"<{key}>{value}</{key}>" for key, value in pairs)
    return f"<object><name>{name}</name><bndbox>{box}</bndbox>{more}</object>"


def xml(objects: str = "", file: str = "1.png", root: str = "annotation") -> str:
    return f"<{root}><filename>{file}</filename>{objects}</{root}>"


def bomb() -> str:
    entities = [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9)]
    return f'<!DOCTYPE l [<!ENTITY a0 "aaa">{"".join(entities)}]>{xml(file="&a8;")}'


OUT = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
XML: dict[str, tuple[bytes | str, str]] = {
    "a bomb": (bomb(), "1.xml declares entities"),
    "a bomb in UTF-16": (bomb().encode("utf-16"), "1.xml declares entities"),
    "another file": (OUT, "1.xml declares entities"),
    "another file in UTF-16": (OUT.encode("utf-16"), "1.xml declares entities"),
    "an unknown encoding": ('<?xml version="1.0" encoding="klingon"?><a/>', "1.xml is not XML"),
    "a wide encoding": ('<?xml version="1.0" encoding="gb2312"?><a/>', "1.xml is not XML"),
    "empty": ("", "1.xml is not XML"),
    "cut short": (xml(obj())[:60], "1.xml is not XML"),
    "Latin 1": (xml(obj(name="ä")).encode("latin-1"), "1.xml is not XML"),
    "byte 0": (b"<a>\0</a>", "1.xml is not XML"),
    "two roots": ("<a/><b/>", "1.xml is not XML"),
    "a page": (xml(root="html"), "1.xml begins with <html>; VOC's begin with <annotation>."),
    "shares of the image": (
        xml(obj("0.1 0.2 0.5 1.0")),
        "an object 'a' has corners of 1 at most, as shares; VOC's are pixels.",
    ),
    "of another resolution, in fractions": (
        xml(f"<size><width>400.0</width><height>300.0</height></size>{obj()}"),
        "1.png has 400x300 pixels; it has 40x30",
    ),
    "deep": ("<a>" * 9999 + "</a>" * 9999, "1.xml begins with <a>"),
    "of another's image": (
        xml(obj(), file="2.png"),
        "1.xml has the 'filename' '2.png', but {folder}/JPEGImages/1.png is called as the file is",
    ),
    "corner NaN": (xml(obj("nan 1 5 5")), "1.xml: an object 'a' has a box that is not finite."),
    "corner a word": (xml(obj("x 1 5 5")), "1.xml has xmin 'x'; it must be a number."),
    "corner with a comma": (xml(obj("1 1,5 5 5")), "1.xml has ymin '1,5'; it must be a number."),
    "corner empty": (xml(obj(" 1 5 5")), "1.xml has an object or a box without 'xmin'."),
    "corners exchanged": (
        xml(obj("10 10 1 1")),
        "an object 'a' has a box that ends before it begins.",
    ),
    "outside": (xml(obj("100 100 200 200")), "an object 'a' has a box of which nothing"),
    "no name": (xml(obj(name=" ")), "1.xml has an object or a box without 'name'."),
    "an endless name": (xml(obj(name="b" * 9999)), "The annotations of {folder} have 'bbbb"),
    "a name of two lines": (xml(obj(name="b\nc")), "have 'b\\nc' for a class"),
    "two boxes": (
        xml(obj().replace("</object>", "<bndbox></bndbox></object>")),
        "1.xml has an object with more than one 'bndbox'.",
    ),
    "two names": (xml(obj(more="<name>b</name>")), "an object with more than one 'name'."),
    "no box": (xml("<object><name>a</name></object>"), "has an object without a 'bndbox'."),
    "difficult perhaps": (
        xml(obj(more="<difficult>perhaps</difficult>")),
        "an object 'a' has 'difficult' 'perhaps'; it must be 0 or 1.",
    ),
    "two corners": (
        xml(obj().replace("<xmin>", "<xmin>5</xmin><xmin>")),
        "1.xml has an object with more than one 'xmin'.",
    ),
    "of another resolution": (
        xml(f"<size><width>400</width><height>300</height></size>{obj()}"),
        "1.png has 400x300 pixels; it has 40x30 (EXIF rotation applied).",
    ),
    "turned": (
        xml(f"<size><width>30</width><height>40</height></size>{obj()}"),
        "1.png has 30x40 pixels; it has 40x30",
    ),
}


def voc(folder: Path, content: bytes | str) -> Path:
    pictures(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for number in (2, 3):
        (folder / "Annotations" / f"{number}.xml").write_text(xml(obj(), f"{number}.png"))
    raw = content.encode() if isinstance(content, str) else content
    (folder / "Annotations" / "1.xml").write_bytes(raw)
    return folder


@pytest.mark.parametrize("name", XML)
def test_an_annotation_of_voc(tmp_path: Path, name: str) -> None:
    content, says = XML[name]
    folder = voc(tmp_path / "set", content)
    assert says.format(folder=folder) in refused(read_voc, folder)


def test_a_document_type_alone_declares_nothing(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set", f'<!DOCTYPE annotation SYSTEM "voc.dtd">{xml(obj())}')
    assert len(read_voc(folder).splits["train"]) == 3


def test_a_folder_of_data_sets_is_none(tmp_path: Path) -> None:
    voc(tmp_path / "VOC2007", xml(obj()))
    says = f"{tmp_path} has no Annotations, but {tmp_path / 'VOC2007'} has: name it."
    assert refused(read_voc, tmp_path) == says


@pytest.mark.parametrize("form", ["voc", "coco"])
def test_objects_that_are_all_difficult_are_none_to_learn(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture
) -> None:
    images = tmp_path / "set" / "JPEGImages"
    folder = voc(tmp_path / "set", xml(obj(more="<difficult>1</difficult>")))
    for file in (folder / "Annotations").glob("[23].xml"):
        file.write_text(xml(obj(more="<difficult>1</difficult>"), f"{file.stem}.png"))
    words = ["import-data", "--voc", str(folder), "--output", str(tmp_path / "out")]
    if form == "coco":
        assert main(words) == 0
        words[1:3] = "--coco", str(tmp_path / "out" / "train.json"), "--images", str(images)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "objects, " in said and " of them difficult or crowds\n" in said and NONE in said


def test_text_for_the_flag_of_crowds_is_no_crowd(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """What is wrong with "0" is for the check of the parts to say."""
    entries = [object_entry(i, i, iscrowd="0") for i in (1, 2)]
    file, images = write_coco(tmp_path, [image_entry(1), image_entry(2)], entries)
    words = ["import-data", "--coco", file, "--images", images, "--output", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "# train: 1 images, 1 objects\n" in said and NONE not in said


def test_a_copy_of_an_annotation(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    (folder / "Annotations" / "copy").mkdir()
    (folder / "Annotations" / "copy" / "1.xml").write_text(xml(obj()))
    assert "copy/1.xml are both of the image" in refused(read_voc, folder)


def test_images_of_a_coco_file_that_are_elsewhere_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images = [image_entry(number) for number in range(1, 6)]
    json_file, root = write_coco(tmp_path, images, [object_entry(1, 1)])
    words = ["import-data", "--coco", json_file, "--output", str(tmp_path), "--images"]
    assert main([*words, root]) == 0
    assert "do not exist" not in capsys.readouterr().out
    assert main([*words, str(tmp_path)]) == 0
    assert "# WARNING: 4 of these images do not exist: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gone.png", "1", "1.jpg", "C:\\x\\1.png", ""])
def test_an_image_is_found_by_the_annotations_own_name(tmp_path: Path, name: str) -> None:
    found = read_voc(voc(tmp_path / "set", xml(obj(), file=name))).splits["train"]
    assert [entry.file.name for entry in found] == ["1.png", "2.png", "3.png"]


def test_annotations_in_folders_have_their_images_in_folders(tmp_path: Path) -> None:
    for part, name in (("a", "1.png"), ("b", "1.png")):
        pictures(tmp_path / "JPEGImages" / part, (name,))
        (tmp_path / "Annotations" / part).mkdir(parents=True)
        content = xml(obj(), f"{part}/{name}")
        (tmp_path / "Annotations" / part / "1.xml").write_text(content)
    found = read_voc(tmp_path).splits["train"]
    assert [entry.file.parent.name for entry in found] == ["a", "b"]
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a/1\n")
    (said,) = read_voc(tmp_path).remarks
    assert said.startswith("1 annotation file(s) are in no list") and said.endswith("b/1.xml.")


@pytest.mark.parametrize("form", ["--yolo", "--voc"])
def test_a_share_beside_a_split_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, form: str
) -> None:
    if form == "--yolo":
        by_split(tmp_path / "set", "train", "val")
    else:
        annotated(tmp_path / "set", ("train", "val"))
    words = ["import-data", form, str(tmp_path / "set"), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    with pytest.raises(SystemExit) as stop:
        main([*words, "--val-share", "0.4"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert f"--val-share 0.4 would not be read: {tmp_path}/set has a split 'val'." in said


@pytest.mark.parametrize("size", [(40, 30), (400, 300)])
def test_copies_of_images_that_are_learnt_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture, size: tuple[int, int]
) -> None:
    """As "photo (1).jpg" is one."""
    folder = by_split(tmp_path / "set", "train", "val")
    for split, colours in (("train", ("red", "green")), ("val", ("red", "blue"))):
        for colour in colours:  # of one size, as they are not compressed
            Image.new("RGB", size, colour).save(folder / split / "images" / f"{colour}.bmp")
    (folder / "val" / "images" / "red.bmp").rename(folder / "val" / "images" / "red (1).bmp")
    assert main(["import-data", "--yolo", str(folder), "--output", str(tmp_path / "out")]) == 0
    says = "# WARNING: 1 of these are copies of images in train, so that their figures say nothing"
    out = capsys.readouterr().out
    assert says in out and out.count("copies of") == 1
    images = [image_entry(number) for number in range(1, 6)]
    json_file, root = write_coco(tmp_path / "coco", images, [object_entry(1, 1)])
    words = ["import-data", "--coco", json_file, "--images", root, "--output", str(tmp_path)]
    assert main(words) == 0
    assert says not in capsys.readouterr().out
    for number in range(2, 6):
        shutil.copyfile(Path(root, "001.jpg"), Path(root, f"{number:03d}.jpg"))
    assert main(words) == 0
    assert says in capsys.readouterr().out


@pytest.mark.parametrize("place", ["train.txt", "Segmentation/val.txt", "Main/a_train.txt"])
def test_lists_that_are_passed_over_are_said(tmp_path: Path, place: str) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    stray = folder / "ImageSets" / place
    stray.parent.mkdir(parents=True)
    stray.write_text("1\n")
    (said,) = read_voc(folder).remarks
    assert said.startswith("1 list(s) are passed over, as those of splits are called train.txt, ")
    assert said.endswith(f"/ImageSets/Main: {stray}.")
    (folder / "ImageSets" / "Main").mkdir(exist_ok=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("1\n2\n3\n")
    assert read_voc(folder).remarks == ()


def test_endings_in_capitals_are_not_passed_over(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    (folder / "Annotations" / "1.xml").rename(folder / "Annotations" / "1.XML")
    assert "1.XML must end in .xml, in small letters" in refused(read_voc, folder)


def annotated(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        pictures(folder / name, (f"{name}.png",))
        (folder / name / f"{name}.xml").write_text(xml(obj(), f"{name}.png"))


def test_splits_of_voc_that_are_not_found_are_not_learnt(tmp_path: Path) -> None:
    annotated(tmp_path, ("set_train", "set_val"))
    assert "set_val.xml would be learnt, but is in 'set_val', wh" in refused(read_voc, tmp_path)


def test_annotations_in_no_list_are_said(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name, line in (("train", "1"), ("val", "2")):
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(f"{line}\n")
    (said,) = read_voc(folder).remarks
    lost = folder / "Annotations" / "3.xml"
    assert said == f"1 annotation file(s) are in no list, and are left out: {lost}."


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "Validation", "Test")])
@pytest.mark.parametrize("place", ["", "set"])
def test_splits_with_annotations_beside_their_images(
    tmp_path: Path, names: tuple[str, ...], place: str
) -> None:
    annotated(tmp_path / place, names)
    found = read_voc(tmp_path).splits
    assert {split: [x.file.parent.name for x in images] for split, images in found.items()} == {
        split: [name] for split, name in zip(("train", "val", "test"), names, strict=True)
    }


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        (("train", "valid"), "Main/valid.txt must be called val.txt, to be found."),
        (("training", "val"), "Main/training.txt must be called train.txt, to be found."),
        (("train", "trainval"), "Main has train.txt and trainval.txt but no val.txt, so that"),
    ],
)
def test_lists_of_other_names(tmp_path: Path, lists: tuple[str, ...], says: str) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name in lists:
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("1\n2\n")
    assert says in refused(read_voc, folder)


def test_lists_beside_the_folders_are_passed_over_and_said(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    for name in ("val.txt", "my_val.txt"):
        (folder / name).write_text("1\n")
        (said,) = read_voc(folder).remarks
        assert said.startswith("1 list(s) are passed over") and said.endswith(f"{folder}/{name}.")
        (folder / name).unlink()


def test_lists_in_capitals_are_not_passed_over(tmp_path: Path) -> None:
    lists = voc(tmp_path / "set", xml(obj())) / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "Train.txt").write_text("1\n")
    (lists / "val.txt").write_text("2\n")
    assert "Train.txt must be called train.txt" in refused(read_voc, tmp_path / "set")


def test_names_with_spaces_are_listed(tmp_path: Path) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    pictures(folder / "more", ("a b.png",))
    (folder / "more" / "a b.png").rename(folder / "JPEGImages" / "a b.png")
    (folder / "Annotations" / "a b.xml").write_text(xml(obj(), "a b.png"))
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("1 -1\na b\n")
    found = read_voc(folder).splits["train"]
    assert [entry.file.name for entry in found] == ["1.png", "a b.png"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"1\n9\n", "9.xml cannot be read: No such file"),
        (b"1.png\n", "train.txt has '1.png': "),
        (b"../../x\n", "x.xml cannot be read: No such file"),
        (b"\n", "train.txt is empty; it must have the name of an image in each line."),
        (b"\xe4\n", "train.txt is no text file in UTF-8."),
        (None, "train.txt is a pipe or a device"),
    ],
)
def test_a_list_of_voc(tmp_path: Path, content: bytes | None, says: str) -> None:
    folder = voc(tmp_path / "set", xml(obj()))
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    file = lists / "train.txt"
    os.mkfifo(file) if content is None else file.write_bytes(content)
    assert says in refused(read_voc, folder)


# What is imported, and what is said of the rest


def moved(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / to).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(folder / to)

    return change


def added(name: str, content: str = GOOD) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return change


LOST = "# WARNING: 1 label file(s) belong to no image ("
BESIDE = "# WARNING: 1 label file(s) lie in 'images', whose labels are read from 'labels', and are"
UNUSED = "# WARNING: 1 labelled image(s) are in no split, and are left out: "
NONE = "# WARNING: without objects there is nothing to learn, and no AP."
CUT = "# WARNING: 1 of these objects stick out of their images and were cut at the border"
REMARKS: dict[str, tuple[Change, str, int]] = {
    "labels of another name": (added("labels/IMG_2.txt"), LOST, 3),
    "labels of another split": (added("labels/valid/2.txt"), LOST, 3),
    "labels beside an image": (added("images/2.txt"), BESIDE, 3),
    "an image of another kind": (moved("images/3.png", "images/3.gif"), "", 2),
    "and its labels": (
        lambda folder: (
            moved("images/3.png", "images/3.gif")(folder),
            added("labels/3.txt")(folder),
        ),
        LOST,
        2,
    ),
    "a split behind a link": (
        lambda folder: [
            moved("images", "far/all")(folder),
            moved("labels/1.txt", "labels/train/1.txt")(folder),
            (folder / "images").mkdir(),
            (folder / "images" / "train").symlink_to("../far/all"),
            (folder / "data.yaml").write_text("train: images/train\nnames: [a, b]"),
        ],
        "",
        3,
    ),
    "images behind a link": (
        lambda folder: [moved("images", "far")(folder), (folder / "images").symlink_to("far")],
        "",
        3,
    ),
    "a labelled image beside": (
        lambda folder: (pictures(folder / "more", ("9.png",)), added("more/9.txt")(folder)),
        UNUSED,
        3,
    ),
    "an image beside": (lambda folder: pictures(folder / "runs", ("results.png",)), "", 3),
    "notes beside the labels": (added("labels/notes.txt", "of\nspring"), "", 3),
    "a notebook's copy": (moved("images/3.png", "images/.ipynb_checkpoints/3.png"), "", 2),
    "what a Mac leaves": (added("images/._1.png"), "", 3),
    "corners in the place of centres": (added("labels/2.txt", "0 .6 .6 .9 .9"), CUT, 3),
    "a box that was rounded": (added("labels/2.txt", "0 .1 .5 .201 .2"), "", 3),
    "a class in two spellings": (
        lambda folder: (folder / "data.yaml").write_text("train: images\nnames: [Car, car]"),
        "# WARNING: The classes ['Car', 'car'] differ in capitals and spaces alone: are they one?",
        3,
    ),
    "a part without objects": (moved("images/2.png", "images/2.png"), NONE, 3),
}


@pytest.mark.parametrize("name", REMARKS)
def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    change, says, images = REMARKS[name]
    folder = yolo(tmp_path / "set")
    change(folder)
    assert main(["import-data", "--yolo", str(folder), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    warnings = [line for line in out.splitlines() if line.startswith("# WARNING") and line != NONE]
    assert says in out and len(warnings) == (1 if says not in ("", NONE) else 0)
    files = (tmp_path / "out" / f"{split}.json" for split in ("train", "val"))
    assert sum(len(json.loads(file.read_text())["images"]) for file in files) == images


def test_a_blank_val_leaves_valid(tmp_path: Path) -> None:
    text = "train: images\nval:\nvalid: more\nnames: [a]\n"
    folder = yolo(tmp_path / "set", description=text)
    pictures(folder / "more", ("9.png",))
    assert [entry.file.name for entry in read_yolo(folder).splits["val"]] == ["9.png"]


def test_images_without_annotations_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = voc(tmp_path / "set", xml(obj("30 5 60 20")))
    (folder / "Annotations" / "2.xml").unlink()
    (folder / "Annotations" / "._1.xml").write_bytes(b"\0\5")
    main(["import-data", "--voc", str(folder), "--output", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert (
        f"1 image(s) have no annotation file, and are left out: {folder}/JPEGImages/2.png." in out
    )
    assert CUT in out


def test_what_is_printed_is_yaml(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = yolo(tmp_path / 'a "b" \\ é')
    main(["import-data", "--yolo", str(folder), "--output", str(folder)])
    entries = yaml.safe_load(capsys.readouterr().out)["DATASETS"]["COCO_JSON"]
    assert [entry[2] for entry in entries] == [str(folder.resolve())] * 2

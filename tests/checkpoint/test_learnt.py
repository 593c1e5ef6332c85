# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint records of what was learnt, beside what is measured."""

import logging
import os
from pathlib import Path

import pytest
import torch

from dynamicdet_d2.checkpoint import learnt
from dynamicdet_d2.checkpoint.conventions import say_other_classes
from dynamicdet_d2.checkpoint.learnt import (
    in_checkpoint,
    learnt_by,
    recorded_by,
    recorded_classes,
    recorded_images,
    say_copies,
    say_learnt_images,
    with_earlier,
)
from dynamicdet_d2.data.register import register_coco_json
from tests.support.coco_files import clean_catalogs, image_entry, write_coco


def write(folder: Path, classes: list[str]) -> str:
    """A checkpoint that has learnt a.jpg and b.jpg of a folder."""
    images = [{"file_name": str(folder / name), "image_id": 1} for name in ("a.jpg", "b.jpg")]
    record = recorded_images(images, classes)
    torch.save({"model": {}, "trainer": {"images": record}}, folder / "model_final.pth")
    return str(folder / "model_final.pth")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_record_is_read_from_its_checkpoint(tmp_path: Path) -> None:
    record = recorded_by(write(tmp_path, ["disc"]))
    assert (record["count"], record["classes"], record["files"].shape) == (2, ["disc"], (2,))
    for wrong in ({}, {"classes": 3}, {"classes": [1, 2]}):
        assert recorded_classes(wrong) == []
    torch.save({"model": {}}, tmp_path / "bare.pth")
    (tmp_path / "text.pth").write_text("hello")
    for path in ("", "efficientnet-lite0", tmp_path / "gone.pth", tmp_path / "bare.pth"):
        assert recorded_by(path) == {}
    assert recorded_by(tmp_path / "text.pth") == {}


def test_a_record_beside_what_stands_for_too_much_is_none(tmp_path: Path) -> None:
    """Each pair doubles what is hashed for the key: 45 of them would take years."""
    part: tuple = ("x",)
    for _ in range(25):
        part = (part, part)
    path = tmp_path / "model.pth"
    torch.save({"trainer": {"images": {"count": 1}}, "more": {part: 1}}, path)
    assert recorded_by(path) == {}


def test_images_that_the_weights_have_learnt_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, [])
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    say_learnt_images(path, "own", [str(tmp_path / "other" / "a.jpg"), str(tmp_path / "c.jpg")])
    say_learnt_images("", "own", [str(tmp_path / "a.jpg")])
    assert said(caplog) == []
    monkeypatch.chdir(tmp_path)
    for files in (["a.jpg", "c.jpg"], [str(tmp_path / "link" / "b.jpg"), "other/a.jpg"]):
        caplog.clear()
        say_learnt_images(path, "own", files)
        assert said(caplog) == [
            f"Data set 'own': {path} has learnt 1 of its 2 images, so that their figures say "
            "nothing of new images."
        ]


def test_images_are_known_in_a_folder_of_another_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a data set was moved, copied, or exported anew and split otherwise."""
    for name, content in (("a.jpg", b"a" * 5000 + b"1"), ("b.jpg", b"b")):
        (tmp_path / name).write_bytes(content)
    with monkeypatch.context() as patched:
        patched.setattr(learnt, "MOST_READ", 1)
        assert recorded_by(write(tmp_path, []))["files"].shape == (2,)
    path = write(tmp_path, [])
    assert recorded_by(path)["files"].shape == (4,)
    new = tmp_path / "new"
    new.mkdir()
    (new / "of_a.jpg").write_bytes(b"a" * 5000 + b"1")
    (new / "a.jpg").write_bytes(b"a" * 5000 + b"2")
    os.mkfifo(new / "pipe.jpg")
    files = [str(new / name) for name in ("of_a.jpg", "a.jpg", "pipe.jpg", "gone.jpg")]
    say_learnt_images(path, "own", files)
    assert said(caplog) == [
        f"Data set 'own': {path} has learnt 1 of its 4 images, so that their figures say nothing "
        "of new images."
    ]


def test_a_record_keeps_what_the_weights_had_learnt_before(tmp_path: Path) -> None:
    """As of a run that goes on, or begins, with weights that had other images to learn from."""
    first = learnt_by(write(tmp_path, []))  # a.jpg, b.jpg
    images = [{"file_name": str(tmp_path / name), "image_id": 1} for name in ("b.jpg", "c.jpg")]
    now = recorded_images(images, ["disc"])
    record = with_earlier(now, [first, learnt_by(tmp_path / "gone.pth")])
    assert {**record, "files": 0} == {**now, "files": 0}
    every = recorded_images([{"file_name": str(tmp_path / f"{name}.jpg")} for name in "abc"])
    assert sorted(record["files"].tolist()) == sorted(every["files"].tolist())
    torch.save({"model": {}, "trainer": {"images": {"files": "a.jpg"}}}, tmp_path / "edited.pth")
    assert learnt_by(tmp_path / "edited.pth").tolist() == []


def test_the_record_is_believed_before_the_files_that_a_config_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They may have been written anew, with the classes in another order."""
    with clean_catalogs():
        register_coco_json([["own", *write_coco(tmp_path / "own", [image_entry(1)], [])]])
        say_other_classes(write(tmp_path, ["disc", "ring"]), ["own"])
        assert said(caplog) == []
        path = write(tmp_path, ["ring", "disc"])
        say_other_classes(path, ["own"])
    assert said(caplog) == [
        f"The classes of 'own' are disc, ring, but those of {path}, by its own record, are ring, "
        "disc: where these were learnt, classes are mixed up."
    ]


def test_a_record_that_no_run_has_written_is_none(tmp_path: Path) -> None:
    """Of one number that is expanded, or of a sparse tensor."""
    expanded = torch.zeros(1, dtype=torch.int64).expand(5)
    for files in (expanded, torch.eye(2, dtype=torch.int64).to_sparse(), torch.ones(3), [1]):
        torch.save({"model": {}, "trainer": {"images": {"files": files}}}, tmp_path / "w.pth")
        assert learnt_by(tmp_path / "w.pth").tolist() == []


def test_uncompressed_pictures_are_known_by_their_path_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Others on the same ground have their size, and differ in pieces that are not looked at."""
    ground = bytearray(200_000)
    for name in ("a.bmp", "b.BMP"):
        ground[10_000] += 1
        (tmp_path / name).write_bytes(ground)
    record = recorded_images([{"file_name": str(tmp_path / "a.bmp")}], [])
    torch.save({"model": {}, **in_checkpoint(record)}, tmp_path / "w.pth")
    say_learnt_images(tmp_path / "w.pth", "own", [str(tmp_path / "b.BMP")])
    assert said(caplog) == []
    say_learnt_images(tmp_path / "w.pth", "own", [str(tmp_path / "a.bmp")])
    assert len(said(caplog)) == 1


def test_a_record_of_weights_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the copy that Detectron2 has fetched them to."""
    copies = {"https://there/model_final.pth": write(tmp_path, ["disc"])}
    monkeypatch.setattr(learnt.PathManager, "get_local_path", copies.__getitem__)
    assert recorded_classes(recorded_by("https://there/model_final.pth")) == ["disc"]
    assert recorded_by("https://there/gone.pth") == {}
    copies["detectron2://zoo.pkl"] = copies["https://there/model_final.pth"]
    assert recorded_by("detectron2://zoo.pkl") == {}  # which has none, and may not be here


def test_copies_of_training_images_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which the check of the data does not see; what lies there by its path it has said."""
    for folder, content in (("train", b"1"), ("val", b"1"), ("other", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(content)
    train, val, other = (str(tmp_path / x / "a.jpg") for x in ("train", "val", "other"))
    record = recorded_images([{"file_name": train}])
    say_copies(record, "own", [train, other])
    assert said(caplog) == []
    say_copies(record, "own", [val, train, other])
    assert said(caplog) == [
        "Data set 'own': 1 of its 3 images are copies of images in DATASETS.TRAIN, so that their "
        "figures say nothing of new images."
    ]

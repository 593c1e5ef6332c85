# SPDX-License-Identifier: Apache-2.0
"""What is given in the place of a path."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dynamicdet_d2
from dynamicdet_d2.checkpoint.files import read_checkpoint
from dynamicdet_d2.data.register import checked_entry
from dynamicdet_d2.export.write import new_folder
from dynamicdet_d2.model_folder import write_model
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.utils.files import make_folder, read_json, whole_file
from dynamicdet_d2.utils.paths import refuse_no_path

NONE: list[tuple[Any, str]] = [
    (None, "None"),
    ("", "''"),
    ("  ", "'  '"),
    (3, "3"),
    (True, "True"),
    (b"model", "b'model'"),
    (["model"], "['model']"),
    (np.zeros((2, 1)), "array([[0.], [0.]])"),
]


@pytest.mark.parametrize(("path", "shown"), NONE)
def test_what_is_no_path(path: Any, shown: str) -> None:
    for use, of in (
        (refuse_no_path, "a file or a folder"),
        (make_folder, "a file or a folder"),
        (lambda given: read_json(given, "It"), "a file or a folder"),
        (lambda given: whole_file(given).__enter__(), "a file or a folder"),
        (Calibration.from_json, "a file or a folder"),
        (dynamicdet_d2.load, "a folder that 'dynamicdet package' wrote"),
        (new_folder, "a folder, for --output"),
        (lambda given: write_model(None, given), "a folder, for --output"),  # type: ignore
    ):
        with pytest.raises(ValueError) as refused:
            use(path)
        assert str(refused.value) == f"{shown} is no path of {of}."


def test_what_is_one() -> None:
    for path in ("a b", Path("model"), np.str_("model")):
        refuse_no_path(path)
    with pytest.raises(ValueError, match=r"^'a\\x00b' has a byte 0, which no file's name can"):
        refuse_no_path(Path("a\0b"))


def test_what_may_not_be_looked_at_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(tmp_path / "x")

    def says(call: Callable[[], object]) -> str:
        with pytest.raises(ValueError) as refused:
            call()
        return str(refused.value)

    calls = (
        (lambda: read_checkpoint(path), "The checkpoint {} {}; it must be a file."),
        (lambda: dynamicdet_d2.load(path), "{} is no model folder: it {}."),
        (
            lambda: checked_entry(["set", path, str(tmp_path)]),
            "DATASETS.COCO_JSON: the json file of 'set' {1}: {0}.",
        ),
    )
    for call, sentence in calls:
        assert says(call) == sentence.format(path, "does not exist")

    def closed(path: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "stat", closed)  # whoever runs the tests may look everywhere
    found = [says(call) for call, _ in calls]
    monkeypatch.undo()
    assert found == [x.format(path, "cannot be read: Permission denied") for _, x in calls]

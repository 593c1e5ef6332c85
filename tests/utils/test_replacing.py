# SPDX-License-Identifier: Apache-2.0
"""Folders into whose place another one comes while they are read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import dynamicdet_d2
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.utils.replacing import refuse_replaced, settled, stamps


def test_it_is_the_folder_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "current").symlink_to("v1")
    assert settled(tmp_path / "current") == tmp_path / "v1"
    assert settled(str(tmp_path / "none")) == tmp_path / "none"


@pytest.mark.parametrize("read", [settled, dynamicdet_d2.load, Runner])
def test_paths_that_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable
) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match=r"/a leads nowhere: its links form a ring\.$"):
        read(tmp_path / "a")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match=r"^model leads nowhere: the working folder was removed"):
        read("model")


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text("other"),
        lambda file: os.utime(file, (1, 1)),
        lambda file: os.replace(file.with_name("same"), file),
    ],
)
def test_what_counts_as_replaced(tmp_path: Path, change: Callable[[Path], object]) -> None:
    file = tmp_path / "a"
    for path in (file, tmp_path / "same"):
        path.write_text("one")
        os.utime(path, (9, 9))
    before = stamps([file, tmp_path / "never there"])
    (tmp_path / "beside").write_text("x")
    refuse_replaced(before)
    change(file)
    with pytest.raises(ValueError, match=f"^{file} was replaced while its folder was read"):
        refuse_replaced(before)


def test_what_comes_where_nothing_was(tmp_path: Path) -> None:
    before = stamps([tmp_path / "calibration.json"])
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match="calibration.json was replaced"):
        refuse_replaced(before)

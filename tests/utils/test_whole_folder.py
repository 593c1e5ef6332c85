# SPDX-License-Identifier: Apache-2.0
"""Folders that have their name only when they are complete."""

import errno
import os
from pathlib import Path

import pytest

from dynamicdet_d2.utils.files import UnwrittenFileError
from dynamicdet_d2.utils.whole_folder import whole_folder


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_a_new_folder_has_the_rights_that_the_umask_leaves(
    tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        with whole_folder(tmp_path / "model"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode & 0o777 == mode


def test_an_empty_one_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir(mode=0o750)
    with whole_folder(tmp_path / "model") as unfinished:
        (unfinished / "file").touch()
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "model" / "file").exists()


def test_one_that_a_disk_is_mounted_on_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a volume of a container is."""

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(UnwrittenFileError) as raised, whole_folder(tmp_path / "out"):
        pass
    assert str(raised.value) == (
        f"{tmp_path}/out cannot be written: Device or resource busy; another folder takes its "
        "place, so name a new one inside it."
    )
    assert [x.name for x in tmp_path.iterdir()] == ["out"]


def test_one_that_is_full_is_no_mounted_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UnwrittenFileError, match=r"out cannot be written: .*not empty\.$"):
        with whole_folder(tmp_path / "out"):
            (tmp_path / "out" / "file").touch()

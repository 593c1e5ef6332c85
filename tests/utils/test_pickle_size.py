# SPDX-License-Identifier: Apache-2.0
"""Sizes of pickles by their opcodes, before anything is built."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dynamicdet_d2.utils.pickle_size import TooMuch, check_size, check_sizes
from dynamicdet_d2.utils.unpickling import damaged_record


def _doubled(times: int) -> tuple:
    part: tuple = ("x",)
    for _ in range(times):
        part = (part, part)
    return part


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_part_counts_as_often_as_it_is_named(protocol: int) -> None:
    """("x",) is two parts and a pair one more than both: 3 * 2^n - 1, at 25 above 10^8."""
    check_size(io.BytesIO(pickle.dumps(_doubled(24), protocol)))
    with pytest.raises(TooMuch):
        check_size(io.BytesIO(pickle.dumps(_doubled(25), protocol)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_grows_after_it_was_named_counts_whole(protocol: int) -> None:
    part: list = ["x"]
    for _ in range(12):
        part = [{"a": part, "b": tuple(part)}, part, part]
    content = pickle.dumps(part, protocol)
    assert len(content) < 2000
    check_size(io.BytesIO(content))  # 4^12 = 1.7e7 of the innermost
    with pytest.raises(TooMuch):
        check_size(io.BytesIO(pickle.dumps([part] * 10, protocol)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_content_passes(protocol: int) -> None:
    content = [1, 2.5, "a", b"b", None, True, {1}, frozenset([2]), (), {}, bytearray(b"c"), 1 << 70]
    check_size(io.BytesIO(pickle.dumps({"more": content}, protocol)))


@pytest.mark.parametrize("content", [b"", b"0.", b"h\x05.", b"no pickle"])
def test_what_is_no_pickle_raises(content: bytes) -> None:
    with pytest.raises((IndexError, KeyError, ValueError)):
        check_size(io.BytesIO(content))


def test_a_broken_record_does_not_hide_the_next(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/a.pkl", b"no pickle")
        archive.writestr("model/data.pkl", pickle.dumps(_doubled(60)))
    with pytest.raises(TooMuch):
        check_sizes(str(path))


def test_files_without_checksums_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"model": {"w": torch.ones(3)}, "more": _doubled(60)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    with pytest.raises(TooMuch):
        check_sizes(str(path))


@pytest.mark.parametrize("archive", [True, False])
def test_files_of_torch_save_pass(tmp_path: Path, archive: bool) -> None:
    path = tmp_path / "model.pth"
    content = {"model": {"w": torch.ones(3)}, "iteration": 1}
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    check_sizes(str(path))


def test_an_older_file_is_looked_at_whatever_stands_behind_it(tmp_path: Path) -> None:
    """torch reads it by its beginning, and Python takes it for the archive at its end."""
    path, archive = tmp_path / "model.pth", io.BytesIO()
    torch.save([_doubled(60)], path, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(archive, "w") as end:
        end.writestr("model/data.pkl", pickle.dumps({}))
    path.write_bytes(path.read_bytes() + archive.getvalue())
    assert zipfile.is_zipfile(path)
    with pytest.raises(TooMuch):
        check_sizes(str(path))


@pytest.mark.parametrize("read", [check_sizes, damaged_record])
def test_compressed_archives_are_none_of_torch_save(
    tmp_path: Path, read: Callable[[str], object]
) -> None:
    """Zeros that take a thousand times as much memory as file."""
    torch.save({"model": {"w": torch.zeros(1000)}}, tmp_path / "model.pth")
    read(str(tmp_path / "model.pth"))
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as archive,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as smaller,
    ):
        for record in archive.infolist():
            smaller.writestr(record.filename, archive.read(record))
    with pytest.raises(zipfile.BadZipFile, match="compressed"):
        read(str(tmp_path / "small.pth"))

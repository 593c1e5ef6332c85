# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are damaged, foreign or incomplete, each with what its sentence names."""

import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultPredictor
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.checkpoint.files import read_checkpoint
from dynamicdet_d2.checkpoint.pickled_modules import read_pickled_weights
from dynamicdet_d2.utils.unpickling import damaged_record
from tests.support.toy import toy_cfg, toy_model

ONES = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}


def saved(content: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


GOOD = saved({"model": ONES})
PICKLED = pickle.dumps({"model": {name: tensor.numpy() for name, tensor in ONES.items()}})


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


# Name of the file -> its content, and what is said of it.
FILES: dict[str, tuple[bytes, str]] = {
    "empty.pth": (b"", "is no checkpoint or is damaged"),
    "empty.pkl": (b"", "is no checkpoint or is damaged"),
    "text.pth": (b"hello", "is no checkpoint or is damaged"),
    "text.pkl": (b"hello", "is no checkpoint or is damaged"),
    "page.pth": (b"<!doctype html><title>404</title>", "is no checkpoint or is damaged"),
    "page.pkl": (b"<!doctype html><title>404</title>", "is no checkpoint or is damaged"),
    "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\n", "is no checkpoint"),
    "zeros.pth": (bytes(1000), "is no checkpoint or is damaged"),
    "zeros.pkl": (bytes(1000), "is no checkpoint or is damaged"),
    "half.pth": (GOOD[: len(GOOD) // 2], "is no checkpoint or is damaged"),
    "half.pkl": (PICKLED[: len(PICKLED) // 2], "is no checkpoint or is damaged"),
    "torch.pkl": (
        GOOD,
        "torch.pkl is no checkpoint or is damaged: it cannot be read as a pickle, as",
    ),
    "pickle.pth": (
        PICKLED,
        "pickle.pth is no checkpoint or is damaged: it cannot be read as a file",
    ),
    "protocol.pth": (
        saved({"model": ONES}, pickle_protocol=4),
        "protocol.pth was saved with pickle_protocol 4, which torch does not read without running "
        "what such a file names: save it again without pickle_protocol.",
    ),
    "end.pth": (GOOD[:-1], "is no checkpoint or is damaged"),
    "zip.pth": (zipped(a=b"1", b=b"2"), "is no checkpoint or is damaged"),
    "numbers.pth": (saved(3), "is of type int; a checkpoint is a dict"),
    "numbers.pkl": (pickle.dumps(3), "is of type int; a checkpoint is a dict"),
    "list.pth": (saved([torch.ones(1)]), "is of type list; a checkpoint is a dict"),
    "tensor.pth": (saved(torch.ones(1)), "is of type Tensor; a checkpoint is a dict"),
    "nothing.pth": (saved({}), "holds no weights"),
    "no_weights.pth": (saved({"model": "x"}), "has 'x' for 'model', where weights belong"),
    "no_model.pth": (saved({"model": {}}), "holds no weights"),
    "words.pth": (saved({"model": {"weight": "ones"}}), "under 'weight' is of type str"),
    "null.pth": (saved({"model": {"weight": None}}), "under 'weight' is of type NoneType"),
    "lists.pkl": (pickle.dumps({"model": {"weight": [1.0]}}), "under 'weight' is of type list"),
    "objects.pkl": (pickle.dumps({"w": np.array([{}])}), "is no checkpoint"),
    "texts.pkl": (pickle.dumps({"w": np.array(["a"])}), "under 'w' is of type ndarray"),
    "module.pth": (saved(nn.Linear(1, 1)), "refers to torch.nn.modules.linear.Linear"),
    "other.pth": (saved({"encoder": torch.ones(1)}), "No tensor of"),
    "shapes.pth": (saved({"weight": torch.ones(9, 9)}), "weight (9, 9) in the file, (3, 2) in"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(tmp_path: Path, name: str) -> None:
    content, says = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as refused:
        DynamicCheckpointer(nn.Linear(2, 3)).load(path)
    said = str(refused.value)
    assert says in said and str(path) in said and "\n" not in said and len(said) < 500


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path, says in {
        tmp_path / "pipe.pth": "is a device or pipe; it must be a file.",
        tmp_path: "is a folder; it must be a file.",
        tmp_path / "gone.pth": "does not exist; it must be a file.",
        Path("/dev/zero"): "is a device or pipe",
    }.items():
        with pytest.raises(ValueError, match=says):
            read_checkpoint(str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "last_checkpoint holds b''; it must hold the name of a checkpoint in its folder."),
        (b"../w.pth", "last_checkpoint holds b'../w.pth'"),
        (b"/etc/passwd", "last_checkpoint holds b'/etc/passwd'"),
        (b"a\0b", "last_checkpoint holds b'a\\x00b'"),
        (b"a\\b", "last_checkpoint holds "),
        (b"a.pth\nb.pth", "last_checkpoint holds b'a.pth\\nb.pth'"),
        (b"x" * 300, "last_checkpoint holds b'xxx"),
        (b"gone.pth", "last_checkpoint names 'gone.pth', which is not there."),
        (b"\xff\xfe", ", which is not there."),
    ],
)
def test_a_checkpoint_to_resume_from(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "last_checkpoint").write_bytes(content)
    with pytest.raises(ValueError) as refused:
        DynamicCheckpointer(nn.Linear(2, 3), str(tmp_path)).resume_or_load("", resume=True)
    assert says in str(refused.value) and str(tmp_path) in str(refused.value)


# Flipped bits


@pytest.mark.parametrize("read", [read_checkpoint, read_pickled_weights])
def test_a_flipped_bit_in_a_record_is_found(tmp_path: Path, read: Callable[[str], object]) -> None:
    """In each record of the archive, wherever it is in it."""
    path = tmp_path / "flipped.pth"
    content = saved({"model": {"weight": torch.randn(50, 20)}})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = archive.infolist()
    drawn = random.Random(0)
    for record in records:
        # The record's own header has 30 bytes, its name and padding in front of the bytes.
        name = len(record.filename)
        padding = int.from_bytes(content[record.header_offset + 28 :][:2], "little")
        start = record.header_offset + 30 + name + padding
        for _ in range(3 if record.file_size else 0):
            damaged = bytearray(content)
            damaged[start + drawn.randrange(record.file_size)] ^= 1 << drawn.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"flipped\.pth is .*damaged"):
                read(str(path))


def test_detectron2s_checkpointer_finds_it_too(tmp_path: Path) -> None:
    content = bytearray(saved({"model": {"weight": torch.zeros(500, 2), "bias": torch.zeros(500)}}))
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.pth").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: the checksum of its record"):
        DetectionCheckpointer(nn.Linear(2, 500)).load(str(tmp_path / "flipped.pth"))


def test_a_record_whose_name_is_damaged(tmp_path: Path) -> None:
    """Found by fuzzing: a name that is said to be UTF-8, and is none."""
    content, path = bytearray(saved({"model": ONES})), tmp_path / "flipped.pth"
    assert content[7] & 8, "the first record's name is said to be UTF-8"
    content[30] = 0x80
    path.write_bytes(content)
    for read in (read_checkpoint, read_pickled_weights):
        with pytest.raises(ValueError, match=r"flipped\.pth is .*damaged"):
            read(str(path))


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        path.write_bytes(saved({"model": ONES}, **options))
        assert damaged_record(str(path)) is None
        assert torch.equal(read_checkpoint(str(path))["model"]["weight"], ONES["weight"])
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(saved({"model": ONES}))
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(str(path))["model"]["weight"], ONES["weight"])


# Weights that leave parts of the model as they were drawn

Weights = dict[str, Tensor]


def without(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {n: w for n, w in weights.items() if not n.startswith(prefix)}


def with_value(name: str, value: float) -> Callable[[Weights], Weights]:
    def change(weights: Weights) -> Weights:
        weights[name] = weights[name].clone().fill_(value)
        return weights

    return change


def wider(weights: Weights) -> Weights:
    weights["router.hidden.weight"] = torch.ones(3, 3)
    return weights


INCOMPLETE: list[tuple[Callable[[Weights], Weights], str]] = [
    (without("router."), "random values, so there is nothing to measure: router (4)"),
    (without("backbone.bottom_up2."), "nothing to measure: backbone.bottom_up2 "),
    (without("backbone.connections."), "nothing to measure: backbone.connections "),
    (without("backbone.bottom_up1.res4"), "nothing to measure: backbone.bottom_up1.res4 "),
    (without("neck."), "nothing to measure: neck "),
    (without("proposal_generator."), "nothing to measure: proposal_generator "),
    (without("roi_heads.box_predictor.cls_score.bias"), "box_predictor.cls_score.bias"),
    (wider, "router.hidden.weight (3, 3) in the file"),
    (with_value("router.score.bias", float("nan")), "has values in router.score.bias that are not"),
    (with_value("neck.fpn_output2.weight", float("inf")), "has values in neck.fpn_output2.weight"),
]


@pytest.mark.parametrize(("change", "says"), INCOMPLETE)
def test_a_predictor_refuses_what_is_not_whole(
    tmp_path: Path, change: Callable[[Weights], Weights], says: str
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": change(dict(toy_model().state_dict()))}, path)
    with pytest.raises(ValueError) as refused:
        DefaultPredictor(toy_cfg("MODEL.WEIGHTS", str(path), "DATASETS.TEST", ()))
    assert says in str(refused.value) and str(path) in str(refused.value)


def test_other_classes_and_depths_are_refused_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "w.pth")
    torch.save({"model": toy_model().state_dict()}, path)
    for keys, says in {
        ("MODEL.ROI_HEADS.NUM_CLASSES", 5): "roi_heads.box_predictor",
        ("MODEL.COMPOSITE.NUM_BLOCKS2", (1, 2, 1, 1)): "backbone.bottom_up2.res3.1",
        ("MODEL.FPN.OUT_CHANNELS", 32): "neck",
    }.items():
        cfg = toy_cfg("MODEL.WEIGHTS", path, "DATASETS.TEST", (), keys[0], _listed(keys[1]))
        with pytest.raises(ValueError, match="leaves parts of the model at random") as refused:
            DefaultPredictor(cfg)
        assert says in str(refused.value)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value

# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: nothing in them is run, and a kill never leaves half of one."""

import multiprocessing
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import PeriodicCheckpointer
from torch import nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.checkpoint.files import plain, read_checkpoint
from dynamicdet_d2.utils.files import remove_temporaries


class Payload:
    """Would leave a file behind if a pickle of it were loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("ending", ["pkl", "pth", "pyth"])
def test_nothing_in_a_file_is_run(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"evil.{ending}"
    content = {"model": {"weight": np.ones(1)}, "more": Payload(tmp_path / "made")}
    if ending == "pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save({**content, "model": {"weight": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match=rf"evil\.{ending} refers to (posix|nt)\.mkdir, which"):
        read_checkpoint(str(path))
    assert not (tmp_path / "made").exists()


def test_codecs_other_than_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "codec.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vx\nVbz2\ntR.")
    with pytest.raises(ValueError, match=r"codec\.pkl refers to codecs\.encode to bz2"):
        read_checkpoint(str(path))


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(1000)}}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    arrays = pickle.dumps({"model": {"weight": np.ones(1000)}})
    files = {
        "cut.pth": whole[: len(whole) // 2],
        "cut.pkl": arrays[:500],
        "empty.pth": b"",
        "empty.pkl": b"",
        "text.pth": b"hello, this is no checkpoint",
        "text.pkl": b"hello, this is no checkpoint",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is no checkpoint or is damaged") as caught:
            read_checkpoint(str(tmp_path / name))
        assert caught.value.__suppress_context__


@pytest.mark.filterwarnings("error")  # torch says its own of either
def test_files_of_other_kinds_are_one_sentence(tmp_path: Path) -> None:
    pickled, traced = tmp_path / "pickled.pth", tmp_path / "traced.pth"
    pickled.write_bytes(pickle.dumps({"model": {"a": np.ones(2)}}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)).save(traced)
    for path in (pickled, traced):
        with pytest.raises(ValueError) as refused:
            read_checkpoint(str(path))
        says = "is no checkpoint or is damaged: it cannot be read as a file of torch.save."
        assert str(refused.value) == f"{path} {says}"


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "file.pth")
    for content, message in (
        ([torch.ones(1)], "is of type list"),
        ({}, "holds no weights"),
        ({"model": {}}, "holds no weights"),
        ({"epoch": 3}, "under 'epoch' is of type int, where a tensor"),
        ({"model": {"a": "text"}}, "under 'a' is of type str"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            read_checkpoint(path)


def test_wrong_paths_are_one_sentence(tmp_path: Path) -> None:
    checkpointer = DynamicCheckpointer(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"nowhere\.pth does not exist"):
        checkpointer.load(str(tmp_path / "nowhere.pth"))
    with pytest.raises(ValueError, match="is a folder"):
        checkpointer.load(str(tmp_path))
    assert checkpointer.load("") == {}


def test_a_download_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_: str) -> str:
        raise OSError("Name or service not known")

    checkpointer = DynamicCheckpointer(nn.Linear(1, 1))
    monkeypatch.setattr(checkpointer.path_manager, "get_local_path", offline)
    with pytest.raises(ValueError, match=r"detectron2://R-50\.pkl cannot be fetched: Name or"):
        checkpointer.load("detectron2://R-50.pkl")


def test_a_name_that_is_not_in_the_catalog_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"catalog://nothing cannot be fetched: model not pres"):
        DynamicCheckpointer(nn.Linear(1, 1)).load("catalog://nothing")
    with pytest.raises(
        ValueError, match=r"catalog://ImageNetPretrained/XX is not in Detectron2's c"
    ):
        DynamicCheckpointer(nn.Linear(1, 1)).load("catalog://ImageNetPretrained/XX")


@pytest.fixture
def saving(tmp_path: Path) -> tuple[DynamicCheckpointer, torch.optim.Optimizer]:
    """A checkpointer of a small model, one optimizer step old."""
    torch.manual_seed(0)
    model = nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=np.float64(0.1))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    states = {"optimizer": optimizer, "scheduler": scheduler}
    return DynamicCheckpointer(model, str(tmp_path), **states), optimizer


def test_save_and_resume(saving: tuple, tmp_path: Path) -> None:
    checkpointer, optimizer = saving
    assert not checkpointer.has_checkpoint()
    periodic = PeriodicCheckpointer(checkpointer, period=2, max_iter=4, max_to_keep=1)
    for iteration in range(4):
        periodic.step(iteration, gap=np.float32(0.5))
    assert sorted(os.listdir(tmp_path)) == [
        "last_checkpoint",
        "model_0000003.pth",
        "model_final.pth",
    ]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["gap"] == 0.5

    model = nn.Linear(2, 3)
    fresh = torch.optim.AdamW(model.parameters(), lr=1.0)
    resumed = DynamicCheckpointer(model, str(tmp_path), optimizer=fresh)
    extras = resumed.resume_or_load("unused.pth", resume=True)
    assert (extras["iteration"], extras["gap"]) == (3, 0.5)
    assert torch.equal(model.weight, checkpointer.model.weight)
    assert fresh.state_dict()["param_groups"][0]["lr"] == 0.1
    moments = [o.state_dict()["state"][0]["exp_avg"] for o in (fresh, optimizer)]
    assert torch.equal(*moments)

    fresh.param_groups[0]["lr"] = 1.0
    final = str(tmp_path / "model_final.pth")
    resumed.resume_or_load(final, resume=False)
    assert fresh.param_groups[0]["lr"] == 1.0  # weights alone


def test_an_interrupted_save_changes_nothing(
    saving: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer, _ = saving
    checkpointer.save("model_0000001")
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def half(_: object, file: object) -> None:
        file.write(b"half a checkpoint")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half)
    for name in ("model_0000001", "model_0000002"):
        with pytest.raises(OSError, match="No space left"):
            checkpointer.save(name)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def _save_and_die(checkpointer: DynamicCheckpointer) -> None:
    def half(_: object, file: object) -> None:
        file.write(b"half a checkpoint")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
    checkpointer.save("model_0000002")


def test_a_kill_while_saving_leaves_the_last_checkpoint(saving: tuple, tmp_path: Path) -> None:
    checkpointer, _ = saving
    checkpointer.save("model_0000001", iteration=1)
    process = multiprocessing.get_context("fork").Process(
        target=_save_and_die, args=(checkpointer,)
    )
    process.start()
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "model_0000002.pth").exists()
    extras = DynamicCheckpointer(nn.Linear(2, 3), str(tmp_path)).resume_or_load("", resume=True)
    assert extras["iteration"] == 1
    # What the killed save left is nobody's, and hinders no other one.
    assert len(remove_temporaries(tmp_path)) == 1
    checkpointer.save("model_0000002", iteration=2)
    assert sorted(os.listdir(tmp_path)) == [
        "last_checkpoint",
        "model_0000001.pth",
        "model_0000002.pth",
    ]


def test_states_that_could_not_be_read_again_are_refused(saving: tuple, tmp_path: Path) -> None:
    checkpointer, _ = saving
    with pytest.raises(ValueError, match=r"hooks\['a'\]\[1\] is of type object"):
        checkpointer.save("model", hooks={"a": [1, object()]})
    with pytest.raises(ValueError, match="must have no folder"):
        checkpointer.save("folder/model")
    assert os.listdir(tmp_path) == []


def test_plain_by_hand() -> None:
    value = {"a": (np.float32(0.5), np.int64(2)), "b": [np.bool_(True), None, "x"], "c": {1}}
    assert plain(value, "state") == {"a": (0.5, 2), "b": [True, None, "x"], "c": {1}}
    assert type(plain(np.float64(1), "x")) is float
    assert torch.equal(plain(np.arange(3), "x"), torch.arange(3))


def test_plain_keys_and_numpys_other_kinds() -> None:
    assert [*map(type, plain({np.int64(3): 1, np.str_("a"): 2}, "x"))] == [int, str]
    assert torch.equal(plain(np.arange(3)[::-1], "x"), torch.tensor([2, 1, 0]))
    for value in (np.datetime64("2026-01-01"), np.longdouble(1), np.array(["a"])):
        with pytest.raises(ValueError, match=r"^x is of type \w+; a checkpoint may hold"):
            plain(value, "x")
    with pytest.raises(ValueError, match="^a key of x is of type object; a checkpoint may hold"):
        plain({object(): 1}, "x")


class _WithState(nn.Linear):
    def get_extra_state(self) -> dict:
        return {"scale": 1.0}


def test_a_model_that_could_not_be_read_again_is_refused_before_it_trains(tmp_path: Path) -> None:
    sparse = nn.Linear(1, 1)
    sparse.register_buffer("graph", torch.eye(2).to_sparse())
    for model, name in ((_WithState(1, 1), "_extra_state"), (sparse, "graph")):
        with pytest.raises(ValueError, match=f"^The model's state has '{name}', which is no plain"):
            DynamicCheckpointer(model, str(tmp_path))
        DynamicCheckpointer(model)  # nothing is saved


def _called(*names: str, ask: bytes) -> bytes:
    """A pickle of {"a": name(name(... ask))}, the outer name first."""
    globals_ = [b"c" + name.replace(" ", "\n").encode() + b"\n" for name in names]
    return b"\x80\x02}X\x01\x00\x00\x00a" + b"".join(globals_) + ask + b"\x85R" * len(names) + b"s."


@pytest.mark.parametrize(
    "content",
    [
        _called("builtins list", "builtins bytearray", ask=b"K\x03"),
        _called("builtins bytes", ask=b"K\x03"),
        _called("builtins list", "numpy ndarray", ask=b"K\x03\x85"),
        _called(
            "builtins list",
            ask=b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x03\x85C\x01btR",
        ),
    ],
)
def test_a_few_bytes_cannot_ask_for_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "small.pkl"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"small\.pkl (refers to .* of a |is no checkpoint or is dam)"
    ):
        read_checkpoint(str(path))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    kept = {"b": b"x", "s": {1}, "f": frozenset([2]), "t": (1, 2), "c": 1j, "a": bytearray(b"y")}
    arrays = {"w": np.arange(6.0).reshape(2, 3), "n": np.float64(2), "e": np.zeros((0, 3))}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, **kept}, protocol=protocol))
    content = read_checkpoint(str(path))
    weights = content.pop("model")
    assert content == kept
    assert {name: weight.tolist() for name, weight in weights.items()} == {
        "w": [[0, 1, 2], [3, 4, 5]],
        "n": 2,
        "e": [],
    }


def test_a_number_of_no_bytes_is_refused(tmp_path: Path) -> None:
    """It would be as long as its type says: here of 4 kilobytes, and it could be of gigabytes."""

    class Long:
        def __reduce__(self) -> tuple:
            return np.float64(0).__reduce__()[0], (np.dtype("V4096"),)

    path = tmp_path / "long.pkl"
    path.write_bytes(pickle.dumps({"model": {"weight": Long()}}, protocol=2))
    with pytest.raises(
        ValueError, match=r"long\.pkl refers to numpy's scalar of no bytes, which is"
    ):
        read_checkpoint(str(path))
    path.write_bytes(pickle.dumps({"model": {"weight": np.float32(2.5)}}, protocol=2))
    assert read_checkpoint(str(path))["model"]["weight"].item() == 2.5


@pytest.mark.parametrize("name", ["small.pkl", "small.pth", "older.pth"])
def test_a_few_bytes_cannot_ask_for_time(tmp_path: Path, name: str) -> None:
    """A tuple of twice a tuple of twice ...: to hash it would go through 2^60 of them."""
    path, part = tmp_path / name, ("x",)
    for _ in range(60):
        part = (part, part)  # type: ignore[assignment]
    if name == "small.pkl":
        path.write_bytes(pickle.dumps({"model": part}))
    else:
        torch.save({"model": part}, path, _use_new_zipfile_serialization=name == "small.pth")
    with pytest.raises(ValueError, match=f"{name} is no checkpoint: it names its own parts again"):
        read_checkpoint(str(path))

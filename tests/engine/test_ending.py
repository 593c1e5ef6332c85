# SPDX-License-Identifier: Apache-2.0
"""What a machine can do to a run, in a sentence."""

import errno
import signal
from types import SimpleNamespace

import pytest
from detectron2.utils import comm

from dynamicdet_d2.engine.ending import failures_in_a_sentence, lost_workers_in_a_sentence
from dynamicdet_d2.engine.hooks import StopOnSignal
from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.errors import RunError
from dynamicdet_d2.utils.files import UnwrittenFileError
from tests.support.toy import toy_cfg

FULL = OSError(errno.ENOSPC, "No space left on device")
GLOO = "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"
LATE = "[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 5000ms for recv operation"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FULL, "OUTPUT_DIR there cannot be written to: No space left on device; what was there"),
        (UnwrittenFileError("there/a.pth", FULL), "there/a.pth cannot be written: No space left"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            r"loads images \(7\) was killed by signal Killed, .*NUM_WORKERS is 4",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            r"loads images \(7, 8\) ended unexpectedly",
        ),
        (ConnectionResetError(104, "reset"), "A process that loads images ended unexpectedly"),
        (RuntimeError("DataLoader timed out after 9 seconds"), r"within 9 seconds \(RUN.TIMEOUT\)"),
        (MemoryError(), r"not enough memory for a step on cpu; .* \(MemoryError\)"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."),
            "SOLVER.IMS_PER_BATCH or INPUT.MAX_SIZE_TRAIN needs less",
        ),
        (RuntimeError(GLOO), "Rank 1 lost another process of the run"),
        (RuntimeError(LATE), r"Rank 1 waited 9 seconds \(RUN.TIMEOUT\) for another process"),
    ],
)
def test_failures_are_sentences(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    cfg = toy_cfg("OUTPUT_DIR", "there", "RUN.TIMEOUT", 9.0)
    with pytest.raises(RunError, match=says) as raised, failures_in_a_sentence(cfg):
        raise error
    assert raised.value.__cause__ is error
    assert "--resume goes on" in str(raised.value)
    with pytest.raises(RunError) as raised, failures_in_a_sentence(cfg, eval_only=True):
        raise error
    assert "an evaluation begins anew" in str(raised.value)
    assert "resume" not in str(raised.value)


def test_an_evaluation_without_memory_names_its_own_keys() -> None:
    with pytest.raises(RunError) as raised, failures_in_a_sentence(toy_cfg(), eval_only=True):
        raise MemoryError
    assert str(raised.value) == (
        "There is not enough memory for an evaluation on cpu; a smaller INPUT.MAX_SIZE_TEST or "
        "TEST.DETECTIONS_PER_IMAGE needs less; an evaluation begins anew (MemoryError)."
    )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError(GLOO),  # of one process
        FileNotFoundError(errno.ENOENT, "No such file", "a.jpg"),
        ValueError("x"),
    ],
)
def test_other_errors_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, failures_in_a_sentence(toy_cfg()):
        raise error
    assert raised.value is error


def test_a_calibration_that_loses_a_worker_cannot_be_resumed() -> None:
    error = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    with pytest.raises(RunError) as raised, lost_workers_in_a_sentence(toy_cfg()):
        raise error
    assert str(raised.value) == (
        "A process that loads images (7) ended unexpectedly, for want of memory, of room in "
        "/dev/shm or of open files perhaps: DATALOADER.NUM_WORKERS is 4, and fewer need less."
    )
    with pytest.raises(RuntimeError, match="shapes"), lost_workers_in_a_sentence(toy_cfg()):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_checkpoint_that_could_not_be_saved_is_said() -> None:
    with stopping.signals_heeded(), pytest.raises(RunError, match="No space left on device"):
        with failures_in_a_sentence(toy_cfg()):
            stopping.request(signal.SIGTERM)
            raise FULL


def test_what_follows_from_a_signal_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with stopping.signals_heeded(), pytest.raises(SystemExit) as stop:
        with failures_in_a_sentence(toy_cfg()):
            stopping.request(signal.SIGTERM)
            raise RuntimeError(GLOO)
    assert stop.value.code == 143


def test_what_a_library_makes_of_an_end_in_its_middle_is_that_end() -> None:
    with stopping.signals_heeded(), pytest.raises(SystemExit) as stop:
        with failures_in_a_sentence(toy_cfg()):
            try:
                signal.raise_signal(signal.SIGTERM)
            except SystemExit as error:
                raise KeyError("OUT_FEATURES") from error
    assert stop.value.code == 143
    assert stopping.obeyed() == 0


@pytest.mark.parametrize(
    ("there", "said"), [(True, "goes on from the last checkpoint."), (False, "begins anew.")]
)
def test_what_a_stopped_run_can_go_on_from_is_said(
    caplog: pytest.LogCaptureFixture, there: bool, said: str
) -> None:
    hook = StopOnSignal()
    saved = SimpleNamespace(has_checkpoint=lambda: there)
    hook.trainer = SimpleNamespace(iter=0, max_iter=5, checkpointer=saved)
    with stopping.signals_heeded():
        stopping.request(signal.SIGINT)
        hook.after_train()
    assert f"Stopped by SIGINT in iteration 0: --resume {said}" in caplog.text

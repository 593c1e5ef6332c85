# SPDX-License-Identifier: Apache-2.0
"""How a command ends when something is wrong."""

import pickle
from collections.abc import Iterator

import pytest

from dynamicdet_d2.data.loading.corrupt import CorruptImageError
from dynamicdet_d2.prediction.predictor import UnusableImageError
from dynamicdet_d2.utils.errors import is_out_of_memory, one_sentence
from dynamicdet_d2.utils.files import UnmadeFolderError, UnwrittenFileError

FULL = OSError(28, "No space left")
# Of each class that is made of something else than its sentence.
MADE = {
    UnusableImageError(1, "It is too narrow."): "Number 1 of the list: It is too narrow.",
    CorruptImageError("a.jpg", 7, "is cut"): "Image a.jpg (id 7) is cut. "
    "DATALOADER.SKIP_CORRUPT_IMAGES True leaves such images out.",
    UnwrittenFileError("a.pth", FULL): "a.pth cannot be written: No space left.",
    UnmadeFolderError("a", FULL): "a cannot be made a folder: No space left.",
}


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (ValueError("SOLVER.X is 1"), "SOLVER.X is 1", 2),
        (FileNotFoundError(2, "No such file", "x.pth"), "x.pth cannot be used: No such file.", 1),
        (FloatingPointError("diverged"), "diverged", 1),
        (
            ImportError("No module named 'x'"),
            "No module named 'x': 'python -m dynamicdet_d2 doctor' says what is missing and what "
            "installs it.",
            1,
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    capsys: pytest.CaptureFixture, error: Exception, said: str, status: int
) -> None:
    with pytest.raises(SystemExit) as stop, one_sentence("tool"):
        raise error
    assert stop.value.code == status
    assert capsys.readouterr().err == f"tool: error: {said}\n"


def test_what_was_noted_on_the_way_is_said(capsys: pytest.CaptureFixture) -> None:
    error = ValueError("height must be > 0.")
    error.add_note("While loading image a.png.")
    with pytest.raises(SystemExit), one_sentence("tool"):
        raise error
    said = "tool: error: height must be > 0. While loading image a.png.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", [KeyError("bug"), RuntimeError, KeyboardInterrupt, SystemExit])
def test_other_errors_pass_through(error: BaseException) -> None:
    with pytest.raises(BaseException) as raised, one_sentence("tool"):
        raise error
    assert raised.type is (error if isinstance(error, type) else type(error))


@pytest.mark.parametrize("error", MADE)
def test_an_error_reaches_another_process(error: Exception) -> None:
    """One that cannot be read there ends a pool of processes, or has it wait for ever."""
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error) and vars(there) == vars(error)
    assert str(there) == str(error) == MADE[error]


def test_all_such_errors_are_tried() -> None:
    def below(kind: type) -> Iterator[type]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    ours = {x for x in below(BaseException) if x.__module__.startswith("dynamicdet_d2.")}
    assert {x for x in ours if "__init__" in vars(x)} <= {type(error) for error in MADE}


def test_an_operator_that_is_not_known_is_no_lack_of_memory() -> None:
    said = "could not create a primitive"
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(RuntimeError(f"{said} descriptor for a matmul primitive"))

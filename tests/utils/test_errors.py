# SPDX-License-Identifier: Apache-2.0
"""How a command ends when something is wrong."""

import pytest

from dynamicdet_d2.utils.errors import one_sentence


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

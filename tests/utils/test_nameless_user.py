# SPDX-License-Identifier: Apache-2.0
"""Users that a container has made up."""

import getpass
import os
import pwd

import pytest

from dynamicdet_d2.utils.nameless_user import name_the_nameless

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment and a list of users that do not have this one."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is taken back where the environment has none
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_a_user_without_a_name_gets_one() -> None:
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    name_the_nameless()
    assert getpass.getuser() == os.environ["USER"] == str(os.getuid())


def test_another_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    name_the_nameless()
    assert getpass.getuser() == "anna" and "USER" not in os.environ

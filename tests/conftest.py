# SPDX-License-Identifier: Apache-2.0
"""Tests run from the repository's root, on one thread."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.signals import heed_ignored
from tests.support.threads import on_one_thread
from tests.support.undrawn import leave_undrawn

heed_ignored()
on_one_thread()
# How long an example takes is the machine's affair.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that looks at no chart: neither it nor the runs that it starts draw one."""
    leave_undrawn(monkeypatch)


@pytest.fixture(scope="module")
def undrawn_file() -> Iterator[None]:
    """The same for all tests of a file, and what they share."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_undrawn(monkeypatch)
        yield

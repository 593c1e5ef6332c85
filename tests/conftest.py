# SPDX-License-Identifier: Apache-2.0
"""Tests run from the repository's root, on one thread."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support.signals import heed_ignored
from tests.support.undrawn import leave_undrawn

heed_ignored()
torch.set_num_threads(1)
# How long an example takes is the machine's affair.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """For a file that looks at no chart: neither its trainings nor the runs it starts draw one."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_undrawn(monkeypatch)
        yield

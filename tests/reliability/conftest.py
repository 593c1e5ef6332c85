# SPDX-License-Identifier: Apache-2.0
"""Commands run in the tests' own process."""

import logging

import pytest

from dynamicdet_d2.commands import calibrate, check_export, export, package, predict, upgrade


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectron2 keeps its handlers for good, and with them one test's captured output."""
    for command in (calibrate, check_export, export, package, predict, upgrade):
        monkeypatch.setattr(command, "setup_logger", lambda **_: logging.getLogger("unused"))

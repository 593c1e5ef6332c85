# SPDX-License-Identifier: Apache-2.0
"""Toy detectors, exported once."""

from collections.abc import Callable

import pytest

from tests.support.exported import Exported, export_toy


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """By the name of a detector and the format; each is made when it is first asked for."""
    made: dict[tuple[str, str], Exported] = {}

    def of(name: str, runtime: str = "onnx") -> Exported:
        if (name, runtime) not in made:
            folder = tmp_path_factory.mktemp("exported") / "folder"
            made[name, runtime] = export_toy(name, runtime, folder)
        return made[name, runtime]

    return of

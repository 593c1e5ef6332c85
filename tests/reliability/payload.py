# SPDX-License-Identifier: Apache-2.0
"""What a hostile file holds: loading it by Python's own pickle makes a folder."""

import os
from collections.abc import Callable
from pathlib import Path


class Payload:
    """A pickle of it names ``os.mkdir``, which pickle calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.folder),)

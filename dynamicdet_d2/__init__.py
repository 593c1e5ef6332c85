# SPDX-License-Identifier: Apache-2.0
"""DynamicDet for Detectron2: detectors that spend their second backbone on hard images only.

Importing the package registers its meta architectures and backbones with Detectron2, and sees to it
that Detectron2 runs nothing that a file holds (SECURITY.md).
"""

import sys

from dynamicdet_d2.utils.nameless_user import name_the_nameless

__version__ = "0.1.0"

__all__ = [
    "BudgetController",
    "DynamicPredictor",
    "DynamicRCNN",
    "__version__",
    "add_dynamicdet_config",
    "load",
]

_missing: ImportError | None = None
try:
    name_the_nameless()
    from dynamicdet_d2.budget import BudgetController
    from dynamicdet_d2.checkpoint import guard, load_foreign  # noqa: F401 (Detectron2's readers)
    from dynamicdet_d2.config import add_dynamicdet_config
    from dynamicdet_d2.engine import predictor  # noqa: F401 (DefaultPredictor)
    from dynamicdet_d2.model_folder import load
    from dynamicdet_d2.modeling import DynamicRCNN
    from dynamicdet_d2.prediction import DynamicPredictor
except ImportError as error:
    # Said when the package is used, since `dynamicdet doctor` must run on just such machines.
    _missing = error
except (AttributeError, OSError, RuntimeError) as error:
    # Of libraries that do not fit each other, such as torch and torchvision.
    _missing = ImportError(f"{type(error).__name__}: {error}")
except TypeError as error:
    if sys.flags.optimize < 2:
        raise
    _missing = ImportError(f"Detectron2 cannot be imported by 'python -OO' ({error})")


def __getattr__(name: str) -> object:
    if _missing is not None and name in __all__:
        raise ImportError(
            f"{_missing}: 'python -m dynamicdet_d2 doctor' says what is missing and what installs "
            "it"
        ) from _missing
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

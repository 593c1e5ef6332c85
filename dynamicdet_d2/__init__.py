# SPDX-License-Identifier: Apache-2.0
"""DynamicDet for two-stage detectors, as a Detectron2 project.

Importing the package registers its meta architecture and backbones with Detectron2.
"""

import sys

__version__ = "0.1.0"

try:
    from dynamicdet_d2.config import add_dynamicdet_config
    from dynamicdet_d2.modeling import DynamicRCNN
except ImportError as error:
    # The doctor must run on just the machines where something is missing.
    if "dynamicdet_d2.commands.doctor" not in sys.orig_argv:
        raise ImportError(
            f"{error}: 'python -m dynamicdet_d2.commands.doctor' says what is missing and what "
            "installs it"
        ) from error

__all__ = ["DynamicRCNN", "__version__", "add_dynamicdet_config"]

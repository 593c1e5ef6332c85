# SPDX-License-Identifier: Apache-2.0
"""A model as one folder that works anywhere: weights, config, calibration, class names, hashes."""

from dynamicdet_d2.model_folder.loading import load, model_config, one_folder
from dynamicdet_d2.model_folder.write import write_model

__all__ = ["load", "model_config", "one_folder", "write_model"]

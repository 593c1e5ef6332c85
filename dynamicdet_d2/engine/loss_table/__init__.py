# SPDX-License-Identifier: Apache-2.0
"""What the router learns from: measured once of every training image, kept for a resumed run."""

from dynamicdet_d2.engine.loss_table.columns import COLUMNS, measure_losses
from dynamicdet_d2.engine.loss_table.file import LossTableFile
from dynamicdet_d2.engine.loss_table.fingerprint import detectors_fingerprint, table_fingerprint
from dynamicdet_d2.engine.loss_table.obtain import obtain_table
from dynamicdet_d2.engine.loss_table.table import LossTable

__all__ = [
    "COLUMNS",
    "LossTable",
    "LossTableFile",
    "detectors_fingerprint",
    "measure_losses",
    "obtain_table",
    "table_fingerprint",
]

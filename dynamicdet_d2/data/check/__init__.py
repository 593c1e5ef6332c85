# SPDX-License-Identifier: Apache-2.0
"""The check of a data set before training: what is wrong is named."""

from dynamicdet_d2.data.check.run import check_dataset, check_datasets

__all__ = ["check_dataset", "check_datasets"]

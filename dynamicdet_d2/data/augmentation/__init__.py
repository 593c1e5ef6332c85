# SPDX-License-Identifier: Apache-2.0
"""Multi-image augmentation: pure functions, a file an idea, and what draws and orders them."""

from dynamicdet_d2.data.augmentation.augmentation import MultiImageAugmentation
from dynamicdet_d2.data.augmentation.settings import Settings

__all__ = ["MultiImageAugmentation", "Settings"]

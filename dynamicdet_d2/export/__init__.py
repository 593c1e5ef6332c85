# SPDX-License-Identifier: Apache-2.0
"""Detectors as files that run without this library: static pieces, and a manifest about them."""

from dynamicdet_d2.export.torch_pieces import open_exported
from dynamicdet_d2.export.write import FORMATS, export

__all__ = ["FORMATS", "export", "open_exported"]

# SPDX-License-Identifier: Apache-2.0
"""The drawn data set, each image at a known difficulty."""

from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset, register_shapes

__all__ = ["Recipe", "draw_dataset", "register_shapes"]

# SPDX-License-Identifier: Apache-2.0
"""Detections of images, videos and cameras, drawn and written, within a budget where one is set."""

from dynamicdet_d2.prediction.predictor import DynamicPredictor

__all__ = ["DynamicPredictor"]

# SPDX-License-Identifier: Apache-2.0
"""Exported detectors without torch: numpy, Pillow, and onnxruntime or OpenVINO.

from dynamicdet_d2.runner import Runner

detector = Runner("exported", hard_fraction=0.5)
detections = detector([image])[0]  # RGB, (H, W, 3) uint8
"""

from dynamicdet_d2.runner.runner import Detections, Runner

__all__ = ["Detections", "Runner"]

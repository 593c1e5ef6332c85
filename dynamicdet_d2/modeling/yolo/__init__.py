# SPDX-License-Identifier: Apache-2.0
"""YOLOv7 and its parts (YOLOv7, arXiv 2207.02696); ``variants`` has the published sizes."""

# SPDX-License-Identifier: Apache-2.0
"""Data sets of other forms into COCO's; images stay where and as they are."""

from dynamicdet_d2.data.importing.dataset import Found, ImageEntry, ObjectEntry, write_json
from dynamicdet_d2.data.importing.voc import read_voc
from dynamicdet_d2.data.importing.yolo import read_yolo

__all__ = ["Found", "ImageEntry", "ObjectEntry", "read_voc", "read_yolo", "write_json"]

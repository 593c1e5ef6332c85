# SPDX-License-Identifier: Apache-2.0
"""What is written of predictions: a file per kind."""

from dynamicdet_d2.prediction.outputs.coco_results import CocoResults
from dynamicdet_d2.prediction.outputs.drawn_files import DrawnFiles
from dynamicdet_d2.prediction.outputs.json_lines import JsonLines
from dynamicdet_d2.prediction.outputs.output import Output

__all__ = ["CocoResults", "DrawnFiles", "JsonLines", "Output"]

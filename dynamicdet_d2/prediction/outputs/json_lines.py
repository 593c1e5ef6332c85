# SPDX-License-Identifier: Apache-2.0
"""A line of JSON per frame."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation.coco_evaluation import instances_to_coco_json

from dynamicdet_d2.prediction.outputs.output import Output
from dynamicdet_d2.prediction.outputs.written import note_written
from dynamicdet_d2.prediction.sources import Frame
from dynamicdet_d2.utils.files import refuse_links, refuse_pipes, writing

LINES = "predictions.jsonl"


class JsonLines(Output):
    """``predictions.jsonl``: it grows by whole lines, and can be read while a stream runs."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._path = folder / LINES
        refuse_pipes(self._path, str(self._path))
        refuse_links(self._path, str(self._path))
        with writing(self._path):
            self._file = open(self._path, "w", encoding="utf-8")
        note_written(self._path, grows=True)

    def write(self, frame: Frame, prediction: dict[str, Any]) -> None:
        line = json.dumps(line_of(frame, prediction, self._class_names))
        with writing(self._path):
            self._file.write(f"{line}\n")
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            self._file.close()
        note_written(self._path)  # with its size, by which a file that somebody edits is known


def line_of(frame: Frame, prediction: dict[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """A line: boxes are x, y, width, height in pixels, ``category_id`` counts from 0.

    Of a video, ``frame`` counts from 0 and ``seconds`` are from its beginning.
    """
    line: dict[str, Any] = {"file_name": frame.source.name}
    if frame.number is not None and frame.seconds is not None:
        line |= {"frame": frame.number, "seconds": round(frame.seconds, 6)}
    line |= {key: prediction[key] for key in ("difficulty", "route") if key in prediction}
    detections = instances_to_coco_json(prediction["instances"], frame.source.name)
    for detection in detections:
        del detection["image_id"]
        if detection["category_id"] < len(class_names):
            detection["category"] = class_names[detection["category_id"]]
    return {**line, "detections": detections}

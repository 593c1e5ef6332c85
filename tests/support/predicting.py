# SPDX-License-Identifier: Apache-2.0
"""A toy model's files, images and a video, for the tests of predicting and packaging."""

import struct
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.operating_point import Calibration, fingerprint, threshold_grid
from tests.support.coco_files import write_image
from tests.support.toy import toy_cfg, toy_model

FRAMES, FPS = 12, 10.0
KEYS = ("INPUT.MIN_SIZE_TEST", 64, "DATASETS.TEST", ())


def predicting_cfg(*overrides: object) -> CfgNode:
    return toy_cfg(*KEYS, *overrides)


def write_model_files(folder: Path) -> SimpleNamespace:
    """A config, weights, their calibration, a folder of two images beside a file that is none."""
    weights, config, calibration = (
        folder / name for name in ("model.pth", "config.yaml", "calibration.json")
    )
    model, images = toy_model(), folder / "images"
    torch.save({"model": model.state_dict()}, weights)
    cfg = predicting_cfg("MODEL.DYNAMIC.THRESHOLD", 0.0)
    config.write_text(cfg.dump())
    DynamicCheckpointer(model).load(str(weights))
    images.mkdir()
    for number in (1, 2):
        write_image(images / f"{number}.png", width=96, height=64)
    (images / "notes.txt").touch()
    made_up_calibration(model, cfg).to_json(calibration)
    return SimpleNamespace(
        config=str(config),
        weights=str(weights),
        calibration=str(calibration),
        images=images,
        video=str(write_video(folder / "film.mp4")),
    )


def made_up_calibration(model: torch.nn.Module, cfg: CfgNode) -> Calibration:
    """Of this model, with difficulties even in [0, 1] and times that no machine has."""
    latency = {"p50": 1.0, "p95": 1.2, "mean": 1.0}
    return Calibration(
        num_images=100,
        fingerprint=fingerprint(model, cfg),
        latency_ms={"easy": latency, "hard": {name: 2 * x for name, x in latency.items()}},
        device="made up",
        thresholds=[],
        grid=threshold_grid(np.linspace(0, 1, 101)),
        histogram={"edges": [0.0, 1.0], "counts": [100]},
        measured={},
        held_out=[],
    )


def write_video(path: Path) -> Path:
    """Twelve frames of 96x64 at 10 per second, each brighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (96, 64))
    assert writer.isOpened()
    for number in range(FRAMES):
        writer.write(np.full((64, 96, 3), 20 * number, np.uint8))
    writer.release()
    return path


def write_slowing_video(path: Path) -> Path:
    """As ``write_video``, but for its last six frames, each of which is seen for 0.3 seconds."""
    content = bytearray(write_video(path).read_bytes())
    content = content.replace(b"edts", b"free")  # which has the length that it had
    boxes, start, end = [], 0, len(content)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        while content[start + 4 : start + 8] != name:
            start += _length(content, start)
        boxes.append(start)
        end = start + _length(content, start)
        start += 8
    (usual,) = struct.unpack(">I", content[end - 4 : end])
    times = struct.pack(">4sIIIIII", b"stts", 0, 2, FRAMES // 2, usual, FRAMES // 2, 3 * usual)
    more = len(times) + 4 - (end - boxes[-1])
    for box in boxes:
        content[box : box + 4] = struct.pack(">I", _length(content, box) + more)
    content[boxes[-1] + 4 : end] = times
    path.write_bytes(content)
    return path


def _length(content: bytearray, box: int) -> int:
    """Of a box of an MP4, which begins with it."""
    return struct.unpack(">I", content[box : box + 4])[0]

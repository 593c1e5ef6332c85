# SPDX-License-Identifier: Apache-2.0
"""Toy detectors that are exported, shared by the tests."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2.export import export
from dynamicdet_d2.export.accuracy import pictures_of
from dynamicdet_d2.export.write import Request
from tests.support.coco_files import image_entry, object_entry, write_coco
from tests.support.optimized import MASK, STATIC, decided
from tests.support.toy import dense_keys, dense_model, toy_cfg, toy_model
from tests.support.toy_yolo import DYNAMIC, yolo_cfg, yolo_model


def static_model(*keys: object) -> nn.Module:
    """Of the toy config, without a router."""
    torch.manual_seed(0)
    return build_model(toy_cfg(*keys)).eval()


CLASSES = ["disc", "ring", "bar"]
# A resize to 64 pixels and back is part of what is compared.
SIZES = ("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 128)
# Everything is a detection.
SCORES = ("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, "MODEL.FCOS.SCORE_THRESH_TEST", 0.0)
# Among hundreds of boxes all over an image some are as near to NMS' threshold as rounding.
FEW = ("TEST.DETECTIONS_PER_IMAGE", 30)
DETECTORS = {
    "rcnn": (toy_cfg, toy_model, MASK),
    "few proposals": (toy_cfg, toy_model, ("MODEL.DYNAMIC.EASY_PROPOSALS", 5)),
    "two tails": (
        toy_cfg,
        toy_model,
        ("MODEL.COMPOSITE.SHARE_NECK", False, "MODEL.COMPOSITE.SHARE_HEADS", False, *MASK),
    ),
    "looking on": (
        toy_cfg,
        toy_model,
        ("MODEL.ROUTER.INPUTS", ["features", "rpn"], "MODEL.DYNAMIC.EASY_PROPOSALS", 5),
    ),
    "merged": (toy_cfg, toy_model, ("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6)),
    "merged tails": (
        toy_cfg,
        toy_model,
        (
            *("MODEL.COMPOSITE.SHARE_NECK", False, "MODEL.COMPOSITE.SHARE_HEADS", False),
            *("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6),
            *("MODEL.ROUTER.INPUTS", ["rpn", "detections"], "MODEL.DYNAMIC.EASY_PROPOSALS", 20),
        ),
    ),
    "static rcnn": (toy_cfg, static_model, STATIC),
    "retinanet": (toy_cfg, partial(dense_model, "RetinaNet"), dense_keys("RetinaNet")),
    "fcos": (toy_cfg, partial(dense_model, "FCOS"), dense_keys("FCOS")),
    "merged retinanet": (
        toy_cfg,
        partial(dense_model, "RetinaNet"),
        (
            *dense_keys("RetinaNet"),
            *("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6, "MODEL.ROUTER.INPUTS", ["detections"]),
        ),
    ),
    "yolo": (yolo_cfg, yolo_model, (*DYNAMIC, *FEW)),
    "static yolo": (yolo_cfg, yolo_model, ("MODEL.YOLO.PADDING", "letterbox", *FEW)),
}


@dataclass(frozen=True)
class Exported:
    """A detector and the folder that it was exported to."""

    model: nn.Module
    cfg: CfgNode
    folder: Path


def export_toy(name: str, runtime: str, folder: Path) -> Exported:
    """A detector of ``DETECTORS``, exported to a new folder."""
    cfg_of, model_of, keys = DETECTORS[name]
    keys = (*keys, *SIZES, *SCORES)
    model, cfg = decided(model_of(*keys)), cfg_of(*keys)
    export(model, cfg, folder, Request(runtime, class_names=CLASSES))
    return Exported(model, cfg, folder)


def own_data_set(model: nn.Module, cfg: CfgNode, folder: Path, count: int = 4) -> tuple[str, str]:
    """Images of noise in which the surest detections of the hard route are the objects.

    Returns:
        paths of the JSON file and of the images.
    """
    images = [image_entry(i + 1, width=(96, 72)[i % 2], height=64) for i in range(count)]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    json_file, root = write_coco(folder, images, [], categories=categories)
    model.threshold = 0.0
    predictor = DefaultPredictor(cfg)
    objects = []
    for image in images:
        (picture,) = pictures_of([{"file_name": f"{root}/{image['file_name']}"}])
        resized = predictor.aug.get_transform(picture).apply_image(picture[:, :, ::-1])
        tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        given = {"image": tensor, "height": image["height"], "width": image["width"]}
        with torch.no_grad():
            found = model([given])[0]["instances"]
        boxes, classes = found.pred_boxes.tensor.tolist(), found.pred_classes.tolist()
        for (x1, y1, x2, y2), label in list(zip(boxes, classes, strict=True))[:6]:
            box = [x1, y1, x2 - x1, y2 - y1]
            more = {"bbox": box, "area": box[2] * box[3], "category_id": label + 1}
            corners = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            objects.append(
                object_entry(len(objects) + 1, image["id"], segmentation=corners, **more)
            )
    return write_coco(folder, images, objects, categories=categories, draw=False)

# SPDX-License-Identifier: Apache-2.0
"""What a stock detector's config must say otherwise to be that of a dynamic detector."""

from pathlib import Path
from typing import Any

import detectron2
from detectron2.config import CfgNode

Keys = dict[str, Any]
"""Full name of a key -> its value."""

_P6P7 = {"MODEL.FPN.TOP_BLOCK": "p6p7", "MODEL.FPN.TOP_BLOCK_INPUT": "res5"}

# By MODEL.META_ARCHITECTURE of the stock detector.
ARCHITECTURES: dict[str, Keys] = {
    "GeneralizedRCNN": {"MODEL.META_ARCHITECTURE": "DynamicRCNN"},
    "RetinaNet": {
        "MODEL.META_ARCHITECTURE": "DynamicDenseDetector",
        "MODEL.DENSE.HEAD": "RetinaNet",
    },
    "FCOS": {"MODEL.META_ARCHITECTURE": "DynamicDenseDetector", "MODEL.DENSE.HEAD": "FCOS"},
    "YOLOv7": {
        "MODEL.META_ARCHITECTURE": "DynamicYOLO",
        # Detector2 begins as detector1, as it does in the other families.
        "MODEL.YOLO.CONNECTION_INIT": "zero",
    },
}

# By MODEL.BACKBONE.NAME of the stock detector.
BACKBONES: dict[str, Keys] = {
    "build_resnet_fpn_backbone": {"MODEL.BACKBONE.NAME": "build_composite_resnet_backbone"},
    "build_retinanet_resnet_fpn_backbone": {
        "MODEL.BACKBONE.NAME": "build_composite_resnet_backbone",
        **_P6P7,
    },
    "build_resnet_dense_fpn_backbone": {"MODEL.BACKBONE.NAME": "build_composite_resnet_backbone"},
    "build_swin_fpn_backbone": {"MODEL.BACKBONE.NAME": "build_composite_swin_backbone"},
    "build_efficientnet_lite_fpn_backbone": {
        "MODEL.BACKBONE.NAME": "build_composite_efficientnet_lite_backbone"
    },
    "build_elan_backbone": {"MODEL.BACKBONE.NAME": "build_composite_elan_backbone"},
}

# Detector1 stays as it is, so that joint training has no place in the plan. The router learns
# whatever routes images kept aside best.
TRAINING: Keys = {
    "SOLVER.PHASES": ["detector2", "router"],
    "SOLVER.ROUTER.OBJECTIVE": "auto",
    "SOLVER.ROUTER.IMS_PER_BATCH": 32,
    "SOLVER.ROUTER.EPOCHS": 20,
    "MODEL.ROUTER.STANDARDIZE": True,
}


def dynamic_keys(stock: CfgNode) -> Keys:
    """The keys that differ in the dynamic detector's config, all of them by full name.

    Conventions (``STRIDE_IN_1X1``, ``PIXEL_MEAN``, ``FORMAT``, ...) and the solver's keys are the
    stock config's own, which the dynamic one is based on.

    Args:
        stock: the config that the detector was trained with.

    Raises:
        ValueError: naming the key that no dynamic detector has a counterpart for.
    """
    found = {}
    for key, table in (
        ("MODEL.META_ARCHITECTURE", ARCHITECTURES),
        ("MODEL.BACKBONE.NAME", BACKBONES),
    ):
        value = stock.MODEL.META_ARCHITECTURE if "META" in key else stock.MODEL.BACKBONE.NAME
        if value not in table:
            raise ValueError(
                f"{key} is '{value}', which has no dynamic counterpart; what can be upgraded has "
                f"one of {', '.join(table)}."
            )
        found.update(table[value])
    if stock.MODEL.KEYPOINT_ON:
        raise ValueError(
            "MODEL.KEYPOINT_ON is True, which has no dynamic counterpart: dynamic detectors are "
            "evaluated by boxes and masks alone."
        )
    if stock.MODEL.COMPOSITE.NUM_BLOCKS1:  # which a static detector has not read
        found["MODEL.COMPOSITE.NUM_BLOCKS1"] = []
    return {**found, **TRAINING}


def nested(keys: Keys) -> dict[str, Any]:
    """Keys by their full names -> sections within sections, as a yaml file has them."""
    tree: dict[str, Any] = {}
    for name, value in keys.items():
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return tree


def stock_file(name: str) -> str:
    """The config file that is meant: a path, or a name of Detectron2's model zoo.

    Raises:
        ValueError: if there is neither.
    """
    in_zoo = Path(detectron2.__file__).parent / "model_zoo" / "configs" / name
    for path in (Path(name), in_zoo):
        if path.is_file():
            return str(path)
    raise ValueError(
        f"--config-file {name} is no file, nor the name of one in Detectron2's model zoo."
    )

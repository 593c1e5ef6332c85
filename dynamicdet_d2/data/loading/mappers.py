# SPDX-License-Identifier: Apache-2.0
"""Detectron2's mapper for images as inference sees them, unflipped."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.transforms import ResizeShortestEdge


def inference_mapper(cfg: CfgNode) -> DatasetMapper:
    """Images as inference sees them."""
    return _unflipped(cfg, is_train=False)


def annotated_mapper(cfg: CfgNode) -> DatasetMapper:
    """Images as inference sees them, at the test size, with their annotations."""
    size = ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    return _unflipped(cfg, is_train=True, augmentations=[size])


def _unflipped(cfg: CfgNode, **options: Any) -> DatasetMapper:
    """Detectron2's, which would ask the metadata which keypoints a flip exchanges."""
    without_keypoints = cfg.clone()
    without_keypoints.defrost()
    without_keypoints.MODEL.KEYPOINT_ON = False
    mapper = DatasetMapper(without_keypoints, **options)
    mapper.use_keypoint = cfg.MODEL.KEYPOINT_ON
    return mapper

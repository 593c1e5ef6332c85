# SPDX-License-Identifier: Apache-2.0
"""RPN and ROI heads as pieces and settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from torch import Tensor, nn

from dynamicdet_d2.export.piece import IMAGES_AXES, Piece, Tensors


@dataclass(frozen=True)
class TwoStage:
    """The heads of a two-stage detector.

    Attributes:
        rpn: Detectron2's.
        roi_heads: Detectron2's standard ones, with boxes and perhaps masks.
    """

    rpn: Any
    roi_heads: Any

    @classmethod
    def of(cls, rpn: nn.Module | None, roi_heads: nn.Module) -> "TwoStage":
        """
        Raises:
            ValueError: naming the head that cannot be exported.
        """
        if type(rpn) is not RPN:
            raise ValueError(
                f"{type(rpn).__name__} makes proposals in a way not exported; only RPN."
            )
        if type(roi_heads) is not StandardROIHeads:
            raise ValueError(
                f"{type(roi_heads).__name__} are ROI heads that cannot be exported; "
                "MODEL.ROI_HEADS.NAME must be 'StandardROIHeads'."
            )
        own: Any = roi_heads
        if own.keypoint_on:
            raise ValueError("MODEL.KEYPOINT_ON is True; keypoints cannot be exported.")
        if type(own.box_predictor) is not FastRCNNOutputLayers:
            raise ValueError(f"{type(own.box_predictor).__name__} cannot be exported.")
        poolers = [own.box_pooler, *([own.mask_pooler] if own.mask_on else [])]
        if not all(isinstance(m, ROIAlign) for pooler in poolers for m in pooler.level_poolers):
            raise ValueError("Only ROIAlign can be exported (MODEL.ROI_*_HEAD.POOLER_TYPE).")
        return cls(rpn, roi_heads)

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of the pyramid that regions are pooled from."""
        own = self.roi_heads
        masks = own.mask_in_features if own.mask_on else ()
        return tuple(dict.fromkeys([*own.box_in_features, *masks]))

    def tail(self, pyramid: Tensors) -> Tensors:
        """What a runner's head reads: levels of the pyramid, and the RPN's predictions."""
        logits, deltas = self.rpn.rpn_head([pyramid[name] for name in self.rpn.in_features])
        return {
            **{name: pyramid[name] for name in self.levels},
            **{f"logits_{i}": level for i, level in enumerate(logits)},
            **{f"deltas_{i}": level for i, level in enumerate(deltas)},
        }

    def settings(self) -> dict[str, Any]:
        """ "heads" of the manifest."""
        rpn, roi = self.rpn, self.roi_heads
        predictor = roi.box_predictor
        masks = None
        if roi.mask_on:
            masks = _pool_settings(roi.mask_pooler, roi.mask_in_features)
        return {
            "kind": "two_stage",
            "rpn": {
                **anchor_settings(rpn.anchor_generator),
                "weights": list(rpn.box2box_transform.weights),
                "scale_clamp": rpn.box2box_transform.scale_clamp,
                "pre_nms_topk": rpn.pre_nms_topk[False],
                "post_nms_topk": rpn.post_nms_topk[False],
                "nms_threshold": rpn.nms_thresh,
                "min_box_size": rpn.min_box_size,
            },
            "boxes": {
                **_pool_settings(roi.box_pooler, roi.box_in_features),
                "weights": list(predictor.box2box_transform.weights),
                "scale_clamp": predictor.box2box_transform.scale_clamp,
                "score_threshold": predictor.test_score_thresh,
                "nms_threshold": predictor.test_nms_thresh,
                "max_detections": predictor.test_topk_per_image,
            },
            "masks": masks,
        }

    def pieces(self, outputs: Tensors, ending: str) -> list[Piece]:
        """The heads that pool regions, with an example from the outputs of a tail.

        Args:
            ending: of the pieces' names.
        """
        own = self.roi_heads
        found = [
            _pooling(
                "boxes" + ending, own, own.box_pooler, own.box_in_features, self._boxes, outputs
            )
        ]
        if own.mask_on:
            masks = _pooling(
                "masks" + ending, own, own.mask_pooler, own.mask_in_features, self._masks, outputs
            )
            found.append(masks)
        return found

    def _boxes(self, pooled: Tensor) -> Tensors:
        scores, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        # Detectron2's newer releases can train with a sigmoid per class.
        if getattr(self.roi_heads.box_predictor, "use_sigmoid_ce", False):
            return {"scores": scores.sigmoid(), "box_deltas": deltas}
        return {"scores": torch.softmax(scores, dim=-1), "box_deltas": deltas}

    def _masks(self, pooled: Tensor) -> Tensors:
        return {"masks": self.roi_heads.mask_head.layers(pooled).sigmoid()}


def _pooling(
    name: str, owner: nn.Module, pooler: Any, levels: list[str], head: Any, outputs: Tensors
) -> Piece:
    """A head on pooled regions: (R, 5) of each level, results one level after the other."""
    names = [f"regions_{i}" for i in range(len(levels))]

    def function(inputs: Tensors) -> Tensors:
        pairs = zip(pooler.level_poolers, levels, names, strict=True)
        return head(torch.cat([own(inputs[level], inputs[n]) for own, level, n in pairs]))

    side = 4.0 * max(1.0 / own.spatial_scale for own in pooler.level_poolers)
    regions = torch.tensor([[0.0, 0.0, 0.0, side, side], [0.0, 1.0, 2.0, side / 2, side / 3]])
    example = {level: outputs[level] for level in levels} | {n: regions.clone() for n in names}
    axes: Mapping[str, Mapping[int, str]] = {
        **{
            level: {i: f"{axis}_{level}" if i else axis for i, axis in IMAGES_AXES.items()}
            for level in levels
        },
        **{n: {0: n} for n in names},
    }
    return Piece.of(name, owner, function, example, axes)


def _pool_settings(pooler: ROIPooler, levels: list[str]) -> dict[str, Any]:
    return {
        "levels": list(levels),
        "min_level": pooler.min_level,
        "canonical_level": pooler.canonical_level,
        "canonical_size": pooler.canonical_box_size,
    }


def anchor_settings(generator: nn.Module) -> dict[str, Any]:
    """Anchors of each level's first position, strides and offset.

    Raises:
        ValueError: not Detectron2's own anchors.
    """
    own: Any = generator
    if type(generator) is not DefaultAnchorGenerator:
        raise ValueError(
            f"{type(generator).__name__} is a generator of anchors that cannot be exported; "
            "MODEL.ANCHOR_GENERATOR.NAME must be 'DefaultAnchorGenerator'."
        )
    return {
        "cell_anchors": [cell.tolist() for cell in own.cell_anchors],
        "strides": list(own.strides),
        "offset": own.offset,
    }

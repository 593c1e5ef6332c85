# SPDX-License-Identifier: Apache-2.0
"""RPN and ROI heads as pieces and settings.

ROIAlign is not in the pieces: a runner does it in numpy, faster than the runtimes.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, StandardROIHeads
from torch import Tensor, nn

from dynamicdet_d2.acceleration.as_written import runs_as
from dynamicdet_d2.export.by_runner import check_two_stage
from dynamicdet_d2.export.piece import Piece, Tensors


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
        strange = [type(pooler).__name__ for pooler in poolers if type(pooler) is not ROIPooler]
        if strange:
            raise ValueError(f"{strange[0]} pools regions in a way not exported; only ROIPooler.")
        if not all(isinstance(m, ROIAlign) for pooler in poolers for m in pooler.level_poolers):
            raise ValueError("Only ROIAlign can be exported (MODEL.ROI_*_HEAD.POOLER_TYPE).")
        check_two_stage(rpn, roi_heads)
        return cls(rpn, roi_heads)

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of the pyramid that regions are pooled from."""
        own = self.roi_heads
        masks = own.mask_in_features if own.mask_on else ()
        return tuple(dict.fromkeys([*own.box_in_features, *masks]))

    def tail(self, pyramid: Tensors) -> Tensors:
        """What a runner's head reads: levels of the pyramid, channels last, and the RPN's
        predictions."""
        logits, deltas = self.rpn.rpn_head([pyramid[name] for name in self.rpn.in_features])
        return {
            **{name: pyramid[name].permute(0, 2, 3, 1) for name in self.levels},
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
        """The heads on what was pooled, with an example of the outputs' channels.

        Args:
            outputs: of a tail.
            ending: of the pieces' names.
        """
        own = self.roi_heads
        head, predictor = _on_rows(own.box_head, own.box_pooler.output_size), own.box_predictor
        # Detectron2's newer releases can train with a sigmoid per class.
        sigmoid = getattr(predictor, "use_sigmoid_ce", False)

        def boxes(inputs: Tensors) -> Tensors:
            scores, deltas = predictor(head(inputs["pooled"]))
            scores = scores.sigmoid() if sigmoid else torch.softmax(scores, dim=-1)
            return {"scores": scores, "box_deltas": deltas}

        def masks(inputs: Tensors) -> Tensors:
            pooled = inputs["pooled"].permute(0, 3, 1, 2)
            return {"masks": own.mask_head.layers(pooled).sigmoid()}

        example = _rows(own.box_pooler, outputs[own.box_in_features[0]])
        modules = nn.ModuleList([head, predictor])
        found = [Piece.of("boxes" + ending, modules, boxes, example, _REGIONS)]
        if own.mask_on:
            example = _rows(own.mask_pooler, outputs[own.mask_in_features[0]])
            found.append(Piece.of("masks" + ending, own.mask_head, masks, example, _REGIONS))
        return found


_REGIONS = {"pooled": {0: "regions"}}


def _rows(pooler: ROIPooler, level: Tensor) -> Tensors:
    """An example of (R, P, P, C) from a level (N, H, W, C)."""
    generator = torch.Generator().manual_seed(0)
    return {"pooled": torch.rand(3, *pooler.output_size, level.shape[3], generator=generator)}


def _on_rows(head: nn.Module, size: tuple[int, int]) -> nn.Module:
    """A box head on (R, P, P, C) in the place of (R, C, P, P).

    Where its first layer reads all bins and channels at once, that layer's weights are put in the
    other order, and nothing has to be turned at inference.

    Args:
        size: P and P.
    """
    plain = type(head) is FastRCNNConvFCHead and runs_as(head, FastRCNNConvFCHead)
    layers: list[Any] = list(head.children()) if plain else []
    if [type(layer) for layer in layers[:2]] != [nn.Flatten, nn.Linear]:
        return nn.Sequential(_ChannelsFirst(), head)
    first = copy.deepcopy(layers[1])
    weight = first.weight.detach().unflatten(1, (-1, *size))
    first.weight = nn.Parameter(weight.permute(0, 2, 3, 1).flatten(1), requires_grad=False)
    return nn.Sequential(layers[0], first, *layers[2:])


class _ChannelsFirst(nn.Module):
    """Before a head of convolutions."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.permute(0, 3, 1, 2)


def _pool_settings(pooler: ROIPooler, levels: list[str]) -> dict[str, Any]:
    aligns: list[Any] = list(pooler.level_poolers)
    return {
        "levels": list(levels),
        "scales": [align.spatial_scale for align in aligns],
        "size": list(pooler.output_size),
        "sampling_ratio": aligns[0].sampling_ratio,
        "aligned": aligns[0].aligned,
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

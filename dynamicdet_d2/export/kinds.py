# SPDX-License-Identifier: Apache-2.0
"""What each kind of detector gives a runner: its tail's outputs by name, and its heads' settings.

To export another kind, register a function beside these, and let the runner read its settings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from detectron2.modeling import GeneralizedRCNN, PanopticFPN
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from torch import Tensor, nn

from dynamicdet_d2.export.by_runner import check_dense, check_module, check_yolo
from dynamicdet_d2.export.piece import Tensors
from dynamicdet_d2.export.routing import check_routing
from dynamicdet_d2.export.two_stage import TwoStage, anchor_settings
from dynamicdet_d2.modeling.dense import FCOS
from dynamicdet_d2.modeling.dynamic_dense import DynamicDenseDetector
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
from dynamicdet_d2.modeling.yolo.dynamic_yolo import DynamicYOLO
from dynamicdet_d2.modeling.yolo.padding import Padding
from dynamicdet_d2.modeling.yolo.yolov7 import YOLOv7
from dynamicdet_d2.parts import run_dense_head

# What a runner does by itself, and no piece holds.
_BY_THE_RUNNER = (
    *("forward", "inference", "preprocess_image", "proposals", "detections"),
    *("forward_inference", "inference_single_image", "first", "second_pass", "pass_type"),
)


@dataclass(frozen=True)
class Kind:
    """A detector, as far as a runner has to know.

    Attributes:
        tail: (number of the detector, features of its backbone, or the images of a static
            detector) -> outputs by the names that the runner's head reads.
        heads: settings, "heads" of the manifest.
        padding: of images; None: Detectron2's, zeros behind them to a multiple of a stride.
        regions: the heads that pool regions, of both detectors or of each; empty without them.
    """

    tail: Callable[[int, Any], Tensors]
    heads: Mapping[str, Any]
    padding: Padding | None = None
    regions: tuple[TwoStage, ...] = ()


def checked_kind_of(model: nn.Module) -> Kind:
    """As ``kind_of``; also refused is a subclass that does other than its kind.

    Raises:
        ValueError: naming the class, and the method that would be left out.
    """
    kind = kind_of(model)
    if not _is_registered_elsewhere(type(model)):
        check_module(model, _BY_THE_RUNNER)
    if isinstance(model, DynamicDetector):
        check_routing(model)
    return kind


def _is_registered_elsewhere(kind: type) -> bool:
    """By a program, whose function knows what its own class does."""
    return kind in kind_of.registry and kind_of.dispatch(kind).__module__ != __name__


@singledispatch
def kind_of(model: nn.Module) -> Kind:
    """
    Raises:
        ValueError: a kind of detector, or a head, that cannot be exported.
    """
    raise ValueError(f"{type(model).__name__} is a kind of detector that cannot be exported.")


@kind_of.register
def _(model: DynamicRCNN) -> Kind:
    heads = [
        TwoStage.of(*(model.tail_module(detector, name) for name in model.head_names))
        for detector in (1, 2)
    ]

    def tail(detector: int, features: Tensors) -> Tensors:
        return heads[detector - 1].tail(model.pyramid(detector, features))

    settings, others = (own.settings() for own in heads)
    if settings != others:
        raise ValueError(
            "The heads of detector1 and of detector2 have other settings, such as thresholds: an "
            "export has one set of them, and they must be the same."
        )
    return Kind(tail, settings, regions=tuple(heads[: 1 if model.shared_heads else 2]))


@kind_of.register
def _(model: GeneralizedRCNN) -> Kind:
    if isinstance(model, PanopticFPN):
        raise ValueError(
            "PanopticFPN segments what is no object as well, which cannot be exported."
        )
    regions = TwoStage.of(model.proposal_generator, model.roi_heads)
    return Kind(
        lambda _, images: regions.tail(model.backbone(images)),
        regions.settings(),
        regions=(regions,),
    )


@kind_of.register
def _(model: DynamicDenseDetector) -> Kind:
    return Kind(
        lambda d, features: _dense(model.predictions(d, model.pyramid(d, features))),
        _dense_heads(model.dense),
    )


@kind_of.register
def _(model: DenseDetector) -> Kind:
    return Kind(
        lambda _, images: _dense(run_dense_head(model, model.backbone(images))),
        _dense_heads(model),
    )


@kind_of.register
def _(model: DynamicYOLO) -> Kind:
    return Kind(
        lambda d, features: _logits(model.predictions(d, model.pyramid(d, features))),
        _yolo_heads(model.detect, model.padding),
        model.padding,
    )


@kind_of.register
def _(model: YOLOv7) -> Kind:
    return Kind(
        lambda _, images: _logits(model.head(model.neck(model.backbone(images)))),
        _yolo_heads(model.detections, model.padding),
        model.padding,
    )


def _dense(predictions: Sequence[Sequence[Tensor]]) -> Tensors:
    kinds = ("logits", "deltas", "centerness")
    return {
        f"{kind}_{i}": level
        for kind, levels in zip(kinds, predictions, strict=False)
        for i, level in enumerate(levels)
    }


def _logits(levels: list[Tensor]) -> Tensors:
    return {f"logits_{i}": level for i, level in enumerate(levels)}


def _dense_heads(model: DenseDetector) -> dict[str, Any]:
    own: Any = model
    if not isinstance(model, RetinaNet | FCOS):
        raise ValueError(f"{type(model).__name__} is a dense detector that cannot be exported.")
    check_dense(model)
    fcos = isinstance(model, FCOS)
    transform = own.box2box_transform
    return {
        "kind": "fcos" if fcos else "retinanet",
        "num_classes": own.num_classes,
        **anchor_settings(own.anchor_generator),
        "weights": None if fcos else list(transform.weights),
        "scale_clamp": None if fcos else transform.scale_clamp,
        "score_threshold": own.test_score_thresh,
        "max_candidates": own.test_topk_candidates,
        "nms_threshold": own.test_nms_thresh,
        "max_detections": own.max_detections_per_image,
    }


def _yolo_heads(detections: Any, padding: Padding) -> dict[str, Any]:
    check_yolo(detections, padding)
    own, grid = detections.settings, detections.grid
    return {
        "kind": "yolo",
        "anchors": grid.anchors.tolist(),
        "strides": list(grid.strides),
        "score_threshold": own.score_threshold,
        "nms_threshold": own.nms_threshold,
        "max_candidates": own.max_candidates,
        "max_detections": own.max_detections,
        "multi_label": own.multi_label,
    }

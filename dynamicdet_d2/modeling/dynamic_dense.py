# SPDX-License-Identifier: Apache-2.0
"""DynamicDet for Detectron2's dense detectors, RetinaNet and FCOS; neck and head are shared."""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from dynamicdet_d2.modeling import routing
from dynamicdet_d2.modeling.batch import Batch
from dynamicdet_d2.modeling.dense import anchors_of, build_fcos, build_retinanet
from dynamicdet_d2.modeling.necks.fpn import build_fpn_neck
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.second_tail import SharableTail, own_tail
from dynamicdet_d2.parts import Part, dense_head_part


class Kind(NamedTuple):
    """A dense detector of Detectron2.

    Attributes:
        build: from the config, over what gives the pyramid.
        num_classes_key: dotted name of the config key.
        loss_normalizer: what its losses are divided by before the first step, in positives.
        anchors: per position, from the config.
    """

    build: Callable[[CfgNode, Backbone], DenseDetector]
    num_classes_key: str
    loss_normalizer: float
    anchors: Callable[[CfgNode], int]


KINDS = {
    "RetinaNet": Kind(build_retinanet, "MODEL.RETINANET.NUM_CLASSES", 100.0, anchors_of),
    "FCOS": Kind(build_fcos, "MODEL.FCOS.NUM_CLASSES", 300.0, lambda cfg: 1),
}
"""By ``MODEL.DENSE.HEAD``."""


@META_ARCH_REGISTRY.register()
class DynamicDenseDetector(SharableTail):
    """A dynamic detector with one of Detectron2's dense detectors as its tail.

    Detectron2's losses are divided by a running mean of the number of positive anchors in a
    batch, which every call advances. Here each detector has one, which only joint training
    advances and which travels with the checkpoint; the losses of a single image are divided by
    its own number of positives.
    """

    loss_normalizers: Tensor
    neck_name = "backbone"
    head_names = ("head",)

    @configurable
    def __init__(
        self,
        *,
        dense: DenseDetector,
        loss_normalizer: float,
        tail2: Mapping[str, nn.Module] | None = None,
        **arguments: Any,
    ) -> None:
        """
        Args:
            dense: whose backbone is the neck: it maps F1 or F2 to the pyramid.
            loss_normalizer: of both detectors before the first step, in positives.
            tail2: of its ``backbone`` and ``head`` what detector2 has for itself.
            arguments: those of ``DynamicDetector``.
        """
        super().__init__(**arguments)
        self.dense = dense
        self.tail2 = self.own_parts(tail2)
        start = torch.full((2,), loss_normalizer, dtype=torch.float64)
        self.register_buffer("loss_normalizers", start)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        arguments = super().from_config(cfg)
        kind = KINDS[cfg.MODEL.DENSE.HEAD]
        neck = build_fpn_neck(cfg, arguments["backbone"].output_shape())
        dense = kind.build(cfg, neck)
        tail2 = own_tail(
            cfg,
            lambda: {"backbone": build_fpn_neck(cfg, arguments["backbone"].output_shape2())},
            lambda: {"head": kind.build(cfg, neck).head},
        )
        normalizer = kind.loss_normalizer
        return {**arguments, "dense": dense, "loss_normalizer": normalizer, "tail2": tail2}

    @classmethod
    def num_classes_key(cls, cfg: CfgNode) -> str:
        return KINDS[cfg.MODEL.DENSE.HEAD].num_classes_key

    @property
    def tail1(self) -> nn.Module:
        return self.dense

    def pyramid(self, detector: int, features: Features) -> Features:
        return self.tail_module(detector, "backbone")(features)

    def predictions(self, detector: int, pyramid: Features) -> list[list[Tensor]]:
        """Per kind of prediction, per level (N, anchors x channels, H, W)."""
        return self.tail_module(detector, "head")(self._levels(pyramid))

    def losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        own = self.loss_normalizers[detector - 1]
        losses, advanced = self._losses(detector, batch, pyramid, float(own))
        own.fill_(advanced)
        return losses

    def image_losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        losses, divisor = self._losses(detector, batch, pyramid, 1.0)
        positives, _ = get_event_storage().latest()["num_pos_anchors"]  # logged on the way
        return {name: loss * (divisor / max(positives, 1)) for name, loss in losses.items()}

    def _losses(
        self, detector: int, batch: Batch, pyramid: Features, normalizer: float
    ) -> tuple[dict[str, Tensor], float]:
        """Losses, and what they were divided by: the normalizer, one step on."""
        dense = self.dense
        dense.loss_normalizer = normalizer  # where Detectron2 keeps it
        predictions = self.predictions(detector, pyramid)
        losses = dense.forward_training(
            batch.images, self._levels(pyramid), predictions, batch.gt_instances
        )
        return losses, dense.loss_normalizer

    def _levels(self, pyramid: Features) -> list[Tensor]:
        return [pyramid[name] for name in self.dense.head_in_features]

    def detections(
        self, detector: int, images: ImageList, pyramid: Features, limits: Sequence[int]
    ) -> list[Instances]:
        """As ``Tails``; a limit is one on each level."""
        predictions = self.predictions(detector, pyramid)
        found: dict[int, Instances] = {}
        for limit in sorted(set(limits)):
            chosen = [i for i, own in enumerate(limits) if own == limit]
            index = routing.on_device(chosen, images.tensor.device)
            part = [[level[index] for level in levels] for levels in predictions]
            results = self._limited(limit).forward_inference(
                routing.select_images(images, chosen, index), self._levels(pyramid), part
            )
            found.update(zip(chosen, results, strict=True))
        return [found[i] for i in range(len(limits))]

    def _limited(self, limit: int) -> DenseDetector:
        """The detector with a limit, as another one: other threads use it at the same time."""
        dense: Any = copy.copy(self.dense)
        dense.test_topk_candidates = min(limit or sys.maxsize, dense.test_topk_candidates)
        return dense

    @classmethod
    def objectness_channels(cls, cfg: CfgNode) -> int:
        """Anchors per position."""
        return KINDS[cfg.MODEL.DENSE.HEAD].anchors(cfg)

    def objectness(self, detector: int, pyramid: Features) -> dict[int, Tensor]:
        """Of every anchor, by its best class."""
        dense, shapes = self.dense, self.dense.backbone.output_shape()
        strides = [shapes[name].stride for name in dense.head_in_features]
        scores = self.predictions(detector, pyramid)[0]
        best = [level.unflatten(1, (-1, dense.num_classes)).amax(dim=2) for level in scores]
        return dict(zip(strides, best, strict=True))

    def neck_parts(self, detector: int) -> tuple[Part, ...]:
        neck = self.tail_module(detector, "backbone")
        return (Part("neck", neck, step="pyramid", features=True),)

    def head_parts(self, detector: int) -> tuple[Part, ...]:
        return (dense_head_part(self.tail_module(detector, "head")),)

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        # Scores and NMS are the detector's affair, not the head's; RetinaNet's heads, where
        # detector2 has one of its own, need training mode no more than that of detector1.
        return (self.dense,)

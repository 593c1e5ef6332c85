# SPDX-License-Identifier: Apache-2.0
"""Dy-YOLOv7: DynamicDet for YOLOv7, whose two detectors share nothing but backbone 1's features."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dynamicdet_d2.modeling.batch import Batch
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.given import checked_images
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.yolo import build, settings
from dynamicdet_d2.modeling.yolo.detections import YOLODetections
from dynamicdet_d2.modeling.yolo.head import NUM_BOX_LOGITS, YOLOHead, head_part
from dynamicdet_d2.modeling.yolo.losses import YOLOLoss, targets_of
from dynamicdet_d2.modeling.yolo.neck import YOLONeck
from dynamicdet_d2.modeling.yolo.padding import Padding, PlacedImages
from dynamicdet_d2.parts import EASY, HARD, Part


@META_ARCH_REGISTRY.register()
class DynamicYOLO(DynamicDetector):
    """A dynamic detector with a YOLO neck and head for each of its detectors.

    An easy image goes through backbone 1, neck 1 and head 1; a hard one through backbone 1,
    connections, backbone 2, neck 2 and head 2, and never through head 1 (section 3.1).
    """

    shared_neck = shared_heads = False

    @configurable
    def __init__(
        self,
        *,
        neck1: YOLONeck,
        head1: YOLOHead,
        neck2: YOLONeck,
        head2: YOLOHead,
        loss: YOLOLoss,
        detections: YOLODetections,
        padding: Padding,
        **arguments: Any,
    ) -> None:
        """
        Args:
            neck1, head1: of detector1.
            neck2, head2: of detector2.
            loss, detections: of either head's logits; they hold no weights.
            padding: of images to a batch; for losses they lie in its corner in any case.
            arguments: those of ``DynamicDetector``.
        """
        super().__init__(**arguments)
        self.neck1, self.head1 = neck1, head1
        self.neck2, self.head2 = neck2, head2
        self.loss, self.detect, self.padding = loss, detections, padding

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        arguments = super().from_config(cfg)
        backbone = arguments["backbone"]
        tails = build.tails(cfg, backbone.output_shape())
        grid = build.build_grid(cfg, tails["neck1"].output_shape())
        return {
            **arguments,
            **tails,
            "loss": YOLOLoss(grid, settings.loss_settings(cfg), cfg.MODEL.YOLO.NUM_CLASSES),
            "detections": YOLODetections(grid, settings.detection_settings(cfg)),
            "padding": settings.padding_of(cfg, backbone.size_divisibility),
        }

    @classmethod
    def num_classes_key(cls, cfg: CfgNode) -> str:
        return "MODEL.YOLO.NUM_CLASSES"

    @property
    def known_classes(self) -> int:
        return self.loss.num_classes

    def batch_side(self, side: int) -> int:
        return self.padding.padded_side(side)

    def preprocess_image(self, batched_inputs: list[dict]) -> PlacedImages:
        """Normalise, pad and batch the images, on the model's device."""
        return self._batch(batched_inputs, self.padding)

    def images_with_ground_truth(self, batched_inputs: list[dict]) -> PlacedImages:
        return self._batch(batched_inputs, replace(self.padding, placement="corner"))

    def _batch(self, batched_inputs: list[dict], padding: Padding) -> PlacedImages:
        images = [
            x.to(self.pixel_mean.dtype) for x in checked_images(batched_inputs, self.pixel_mean)
        ]
        return padding.batch(images, self.pixel_mean, self.pixel_std)

    def pyramid(self, detector: int, features: Features) -> Features:
        return self._neck(detector)(features)

    def predictions(self, detector: int, pyramid: Features) -> list[Tensor]:
        """Logits (N, A, H, W, K) of each level, fine to coarse."""
        return self._head(detector)(pyramid)

    def losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        return self.loss(self.predictions(detector, pyramid), targets_of(batch.gt_instances))

    def detections(
        self, detector: int, images: ImageList, pyramid: Features, limits: Sequence[int]
    ) -> list[Instances]:
        return self.detect(self.predictions(detector, pyramid), images, limits)

    @classmethod
    def objectness_channels(cls, cfg: CfgNode) -> int:
        """One: that of a position's best anchor."""
        return 1

    def objectness(self, detector: int, pyramid: Features) -> dict[int, Tensor]:
        logits = self.predictions(detector, pyramid)
        best = [level[..., NUM_BOX_LOGITS - 1].amax(dim=1, keepdim=True) for level in logits]
        return dict(zip(self.detect.grid.strides, best, strict=True))

    def tail_parts(self) -> tuple[Part, ...]:
        return (
            Part("neck1", self.neck1, routes=EASY, step="pyramid", features=True),
            head_part("head1", self.head1, EASY),
            Part("neck2", self.neck2, routes=HARD, step="pyramid", features=True),
            head_part("head2", self.head2, HARD),
        )

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        return (self.detect,)

    def _neck(self, detector: int) -> YOLONeck:
        return (self.neck1, self.neck2)[detector - 1]

    def _head(self, detector: int) -> YOLOHead:
        return (self.head1, self.head2)[detector - 1]

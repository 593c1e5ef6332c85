# SPDX-License-Identifier: Apache-2.0
"""The static detector YOLOv7 as a Detectron2 meta architecture."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import Instances
from torch import Tensor, nn

from dynamicdet_d2.config import Use, check
from dynamicdet_d2.modeling.batch import Batch, postprocessed
from dynamicdet_d2.modeling.built_from import register_statistics
from dynamicdet_d2.modeling.given import checked_images
from dynamicdet_d2.modeling.modes import refuse_training
from dynamicdet_d2.modeling.yolo import build, settings
from dynamicdet_d2.modeling.yolo.detections import YOLODetections
from dynamicdet_d2.modeling.yolo.head import YOLOHead, head_part
from dynamicdet_d2.modeling.yolo.losses import YOLOLoss, targets_of
from dynamicdet_d2.modeling.yolo.neck import YOLONeck
from dynamicdet_d2.modeling.yolo.padding import Padding, PlacedImages
from dynamicdet_d2.parts import BOTH, Part, Parts, parts_of


@META_ARCH_REGISTRY.register()
class YOLOv7(nn.Module):
    """Backbone, neck and head, with the inputs and outputs of Detectron2's detectors.

    ``MODEL.YOLO.VARIANT`` says which of YOLOv7, -X and -W6 it is.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: YOLONeck,
        head: YOLOHead,
        loss: YOLOLoss,
        detections: YOLODetections,
        padding: Padding,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        auxiliary_head: YOLOHead | None = None,
    ) -> None:
        """
        Args:
            backbone: gives the levels that the neck reads.
            neck, head: of the detector.
            loss, detections: of the head's logits.
            padding: of images to a batch; in training they lie in its corner in any case.
            pixel_mean, pixel_std: by channel.
            input_format: channels of the images, such as "RGB".
            auxiliary_head: trains beside the head and is not run at inference; None: none.
        """
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.auxiliary_head = auxiliary_head
        self.loss, self.detections, self.padding = loss, detections, padding
        self.input_format = input_format
        register_statistics(self, pixel_mean, pixel_std)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        check(cfg, Use.MODEL)
        parts = build.static_parts(cfg)
        grid = build.build_grid(cfg, parts["neck"].output_shape())
        loss = YOLOLoss(grid, settings.loss_settings(cfg), cfg.MODEL.YOLO.NUM_CLASSES)
        return {
            **parts,
            "loss": loss,
            "detections": YOLODetections(grid, settings.detection_settings(cfg)),
            "padding": settings.padding_of(cfg, parts["backbone"].size_divisibility),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    @property
    def device(self) -> torch.device:
        """Where images are moved to."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: per image a dict with ``"image"`` (C, H, W), in training
                ``"instances"``, and at inference the ``"height"`` and ``"width"`` that boxes
                are scaled to.

        Returns:
            in training ``loss_box``, ``loss_obj``, ``loss_cls``; else as ``inference``.

        Raises:
            ValueError: in training without ground truth.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        batch = Batch.of(batched_inputs, images, self.loss.num_classes)
        targets = targets_of(batch.gt_instances)
        features = self.neck(self.backbone(batch.images.tensor))
        auxiliary = None if self.auxiliary_head is None else self.auxiliary_head(features)
        return self.loss(self.head(features), targets, auxiliary)

    def inference(
        self, batched_inputs: list[dict], do_postprocess: bool = True
    ) -> list[dict] | list[Instances]:
        """Detections of each image.

        Returns:
            per image a dict with ``"instances"``, scaled to its ``"height"`` and ``"width"``;
            without post-processing the ``Instances`` in pixels of the network's input.

        Raises:
            RuntimeError: the model is in training mode.
        """
        refuse_training(self)
        images = self.preprocess_image(batched_inputs)
        logits = self.head(self.neck(self.backbone(images.tensor)))
        results = self.detections(logits, images)
        if not do_postprocess:
            return results
        instances = postprocessed(results, batched_inputs, images)
        return [{"instances": found} for found in instances]

    def preprocess_image(self, batched_inputs: list[dict]) -> PlacedImages:
        """Normalise, pad and batch the images, on the model's device."""
        images = [
            x.to(self.pixel_mean.dtype) for x in checked_images(batched_inputs, self.pixel_mean)
        ]
        padding = replace(self.padding, placement="corner") if self.training else self.padding
        return padding.batch(images, self.pixel_mean, self.pixel_std)


@parts_of.register
def _(model: YOLOv7) -> Parts:
    return Parts(
        parts=(
            Part("bottom_up1", model.backbone, features=True),
            Part("neck", model.neck, features=True),
            head_part("head", model.head, BOTH),
        ),
        run_on_image=lambda images: model.head(model.neck(model.backbone(images))),
        heads=(model.detections,),
        padded_side=model.padding.padded_side,
        learnt_with=() if model.auxiliary_head is None else (model.auxiliary_head,),
    )

# SPDX-License-Identifier: Apache-2.0
"""The meta architecture: figure 3 of the paper, for two-stage detectors."""

import zlib
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, build_backbone
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor, nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy, on_optimized_copy
from dynamicdet_d2.config import Use, check
from dynamicdet_d2.modeling import routing
from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.modes import attributes, loss_mode, seeded
from dynamicdet_d2.modeling.necks.fpn import build_fpn_neck
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.operating_point.point import OperatingPoint

Features = dict[str, Tensor]


@META_ARCH_REGISTRY.register()
class DynamicRCNN(GeneralizedRCNN):
    """Two detectors and a router, with ``GeneralizedRCNN``'s inputs and outputs.

    detector1 is backbone 1, neck and heads; detector2 is backbone 1, connections, backbone 2,
    and the same neck and heads. In training both detectors' losses are returned; in evaluation
    each image leaves by one route, and its output dict carries ``"difficulty"`` (float, in
    (0, 1), 1 = hard) and ``"route"`` (``"easy"`` or ``"hard"``) beside ``"instances"``.

    N: images of a batch.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: CompositeBackbone,
        neck: nn.Module,
        router: AdaptiveRouter,
        proposal_generator: nn.Module,
        roi_heads: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
        operating_point: OperatingPoint | None = None,
        loss_weights: Sequence[float] = (1.0, 1.0),
        loss_proposals: int = 512,
        inference_options: InferenceOptions | None = None,
    ) -> None:
        """
        Args:
            backbone: backbone 1, connections and backbone 2.
            neck: maps a feature dict of the backbone to the features of the heads.
            router: maps F1 to difficulties.
            proposal_generator, roi_heads, pixel_mean, pixel_std, input_format, vis_period: as
                in ``GeneralizedRCNN``.
            operating_point: where the threshold comes from; None: 0.5.
            loss_weights: of detector1 and detector2 in joint training, >= 0.
            loss_proposals: proposals and anchors an image that per-image losses are taken over.
            inference_options: of the optimised copy that inference runs on; None: no copy.
        """
        super().__init__(
            backbone=backbone,
            proposal_generator=proposal_generator,
            roi_heads=roi_heads,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            input_format=input_format,
            vis_period=vis_period,
        )
        self.neck = neck
        self.router = router
        self.operating_point = operating_point or OperatingPoint(threshold=0.5)
        self.loss_weights = _checked_weights(loss_weights)
        self.loss_proposals = loss_proposals
        self.optimized_copy = OptimizedCopy(inference_options)
        # Delta of eq. 12; travels with the checkpoint. NaN until it is measured.
        self.register_buffer("loss_offset", torch.tensor(float("nan"), dtype=torch.float64))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        check(cfg, Use.MODEL)
        backbone = build_backbone(cfg)
        neck = build_fpn_neck(cfg, backbone.output_shape())
        return {
            "backbone": backbone,
            "neck": neck,
            "router": AdaptiveRouter(cfg, backbone.output_shape()),
            "proposal_generator": build_proposal_generator(cfg, neck.output_shape()),
            "roi_heads": build_roi_heads(cfg, neck.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "operating_point": OperatingPoint.from_config(cfg),
            "loss_weights": cfg.MODEL.DYNAMIC.LOSS_WEIGHTS,
            "loss_proposals": cfg.SOLVER.ROUTER.LOSS_PROPOSALS,
            "inference_options": InferenceOptions.from_config(cfg),
        }

    @property
    def threshold(self) -> float:
        """An image is hard iff difficulty > threshold; in [0, 1], can be set at run time."""
        return self.operating_point.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.operating_point = OperatingPoint(threshold=value)

    @property
    def padding_multiple(self) -> int:
        """Height and width of a batch are padded to multiples of this many pixels at inference."""
        options = self.optimized_copy.options
        return max(self.backbone.size_divisibility, options.size_multiple if options else 0)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses in training, routed detections otherwise; inputs as in ``GeneralizedRCNN``.

        Returns:
            in training: scalars named ``detector1/loss_cls``, ``detector2/loss_cls``, ..., each
            weighted, so that their sum is the objective of eq. 9; else as ``inference``.
        """
        if not self.training:
            return self.inference(batched_inputs)
        self.optimized_copy.drop()  # of weights that are about to change
        images, gt_instances = self._training_inputs(batched_inputs)
        features1, start = self.backbone.first(images.tensor)
        features2 = self.backbone.second(features1, start)
        losses = {}
        for number, features in enumerate((features1, features2), start=1):
            weight = self.loss_weights[number - 1]
            with get_event_storage().name_scope(f"detector{number}"):
                parts = self._losses(images, self.neck(features), gt_instances)
            losses.update({f"detector{number}/{k}": weight * loss for k, loss in parts.items()})
        return losses

    def losses_of_second(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """detector2's losses alone, for training connections and backbone 2 beside a frozen rest.

        Gradients reach these two; detector1, neck and heads stay as they are, statistics too.

        Returns:
            scalars named ``detector2/loss_cls``, ..., not weighted.
        """
        self.optimized_copy.drop()
        images, gt_instances = self._training_inputs(batched_inputs)
        with torch.no_grad():
            features1, shared = self.backbone.first(images.tensor)
        features2 = self.backbone.second(features1, shared)
        heads = (self.proposal_generator, self.roi_heads)
        with loss_mode(*heads), get_event_storage().name_scope("detector2"):
            losses = self._losses(images, self.neck(features2), gt_instances)
        return {f"detector2/{name}": loss for name, loss in losses.items()}

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict] | list[Instances]:
        """Route each image and detect.

        Backbone 1 and router see the whole batch, backbone 2 the hard images, neck and heads
        the whole batch again. The routes are read back from the device once a batch.

        Args:
            batched_inputs, detected_instances, do_postprocess: as in ``GeneralizedRCNN``.

        Returns:
            one dict an image with ``"instances"``, ``"difficulty"`` and ``"route"``; without
            post-processing the raw ``Instances``.

        Raises:
            ValueError: if the threshold comes from a calibration of another model.
        """
        self.operating_point.check(self)
        return self._inference(batched_inputs, detected_instances, do_postprocess)

    @on_optimized_copy
    def _inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None,
        do_postprocess: bool,
    ) -> list[dict] | list[Instances]:
        images = self.preprocess_image(batched_inputs)
        features, difficulties = self._routed_features(images)
        features = self.neck(features)
        if detected_instances is None:
            results = self._detect(images, features, batched_inputs)
        else:
            given = [x.to(self.device) for x in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        if not do_postprocess:
            return results
        outputs = self._postprocess(results, batched_inputs, images.image_sizes)
        for output, difficulty in zip(outputs, difficulties, strict=True):
            output["difficulty"] = difficulty
            output["route"] = routing.route_name(difficulty, self.threshold)
        return outputs

    @torch.no_grad()
    @on_optimized_copy
    def exits(self, batched_inputs: list[dict]) -> list[dict]:
        """Both detectors' detections of every image, whatever the threshold.

        Returns:
            one dict an image: ``"difficulty"`` (float), ``"detector1"`` and ``"detector2"``
            (``Instances``, post-processed).
        """
        images = self.preprocess_image(batched_inputs)
        features1, start, difficulties = self.first(images.tensor)
        outputs = [{"difficulty": difficulty} for difficulty in difficulties.tolist()]
        features2 = self.backbone.second(features1, start)
        for name, features in (("detector1", features1), ("detector2", features2)):
            results = self._detect(images, self.neck(features), batched_inputs)
            results = self._postprocess(results, batched_inputs, images.image_sizes)
            for output, result in zip(outputs, results, strict=True):
                output[name] = result["instances"]
        return outputs

    @torch.no_grad()
    @on_optimized_copy
    def difficulties(self, batched_inputs: list[dict]) -> list[float]:
        """Difficulty of each image, by backbone 1 and router alone."""
        return self.first(self.preprocess_image(batched_inputs).tensor)[2].tolist()

    def first(self, images: Tensor) -> tuple[Features, Tensor, Tensor]:
        """Backbone 1 and router.

        Args:
            images: (N, 3, H, W), normalised and padded.

        Returns:
            as ``CompositeBackbone.first``, and the difficulties (N,).
        """
        features, start = self.backbone.first(images)
        return features, start, self.router(features)

    @torch.no_grad()
    def detector_losses_per_image(self, batched_inputs: list[dict]) -> Tensor:
        """L1 and L2 of every image, unweighted: (N, 2), float32. See ``pooled_and_losses``."""
        return self.pooled_and_losses(batched_inputs)[1]

    @torch.no_grad()
    def pooled_and_losses(self, batched_inputs: list[dict]) -> tuple[Tensor, Tensor]:
        """What the router learns from: its pooled input and both detectors' losses.

        Each image's losses come from its own slice of the batch's features, with anchors and
        proposals drawn from a seed of the image alone, the same for both detectors; nothing in
        the model changes, and evaluation mode is fine. Losses are taken over
        ``loss_proposals`` proposals, because the gap of two losses is small and the sampling
        of few proposals would drown it.

        Args:
            batched_inputs: with ``"instances"``.

        Returns:
            pooled features (N, d) and losses (N, 2), float32.
        """
        images, gt_instances = self._training_inputs(batched_inputs)
        features1, start = self.backbone.first(images.tensor)
        features2 = self.backbone.second(features1, start)
        necks = [self.neck(features1), self.neck(features2)]
        losses = [
            [self._image_loss(images, neck, gt_instances, i, batched_inputs[i]) for neck in necks]
            for i in range(len(batched_inputs))
        ]
        return self.router.pool(features1), torch.tensor(losses, device=self.device)

    def _image_loss(
        self, images: ImageList, features: Features, gt: list[Instances], i: int, source: dict
    ) -> float:
        image = ImageList(images.tensor[i : i + 1], images.image_sizes[i : i + 1])
        level = {name: f[i : i + 1] for name, f in features.items()}
        heads = (self.proposal_generator, self.roi_heads)
        more = {"batch_size_per_image": self.loss_proposals}
        with (
            loss_mode(*heads),
            attributes(more, *heads),
            seeded(_image_seed(source), self.device),
            EventStorage(),  # Detectron2's heads log; these losses are no training step
        ):
            losses = self._losses(image, level, gt[i : i + 1])
        return float(sum(losses.values()))

    def _training_inputs(self, batched_inputs: list[dict]) -> tuple[ImageList, list[Instances]]:
        images = self.preprocess_image(batched_inputs)
        missing = [x for x in batched_inputs if "instances" not in x]
        if missing:
            name = missing[0].get("file_name", "an image")
            raise ValueError(f"Losses need ground truth, but {name} came without 'instances'.")
        return images, [x["instances"].to(self.device) for x in batched_inputs]

    def _losses(
        self, images: ImageList, features: Features, gt_instances: list[Instances]
    ) -> dict[str, Tensor]:
        proposals, losses = self.proposal_generator(images, features, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        return {**losses, **detector_losses}

    def _routed_features(self, images: ImageList) -> tuple[Features, list[float]]:
        features, start, scores = self.first(images.tensor)
        difficulties = scores.tolist()  # the one time that the device is waited for
        hard = routing.hard_indices(difficulties, self.threshold)
        if len(hard) == len(difficulties):
            features = self.backbone.second(features, start)
        elif hard:
            index = routing.on_device(hard, start.device)
            chosen = routing.select(features, index)
            features2 = self.backbone.second(chosen, start[index])
            # Features of shared stages are still those of backbone 1.
            new = {name: level for name, level in features2.items() if level is not chosen[name]}
            features = routing.merge(features, new, index)
        return features, difficulties

    def _detect(
        self, images: ImageList, features: Features, batched_inputs: list[dict]
    ) -> list[Instances]:
        proposals, _ = self.proposal_generator(images, features, None)
        return self.roi_heads(images, features, proposals, None)[0]


def _checked_weights(weights: Sequence[float]) -> tuple[float, float]:
    if len(weights) != 2 or min(weights) < 0:
        raise ValueError(
            f"MODEL.DYNAMIC.LOSS_WEIGHTS is {list(weights)}; it must be two numbers >= 0."
        )
    return float(weights[0]), float(weights[1])


def _image_seed(source: dict) -> int:
    """A seed of the image alone, the same in every process and batch."""
    name = str(source.get("image_id", source.get("file_name", "")))
    return zlib.crc32(name.encode())

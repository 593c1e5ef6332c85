# SPDX-License-Identifier: Apache-2.0
"""Figure 3 of the paper, for every kind of detector: two detectors, a router, routed batches."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy, on_optimized_copy
from dynamicdet_d2.config import Use, check
from dynamicdet_d2.modeling import modes
from dynamicdet_d2.modeling.backbone.checked import built_composite
from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.batch import (
    Batch,
    FirstPass,
    checked_difficulties,
    postprocessed,
    routed_outputs,
)
from dynamicdet_d2.modeling.built_from import check_parts, register_statistics
from dynamicdet_d2.modeling.exit_merging import ExitMerging, hard_detections
from dynamicdet_d2.modeling.given import checked_images
from dynamicdet_d2.modeling.loading import TakesOtherNames
from dynamicdet_d2.modeling.losses import checked_loss_weights
from dynamicdet_d2.modeling.routed_batch import routed_detections
from dynamicdet_d2.modeling.router import AdaptiveRouter, say_if_left_out
from dynamicdet_d2.modeling.settable_threshold import SettableThreshold
from dynamicdet_d2.modeling.tail_pass import TailPass
from dynamicdet_d2.modeling.tail_pyramid import pyramid_of_tail
from dynamicdet_d2.modeling.tail_results import loss_of_image, losses_of_tail, parts_of_tail
from dynamicdet_d2.modeling.tails import Tails
from dynamicdet_d2.operating_point.point import OperatingPoint
from dynamicdet_d2.parts import HARD, rounded_up

DETECTORS = (1, 2)


class DynamicDetector(SettableThreshold, TakesOtherNames, Tails):
    """Two detectors and a router, with the inputs and outputs of Detectron2's detectors.

    detector1 is backbone 1 and a tail (neck and heads), detector2 is backbone 1, connections,
    backbone 2 and a tail. In training both detectors' losses are returned; in evaluation each
    image leaves by one route, and its output dict carries ``"difficulty"`` (float, in (0, 1),
    1 = hard) and ``"route"`` (``"easy"`` or ``"hard"``) beside ``"instances"``.

    What follows the backbones is a kind of detector's own (``Tails``). N: images of a batch.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    loss_offset: Tensor

    def __init__(
        self,
        *,
        backbone: CompositeBackbone,
        router: AdaptiveRouter,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        operating_point: OperatingPoint | None = None,
        loss_weights: Sequence[float] = (1.0, 1.0),
        exit_merging: ExitMerging | None = None,
        inference_options: InferenceOptions | None = None,
        input_format: str | None = None,
    ) -> None:
        """
        Args:
            backbone: backbone 1, connections and backbone 2.
            router: maps what detector1 has seen to difficulties.
            pixel_mean, pixel_std: of each channel, in the units of the input images.
            operating_point: where the threshold comes from; None: 0.5.
            loss_weights: of detector1 and detector2 in joint training, >= 0.
            exit_merging: of both exits; None: hard images leave by detector2 alone (the paper).
            inference_options: of the optimised copy that inference runs on; None: no copy.
            input_format: channels of the images, such as "RGB"; None: not known.
        """
        check_parts(backbone, router, operating_point, exit_merging, self.pass_type.steps)
        nn.Module.__init__(self)  # not super(): a kind may also be one of Detectron2's own
        self.backbone, self.router = backbone, router
        register_statistics(self, pixel_mean, pixel_std)
        self.operating_point = operating_point or OperatingPoint(threshold=0.5)
        self.loss_weights = checked_loss_weights(loss_weights)
        self.exit_merging, self.input_format = exit_merging, input_format
        self.optimized_copy = OptimizedCopy(inference_options)
        # Delta of eq. 12; travels with the checkpoint. NaN until it is measured.
        self.register_buffer("loss_offset", torch.tensor(float("nan"), dtype=torch.float64))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The arguments that every kind of detector has."""
        check(cfg, Use.MODEL)
        cls.check_shared(cfg)
        backbone = built_composite(cfg)
        return {
            "backbone": backbone,
            "router": AdaptiveRouter(cfg, backbone.output_shape(), cls),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "operating_point": OperatingPoint.from_config(cfg),
            "loss_weights": cfg.MODEL.DYNAMIC.LOSS_WEIGHTS,
            "exit_merging": ExitMerging.from_config(cfg),
            "inference_options": InferenceOptions.from_config(cfg),
            "input_format": cfg.INPUT.FORMAT,
        }

    @property
    def device(self) -> torch.device:
        """Where images are moved to."""
        return self.pixel_mean.device

    def padded_side(self, side: int) -> int:
        """Side of an image in pixels -> that of its batch at inference, when it is alone."""
        options = self.optimized_copy.options
        side = self.batch_side(side)
        return rounded_up(options.size_multiple)(side) if options else side

    def batch_side(self, side: int) -> int:
        """As ``padded_side``, before ``MODEL.INFERENCE.SIZE_MULTIPLE``."""
        return rounded_up(self.backbone.size_divisibility)(side)

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, and pad to one size that the backbone can take."""
        images = checked_images(batched_inputs, self.pixel_mean)
        images = [(x - self.pixel_mean) / self.pixel_std for x in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def images_with_ground_truth(self, batched_inputs: list[dict]) -> ImageList:
        """As ``preprocess_image``, with every image where its ground truth is: in the corner."""
        return self.preprocess_image(batched_inputs)

    def _with_ground_truth(self, batched_inputs: list[dict]) -> Batch:
        modes.refuse_halves(self.pixel_mean.dtype)
        images = self.images_with_ground_truth(batched_inputs)
        return Batch.of(batched_inputs, images, self.known_classes, self.learnt_fields)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses in training, routed detections otherwise, of Detectron2's dicts.

        Returns:
            in training: scalars named ``detector1/loss_cls``, ``detector2/loss_cls``, ..., each
            weighted, so that their sum is the objective of eq. 9; else as ``inference``.
        """
        modes.refuse_tracing()
        if not self.training:
            return self.inference(batched_inputs)
        say_if_left_out(self.router)
        self.optimized_copy.drop()  # of weights that are about to change
        batch = self._with_ground_truth(batched_inputs)
        features1, start = self.backbone.first(batch.images.tensor)
        features2 = self.backbone.second(features1, start)
        losses = {}
        for d, features in zip(DETECTORS, (features1, features2), strict=True):
            weight = self.loss_weights[d - 1]
            with get_event_storage().name_scope(f"detector{d}"):
                own = losses_of_tail(self, d, batch, pyramid_of_tail(self, d, features))
            losses.update({f"detector{d}/{k}": weight * loss for k, loss in own.items()})
        return losses

    def second_parts(self) -> list[nn.Module]:
        """What detector2 has for itself, of the tail by its parts; phase "detector2" trains it."""
        owners = [x.owner for x in parts_of_tail(self) if x.routes == HARD and x.owner is not self]
        return [self.backbone.connections, self.backbone.bottom_up2, *owners]

    def losses_of_second(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """detector2's losses alone, for training what it has for itself beside a frozen rest.

        Gradients reach ``second_parts``; detector1 and what it shares stay, with their statistics.

        Args:
            batched_inputs: with ``"instances"``.

        Returns:
            scalars named ``detector2/loss_cls``, ..., not weighted.
        """
        self.optimized_copy.drop()  # of weights that are about to change
        batch = self._with_ground_truth(batched_inputs)
        with modes.training_alone(self, self.second_parts(), self.heads):
            with torch.no_grad():
                features1, start = self.backbone.first(batch.images.tensor)
            features2 = self.backbone.second(features1, start)
            with get_event_storage().name_scope("detector2"):
                own = losses_of_tail(self, 2, batch, pyramid_of_tail(self, 2, features2))
        return {f"detector2/{name}": loss for name, loss in own.items()}

    def inference(
        self, batched_inputs: list[dict], *, do_postprocess: bool = True
    ) -> list[dict] | list[Instances]:
        """Route each image and detect.

        Backbone 1 and router see the whole batch, backbone 2 the hard images. The routes are
        read back from the device once per batch. Where the router looks beyond F1, easy images go
        on from what it has seen.

        Args:
            batched_inputs: Detectron2's dicts; padding to the largest image moves difficulties.
            do_postprocess: whether to rescale detections to the size of the original image.

        Returns:
            per image a dict with ``"instances"``, ``"difficulty"`` and ``"route"``; without
            post-processing the raw ``Instances``.

        Raises:
            ValueError: if the threshold comes from a calibration of another model, or an image or
                its difficulty is not finite.
        """
        modes.refuse_tracing()
        self.operating_point.check(self)
        return self._inference(batched_inputs, do_postprocess, self.threshold)

    @on_optimized_copy
    def _inference(
        self, batched_inputs: list[dict], do_postprocess: bool, threshold: float
    ) -> list[dict] | list[Instances]:
        images = self.preprocess_image(batched_inputs)
        results, difficulties = routed_detections(self, images, threshold)
        checked_difficulties(difficulties, batched_inputs)
        if not do_postprocess:
            return results
        instances = postprocessed(results, batched_inputs, images)
        return routed_outputs(instances, difficulties, threshold)

    @torch.no_grad()
    @on_optimized_copy
    def exits(self, batched_inputs: list[dict]) -> list[dict]:
        """What every image gives by either exit, whatever the threshold.

        Returns:
            per image a dict of ``"difficulty"`` (float), ``"detector1"`` and ``"detector2"``
            (``Instances``, post-processed); with merged exits the latter has both detectors'.
        """
        images = self.preprocess_image(batched_inputs)
        first = self.first(images)
        difficulties = checked_difficulties(first.difficulties.tolist(), batched_inputs)
        passes = first.seen, self.second_pass(first.seen, first.start)  # both begin with F1
        easy, second = (x.detections for x in passes)
        hard = hard_detections(self.exit_merging, easy, second)
        found = (postprocessed(results, batched_inputs, images) for results in (easy, hard))
        names = ("difficulty", "detector1", "detector2")
        return [dict(zip(names, x, strict=True)) for x in zip(difficulties, *found, strict=True)]

    @torch.no_grad()
    @on_optimized_copy
    def difficulties(self, batched_inputs: list[dict]) -> list[float]:
        """Difficulty of each image, by backbone 1, router, and what the router looks at alone."""
        difficulties = self.first(self.preprocess_image(batched_inputs)).difficulties
        return checked_difficulties(difficulties.tolist(), batched_inputs)

    def first(self, images: ImageList) -> FirstPass:
        """Backbone 1 and router: N images, normalised and padded -> what routes follow from."""
        modes.refuse_training(self)
        modes.refuse_halves(self.pixel_mean.dtype)
        features, start = self.backbone.first(images.tensor)
        seen = self.pass_type(self, 1, images, features)
        return FirstPass(seen, start, self.router(*self._looked_at(seen)))

    def _looked_at(self, seen: TailPass) -> list[Any]:
        return [getattr(seen, step) for step in self.router.reads]

    def second_pass(self, seen: TailPass, start: Tensor) -> TailPass:
        """detector2's pass of the images that detector1 has seen, before its first step."""
        features2 = self.backbone.second(seen.features, start)
        return self.pass_type(self, 2, seen.images, features2)

    @torch.no_grad()
    def detector_losses_per_image(self, batched_inputs: list[dict]) -> Tensor:
        """L1 and L2 of each image, unweighted, (N, 2), as ``router_inputs_and_losses`` has them."""
        return self.router_inputs_and_losses(batched_inputs)[1]

    @torch.no_grad()
    def router_inputs_and_losses(self, batched_inputs: list[dict]) -> tuple[Tensor, Tensor]:
        """What the router learns from: the numbers that it sees, and both detectors' losses.

        Each image's losses come from its own slice of the batch's features, and are a function
        of the image alone (``image_losses``). Nothing in the model changes.

        Args:
            batched_inputs: with ``"instances"``.

        Returns:
            numbers (N, d), not standardised, and losses (N, 2), float32.

        Raises:
            FloatingPointError: naming an image of which predictions are not finite.
        """
        batch = self._with_ground_truth(batched_inputs)
        with modes.evaluating(self):
            features, start = self.backbone.first(batch.images.tensor)
            seen = self.pass_type(self, 1, batch.images, features)
            numbers = self.router.numbers(*self._looked_at(seen))
            pyramids = [x.pyramid for x in (seen, self.second_pass(seen, start))]
            losses = [
                [loss_of_image(self, d, batch, pyramids[d - 1], i, image) for d in DETECTORS]
                for i, image in enumerate(batched_inputs)
            ]
        return numbers, torch.tensor(losses, device=self.device)

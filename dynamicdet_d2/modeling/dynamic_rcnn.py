# SPDX-License-Identifier: Apache-2.0
"""DynamicDet for two-stage detectors: RPN and ROI heads, which both detectors share."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN, build_proposal_generator
from detectron2.modeling.roi_heads import ROIHeads, build_roi_heads
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor, nn

from dynamicdet_d2.acceleration import InferenceOptions, on_optimized_copy
from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.batch import Batch, checked_difficulties, postprocessed, routed_outputs
from dynamicdet_d2.modeling.built_from import check_classes
from dynamicdet_d2.modeling.dense import anchors_of
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.exit_merging import ExitMerging
from dynamicdet_d2.modeling.given import best_proposals, given_instances
from dynamicdet_d2.modeling.modes import loss_mode, setting, torch_seeded
from dynamicdet_d2.modeling.necks.fpn import build_fpn_neck, check_levels
from dynamicdet_d2.modeling.routed_batch import routed_features, routed_results
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.second_tail import SharableTail, own_tail
from dynamicdet_d2.modeling.tail_pass import ProposalPass
from dynamicdet_d2.operating_point.point import OperatingPoint
from dynamicdet_d2.parts import Part, Regions, roi_parts, rpn_parts, rpn_regions, run_rpn_head


@META_ARCH_REGISTRY.register()
class DynamicRCNN(SharableTail, GeneralizedRCNN):
    """A dynamic detector with ``GeneralizedRCNN``'s inputs and outputs.

    Both detectors have one neck, one RPN and one set of ROI heads (``SharableTail``: or one
    each). It is a ``GeneralizedRCNN`` by its interface, for those who ask, such as Detectron2's
    augmented inference; all that it does with a batch is ``DynamicDetector``'s.
    """

    pass_type = ProposalPass
    neck_name = "neck"
    head_names = ("proposal_generator", "roi_heads")

    @configurable
    def __init__(
        self,
        *,
        backbone: CompositeBackbone,
        neck: Backbone,
        router: AdaptiveRouter,
        proposal_generator: nn.Module,
        roi_heads: ROIHeads,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
        operating_point: OperatingPoint | None = None,
        loss_weights: Sequence[float] = (1.0, 1.0),
        loss_proposals: int = 512,
        exit_merging: ExitMerging | None = None,
        inference_options: InferenceOptions | None = None,
        tail2: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """
        Args:
            neck: maps a feature dict of the backbone to the features of the heads.
            proposal_generator, roi_heads, input_format, vis_period: as in ``GeneralizedRCNN``.
            loss_proposals: proposals and anchors per image that per-image losses are taken over.
            tail2: of neck, proposal_generator and roi_heads what detector2 has for itself.
            backbone, router, pixel_mean, pixel_std, operating_point, loss_weights, exit_merging,
                inference_options: as in ``DynamicDetector``.
        """
        check_classes(roi_heads)
        DynamicDetector.__init__(
            self,
            backbone=backbone,
            router=router,
            pixel_mean=pixel_mean,
            pixel_std=pixel_std,
            operating_point=operating_point,
            loss_weights=loss_weights,
            exit_merging=exit_merging,
            inference_options=inference_options,
            input_format=input_format,
        )
        self.neck = neck
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.tail2 = self.own_parts(tail2)
        self.vis_period = vis_period
        self.loss_proposals = loss_proposals

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        _check_proposals(cfg)
        arguments = super().from_config(cfg)
        neck = build_fpn_neck(cfg, arguments["backbone"].output_shape())
        levels, keys = neck.output_shape(), cfg.MODEL
        check_levels("MODEL.RPN.IN_FEATURES", keys.RPN.IN_FEATURES, levels)
        check_levels("MODEL.ROI_HEADS.IN_FEATURES", keys.ROI_HEADS.IN_FEATURES, levels, row=True)
        return {
            **arguments,
            "neck": neck,
            **_heads(cfg, neck),
            "tail2": own_tail(
                cfg,
                lambda: {"neck": build_fpn_neck(cfg, arguments["backbone"].output_shape2())},
                lambda: _heads(cfg, neck),
            ),
            "vis_period": cfg.VIS_PERIOD,
            "loss_proposals": cfg.SOLVER.ROUTER.LOSS_PROPOSALS,
        }

    @classmethod
    def num_classes_key(cls, cfg: CfgNode) -> str:
        return "MODEL.ROI_HEADS.NUM_CLASSES"

    @property
    def tail1(self) -> nn.Module:
        return self

    def pyramid(self, detector: int, features: Features) -> Features:
        return self.tail_module(detector, "neck")(features)

    def predictions(self, detector: int, pyramid: Features) -> Any:
        """The RPN head's."""
        return run_rpn_head(self.tail_module(detector, "proposal_generator"), pyramid)

    def losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        proposals, losses = self._proposals_and_losses(detector, batch, pyramid)
        if self.vis_period and get_event_storage().iter % self.vis_period == 0:
            with _NamedImages(f"detector{detector}"):
                GeneralizedRCNN.visualize_training(self, batch.inputs, proposals)
        return losses

    def image_losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        """With anchors and proposals drawn from a seed of the image, the same for both detectors.

        They are taken over ``loss_proposals`` of them, because the gap of two losses is small
        and the sampling of few proposals would drown it.
        """
        heads = [self.tail_module(detector, name) for name in self.head_names]
        samplers = [m for m in heads if isinstance(m, RPN | ROIHeads)]
        with (
            loss_mode(*heads),
            setting("batch_size_per_image", self.loss_proposals, *samplers),
            torch_seeded(_image_seed(batch.inputs[0]), self.device),
        ):
            return self._proposals_and_losses(detector, batch, pyramid)[1]

    def _proposals_and_losses(
        self, detector: int, batch: Batch, pyramid: Features
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        images, gt_instances = batch.images, batch.gt_instances
        rpn, roi_heads = (self.tail_module(detector, name) for name in self.head_names)
        check_classes(self.roi_heads, roi_heads)
        proposals, losses = _both(rpn, rpn(images, pyramid, gt_instances))
        found = roi_heads(images, pyramid, proposals, gt_instances)
        _, detector_losses = _both(roi_heads, found)
        return proposals, {**losses, **detector_losses}

    def proposals(self, detector: int, images: ImageList, pyramid: Features) -> list[Instances]:
        """N images' proposals, in pixels of the network's input."""
        rpn = self.tail_module(detector, "proposal_generator")
        return _both(rpn, rpn(images, pyramid, None))[0]

    def detections(
        self,
        detector: int,
        images: ImageList,
        pyramid: Features,
        limits: Sequence[int],
        proposals: list[Instances] | None = None,
    ) -> list[Instances]:
        """As ``Tails``; from given proposals where the RPN has been run."""
        if proposals is None:
            proposals = self.proposals(detector, images, pyramid)
        proposals = list(map(best_proposals, proposals, limits))
        roi_heads = self.tail_module(detector, "roi_heads")
        return _both(roi_heads, roi_heads(images, pyramid, proposals, None))[0]

    @classmethod
    def objectness_channels(cls, cfg: CfgNode) -> int:
        """Anchors per position."""
        return anchors_of(cfg) if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "RPN" else 0

    def objectness(self, detector: int, pyramid: Features) -> dict[int, Tensor]:
        """Of every anchor, by the RPN head."""
        rpn = self.tail_module(detector, "proposal_generator")
        shapes = self.neck.output_shape()
        logits, _ = self.predictions(detector, pyramid)
        strides = [shapes[name].stride for name in rpn.in_features]
        return dict(zip(strides, logits, strict=True))

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict] | list[Instances]:
        """As ``DynamicDetector.inference``, and with given boxes as ``GeneralizedRCNN``."""
        if detected_instances is None:
            return super().inference(batched_inputs, do_postprocess=do_postprocess)
        self.operating_point.check(self)
        return self._with_given_boxes(
            batched_inputs, detected_instances, do_postprocess, self.threshold
        )

    @on_optimized_copy
    def _with_given_boxes(
        self, inputs: list[dict], given: list[Instances], do_postprocess: bool, threshold: float
    ) -> list[dict] | list[Instances]:
        images = self.preprocess_image(inputs)
        given = given_instances(given, len(images), self.device)
        if self.shared_tail:
            features, difficulties = routed_features(self, images, threshold)
            results = self.roi_heads.forward_with_given_boxes(self.neck(features), given)
        else:
            results, difficulties = routed_results(self, images, threshold, _in_boxes(given))
        checked_difficulties(difficulties, inputs)
        if not do_postprocess:
            return results
        instances = postprocessed(results, inputs, images)
        return routed_outputs(instances, difficulties, threshold)

    def neck_parts(self, detector: int) -> tuple[Part, ...]:
        neck = self.tail_module(detector, "neck")
        return (Part("neck", neck, step="pyramid", features=True),)

    def head_parts(self, detector: int) -> tuple[Part, ...]:
        rpn, roi_heads = (self.tail_module(detector, name) for name in self.head_names)
        return *rpn_parts(rpn), *roi_parts(roi_heads)

    @property
    def regions(self) -> Regions:
        easy = self.operating_point.easy_proposals
        return rpn_regions(self.neck.output_shape(), self.proposal_generator, easy)


class _NamedImages(EventStorage):
    """Hands pictures on to the storage around it, with a name before theirs."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._around = name, get_event_storage()

    def put_image(self, img_name: str, img_tensor: np.ndarray) -> None:
        self._around.put_image(f"{self._name}/{img_name}", img_tensor)


def _heads(cfg: CfgNode, neck: Backbone) -> dict[str, nn.Module]:
    shapes = neck.output_shape()
    return {
        "proposal_generator": build_proposal_generator(cfg, shapes),
        "roi_heads": build_roi_heads(cfg, shapes),
    }


def _both(module: nn.Module, found: Any) -> tuple[list[Instances], dict[str, Tensor]]:
    """What a proposal generator or ROI heads give; ValueError for what Detectron2's do not."""
    if not (isinstance(found, tuple | list) and len(found) == 2 and isinstance(found[1], dict)):
        raise ValueError(
            f"{type(module).__name__} gives an object of type {type(found).__name__}; it must give "
            "two: a list of Instances, one an image, and a dict of losses, empty in inference."
        )
    return found[0], found[1]


def _in_boxes(given: list[Instances]) -> Callable[[Any, list[int]], list[Instances]]:
    """What a pass of some images gives in the boxes that they have; the boxes are of all."""

    def results(seen: Any, indices: list[int]) -> list[Instances]:
        heads = seen.tails.tail_module(seen.detector, "roi_heads")
        return heads.forward_with_given_boxes(seen.pyramid, [given[i] for i in indices])

    return results


def _check_proposals(cfg: CfgNode) -> None:
    if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        raise ValueError(
            "MODEL.PROPOSAL_GENERATOR.NAME is 'PrecomputedProposals', but each detector of a "
            "DynamicRCNN makes its own proposals; it must be such as 'RPN'."
        )


def _image_seed(source: dict) -> int:
    """A seed of the image alone, the same in every process and batch."""
    name = str(source.get("image_id", source.get("file_name", "")))
    # Names of files that are not UTF-8 are read as lone surrogates.
    return zlib.crc32(name.encode(errors="surrogatepass"))

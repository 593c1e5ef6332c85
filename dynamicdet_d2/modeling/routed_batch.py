# SPDX-License-Identifier: Apache-2.0
"""A batch of both routes: each image by its own, the results in the batch's order.

N: images of the batch. ``threshold`` is given and not read from the model: another thread may move
it while a batch is under way, and one batch has one threshold.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from detectron2.structures import ImageList, Instances
from torch import Tensor

from dynamicdet_d2.modeling import routing
from dynamicdet_d2.modeling.exit_merging import hard_detections
from dynamicdet_d2.modeling.modes import evaluating
from dynamicdet_d2.modeling.router_inputs import ObjectnessMap
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.tail_pass import TailPass
from dynamicdet_d2.modeling.tail_pyramid import pyramid_of_tail
from dynamicdet_d2.modeling.tail_results import detections_of_tail, objectness_of_tail

if TYPE_CHECKING:
    from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector


def routed_features(
    model: "DynamicDetector", images: ImageList, threshold: float
) -> tuple[Features, list[float]]:
    """Each image's features by its route, for a shared tail, and the difficulties."""
    seen, start, scores = model.first(images)
    features = seen.features
    difficulties = scores.tolist()  # the one time that the device is waited for
    model.operating_point.note(difficulties)
    hard = routing.hard_indices(difficulties, threshold)
    if len(hard) == len(difficulties):
        features = model.backbone.second(features, start)
    elif hard:
        index = routing.on_device(hard, start.device)
        chosen = routing.select(features, index)
        features2 = model.backbone.second(chosen, start[index])
        # Features of shared stages are still those of backbone 1.
        new = {name: level for name, level in features2.items() if level is not chosen[name]}
        features = routing.merge(features, new, index)
    return features, difficulties


def routed_detections(
    model: "DynamicDetector", images: ImageList, threshold: float
) -> tuple[list[Instances], list[float]]:
    """Each image's detections by its route, and the difficulties."""
    if model.exit_merging is not None:
        return _with_merged_exits(model, images, threshold)
    if model.shared_tail and model.router.reads == ("features",):
        return _by_one_pass(model, images, threshold)
    return routed_results(model, images, threshold, lambda seen, indices: seen.detections)


def _by_one_pass(
    model: "DynamicDetector", images: ImageList, threshold: float
) -> tuple[list[Instances], list[float]]:
    """All images through a shared tail at once."""
    features, difficulties = routed_features(model, images, threshold)
    easy, hard = (model.operating_point.limit(detector) for detector in (1, 2))
    limits = [hard if difficulty > threshold else easy for difficulty in difficulties]
    pyramid = pyramid_of_tail(model, 1, features)
    return detections_of_tail(model, 1, images, pyramid, limits), difficulties


def routed_results(
    model: "DynamicDetector",
    images: ImageList,
    threshold: float,
    results_of: Callable[[TailPass, list[int]], list[Instances]],
) -> tuple[list[Instances], list[float]]:
    """Each image's results by its route, each route's from a pass of its own, and the difficulties.

    Args:
        results_of: from the pass of M of the images, and their positions, what each gives.
    """
    seen, start, scores = model.first(images)
    difficulties = scores.tolist()
    model.operating_point.note(difficulties)
    easy, hard = routing.by_route(difficulties, threshold)
    found: dict[int, Instances] = {}
    if easy:
        found.update(zip(easy, results_of(seen.select(easy), easy), strict=True))
    if hard:
        index = routing.on_device(hard, start.device)
        second = model.second_pass(seen.restart(hard), start[index])
        found.update(zip(hard, results_of(second, hard), strict=True))
    return [found[i] for i in range(len(difficulties))], difficulties


def _with_merged_exits(
    model: "DynamicDetector", images: ImageList, threshold: float
) -> tuple[list[Instances], list[float]]:
    """All images through detector1, hard ones through both."""
    seen, start, scores = model.first(images)
    difficulties = scores.tolist()
    model.operating_point.note(difficulties)
    hard = routing.hard_indices(difficulties, threshold)
    if not hard:
        return list(seen.detections), difficulties
    index = routing.on_device(hard, start.device)
    # Before detector1's tail, which may write into its features.
    second = model.second_pass(seen.restart(hard), start[index])
    found = list(seen.detections)
    leaving = hard_detections(model.exit_merging, [found[i] for i in hard], second.detections)
    for i, own in zip(hard, leaving, strict=True):
        found[i] = own
    return found, difficulties


@torch.no_grad()
def features_and_objectness(
    model: "DynamicDetector", batched_inputs: list[dict]
) -> tuple[Features, dict[int, Tensor]]:
    """What a router's map learns from: F1 by level, and logits by stride (``objectness``)."""
    images = model.preprocess_image(batched_inputs)
    with evaluating(model):
        features, _ = model.backbone.first(images.tensor)
        own = dict(model.router.inputs).get("map")
        channels = own.channels if isinstance(own, ObjectnessMap) else None
        pyramid = pyramid_of_tail(model, 1, features)
        return features, objectness_of_tail(model, pyramid, channels)

# SPDX-License-Identifier: Apache-2.0
"""The pass that a router's objectness map learns in, before anything is measured with it."""

import logging
from collections.abc import Sequence

from detectron2.config import CfgNode

from dynamicdet_d2.data.loading.loaders import build_finite_loader
from dynamicdet_d2.data.loading.mappers import annotated_mapper
from dynamicdet_d2.engine.distributed import summed
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.routed_batch import features_and_objectness
from dynamicdet_d2.modeling.router_inputs import ObjectnessMap
from dynamicdet_d2.modeling.router_inputs.least_squares import WeightedLeastSquares
from dynamicdet_d2.utils.progress import Progress
from dynamicdet_d2.utils.spread import spread

logger = logging.getLogger(__name__)

# Each has thousands of positions; what the map has to learn is a few thousand weights.
MAX_IMAGES = 1000


def teach_map(cfg: CfgNode, model: DynamicDetector, images: Sequence[dict]) -> None:
    """Fit the map among the router's inputs, where there is one, to detector1's own head.

    One pass over up to ``MAX_IMAGES`` training images, evenly spread and split over the
    processes, through backbone 1, neck and head. The same images give the same map.

    Args:
        model: its detectors as they will stay.
        images: the training set in Detectron2's format.
    """
    own = dict(model.router.inputs).get("map")
    if not isinstance(own, ObjectnessMap):
        return
    chosen = spread(images, MAX_IMAGES)
    logger.info("Objectness map of the router: one pass over %d training images", len(chosen))
    loader = build_finite_loader(cfg, annotated_mapper(cfg), dataset_dicts=chosen)
    fits, progress = own.no_lessons(), Progress(len(loader), "Objectness map")
    for batch in loader:
        lessons = own.lessons(*features_and_objectness(model, batch))
        fits = {name: fit.plus(lessons[name]) for name, fit in fits.items()}
        progress.step()
    own.teach({k: WeightedLeastSquares(summed(x.gram), summed(x.moment)) for k, x in fits.items()})

# SPDX-License-Identifier: Apache-2.0
"""Detectron2's own evaluator, for static detectors and augmented views, on the images and objects
that trade-offs are of."""

import logging
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm

from dynamicdet_d2.evaluation.ground_truth import converted, converted_name, refuse_lvis
from dynamicdet_d2.utils.files import make_folder, write_json
from dynamicdet_d2.utils.plain import to_plain

logger = logging.getLogger(__name__)


def coco_evaluator(dataset: str, folder: str) -> COCOEvaluator:
    """Detectron2's own, of the annotations that a data set has now and of the images that it sees.

    One that is registered by code is converted into a file of the folder. Left to itself Detectron2
    would take what an earlier run has converted, and name it as the data set's own.

    Raises:
        ValueError: as ``read_ground_truth``.
    """
    refuse_lvis(dataset)
    metadata = MetadataCatalog.get(dataset)
    by_code = not hasattr(metadata, "json_file")
    if by_code:
        path = os.path.join(folder, converted_name(dataset))
        # By each process, as machines need not share the folder.
        make_folder(os.path.dirname(path))  # names may have a slash
        write_json(path, to_plain(converted(dataset)))
        metadata.json_file = path
    try:
        # Without compiled code there is no fast implementation.
        return _OfImagesSeen(dataset, output_dir=folder, use_fast_impl=False)
    finally:
        if by_code:
            del metadata.json_file


class _OfImagesSeen(COCOEvaluator):
    """Without those that nobody could read: a trade-off has no figures of them either, where
    Detectron2 counts all their objects as missed."""

    def reset(self) -> None:
        super().reset()
        self._seen: list[Any] = []

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        super().process(inputs, outputs)
        self._seen += [image["image_id"] for image in inputs]

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict:
        seen = {*chain.from_iterable(comm.gather(self._seen, dst=0))}
        known = self._coco_api.getImgIds()
        own = [image_id for image_id in known if image_id in seen]
        if own and len(own) < len(known) and img_ids is None:  # on the main process
            logger.warning(
                "%d images of %s were not seen; its figures are over the others.",
                *(len(known) - len(own), self._metadata.name),
            )
            img_ids = own
        return super().evaluate(img_ids)

# SPDX-License-Identifier: Apache-2.0
"""Test-time augmentation of a dynamic detector, by Detectron2's own (``TEST.AUG``)."""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import GeneralizedRCNNWithTTA
from torch import nn

from dynamicdet_d2.data.loading.mappers import inference_mapper
from dynamicdet_d2.evaluation.coco_evaluator import coco_evaluator
from dynamicdet_d2.evaluation.observe import unwrapped
from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.operating_point.point import at_threshold


class DynamicRCNNWithTTA(GeneralizedRCNNWithTTA):
    """All views of an image take the route of the image itself, which the output names.

    Detectron2's class alone would route every view on its own, and lose difficulty and route.
    """

    def __call__(self, batched_inputs: Sequence[dict]) -> list[dict]:
        """As the dynamic detector's: ``"instances"``, ``"difficulty"`` and ``"route"``."""
        return [self._of_one(image) for image in batched_inputs]

    @cached_property
    def _at_test_size(self) -> DatasetMapper:
        """Made once, as it logs its augmentations each time."""
        return inference_mapper(self.cfg)

    def _of_one(self, image: dict) -> dict[str, Any]:
        """A data set's dict may name a file alone: its route is that of the image at the test
        size, and its views are of the file's own pixels, as Detectron2 has them."""
        model = self.model
        seen = image if "image" in image else self._at_test_size(image)
        (difficulty,) = model.difficulties([seen])
        route = route_name(difficulty, model.threshold)
        with at_threshold(model, 0.0 if route == "hard" else 1.0):
            (output,) = super().__call__([image])
        return {**output, "difficulty": difficulty, "route": route}


def evaluate_augmented(
    cfg: CfgNode, dataset: str, model: nn.Module, output_dir: str, loader: Iterable[list[dict]]
) -> dict[str, dict[str, float]]:
    """COCO figures at the model's own threshold with ``TEST.AUG``, as "bbox_TTA" and "segm_TTA".

    Args:
        dataset: in Detectron2's catalogs, with annotations.
        model: a ``DynamicRCNN``.
        output_dir: its results go into ``augmented`` there.
        loader: of the data set's images; has a length.
    """
    folder = os.path.join(output_dir, "augmented")
    evaluator = coco_evaluator(dataset, folder)
    augmented = DynamicRCNNWithTTA(cfg, unwrapped(model))
    results = inference_on_dataset(augmented, loader, evaluator)
    return {f"{task}_TTA": figures for task, figures in (results or {}).items()}

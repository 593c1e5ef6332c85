# SPDX-License-Identifier: Apache-2.0
"""Fixed statistics of a backbone 1 that is shorter than the network its weights come from."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from dynamicdet_d2.data.loading.loaders import build_finite_loader
from dynamicdet_d2.data.loading.mappers import annotated_mapper
from dynamicdet_d2.engine.distributed import summed
from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import evaluating
from dynamicdet_d2.utils.spread import spread

logger = logging.getLogger(__name__)


def measure_statistics(
    cfg: CfgNode, model: DynamicDetector, images: Sequence[dict], trained: Collection[str]
) -> None:
    """Measure backbone 1's fixed statistics anew, on ``STATISTICS_IMAGES`` training images.

    Without the blocks that were left out, later blocks see other inputs than those that the
    statistics were taken of. What backbone 2 shares keeps its own. A backbone 1 that the run does
    not train stays as it is.

    Args:
        model: with its weights loaded.
        images: the training set in Detectron2's format.
        trained: names of the weights and statistics that a phase trains.

    Raises:
        ValueError: as ``measure_on``.
    """
    chosen = spread(images, cfg.MODEL.COMPOSITE.STATISTICS_IMAGES)
    if not chosen:
        return
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    if not any(name.startswith("backbone.bottom_up1.") for name in learning.intersection(trained)):
        logger.info(
            "MODEL.COMPOSITE.STATISTICS_IMAGES is %d, but no step of this run trains backbone 1: "
            "its statistics stay as they are.",
            cfg.MODEL.COMPOSITE.STATISTICS_IMAGES,
        )
        return
    logger.info("Statistics of backbone 1: one pass over %d training images", len(chosen))
    loader = build_finite_loader(cfg, annotated_mapper(cfg), dataset_dicts=chosen)
    measure_on(model, loader)


@torch.no_grad()
def measure_on(model: DynamicDetector, batches: Iterable[list[dict]]) -> None:
    """Give backbone 1's own norms mean and variance of their inputs over all images.

    In the pass each norm normalises by its batch's statistics, as if those before it were settled.

    Args:
        batches: in Detectron2's format; those of all processes count.

    Raises:
        ValueError: if backbone 1 has no fixed statistics.
    """
    stages = _own_stages(model.backbone)
    convolutions = [m for stage in stages for m in stage.modules() if _has_fixed_norm(m)]
    if not convolutions:
        raise ValueError(
            "MODEL.COMPOSITE.STATISTICS_IMAGES is above 0, but backbone 1 has no fixed statistics "
            "to measure: its norm must be 'FrozenBN'."
        )
    with evaluating(model), _measured(convolutions):
        for batch in batches:
            model.backbone.first(model.preprocess_image(batch).tensor)


def _own_stages(backbone: CompositeBackbone) -> list[nn.Module]:
    """Backbone 1's, less those that backbone 2 takes over (and so has not)."""
    first, second = backbone.bottom_up1, backbone.bottom_up2
    return [getattr(first, name) for name in first.stage_names if hasattr(second, name)]


def _has_fixed_norm(module: nn.Module) -> bool:
    return isinstance(module, Conv2d) and isinstance(module.norm, FrozenBatchNorm2d)


@contextmanager
def _measured(convolutions: Sequence[nn.Module]) -> Iterator[None]:
    """Norms measure what passes through them inside, and have its statistics afterwards."""
    # In the norm's place and not a hook on it: a convolution may fold a fixed norm into its
    # weights, and never call it.
    measures = [_Measure(conv.norm) for conv in convolutions]
    try:
        for conv, measure in zip(convolutions, measures, strict=True):
            conv.norm = measure
        yield
        for measure in measures:
            measure.settle()
    finally:
        for conv, measure in zip(convolutions, measures, strict=True):
            conv.norm = measure.norm


class _Measure(nn.Module):
    """Normalises each batch by its own statistics, and sums them up."""

    def __init__(self, norm: FrozenBatchNorm2d) -> None:
        super().__init__()
        self.norm = norm
        self._batches = 0
        self._sums = norm.running_mean.new_zeros(2, norm.num_features, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
        self._sums += torch.stack([mean, variance + mean**2])
        self._batches += 1
        return F.batch_norm(
            x, None, None, self.norm.weight, self.norm.bias, training=True, eps=self.norm.eps
        )

    def settle(self) -> None:
        """Give the norm what all processes have measured."""
        mean, square = summed(self._sums) / summed(self._sums.new_tensor(self._batches))
        self.norm.running_mean.copy_(mean)
        self.norm.running_var.copy_((square - mean**2).clamp(min=0))

# SPDX-License-Identifier: Apache-2.0
"""Fixed statistics of a backbone 1 that is shorter than the network its weights come from."""

import logging
from collections.abc import Iterable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d
from torch import Tensor, nn

from dynamicdet_d2.data.loading.loaders import annotated_mapper, build_finite_loader
from dynamicdet_d2.engine.distributed import summed
from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import evaluating

logger = logging.getLogger(__name__)


def measure_statistics(cfg: CfgNode, model: DynamicDetector, images: Sequence[dict]) -> None:
    """Measure backbone 1's fixed statistics anew, on ``STATISTICS_IMAGES`` training images.

    Without the blocks that were left out, later blocks see other inputs than those that the
    statistics were taken of. What backbone 2 shares keeps its own.

    Args:
        model: with its weights loaded.
        images: the training set in Detectron2's format.

    Raises:
        ValueError: as ``measure_on``.
    """
    count = min(len(images), cfg.MODEL.COMPOSITE.STATISTICS_IMAGES)
    if not count:
        return
    logger.info("Statistics of backbone 1: one pass over %d training images", count)
    chosen = [images[i * len(images) // count] for i in range(count)]
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
    norms = [m for part in _own_stages(model.backbone) for m in part.modules() if _is_fixed(m)]
    if not norms:
        raise ValueError(
            "MODEL.COMPOSITE.STATISTICS_IMAGES is above 0, but backbone 1 has no fixed statistics "
            "to measure: its norm must be 'FrozenBN'."
        )
    measures = [_Measure(norm) for norm in norms]
    with evaluating(model):
        for batch in batches:
            model.backbone.first(model.preprocess_image(batch).tensor)
    for measure in measures:
        measure.settle()


def _own_stages(backbone: CompositeBackbone) -> list[nn.Module]:
    """Backbone 1's, less those that backbone 2 takes over (and so has not)."""
    first, second = backbone.bottom_up1, backbone.bottom_up2
    return [getattr(first, name) for name in first.stage_names if hasattr(second, name)]


def _is_fixed(module: nn.Module) -> bool:
    return isinstance(module, FrozenBatchNorm2d)


class _Measure:
    """The statistics of one norm's inputs, kept up while batches pass through it."""

    def __init__(self, norm: FrozenBatchNorm2d) -> None:
        self._norm = norm
        self._batches = 0
        self._sums = norm.running_mean.new_zeros(2, norm.num_features, dtype=torch.float64)
        self._hook = norm.register_forward_pre_hook(self._see)

    def _see(self, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].double(), dim=(0, 2, 3), correction=0)
        self._set(mean, variance)
        self._sums += torch.stack([mean, variance + mean**2])
        self._batches += 1

    def settle(self) -> None:
        """Give the norm what was measured by all processes, and stop measuring."""
        self._hook.remove()
        batches = summed(self._sums.new_tensor(self._batches))
        mean, square = summed(self._sums) / batches
        self._set(mean, square - mean**2)

    def _set(self, mean: Tensor, variance: Tensor) -> None:
        self._norm.running_mean.copy_(mean)
        self._norm.running_var.copy_(variance)

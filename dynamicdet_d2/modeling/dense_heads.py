# SPDX-License-Identifier: Apache-2.0
"""Detectron2's heads of RetinaNet and FCOS: predictions are float32, and norms know their level.

Of batch norms Detectron2 has one for each level, and goes from one to the next by counting calls:
another thread between them, or a call that was interrupted, would give every level the norm of
another one, from then on. FCOS makes boxes of predictions as they come, so that under autocast they
would be in halves, which neither its losses nor coordinates bear.
"""

from collections.abc import Sequence

from detectron2.layers import CycleBatchNormList
from detectron2.modeling.meta_arch import fcos, retinanet
from torch import Tensor, nn

from dynamicdet_d2.utils.precision import at_least_float32

Predictions = list[Tensor]
"""(N, anchors x channels, H, W) of each level, float32."""


class RetinaNetHead(retinanet.RetinaNetHead):
    """Logits of classes, and deltas of boxes."""

    def forward(self, features: Sequence[Tensor]) -> tuple[Predictions, Predictions]:
        """Of (N, C, H, W) of each level, fine to coarse."""
        classes = [_run(self.cls_subnet, *own) for own in enumerate(features)]
        boxes = [_run(self.bbox_subnet, *own) for own in enumerate(features)]
        return _predicted(self.cls_score, classes), _predicted(self.bbox_pred, boxes)


class FCOSHead(fcos.FCOSHead):
    """Logits of classes, distances to the sides of boxes, and logits of centerness."""

    def forward(self, features: Sequence[Tensor]) -> tuple[Predictions, Predictions, Predictions]:
        """Of (N, C, H, W) of each level, fine to coarse."""
        classes = [_run(self.cls_subnet, *own) for own in enumerate(features)]
        boxes = [_run(self.bbox_subnet, *own) for own in enumerate(features)]
        return (
            _predicted(self.cls_score, classes),
            _predicted(self.bbox_pred, boxes),
            _predicted(self.ctrness, boxes),
        )


def _run(subnet: nn.Sequential, level: int, x: Tensor) -> Tensor:
    if not any(isinstance(layer, CycleBatchNormList) for layer in subnet):
        return subnet(x)  # as a whole, so that its hooks are called
    for layer in subnet:
        x = _normed(layer, level, x) if isinstance(layer, CycleBatchNormList) else layer(x)
    return x


def _normed(norms: CycleBatchNormList, level: int, x: Tensor) -> Tensor:
    """By the level's own statistics, and the affine of all levels."""
    x = norms[level](x)
    return x * norms.weight.view(1, -1, 1, 1) + norms.bias.view(1, -1, 1, 1)


def _predicted(predictor: nn.Module, levels: Sequence[Tensor]) -> Predictions:
    return [at_least_float32(predictor(level)) for level in levels]

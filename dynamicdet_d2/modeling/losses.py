# SPDX-License-Identifier: Apache-2.0
"""Pure: what the router minimises (section 3.3), the medians that it is balanced by, weights.

N: images; L1, L2: losses of detector1 and detector2; Delta: the loss offset.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def loss_gap(losses: Tensor) -> Tensor:
    """L1 - L2 of each image, (N,), from (N, 2). Positive where detector2 is better."""
    return losses[:, 0] - losses[:, 1]


def loss_offset(losses: Tensor) -> float:
    """The median of L1 - L2 over the training set (the paper's Delta).

    The median of an even number of gaps is the mean of the middle two, so that exactly half of
    the images lie above it.

    Args:
        losses: (N, 2).

    Raises:
        ValueError: if there is no image, or a loss is not finite.
    """
    if not len(losses):
        raise ValueError("The loss offset needs at least one training image; there are none.")
    if not torch.isfinite(losses).all():
        bad = int((~torch.isfinite(losses)).any(dim=1).sum())
        raise ValueError(f"The losses of {bad} of {len(losses)} training images are not finite.")
    return _median(loss_gap(losses.double()))


def median(values: Tensor) -> float:
    """The median of (N,) finite values; of an even number the mean of the middle two.

    Raises:
        ValueError: if there is no value, or one is not finite.
    """
    if not len(values) or not torch.isfinite(values).all():
        bad = int((~torch.isfinite(values)).sum())
        raise ValueError(
            f"A median needs at least one value and finite ones; of {len(values)}, {bad} are not."
        )
    return _median(values.double())


def _median(values: Tensor) -> float:
    return float(values.quantile(0.5))


def router_loss(difficulty: Tensor, losses: Tensor, offset: Tensor | float) -> Tensor:
    """Mean over the images of (1 - phi)(L1 - Delta/2) + phi(L2 + Delta/2), eq. 12.

    Its derivative in phi is -(L1 - L2 - Delta), eq. 13. With Delta = 0.1, an image of
    L1 = 0.8 and L2 = 0.5 has the gap 0.3 > Delta: the derivative is -0.2, so descent raises its
    difficulty, towards hard. An image of L1 = 0.52, L2 = 0.5 has the derivative +0.08 and
    becomes easier. Without the offset nearly every image would go the same way, since
    detector2's loss is smaller nearly everywhere.

    Args:
        difficulty: phi, (N,), in (0, 1), with gradient.
        losses: (N, 2); no gradient flows into them.
        offset: Delta.

    Returns:
        a scalar.
    """
    loss1, loss2 = losses.detach().to(difficulty.dtype).unbind(dim=1)
    easy = (1 - difficulty) * (loss1 - offset / 2)
    hard = difficulty * (loss2 + offset / 2)
    return (easy + hard).mean()


def router_gain_loss(difficulty: Tensor, gains: Tensor, median: float) -> Tensor:
    """Eq. 12 with another gain from the hard route in the place of the loss gap.

    Mean over the images of (1 - phi)(g - m/2) + phi m/2, where m is the median of the gains: with
    L1 = g, L2 = 0 and Delta = m it is eq. 12 itself. Its derivative in phi is -(g - m). With
    m = 0.1, an image of g = 0.3 has the derivative -0.2, so descent raises its difficulty,
    towards hard; one of g = 0.02 has +0.08 and becomes easier; one of the median stays.

    Args:
        difficulty: phi, (N,), in (0, 1), with gradient.
        gains: g, (N,), larger where the hard route is worth more; no gradient flows into them.
        median: of the gains over the training set.

    Returns:
        a scalar.
    """
    return router_loss(difficulty, torch.stack([gains, torch.zeros_like(gains)], dim=1), median)


def router_ap_loss(difficulty: Tensor, gains: Tensor) -> Tensor:
    """Cross entropy towards hard where detector2 has the better AP, and easy where detector1 has.

    The AP-based router of the paper's ablation (section 4.4.2). Images of equal AP say nothing
    about a better detector and are left out of the mean.

    Args:
        difficulty: phi, (N,), in (0, 1), with gradient.
        gains: (N,), AP under detector2 less that under detector1.

    Returns:
        a scalar; 0 where every image is left out, NaN where a difficulty is, as other losses are.
    """
    decided = (gains != 0).to(difficulty.dtype)
    target = (gains > 0).to(difficulty.dtype)
    # Of NaN torch has no cross entropy, and ends the process on a GPU.
    known = difficulty.nan_to_num(0.5)
    entropy = F.binary_cross_entropy(known, target, reduction="none")
    entropy = torch.where(difficulty.isnan(), difficulty, entropy)
    return (entropy * decided).sum() / decided.sum().clamp(min=1)


def checked_loss_weights(weights: Sequence[float]) -> tuple[float, float]:
    """Weights of detector1's and detector2's loss in joint training.

    Raises:
        ValueError: naming the key, if they are not two numbers >= 0.
    """
    if len(weights) != 2 or min(weights) < 0:
        raise ValueError(
            f"MODEL.DYNAMIC.LOSS_WEIGHTS is {list(weights)}; it must be two numbers >= 0."
        )
    return float(weights[0]), float(weights[1])

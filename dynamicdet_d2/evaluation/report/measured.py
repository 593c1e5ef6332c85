# SPDX-License-Identifier: Apache-2.0
"""How the figures of a report were taken, in words."""

from dynamicdet_d2.evaluation.report.columns import shown
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff


def measured(tradeoff: Tradeoff) -> list[str]:
    """A sentence or two per line."""
    difficulty, notes = tradeoff.difficulty, tradeoff.notes
    correlation, own = tradeoff.rank_correlation, tradeoff.operating_point
    lines = [
        f"Images: {tradeoff.num_images}, network input {tradeoff.image_sizes} pixels (height x "
        "width).",
        f"Device: {tradeoff.device}, {tradeoff.dtype}.",
        f"Latency: {notes.latency if tradeoff.latency.images else 'not measured.'}",
        f"GFLOPs: {notes.gflops}",
        f"Random routing: {notes.random}",
        f"Oracle: {notes.oracle}",
        f"Difficulties: mean {difficulty.mean:.4f}, standard deviation "
        f"{difficulty.std:.4f}, from {difficulty.min:.4f} to {difficulty.max:.4f}.",
        "Spearman's rank correlation of the difficulty: with detector2's gain in box AP "
        f"{shown(correlation.gain)}, with the loss gap L1 - L2 {shown(correlation.loss_gap)}, "
        f"with the drawn difficulty {shown(correlation.drawn_difficulty)}.",
        f"Model's threshold, as set: {own.threshold:.6g}, which makes "
        f"{own.realised_hard_fraction:.1%} of the images hard. "
        f"Loss offset: {shown(tradeoff.loss_offset, '.4f')}.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in tradeoff.versions.items()) + ".",
    ]
    return [*lines, f"Date: {tradeoff.date}."] if tradeoff.date else lines

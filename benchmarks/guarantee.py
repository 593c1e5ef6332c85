# SPDX-License-Identifier: Apache-2.0
"""How often a promised AP drop is exceeded: many splits of one set, calibrated on one part.

The images are drawn here as numbers: one to four objects of a few classes or many, which may be
rare by Zipf's law, false positives, and two exits of which the second one finds and locates the
objects of hard images better; the difficulty knows an image's hardness with some noise. A split
calibrates on a part of the images and looks at the rest. The rest is many times as large, because
what is promised is of all images like these, and the drop on a held-out part as small as the
calibration's has an error of its own.

    python -m benchmarks.guarantee [--images 4000] [--calibrate 400] [--splits 1000]
        [--classes 3] [--zipf 0]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dynamicdet_d2.calibration.ap_drop import of_images, of_the_set
from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep
from dynamicdet_d2.evaluation.coco.set_gains import Boxes, MatchedImage, match_image
from dynamicdet_d2.operating_point import threshold_grid
from dynamicdet_d2.operating_point.guarantee import Guarantee

SIDE = 40.0


@dataclass(frozen=True)
class DrawnSet:
    """Images as numbers.

    Attributes:
        images: I, matched.
        difficulties: (I,) in (0, 1).
        own: (I, 2) AP of each image alone, in percent.
    """

    images: Sequence[MatchedImage]
    difficulties: np.ndarray
    own: np.ndarray

    def sweep(self, chosen: np.ndarray) -> KnownSweep:
        """Of some of the images, (J,) positions."""
        return KnownSweep([self.images[i] for i in chosen], self.own[chosen])


class KnownSweep(MatchedSweep):
    """A sweep whose images' own AP, which no split changes, is known."""

    def __init__(self, images: Sequence[MatchedImage], own: np.ndarray) -> None:
        super().__init__(images)
        self._own = own

    def own_ap(self) -> np.ndarray:
        return self._own


@dataclass
class Found:
    """What one way of choosing came to, split by split.

    Attributes:
        hard_fractions: chosen.
        figures: of the held-out images, that are to be within the limit.
    """

    hard_fractions: list[float] = field(default_factory=list)
    figures: list[float] = field(default_factory=list)

    def summary(self, limit: float) -> dict[str, float]:
        exceeded = np.array(self.figures) > limit
        return {
            "share_of_splits_that_exceed": float(exceeded.mean()),
            "mean_hard_fraction": float(np.mean(self.hard_fractions)),
            "mean_held_out": float(np.mean(self.figures)),
        }


def draw_set(count: int, seed: int, classes: int, zipf: float) -> DrawnSet:
    """Images whose second exit is better where they are hard.

    Args:
        zipf: the k-th class is as frequent as 1 / k to this power.
    """
    generator = np.random.default_rng(seed)
    hardness = generator.random(count)
    frequency = np.arange(1, classes + 1) ** -zipf
    images = [_image(h, frequency / frequency.sum(), generator) for h in hardness]
    seen = hardness + generator.normal(0, 0.25, count)
    difficulties = 1 / (1 + np.exp(-4 * (seen - 0.5)))
    return DrawnSet(images, difficulties, MatchedSweep(images).own_ap())


def _image(hardness: float, frequency: np.ndarray, generator: np.random.Generator) -> MatchedImage:
    objects = int(generator.integers(1, 5))
    corners = np.arange(objects)[:, None] * [3 * SIDE, 0.0]
    boxes = np.concatenate([corners, np.full((objects, 2), SIDE)], axis=1)
    label = generator.choice(len(frequency), objects, p=frequency)
    truth = Boxes(boxes, label, np.zeros(objects))
    exits = [
        _exit(truth, 0.95 - fall * hardness, noise * (1 + 2 * hardness), frequency, generator)
        for fall, noise in ((0.5, 2.5), (0.42, 2.2))
    ]
    return match_image(exits, truth)


def _exit(
    truth: Boxes,
    recall: float,
    noise: float,
    frequency: np.ndarray,
    generator: np.random.Generator,
) -> Boxes:
    """Some of the objects, moved by pixels, and false positives of mostly lower scores."""
    kept = generator.random(len(truth.boxes)) < recall
    wrong = int(generator.poisson(1.0))
    moved = truth.boxes[kept] + generator.normal(0, noise, (int(kept.sum()), 4))
    apart = np.tile([0.0, 5 * SIDE, SIDE, SIDE], (wrong, 1))
    return Boxes(
        np.concatenate([moved, apart]),
        np.concatenate([truth.label[kept], generator.choice(len(frequency), wrong, p=frequency)]),
        np.concatenate([generator.beta(5, 2, len(moved)), generator.beta(2, 4, wrong)]),
    )


def simulate(drawn: DrawnSet, limits: Limits, calibrate: int, splits: int, seed: int) -> dict:
    """Every way of choosing on the same splits: by name, its ``Found.summary``."""
    generator = np.random.default_rng(seed)
    found = {name: Found() for name in ("ap", "ap, point", "finite", "finite, point")}
    for _ in range(splits):
        order = generator.permutation(len(drawn.images))
        _split(drawn, limits, order[:calibrate], order[calibrate:], found)
    return {
        name: ways.summary(limits.share if name.startswith("finite") else limits.drop)
        for name, ways in found.items()
    }


@dataclass(frozen=True)
class Limits:
    """What is promised.

    Attributes:
        drop: points of AP, of the set or of an image.
        share: of images whose own AP may fall by more.
        confidence: of the promises.
        steps: hard fractions from 0 to 1 that are looked at, less one.
    """

    drop: float
    share: float
    confidence: float
    steps: int


def _split(
    drawn: DrawnSet,
    limits: Limits,
    seen: np.ndarray,
    held_out: np.ndarray,
    found: dict[str, Found],
) -> None:
    grid = threshold_grid(drawn.difficulties[seen])
    thresholds = [grid[round(1000 * k / limits.steps)] for k in range(limits.steps + 1)]
    routings = [drawn.difficulties[seen] > threshold for threshold in thresholds]
    sweep, rest = drawn.sweep(seen), drawn.sweep(held_out)
    best = rest.evaluate(np.ones(len(held_out), dtype=bool)).ap
    worse = drawn.own[held_out, 1] - drawn.own[held_out, 0] > limits.drop
    for mode, choose in (("ap", of_the_set), ("finite", of_images)):
        promised = Guarantee(limits.confidence, mode, limits.share)
        choice = choose(sweep, routings, limits.drop, promised)
        assert choice.guarantee is not None
        fixed = choice.guarantee["hard_fraction_without"]
        for name, fraction in ((mode, choice.hard_fraction), (f"{mode}, point", fixed)):
            hard = drawn.difficulties[held_out] > thresholds[round(fraction * limits.steps)]
            lost = best - rest.evaluate(hard).ap if mode == "ap" else float((worse & ~hard).mean())
            found[name].hard_fractions.append(fraction)
            found[name].figures.append(lost)


def main() -> None:
    options = _parse()
    start = time.perf_counter()
    drawn = draw_set(options.images, options.seed, options.classes, options.zipf)
    limits = Limits(options.drop, options.share, options.confidence, options.steps)
    found = simulate(drawn, limits, options.calibrate, options.splits, options.seed)
    record: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.guarantee", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": {k: v for k, v in vars(options).items() if k != "output"},
        "seconds": round(time.perf_counter() - start, 1),
        "numpy": np.__version__,
        "ways": found,
    }
    options.output.write_text(json.dumps(record, indent=2) + "\n")
    for name, figures in found.items():
        print(f"{name:14}", *(f"{key} {value:.4f}" for key, value in figures.items()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--calibrate", type=int, default=400, help="images of a calibration")
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--zipf", type=float, default=0.0, help="exponent of how rare classes are")
    parser.add_argument("--drop", type=float, default=2.0, help="points of AP")
    parser.add_argument("--share", type=float, default=0.2, help="of images, in mode finite")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--steps", type=int, default=25, help="of the hard fraction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/guarantee.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

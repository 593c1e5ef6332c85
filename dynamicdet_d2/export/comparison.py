# SPDX-License-Identifier: Apache-2.0
"""An exported detector beside what it was made from: AP, difficulties and routes on same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from dynamicdet_d2.export.accuracy import Accuracy, ImageSet
from dynamicdet_d2.operating_point.thresholds import TABLE

# A hard fraction that moves by more is said to.
HARD_FRACTION_MOVES = 0.02

# Of its JSON file, by which it is known.
FIELDS = frozenset({"compared", "points", "largest_ap_drop"})

Pair = tuple[float, float]
"""Of the first detector and of the second one."""


@dataclass(frozen=True)
class Point:
    """Both detectors at one threshold.

    Attributes:
        threshold: 1: all images easy; 0: all hard.
        hard_fraction: share of the images.
        ap: task ("box", "mask") -> AP in percent.
    """

    threshold: float
    hard_fraction: Pair
    ap: Mapping[str, Pair]


@dataclass(frozen=True)
class Comparison:
    """Two detectors on the same images.

    Attributes:
        names: of the first one, from which the second one was made, and of the second.
        dataset: its name.
        num_images: of it that were looked at.
        dynamic: whether there are routes.
        points: by falling threshold, from all easy to all hard; one point without routes.
        threshold: of the export; None without routes.
        difficulty_change: |difference| of each image's difficulties, mean and largest.
    """

    names: tuple[str, str]
    dataset: str
    num_images: int
    points: Sequence[Point]
    threshold: float | None
    difficulty_change: Pair

    @classmethod
    def of(
        cls,
        names: tuple[str, str],
        pair: tuple[Accuracy, Accuracy],
        of: ImageSet,
        manifest: Mapping[str, Any],
    ) -> "Comparison":
        """
        Args:
            names: of the two.
            pair: of the two.
            of: what they were measured on.
            manifest: of the export, whose thresholds are looked at.
        """
        first, second = pair
        points = []
        for threshold in _thresholds(manifest):
            ap, other = first.ap(threshold), second.ap(threshold)
            # Without any detection there are no masks either.
            both = {task: (ap[task], other[task]) for task in ap if task in other}
            shares = first.hard_fraction(threshold), second.hard_fraction(threshold)
            points.append(Point(threshold, shares, both))
        moved = np.abs(first.difficulties - second.difficulties)
        change = float(moved.mean()), float(moved.max())
        own = manifest["threshold"] if manifest["dynamic"] else None
        return cls(names, of.name, len(of.images), points, own, change)

    @property
    def largest_drop(self) -> float:
        """AP that the second one loses, at the point and in the task where it loses most."""
        return max(a - b for point in self.points for a, b in point.ap.values())

    @property
    def largest_move(self) -> Point:
        """The point whose hard fraction differs most."""
        return max(self.points, key=lambda point: abs(np.subtract(*point.hard_fraction)))

    def as_json(self) -> dict[str, Any]:
        """Plain values; AP and shares as [of the first, of the second]."""
        dynamic = self.threshold is not None
        points = []
        for point in self.points:
            ap = {task: [round(x, 3) for x in pair] for task, pair in point.ap.items()}
            routes = {"threshold": point.threshold, "hard_fraction": list(point.hard_fraction)}
            points.append({**(routes if dynamic else {}), "ap": ap})
        mean, largest = self.difficulty_change
        return {
            "dataset": self.dataset,
            "num_images": self.num_images,
            "compared": list(self.names),
            "threshold": self.threshold,
            "points": points,
            "largest_ap_drop": round(self.largest_drop, 3) + 0.0,  # no "-0.0"
            "difficulty_change": {"mean": mean, "largest": largest} if dynamic else None,
        }

    def table(self) -> str:
        """The points, a line each."""
        first, second = self.names
        tasks = list(self.points[0].ap)
        dynamic = self.threshold is not None
        head = ["threshold", f"% hard, {first}", second] if dynamic else []
        head += [x for t in tasks for x in (f"{t} AP, {first}", second, "lost")]
        rows = []
        for point in self.points:
            own = "*" if point.threshold == self.threshold else ""
            shares = [f"{100 * share:.1f}" for share in point.hard_fraction]
            row = [f"{own}{point.threshold:.4f}", *shares] if dynamic else []
            for a, b in point.ap.values():
                row += [f"{a:.2f}", f"{b:.2f}", f"{a - b:.2f}"]
            rows.append(row)
        title = f"{self.num_images} images of {self.dataset}"
        if dynamic:
            mean, largest = self.difficulty_change
            title += f"; difficulties differ by {mean:.2g} in the mean, {largest:.2g} at most"
            title += "; * the export's own threshold"
        numbers = tabulate(rows, head, disable_numparse=True, stralign="right")
        return f"{title}\n{numbers}\n"

    def warnings(self, most_ap: float) -> list[str]:
        """What a user has to know: one sentence each.

        Args:
            most_ap: that may be lost without a word.
        """
        first, second = self.names
        found = []
        if not self.largest_drop <= most_ap:
            found.append(
                f"{second} loses {self.largest_drop:.2f} AP to {first} on {self.dataset}, more "
                f"than {most_ap:g}."
            )
        point = self.largest_move
        shares = point.hard_fraction
        if abs(shares[0] - shares[1]) > HARD_FRACTION_MOVES:
            found.append(
                f"Above threshold {point.threshold:.4f} are {shares[0]:.1%} of the images of "
                f"{self.dataset} in {first} and {shares[1]:.1%} in {second}: hard fractions by "
                "the calibration are off by as much."
            )
        return found


def _thresholds(manifest: Mapping[str, Any]) -> list[float]:
    """Of all easy, all hard, the export's own, and those of the calibration's table."""
    if not manifest["dynamic"]:
        return [1.0]
    found = {1.0, 0.0, float(manifest["threshold"])}
    if manifest["calibration"] is not None:
        grid = manifest["calibration"]["grid"]
        found |= {float(grid[round(share * (len(grid) - 1))]) for share in TABLE}
    return sorted(found, reverse=True)

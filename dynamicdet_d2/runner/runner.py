# SPDX-License-Identifier: Apache-2.0
"""Runs an exported detector: the static pieces, and between them the routing in numpy."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynamicdet_d2.runner.budget import STATIC, Budget
from dynamicdet_d2.runner.dense import DenseHead
from dynamicdet_d2.runner.detections import Detections, Found, in_picture
from dynamicdet_d2.runner.folder import Folder
from dynamicdet_d2.runner.images import Batch, check_list, prepare
from dynamicdet_d2.runner.pieces import Pieces, ending
from dynamicdet_d2.runner.routes import Routes
from dynamicdet_d2.runner.runtimes import Opener, Piece, opener_of
from dynamicdet_d2.runner.two_stage import TwoStageHead
from dynamicdet_d2.runner.yolo import YoloHead
from dynamicdet_d2.utils.words import shown

# More than any machine has.
MOST_THREADS = 4096


class Runner:
    """An exported detector.

    A dynamic one sends each image by its difficulty down one of two routes; where the line lies
    is said in one of three ways, and again at any time:

        detector.threshold = 0.4           # hard iff difficulty > 0.4
        detector.hard_fraction(0.3)        # by the calibration that was exported
        detector.latency(40, pictures)     # milliseconds per picture, measured here first

    Other attributes cannot be set: ``detector.hard_fraction = 0.3`` would change nothing.

    Attributes:
        class_names: of the classes; empty where they were not known.
        head: from the outputs of a tail to detections in the network's pixels.
        head2: of detector2; often the same.
    """

    __slots__ = ("_budget", "_manifest", "_pieces", "_routes", "class_names", "head", "head2")

    def __init__(
        self,
        folder: str | Path,
        *,
        threshold: float | None = None,
        hard_fraction: float | None = None,
        threads: int | None = None,
        opener: Opener | None = None,
    ) -> None:
        """
        Args:
            folder: that ``dynamicdet export`` wrote.
            threshold: in [0, 1]; None: that of the export.
            hard_fraction: in [0, 1], in place of a threshold.
            threads: of the runtime and of ROIAlign; None: as they like.
            opener: of the pieces, for a runtime that this package has not.

        Raises:
            ValueError: the folder is not as it was written; a number is out of range, or not alone.
            ImportError: the runtime is not installed.
        """
        if threshold is not None and hard_fraction is not None:
            raise ValueError(
                "threshold and hard_fraction both say which images are hard; give one."
            )
        own = Folder.read(folder)
        manifest = self._manifest = own.manifest
        self.class_names: list[str] = manifest["class_names"]
        if threads is not None:
            threads = _checked_threads(threads)
        if opener is None:
            opener = opener_of(manifest["runtime"], threads)
        if not callable(opener):
            raise ValueError(
                f"opener is {shown(opener)}; it must be a function of the path of a piece."
            )
        opened = {name: own.open(name, opener) for name in manifest["pieces"]}
        self._pieces = Pieces(opened, manifest["sides"])
        self.head = _head(manifest["heads"], opened, "", threads)
        self.head2 = self.head
        if "boxes2" in opened:
            self.head2 = _head(manifest["heads"], opened, "2", threads)
        self._routes = None
        if manifest["dynamic"]:
            self._routes = Routes(manifest, self._pieces, (self.head, self.head2))
        self._check_pieces(own)
        own.check_unreplaced()
        self._budget = Budget(manifest["threshold"], manifest["calibration"], self.dynamic)
        if threshold is not None:
            self.threshold = threshold
        if hard_fraction is not None:
            self.hard_fraction(hard_fraction)

    def __setattr__(self, name: str, value: object) -> None:
        """
        Raises:
            AttributeError: what is a method, or no attribute at all.
        """
        if name == "hard_fraction":
            raise AttributeError(
                "hard_fraction is a method: hard_fraction(0.3) takes the threshold of that share."
            )
        super().__setattr__(name, value)

    @property
    def dynamic(self) -> bool:
        """Whether it has two routes."""
        return self._manifest["dynamic"]

    @property
    def threshold(self) -> float | None:
        """An image is hard iff difficulty > threshold; None of a static detector."""
        return self._budget.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._budget.set(value)

    def hard_fraction(self, share: float) -> None:
        """Take the threshold of a share of hard images, in [0, 1].

        Raises:
            ValueError: without a calibration.
        """
        self._budget.set(self._budget.threshold_for(share))

    def latency(self, milliseconds: float, pictures: Sequence[np.ndarray]) -> None:
        """Take the threshold of a mean latency per picture (eq. 14), measured on this machine.

        The calibration's own milliseconds are PyTorch's; here both routes are timed with the
        runtime in use, in turns, each picture alone, after one untimed call of each.

        Args:
            pictures: to measure on, at least one.

        Raises:
            ValueError: out of reach, with the range that can be reached; no number; or no
                calibration.
        """
        self._budget.check_milliseconds(milliseconds)
        easy, hard = self.measure(pictures)
        self._budget.set(self._budget.threshold_for_cost(easy, hard, milliseconds))

    def measure(self, pictures: Sequence[np.ndarray]) -> tuple[float, float]:
        """Mean milliseconds per picture with all of them easy, and with all hard."""
        check_list(pictures)
        if not len(pictures):
            raise ValueError("There are no pictures to measure on.")
        if not self.dynamic:
            raise ValueError(STATIC)
        seconds = {1.0: 0.0, 0.0: 0.0}
        for number, picture in enumerate([pictures[0], *pictures]):
            for route in sorted(seconds, reverse=bool(number % 2)):
                start = time.perf_counter()
                self._at(route, [picture])
                seconds[route] += (time.perf_counter() - start) if number else 0.0
        easy, hard = (1000 * seconds[route] / len(pictures) for route in (1.0, 0.0))
        return easy, hard

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """Detections in each picture, whatever other ones there are.

        Args:
            pictures: (H, W, 3) uint8, RGB, of any sizes, turned as they are to be seen.

        Raises:
            ValueError: a picture of another shape or type, or too large for the sizes exported;
                or the detector's numbers are not finite.
        """
        return self._at(self.threshold, pictures)

    def _at(self, threshold: float | None, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """At a threshold that other threads' calls do not see; None of a static detector."""
        found: dict[int, Detections] = {}
        for batch in prepare(pictures, self._manifest["input"], self._manifest["sides"]):
            found.update(zip(batch.places, self._detected(batch, threshold), strict=True))
        return [found[place] for place in range(len(found))]

    def _detected(self, batch: Batch, threshold: float | None) -> list[Detections]:
        if self._routes is not None and threshold is not None:
            found, difficulties, routes = self._routes(batch, threshold)
        else:
            inputs = {"images": batch.tensor}
            outputs = self._pieces.run(batch, "whole", inputs, self.head.outputs)
            found = self.head(outputs, batch.sizes, [0] * len(batch.sizes))
            difficulties = routes = [None] * len(found)
        return [
            in_picture(_moved(own, shift), size, original, difficulty, route)
            for own, shift, size, original, difficulty, route in zip(
                found,
                batch.shifts,
                batch.sizes,
                batch.originals,
                difficulties,
                routes,
                strict=True,
            )
        ]

    def _check_pieces(self, folder: Folder) -> None:
        """
        Raises:
            ValueError: a piece is missing, or an output of it.
        """
        needed, others = {"whole": self.head.outputs}, {}
        if self._routes is not None:
            needed, others = self._routes.needed(), self._routes.router()
        sides = self._manifest["sides"]
        for side in sides or [()]:
            for name, outputs in needed.items():
                folder.require(name + ending(sides, side), outputs)
        for head in {id(head): head for head in (self.head, self.head2)}.values():
            others = {**others, **getattr(head, "needs", {})}
        for name, outputs in others.items():
            folder.require(name, outputs)


def _checked_threads(threads: Any) -> int:
    """Also numpy's numbers, by which a configuration may count.

    Raises:
        ValueError: no whole number, or one that no machine has.
    """
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not (whole and 1 <= threads <= MOST_THREADS):
        raise ValueError(
            f"threads is {shown(threads)}; it must be a whole number from 1 to {MOST_THREADS}."
        )
    return int(threads)


def _head(
    settings: Mapping[str, Any], pieces: Mapping[str, Piece], ending: str, threads: int | None
) -> Any:
    """From the outputs of a tail to detections, by the kind of detector.

    Args:
        ending: of the pieces' names.
        threads: to work in; None: as many as there are cores.
    """
    kinds: dict[str, Callable[[], Any]] = {
        "two_stage": lambda: TwoStageHead(settings, pieces, ending, threads),
        "retinanet": lambda: DenseHead(settings),
        "fcos": lambda: DenseHead(settings),
        "yolo": lambda: YoloHead(settings),
    }
    return kinds[settings["kind"]]()


def _moved(found: Found, shift: tuple[float, float]) -> Found:
    """Back to the image's corner."""
    if shift == (0.0, 0.0):
        return found
    boxes = found.boxes - np.array([*shift, *shift], dtype=np.float32)
    return Found(boxes, found.scores, found.classes, found.masks)

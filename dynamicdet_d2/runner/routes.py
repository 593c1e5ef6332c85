# SPDX-License-Identifier: Apache-2.0
"""The two routes of an exported dynamic detector.

N: images of a batch, M: hard ones among them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dynamicdet_d2.runner.detections import Found
from dynamicdet_d2.runner.first_pass import FirstPass
from dynamicdet_d2.runner.images import Batch
from dynamicdet_d2.runner.merging import merged
from dynamicdet_d2.runner.pieces import Pieces
from dynamicdet_d2.runner.router_numbers import proposal_numbers, score_numbers
from dynamicdet_d2.runner.runtimes import Arrays
from dynamicdet_d2.runner.two_stage import DAMAGED

# What a router can see beyond backbone 1, in the order of its numbers.
LATER_INPUTS: dict[str, Callable[[FirstPass], list[np.ndarray]]] = {
    "rpn": lambda first: [proposal_numbers(own) for own in first.proposals],
    "detections": lambda first: [score_numbers(own.scores) for own in first.detections],
}


class Routes:
    """From a batch to each image's detections by its route."""

    def __init__(self, manifest: Mapping[str, Any], pieces: Pieces, heads: Sequence[Any]) -> None:
        """
        Args:
            manifest: of a dynamic detector.
            pieces: its own.
            heads: of detector1 and of detector2.
        """
        self._pieces, self._heads = pieces, heads
        self._levels = [f"f1_{level}" for level in manifest["levels"]]
        self._new = manifest["second_levels"]
        self._easy_limit = manifest["easy_proposals"]
        self._merging: Mapping[str, Any] | None = manifest["merge_exits"]
        self._later = [name for name in LATER_INPUTS if name in manifest["router_inputs"]]
        self._at_once = len(self._later) < len(manifest["router_inputs"])
        self._one_pass = manifest["shared_tail"] and not (self._later or self._merging)
        self._tails = ("tail", "tail") if manifest["shared_tail"] else ("tail1", "tail2")

    def needed(self) -> dict[str, list[str]]:
        """Name of a piece for a padded size -> its outputs that are used."""
        second = [f"f2_{level}" for level in self._new]
        tails = {name: head.outputs for name, head in zip(self._tails, self._heads, strict=True)}
        return {"first": self._seen_at_once, "second": second, **tails}

    def router(self) -> dict[str, list[str]]:
        """The router's own piece and its output; empty where it is in the first piece."""
        return {"router": ["difficulty"]} if self._later else {}

    @property
    def _seen_at_once(self) -> list[str]:
        """Outputs of the first piece."""
        of_router = [("numbers" if self._later else "difficulty")] if self._at_once else []
        return [*self._levels, "start", *of_router]

    def __call__(self, batch: Batch, threshold: float) -> tuple[list[Found], list, list]:
        """Each image's detections by its route, difficulties and routes.

        Raises:
            ValueError: a difficulty is not finite.
        """
        seen = self._pieces.run(batch, "first", {"images": batch.tensor}, self._seen_at_once)
        features = {name: seen[name] for name in self._levels}
        first = self._first_pass(batch, features)
        difficulties = self._difficulties(seen, first)
        if not np.isfinite(difficulties).all():
            raise ValueError(
                f"A picture's difficulty is not finite: {DAMAGED}, or it was made of a model "
                "whose weights are."
            )
        # As float64 by themselves: numpy 1 would round the threshold to their float32.
        hard = difficulties.astype(np.float64) > threshold
        if self._one_pass:
            found = self._together(batch, features, seen["start"], hard)
        else:
            found = self._apart(batch, features, seen["start"], hard, first)
        return found, difficulties.tolist(), ["hard" if own else "easy" for own in hard]

    def _difficulties(self, seen: Arrays, first: FirstPass) -> np.ndarray:
        """(N,), by the router, which looks on as far as it has to."""
        if not self._later:
            return seen["difficulty"]
        later = [np.stack(LATER_INPUTS[name](first)) for name in self._later]
        numbers = np.concatenate([*([seen["numbers"]] if self._at_once else []), *later], axis=1)
        return self._pieces.opened["router"]({"numbers": numbers}, ["difficulty"])["difficulty"]

    def _first_pass(self, batch: Batch, features: Arrays) -> FirstPass:
        head = self._heads[0]

        def tail(places: list[int]) -> Arrays:
            own = features
            if len(places) < len(batch.sizes):
                own = {name: level[places] for name, level in features.items()}
            return self._pieces.run(batch, self._tails[0], own, head.outputs)

        return FirstPass(tail, head, batch.sizes, self._easy_limit)

    def _together(
        self, batch: Batch, features: Arrays, start: np.ndarray, hard: np.ndarray
    ) -> list[Found]:
        """One pass of a shared tail over the features of both routes."""
        own = {name: level.copy() for name, level in features.items()} if hard.any() else features
        if hard.any():
            for name, level in self._second(batch, features, start, hard).items():
                own[name][hard] = level
        head = self._heads[0]
        outputs = self._pieces.run(batch, self._tails[0], own, head.outputs)
        return head(outputs, batch.sizes, np.where(hard, 0, self._easy_limit).tolist())

    def _apart(
        self, batch: Batch, features: Arrays, start: np.ndarray, hard: np.ndarray, first: FirstPass
    ) -> list[Found]:
        """Each route's images through a tail's pass of their own, hard ones through both if merged.

        Args:
            first: detector1's pass, which has taken the steps that the router has looked at.
        """
        of_first = np.flatnonzero(~hard | bool(self._merging)).tolist()
        found = dict(zip(of_first, first.leaving(of_first), strict=True))
        if hard.any():
            own = {name: level[hard] for name, level in features.items()}
            own |= self._second(batch, features, start, hard)
            head, places = self._heads[1], np.flatnonzero(hard).tolist()
            outputs = self._pieces.run(batch, self._tails[1], own, head.outputs)
            second = head(outputs, [batch.sizes[i] for i in places], [0] * len(places))
            if self._merging:
                how = self._merging["least_iou"], self._merging["limit"]
                pairs = zip(places, second, strict=True)
                second = [merged(found[i], other, *how) for i, other in pairs]
            found.update(zip(places, second, strict=True))
        return [found[i] for i in range(len(batch.sizes))]

    def _second(
        self, batch: Batch, features: Arrays, start: np.ndarray, hard: np.ndarray
    ) -> Arrays:
        """Backbone 2's features of the hard images, under the names of the first ones."""
        inputs = {name: level[hard] for name, level in features.items()} | {"start": start[hard]}
        given = self._pieces.run(batch, "second", inputs, [f"f2_{level}" for level in self._new])
        return {f"f1_{level}": given[f"f2_{level}"] for level in self._new}

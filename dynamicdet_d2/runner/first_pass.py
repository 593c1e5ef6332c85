# SPDX-License-Identifier: Apache-2.0
"""What detector1 says of a batch, as far as anyone has asked. N: images of the batch."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from dynamicdet_d2.runner.detections import Found, Proposals
from dynamicdet_d2.runner.runtimes import Arrays


class FirstPass:
    """Each step is taken when its result is first asked for, and once."""

    def __init__(
        self,
        tail: Callable[[list[int]], Arrays],
        head: Any,
        sizes: Sequence[tuple[int, int]],
        limit: int,
    ) -> None:
        """
        Args:
            tail: gives its outputs of the images in some places.
            head: from these to detections.
            sizes: N heights and widths.
            limit: candidates kept of each image; 0: as the head's settings say.
        """
        self._tail, self._head, self._sizes, self._limit = tail, head, sizes, limit
        self._all = list(range(len(sizes)))

    @cached_property
    def outputs(self) -> Arrays:
        """Of the tail."""
        return self._tail(self._all)

    @cached_property
    def proposals(self) -> list[Proposals]:
        """Of N images, of a two-stage detector."""
        return self._head.proposals(self.outputs, self._sizes)

    @cached_property
    def detections(self) -> list[Found]:
        """Of N images."""
        return self._detected(self._all)

    def leaving(self, places: list[int]) -> list[Found]:
        """Detections of the images in some places, for which nothing is computed again."""
        if places == self._all or "detections" in vars(self):
            return [self.detections[i] for i in places]
        return self._detected(places) if places else []

    def _detected(self, places: list[int]) -> list[Found]:
        if "outputs" not in vars(self):
            outputs = self._tail(places)
        elif places == self._all:
            outputs = self.outputs
        else:
            outputs = {name: rows[places] for name, rows in self.outputs.items()}
        seen = {}
        if "proposals" in vars(self):
            seen["proposals"] = [self.proposals[i] for i in places]
        sizes = [self._sizes[i] for i in places]
        return self._head(outputs, sizes, [self._limit] * len(places), **seen)

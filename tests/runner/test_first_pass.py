# SPDX-License-Identifier: Apache-2.0
"""Nothing of detector1's pass is computed twice, nor for an image that does not need it."""

from collections.abc import Sequence

import numpy as np

from dynamicdet_d2.runner.detections import Found, Proposals
from dynamicdet_d2.runner.first_pass import FirstPass
from dynamicdet_d2.runner.runtimes import Arrays

SIZES = [(10, 10), (20, 20), (30, 30)]
NOTHING = np.zeros((0, 4), dtype=np.float32)


class Detector:
    """Writes down which images its steps are taken for; an image's score is its number."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[int]]] = []

    def tail(self, places: list[int]) -> Arrays:
        self.taken.append(("tail", places))
        return {"levels": np.array(places)}

    def proposals(self, outputs: Arrays, sizes: Sequence[tuple[int, int]]) -> list[Proposals]:
        places = outputs["levels"].tolist()
        assert [SIZES[i] for i in places] == sizes
        self.taken.append(("proposals", places))
        return [Proposals(NOTHING, np.array([i])) for i in places]

    def __call__(
        self,
        outputs: Arrays,
        sizes: Sequence[tuple[int, int]],
        limits: Sequence[int],
        proposals: Sequence[Proposals] | None = None,
    ) -> list[Found]:
        places = outputs["levels"].tolist()
        assert [SIZES[i] for i in places] == sizes
        assert list(limits) == [7] * len(places)
        self.taken.append(("detections", places))
        if proposals is not None:
            assert [own.logits.tolist() for own in proposals] == [[i] for i in places]
        return [Found(NOTHING, np.array([float(i)]), np.array([0])) for i in places]


def scores(found: Sequence[Found]) -> list[float]:
    return [float(own.scores[0]) for own in found]


def test_where_nothing_was_looked_at_the_tail_sees_what_leaves() -> None:
    detector = Detector()
    first = FirstPass(detector.tail, detector, SIZES, 7)
    assert first.leaving([]) == []
    assert scores(first.leaving([0, 2])) == [0, 2]
    assert detector.taken == [("tail", [0, 2]), ("detections", [0, 2])]


def test_after_proposals_only_what_leaves_is_detected() -> None:
    detector = Detector()
    first = FirstPass(detector.tail, detector, SIZES, 7)
    assert len(first.proposals) == 3
    assert scores(first.leaving([1])) == [1]
    everyone = [0, 1, 2]
    expected = [("tail", everyone), ("proposals", everyone), ("detections", [1])]
    assert detector.taken == expected


def test_detections_that_were_looked_at_are_those_that_leave() -> None:
    detector = Detector()
    first = FirstPass(detector.tail, detector, SIZES, 7)
    assert scores(first.detections) == [0, 1, 2]
    assert scores(first.leaving([2])) == [2]
    assert scores(first.leaving([0, 1, 2])) == [0, 1, 2]
    assert [step for step, _ in detector.taken] == ["tail", "detections"]

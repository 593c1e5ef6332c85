# SPDX-License-Identifier: Apache-2.0
"""One pass over the images: the hard exit, and the easy one at several numbers of proposals.

L: limits of the easy exit.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from dynamicdet_d2.evaluation.exit_records import ExitRecord, SpreadSample, merged
from dynamicdet_d2.evaluation.latency import Latency, measure_points
from dynamicdet_d2.evaluation.observe import Observation
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.limited_exits import Exits, exits_at_limits
from dynamicdet_d2.modeling.modes import evaluating


def observe_limits(
    model: DynamicDetector,
    loader: Iterable[list[dict]],
    limits: Sequence[int],
    sample_size: int,
    step: Callable[[], None],
) -> list[Observation]:
    """What a pass at each limit would find, by one pass.

    Features live for one batch. Memory grows by the detections of L + 1 exits.

    Args:
        model: a dynamic detector.
        loader: batches of Detectron2's input dicts.
        limits: (L,) values of ``MODEL.DYNAMIC.EASY_PROPOSALS``.
        sample_size: images to keep for measuring latency.
        step: called after each batch.

    Returns:
        (L,) with one sample of the images.

    Raises:
        ValueError: there was no image, or one whose difficulty is not finite.
    """
    records: list[list[ExitRecord]] = [[] for _ in limits]
    sample = SpreadSample(sample_size)
    with evaluating(model):
        for batch in loader:
            for image, exits in zip(batch, exits_at_limits(model, batch, limits), strict=True):
                for own, record in zip(records, _records(image, exits), strict=True):
                    own.append(record)
                sample.add(image)
            step()
    if not records[0]:
        raise ValueError("No image of the data set could be read; the log names each.")
    return [Observation(merged([own]), sample.items()) for own in records]


def _records(image: Mapping, exits: Exits) -> list[ExitRecord]:
    """(L,) whose results of the hard exit are one and the same list where there is one."""
    found: list[ExitRecord] = []
    several = len(exits.hard) > 1
    hard_ones = exits.hard if several else exits.hard * len(exits.easy)
    for difficulty, easy, hard in zip(exits.difficulties, exits.easy, hard_ones, strict=True):
        output = {"difficulty": difficulty, "detector1": easy, "detector2": hard}
        record = ExitRecord.of(image, output, with_masks=False)
        if found and not several:
            results = record.results[0], found[0].results[1]
            record = dataclasses.replace(record, results=results)
        found.append(record)
    return found


def measure_limits(
    model: DynamicDetector, images: Sequence[dict], limits: Sequence[int], warmup: int
) -> list[dict[str, Latency]]:
    """Latency of both routes at each limit, all in turns on the same images.

    Args:
        model: a dynamic detector.
        images: Detectron2's input dicts, in memory.
        limits: (L,) as ``observe_limits`` takes them.
        warmup: untimed calls beforehand.

    Returns:
        (L,) {"easy", "hard"}. The hard route is timed once, unless hard images pass detector1's
        heads as well, and so with as many proposals as an easy image has: where the router looks
        at what it detects, or both exits are merged.
    """
    points = [model.operating_point.limited(limit) for limit in limits]
    limited = model.exit_merging or "detections" in model.router.reads
    hard_ones = points if limited else points[:1]
    turns = [*(point.moved(1.0) for point in points), *(point.moved(0.0) for point in hard_ones)]
    found = measure_points(model, [[image] for image in images], turns, warmup)
    easy, hard = found[: len(limits)], found[len(limits) :]
    return [{"easy": own, "hard": hard[i % len(hard)]} for i, own in enumerate(easy)]

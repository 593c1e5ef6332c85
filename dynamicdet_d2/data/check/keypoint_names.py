# SPDX-License-Identifier: Apache-2.0
"""Names of keypoints in the metadata of data sets: their order, and which two a flip exchanges."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from detectron2.data import MetadataCatalog

from dynamicdet_d2.data.register import in_metadata
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)


def warn_of_other_names(train: Sequence[str], test: Sequence[str]) -> None:
    """Say where keypoints are measured in another order than they were learnt in.

    Args:
        train, test: names of data sets; those whose metadata name no keypoints are left alone.
    """
    given = in_metadata("keypoint_names", (*train, *test))
    named = {name: list(keypoints or ()) for name, keypoints in given.items()}
    learnt = next((name for name in train if named.get(name)), None)
    if learnt is None:
        return
    for name in test:
        if named.get(name) and named[name] != named[learnt]:
            logger.warning(
                "The keypoints of '%s' are %s, but those of '%s', by DATASETS.TRAIN, are %s: they "
                "are compared by their places, and figures of keypoints say nothing.",
                *(name, shown(named[name]), learnt, shown(named[learnt])),
            )


def refuse_unknown_pairs(name: str) -> None:
    """Refuse a ``keypoint_flip_map`` by which a flip would leave keypoints on the wrong side.

    Args:
        name: of a data set whose metadata have the map and ``keypoint_names``.

    Raises:
        ValueError: it is no list of pairs of these names, or a name is there twice or has two
            partners.
    """
    metadata = MetadataCatalog.get(name)
    names, pairs = metadata.keypoint_names, metadata.keypoint_flip_map
    if not isinstance(names, list | tuple) or len({*names}) != len(names):
        raise ValueError(
            f"Data set '{name}' has the keypoint_names {shown(names)} in its metadata; it must be "
            "a list of names, each there once."
        )
    says = (
        f"Data set '{name}' has the keypoint_flip_map {shown(pairs)} in its metadata; it must be a "
        f"list of pairs of its keypoint_names, {shown(list(names))}, and"
    )
    given = _pairs(pairs)
    unknown = [pairs] if given is None else [x for pair in given for x in pair if x not in names]
    if unknown:
        raise ValueError(f"{says} {shown(unknown[0])} is none.")
    both_ways = {(a, b) for pair in given or () for a, b in (pair, pair[::-1])}
    partners = Counter(a for a, _ in both_ways)
    if twice := [name for name, number in partners.items() if number > 1]:
        raise ValueError(f"{says} {shown(min(twice))} has two partners.")


def _pairs(given: Any) -> list[tuple[Any, Any]] | None:
    """Those of a list or a dict; None where it is neither, as an iterator, which flips would find
    empty."""
    try:
        listed = given.items() if isinstance(given, Mapping) else given
        return [(a, b) for a, b in listed] if isinstance(listed, Collection) else None
    except (TypeError, ValueError):
        return None

# SPDX-License-Identifier: Apache-2.0
"""What lessens the figures of a data set: found before they are measured, said beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Data set -> sentences; None outside of a run, where the log alone says them.
_kept: ContextVar[dict[str, list[str]] | None] = ContextVar("remarks", default=None)


@contextmanager
def remarks_kept() -> Iterator[None]:
    """Inside, ``remarks_on`` has what ``remark`` was told; another run begins without them."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def remark(name: str, sentence: str) -> str:
    """Keep a sentence for the report of a data set, once.

    Returns:
        the sentence, for the log.
    """
    kept = _kept.get()
    if kept is not None and sentence not in kept.setdefault(name, []):
        kept[name].append(sentence)
    return sentence


def remarks_on(name: str) -> tuple[str, ...]:
    """What was said of a data set in this run, in its order."""
    return tuple((_kept.get() or {}).get(name, ()))

# SPDX-License-Identifier: Apache-2.0
"""Meeting in a store that outlives the run's processes, as ``torchrun``'s does.

When it starts them again, addresses of dead processes are still in its store, and whoever comes
first would connect to those (PyTorch's issue 135712). A count of restarts does not help: each
machine has its own. So rank 0 names a place of its own for each meeting, and answers whoever comes.
"""

import secrets
import time
from datetime import timedelta

from torch.distributed import PrefixStore, Store

_PLACE = "dynamicdet/place"
# Seconds: until a place that nobody answers at is left, and between two looks.
_ANSWER, _LOOK = 1.0, 0.05


def meet(store: Store, rank: int, size: int, timeout: float) -> Store:
    """The part of the store in which all processes of this start, and no others, meet.

    Args:
        store: which all of them have, and earlier ones may have had.
        rank, size: of this process, and of how many.
        timeout: seconds to wait for the others.

    Raises:
        RuntimeError: not all came; torch's own, or with "timed out" in it.
    """
    if rank == 0:
        return PrefixStore(_held_by_rank_0(store, size, timeout), store)
    own, until = secrets.token_hex(8), time.monotonic() + timeout
    while time.monotonic() < until:
        store.wait([_PLACE], timedelta(seconds=timeout))
        place = store.get(_PLACE).decode()
        store.set(f"{place}/here/{rank}", own)
        if _is_answered(store, f"{place}/seen/{rank}", own):
            return PrefixStore(place, store)
        time.sleep(_LOOK)
    raise RuntimeError("timed out waiting for rank 0")


def _held_by_rank_0(store: Store, size: int, timeout: float) -> str:
    place = f"dynamicdet/{secrets.token_hex(8)}"
    store.set(_PLACE, place)
    for rank in range(1, size):
        store.wait([f"{place}/here/{rank}"], timedelta(seconds=timeout))
        store.set(f"{place}/seen/{rank}", store.get(f"{place}/here/{rank}").decode())
    return place


def _is_answered(store: Store, key: str, own: str) -> bool:
    try:
        store.wait([key], timedelta(seconds=_ANSWER))
    except RuntimeError:
        return False
    return store.get(key).decode() == own

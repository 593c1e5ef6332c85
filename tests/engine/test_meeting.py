# SPDX-License-Identifier: Apache-2.0
"""Processes that are started again meet each other, and none that was there before."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import Store, TCPStore

from dynamicdet_d2.engine import meeting
from dynamicdet_d2.engine.meeting import meet

SIZE = 3


@pytest.fixture
def server() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=20))


def client(server: TCPStore) -> TCPStore:
    return TCPStore("127.0.0.1", server.port, timeout=timedelta(seconds=20))


def met(server: TCPStore, order: tuple[int, ...]) -> list[Store]:
    """All ranks, begun in that order; each says in the common part who it is."""
    stores = {}
    with ThreadPoolExecutor(SIZE) as pool:
        waiting = {rank: pool.submit(meet, client(server), rank, SIZE, 20.0) for rank in order}
        stores = {rank: task.result() for rank, task in waiting.items()}
    return [stores[rank] for rank in range(SIZE)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_each_start_has_a_part_of_its_own(
    server: TCPStore, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    monkeypatch.setattr(meeting, "_ANSWER", 0.1)
    for start in ("first", "second", "third"):
        stores = met(server, order)
        assert not any(store.check(["name"]) for store in stores)  # of the start before
        stores[0].set("name", start)
        assert {store.get("name").decode() for store in stores} == {start}


def test_whoever_comes_alone_does_not_wait_for_ever(
    server: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "_ANSWER", 0.1)
    with pytest.raises(RuntimeError, match="(?i)time"):
        meet(client(server), 0, SIZE, 0.3)
    with pytest.raises(RuntimeError, match="(?i)timed out"):
        meet(client(server), 1, SIZE, 0.3)

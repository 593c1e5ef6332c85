# SPDX-License-Identifier: Apache-2.0
"""A process that loads images, where it cannot hand them over."""

import pytest
from torch.utils.data import DataLoader, Dataset

from dynamicdet_d2.data.loading import workers


class Unsendable:
    """As a batch is for which there is no room in /dev/shm."""

    def __reduce__(self) -> str:
        raise RuntimeError("unable to allocate shared memory")


class Images(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: int) -> Unsendable:
        return Unsendable()


def test_a_batch_that_cannot_be_handed_over_is_not_waited_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    loader = DataLoader(
        Images(), batch_size=None, num_workers=1, worker_init_fn=workers.begin, timeout=60
    )
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid(\(s\))? \d+\)"):
        next(iter(loader))
    said = capfd.readouterr().err
    assert " cannot hand a batch over: unable to allocate shared memory\n" in said
    assert "Traceback" not in said

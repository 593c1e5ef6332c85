# SPDX-License-Identifier: Apache-2.0
"""Machines that are started by hand have one config, or are refused."""

from contextlib import nullcontext

import pytest
from detectron2.config import CfgNode
from detectron2.utils import comm

from dynamicdet_d2.config import get_cfg
from dynamicdet_d2.engine.same_config import check_same_config


def config(**keys: object) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list([x for name, value in keys.items() for x in (name, value)])
    return cfg


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({}, ""),
        # Folders, and what has no consequence for the others, may differ.
        ({"MODEL.WEIGHTS": "/disk2/start.pth", "DATALOADER.NUM_WORKERS": 7}, ""),
        ({"OUTPUT_DIR": "/disk2/here"}, ""),
        ({"MODEL.WEIGHTS": "/disk1/end.pth"}, "MODEL.WEIGHTS is 'start.pth' for rank 0 and 'end."),
        ({"SOLVER.BASE_LR": 0.5}, "SOLVER.BASE_LR is 0.25 for rank 0 and 0.5 for rank 1: all"),
        ({"TEST.EVAL_PERIOD": 3}, "TEST.EVAL_PERIOD is 0 for rank 0 and 3 for rank 1"),
        ({"DATASETS.TEST": ("b",)}, r"DATASETS.TEST is \['a'\] for rank 0 and \['b'\] for rank 1"),
    ],
)
def test_a_process_with_other_keys(other: dict, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"MODEL.WEIGHTS": "/disk1/start.pth", "SOLVER.BASE_LR": 0.25, "DATASETS.TEST": ("a",)}
    sent: list[object] = []
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", lambda value: sent.append(value) or [value])
    check_same_config(config(**own | other))
    there = sent[0]
    monkeypatch.setattr(comm, "all_gather", lambda value: [value, value and there])
    with pytest.raises(ValueError, match=f"^{says}") if says else nullcontext():
        check_same_config(config(**own))

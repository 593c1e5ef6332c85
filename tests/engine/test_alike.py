# SPDX-License-Identifier: Apache-2.0
"""Machines that are started by hand have one config, or are refused."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from dynamicdet_d2.config import get_cfg
from dynamicdet_d2.engine.alike import check_same_command, check_same_config


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
        ({"SOLVER.BASE_LR": 0.5}, "SOLVER.BASE_LR is 0.25 for rank 0 and 0.5 for rank 1; all"),
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


def test_files_of_one_name_and_other_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for machine, content in (("one", b"a"), ("two", b"a"), ("three", b"b")):
        files[machine] = tmp_path / machine / "model.pth"
        files[machine].parent.mkdir()
        files[machine].write_bytes(content)
    sent: list[object] = []
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", lambda value: sent.append(value) or [value])
    for machine in files:
        check_same_config(config(**{"MODEL.WEIGHTS": str(files[machine])}))
    there = {"two": sent[2], "three": sent[4]}
    for machine, says in (("two", ""), ("three", "MODEL.WEIGHTS 'model.pth' has another content")):
        other = there[machine]
        monkeypatch.setattr(comm, "all_gather", lambda value, other=other: [value, value and other])
        with pytest.raises(ValueError, match=f"^{says}") if says else nullcontext():
            check_same_config(config(**{"MODEL.WEIGHTS": str(files["one"])}))


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (["--resume"], ["--resume"], ""),
        (["--eval-only"], [], "--eval-only is given to rank 0 and not to rank 1; all"),
        ([], ["--eval-only"], "--eval-only is given to rank 1 and not to rank 0; all"),
        ([], ["--resume"], "--resume is given to rank 1 and not to rank 0; all"),
    ],
)
def test_a_process_with_another_command(
    first: list[str], second: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = default_argument_parser().parse_args
    sent: list[object] = []
    monkeypatch.setattr(comm, "all_gather", lambda value: sent.append(value) or [value])
    check_same_command(parse(second))
    there = sent[0]
    monkeypatch.setattr(comm, "all_gather", lambda value: [value, value and there])
    with pytest.raises(ValueError, match=f"^{says}") if says else nullcontext():
        check_same_command(parse(first))

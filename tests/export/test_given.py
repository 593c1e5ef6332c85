# SPDX-License-Identifier: Apache-2.0
"""What a program gives to ``export``, and is none of what it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import get_cfg as detectron2_cfg

from dynamicdet_d2 import add_dynamicdet_config
from dynamicdet_d2.export import export
from dynamicdet_d2.export.manifest import checked_sides
from dynamicdet_d2.export.write import Request
from tests.support.toy import toy_cfg, toy_model

ONNX = Request("onnx")
MODEL, CFG = toy_model(), toy_cfg()


@pytest.mark.parametrize(
    ("model", "cfg", "request_", "says"),
    [
        (None, CFG, ONNX, "The model is of type NoneType; it must be a module of torch"),
        (CFG, MODEL, ONNX, "The model is of type Config; it must be a module of torch"),
        (MODEL, None, ONNX, "The config is of type NoneType; it must be a CfgNode"),
        (MODEL, Path("c.yaml"), ONNX, "The config is of type PosixPath; it must be a CfgNode"),
        (MODEL, CFG, "onnx", "The request is of type str; it must be a Request."),
        (MODEL, CFG, Request(["onnx"]), "There is no format ['onnx']; onnx, openvino, torch are."),
        (MODEL, CFG, Request("ONNX"), "There is no format 'ONNX'; onnx, openvino, torch are."),
        (MODEL, CFG, Request("onnx", class_names="abc"), "The names of classes are of type str;"),
        (MODEL, CFG, Request("onnx", class_names=["a"]), "There are 1 names of classes, but MODEL"),
        (MODEL, CFG, Request("onnx", class_names=[1, 2, 3]), "There is 1 among the names of cl"),
        (MODEL, CFG, Request("onnx", calibration=3), "3 is no path of a file or a folder."),
    ],
)
def test_what_is_not_exported(
    tmp_path: Path, model: Any, cfg: Any, request_: Any, says: str
) -> None:
    with pytest.raises(ValueError) as refused:
        export(model, cfg, tmp_path / "exported", request_)
    assert str(refused.value).startswith(says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sides", [3, "64x96", (64, 96), [64, 96], [(64.0, 96.0)], [("64", "96")], [(64, 96, 3)], [], {}]
)
def test_what_are_no_sides(sides: Any) -> None:
    with pytest.raises(ValueError, match=r"^The sides are .*; they must be a list of \(height, wi"):
        checked_sides(sides, 32)


def test_sides_of_every_kind_of_list() -> None:
    pairs = [(96, 64), (32, 64)]
    for sides in (pairs, [[96, 64], [32, 64]], np.array(pairs), [*pairs, pairs[0]]):
        found = checked_sides(sides, 32)  # type: ignore
        assert found == [(32, 64), (96, 64)] and type(found[0][0]) is int


def test_a_config_is_one() -> None:
    for cfg in (None, {}, "config.yaml"):
        with pytest.raises(ValueError, match=r"^The config is of type .*; it must be a CfgNode"):
            add_dynamicdet_config(cfg)  # type: ignore
    cfg = detectron2_cfg()
    add_dynamicdet_config(cfg)
    assert cfg.MODEL.DYNAMIC.THRESHOLD == CFG.MODEL.DYNAMIC.THRESHOLD

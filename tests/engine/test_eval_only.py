# SPDX-License-Identifier: Apache-2.0
"""train_net.py --eval-only with everything asked for, on one process and on two."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from dynamicdet_d2.commands.train import _refuse_unclear
from tests.support.runs import NUM_IMAGES, train, write_toy
from tests.support.toy import toy_model
from tests.support.undrawn import leave_undrawn

TWO = "--num-gpus 2 --dist-url auto"
ASKED = (
    *("TEST.DYNAMIC.LOSS_GAP", True),
    *("TEST.DYNAMIC.INPUT_SIZES", [32]),
    *("TEST.DYNAMIC.GALLERY", 2),
)


def evaluate(config_file: str, output: Path, weights: Path, options: str = "") -> Path:
    """Folder of the trade-off."""
    keys = (*ASKED, "MODEL.WEIGHTS", weights)
    done = train(config_file, output, *keys, options=f"--eval-only {options}")
    assert done.status == 0, done.out + done.err
    return output / "inference" / "dynamic"


def test_two_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file, weights = write_toy(tmp_path), tmp_path / "model.pth"
    torch.save({"model": toy_model("MODEL.ROI_HEADS.NUM_CLASSES", 6).state_dict()}, weights)
    alone = evaluate(config_file, tmp_path / "one", weights)
    leave_undrawn(monkeypatch)  # the first one's report is looked at below
    both = evaluate(config_file, tmp_path / "two", weights, TWO)
    one, two = (json.loads((f / "tradeoff.json").read_text()) for f in (alone, both))
    assert one["num_images"] == two["num_images"] == NUM_IMAGES
    assert one["rank_correlation"] == two["rank_correlation"]
    assert one["rank_correlation"]["loss_gap"] is not None
    for mine, theirs in zip(one["points"], two["points"], strict=True):
        for name in ("latency_ms", "fps", "latency"):
            del mine[name], theirs[name]
        assert mine == theirs
    assert (alone / "routes.jsonl").read_text() == (both / "routes.jsonl").read_text()
    # Both ends at 32 and at 64 pixels, beside each other.
    for series in one["comparisons"]:
        assert [point["label"] for point in series["points"]] == ["32 px", "64 px"]
        small, large = (point["gflops"] for point in series["points"])
        assert small < large
    names = {path.name for path in alone.iterdir()}
    assert {"gallery.jpg", "report.html", "tradeoff.md"} <= names
    assert "at input sizes" in (alone / "report.html").read_text()


def test_empty_weights_are_no_other_file_than_the_last_checkpoint() -> None:
    def typed(value: str) -> argparse.Namespace:
        opts = ["MODEL.WEIGHTS", value, "SEED", "1"]
        return argparse.Namespace(config_file="c.yaml", eval_only=True, resume=True, opts=opts)

    _refuse_unclear(typed(""))
    with pytest.raises(ValueError, match="MODEL.WEIGHTS names another file"):
        _refuse_unclear(typed("w.pth"))


def test_weights_that_leave_parts_random_are_refused(tmp_path: Path) -> None:
    config_file, weights = write_toy(tmp_path), tmp_path / "model.pth"
    state = toy_model("MODEL.ROI_HEADS.NUM_CLASSES", 6).state_dict()
    torch.save({"model": {n: w for n, w in state.items() if "bottom_up2" not in n}}, weights)
    done = train(config_file, tmp_path / "out", "MODEL.WEIGHTS", weights, options="--eval-only")
    assert done.status == 2
    said = done.err.splitlines()[-1]
    assert said.startswith(f"train_net.py: error: {weights} leaves parts of the model at random")
    assert "backbone.bottom_up2 (" in said
    assert not (tmp_path / "out" / "inference").exists()

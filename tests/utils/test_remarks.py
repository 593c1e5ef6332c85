# SPDX-License-Identifier: Apache-2.0
"""What is said of a data set before it is measured is kept for its report."""

from pathlib import Path

import pytest
import torch

from dynamicdet_d2.checkpoint.learnt import in_checkpoint, recorded_images, say_learnt_images
from dynamicdet_d2.data.check.run import warn_of_classes, warn_of_learnt_set
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.utils.remarks import remark, remarks_kept, remarks_on
from tests.support.coco_files import clean_catalogs, image_entry, write_coco


def test_remarks_are_of_one_data_set_and_of_one_run() -> None:
    assert remark("own", "outside") == "outside"  # for the log
    with remarks_kept():
        assert remarks_on("own") == ()
        for name, sentence in (("own", "a"), ("own", "b"), ("own", "a"), ("other", "c")):
            remark(name, sentence)
        assert (remarks_on("own"), remarks_on("other")) == (("a", "b"), ("c",))
    with remarks_kept():
        assert remarks_on("own") == ()


def test_what_lessens_figures_is_kept_as_it_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = ["own", *write_coco(tmp_path / "own", [image_entry(1)], [])]
    path, image = tmp_path / "w.pth", str(tmp_path / "a.jpg")
    torch.save({"model": {}, **in_checkpoint(recorded_images([{"file_name": image}], []))}, path)
    with clean_catalogs(), remarks_kept():
        register_coco_json([own])
        say_learnt_images(path, "own", [image])
        warn_of_classes(["ring", "disc"], "w.pth", ["own"])
        warn_of_learnt_set(["own"], "own")
        kept = remarks_on("own")
    assert kept == (
        f"{path} has learnt 1 of its 1 images, so that their figures say nothing of new images.",
        "The classes of 'own' are disc, ring, but those of w.pth are ring, disc: where these were "
        "learnt, classes are mixed up.",
        "Data set 'own' is what DATASETS.TRAIN has as 'own': figures on it say nothing of new "
        "images.",
    )
    assert [*caplog.messages] == [f"Data set 'own': {kept[0]}", *kept[1:]]

# SPDX-License-Identifier: Apache-2.0
"""Classes of weights that a training begins with, beside those that it learns."""

from pathlib import Path

import pytest
import torch

from dynamicdet_d2.checkpoint.learnt import in_checkpoint, recorded_images
from dynamicdet_d2.checkpoint.names import DYNAMICDET
from dynamicdet_d2.checkpoint.report import LoadReport, ShapeMismatch
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.engine.learnt_classes import say_begun_with
from tests.support.coco_files import clean_catalogs, image_entry, write_coco
from tests.support.toy import toy_cfg

SCORES = "roi_heads.box_predictor.cls_score.weight"
ROUTER = "router.hidden.weight"


def report(path: Path, loaded: tuple[str, ...], other: tuple[str, ...] = ()) -> LoadReport:
    mismatched = tuple(ShapeMismatch(name, (1,), (2,)) for name in other)
    return LoadReport(str(path), DYNAMICDET, loaded, (), (), (), (), mismatched, loaded, loaded)


@pytest.mark.parametrize(
    ("classes", "loaded", "other", "says"),
    [
        (["ring", "disc"], (SCORES,), (), True),
        (["ring", "disc"], (SCORES,), (ROUTER,), True),
        (["disc", "ring"], (SCORES,), (), False),
        (["ring", "disc"], ("backbone.stem",), (), False),  # nothing that tells classes apart
        (["ring"], ("roi_heads.box_head.fc1.weight",), (SCORES,), False),  # begins at random values
        ([], (SCORES,), (), False),  # not known
    ],
)
def test_classes_that_have_other_places_in_the_weights_are_said(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    classes: list[str],
    loaded: tuple[str, ...],
    other: tuple[str, ...],
    says: bool,
) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {}, **in_checkpoint(recorded_images([], classes))}, path)
    own = ["own", *write_coco(tmp_path / "own", [image_entry(1)], [])]
    with clean_catalogs():
        register_coco_json([own])
        say_begun_with(toy_cfg("DATASETS.TRAIN", ("own",)), [report(path, loaded, other)])
    sentence = (
        f"The classes of 'own' are disc, ring, but those of {path}, by its own record, are ring, "
        "disc: where these were learnt, classes are mixed up."
    )
    assert [record.getMessage() for record in caplog.records] == ([sentence] if says else [])

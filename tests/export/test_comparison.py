# SPDX-License-Identifier: Apache-2.0
"""An exported detector beside its model: hand-computed figures, then the same detector twice."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.export import export, open_exported
from dynamicdet_d2.export.accuracy import Accuracy, ImageSet, exported_records, model_records
from dynamicdet_d2.export.comparison import Comparison, Point
from dynamicdet_d2.export.write import Request
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.exported import DETECTORS, SIZES, own_data_set
from tests.support.optimized import decided

GRID = [1.0, *(1 - k / 1000 for k in range(1, 1000)), 0.0]


def comparison(*ap: tuple[float, float], hard: tuple[float, float] = (0.5, 0.5)) -> Comparison:
    shares = [(0.0, 0.0), hard, (1.0, 1.0)]
    points = [
        Point(t, share, {"box": pair})
        for t, share, pair in zip((1.0, 0.4, 0.0), shares, ap, strict=True)
    ]
    return Comparison(("float32", "int8"), "shapes", 200, points, 0.4, (0.001, 0.01))


def test_what_is_lost_and_what_moves() -> None:
    found = comparison((60.0, 59.7), (62.0, 61.4), (64.0, 64.1), hard=(0.5, 0.45))
    assert found.largest_drop == pytest.approx(0.6)
    assert found.largest_move.threshold == 0.4
    lost, moved = found.warnings(0.5)
    assert lost == "int8 loses 0.60 AP to float32 on shapes, more than 0.5."
    assert moved.startswith("Above threshold 0.4000 are 50.0% of the images of shapes in float32")
    assert "45.0% in int8" in moved
    assert len(found.warnings(0.61)) == 1
    assert comparison((60.0, 59.7), (62.0, 61.8), (64.0, 64.1)).warnings(0.5) == []


def test_a_table_and_plain_values() -> None:
    found = comparison((60.0, 59.7), (62.0, 61.4), (64.0, 64.1), hard=(0.5, 0.45))
    title, head, _, *rows = found.table().splitlines()
    moved = "difficulties differ by 0.001 in the mean, 0.01 at most"
    assert title == f"200 images of shapes; {moved}; * the export's own threshold"
    assert head.split() == "threshold % hard, float32 int8 box AP, float32 int8 lost".split()
    assert rows[1].split() == ["*0.4000", "50.0", "45.0", "62.00", "61.40", "0.60"]
    content = found.as_json()
    assert content["points"][1] == {
        "threshold": 0.4,
        "hard_fraction": [0.5, 0.45],
        "ap": {"box": [62.0, 61.4]},
    }
    assert content["largest_ap_drop"] == 0.6
    assert content["difficulty_change"] == {"mean": 0.001, "largest": 0.01}


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[tuple[nn.Module, CfgNode, ImageSet]]:
    """A detector, and images whose objects are what its hard route detects."""
    yield from _labelled("rcnn", tmp_path)


@pytest.fixture
def static(tmp_path: Path) -> Iterator[tuple[nn.Module, CfgNode, ImageSet]]:
    yield from _labelled("static rcnn", tmp_path)


def _labelled(name: str, folder: Path) -> Iterator[tuple[nn.Module, CfgNode, ImageSet]]:
    cfg_of, model_of, keys = DETECTORS[name]
    model, cfg = decided(model_of(*keys, *SIZES)), cfg_of(*keys, *SIZES)
    paths = own_data_set(model, cfg, folder / "data")
    with clean_catalogs():
        register_coco_json([["own", *paths]])
        yield model, cfg, ImageSet.read("--data", "own", 3)


def both(model: nn.Module, cfg: CfgNode, images: ImageSet, folder: Path) -> list[Accuracy]:
    detector = open_exported(export(model, cfg, folder, Request("torch")))
    before = detector.threshold
    records = exported_records(detector, images.images, "exported")
    assert detector.threshold == before
    return [
        Accuracy(own, images.truth) for own in (model_records(model, cfg, images.images), records)
    ]


def test_an_export_has_its_models_ap(toy: tuple, tmp_path: Path) -> None:
    model, cfg, images = toy
    # As data sets by code have them, in no order of their ids.
    images = dataclasses.replace(images, images=images.images[::-1])
    first, second = both(model, cfg, images, tmp_path / "folder")
    np.testing.assert_allclose(first.difficulties, second.difficulties, atol=2e-6)
    manifest = {"dynamic": True, "threshold": 0.35, "calibration": {"grid": GRID}}
    found = Comparison.of(("PyTorch", "exported"), (first, second), images, manifest)
    assert [round(p.threshold, 3) for p in found.points] == sorted(
        {0.35, *(k / 10 for k in range(11))}, reverse=True
    )
    assert found.num_images == 3
    easy, hard = found.points[0], found.points[-1]
    assert hard.ap["box"][0] > 80 and easy.ap["box"][0] < hard.ap["box"][0] - 1
    for point in found.points:
        assert set(point.ap) == {"box", "mask"}
        for a, b in point.ap.values():
            assert a == pytest.approx(b, abs=0.05)


def test_a_static_detector_has_one_point(static: tuple, tmp_path: Path) -> None:
    model, cfg, images = static
    pair = both(model, cfg, images, tmp_path / "folder")
    manifest = {"dynamic": False, "threshold": None, "calibration": None}
    found = Comparison.of(("PyTorch", "exported"), tuple(pair), images, manifest)
    (point,) = found.points
    assert point.ap["box"][0] == pytest.approx(point.ap["box"][1], abs=0.05)
    assert point.ap["box"][0] > 80
    assert found.as_json()["points"] == [{"ap": found.as_json()["points"][0]["ap"]}]
    assert "threshold" not in found.table()


def test_a_static_detector_is_padded_as_its_export_is(static: tuple, tmp_path: Path) -> None:
    model, cfg, images = static
    cfg.MODEL.INFERENCE.OPTIMIZE, cfg.MODEL.INFERENCE.SIZE_MULTIPLE = True, 128
    first, second = both(model, cfg, images, tmp_path / "exported")
    assert first.ap(0.5) == pytest.approx(second.ap(0.5), abs=0.05)


def test_images_to_measure_on(tmp_path: Path) -> None:
    images = [image_entry(i) for i in range(1, 6)]
    seen = write_coco(tmp_path / "seen", images, [object_entry(1, 3)])
    empty = write_coco(tmp_path / "empty", images, [])
    with clean_catalogs():
        register_coco_json([["seen", *seen], ["empty", *empty]])
        chosen = ImageSet.read("--data", "seen", 2)
        assert [image["image_id"] for image in chosen.images] == [1, 3]
        with pytest.raises(ValueError, match="--data empty: there is no object in its 2 images"):
            ImageSet.read("--data", "empty", 2)
        with pytest.raises(ValueError, match="--data names 'gone', which is not registered"):
            ImageSet.read("--data", "gone", 2)

# SPDX-License-Identifier: Apache-2.0
"""The drawn data set: outlines by hand, what difficulty does, files that follow from the recipe."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicdet_d2.data.check.run import check_dataset
from dynamicdet_d2.data.shapes import dataset as shapes
from dynamicdet_d2.data.shapes.dataset import (
    Recipe,
    draw_dataset,
    refuse_other,
    register_shapes,
    shapes_folder,
)
from dynamicdet_d2.data.shapes.drawing import (
    CLASSES,
    POINTED,
    ROUND,
    Shape,
    draw_picture,
    outline,
    place_shapes,
)
from dynamicdet_d2.utils.folder_lock import FolderInUseError, held

SMALL = Recipe(num_images=4, seed=7, width=96, height=64)


def test_the_folder_of_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert shapes_folder() == tmp_path / "data" / "shapes"
    monkeypatch.setenv("DETECTRON2_DATASETS", "s3://bucket/data")
    with pytest.raises(ValueError, match="^DETECTRON2_DATASETS is 's3://bucket/data'; it must be"):
        register_shapes(["shapes_val"])


def test_outlines_by_hand() -> None:
    square = outline("square", angle=0, aspect=0.5)
    np.testing.assert_allclose(square, [[1, 0], [0, 0.5], [-1, 0], [0, -0.5]], atol=1e-12)
    assert [len(outline(name, 0, 1)) for name in CLASSES] == [28, 6, 5, 4, 3, 10]


def test_area_and_box_by_hand() -> None:
    triangle = Shape("triangle", np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]))
    assert triangle.area == 6
    assert triangle.box.tolist() == [0, 0, 4, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_shapes_lie_inside_the_picture(seed: int, difficulty: float) -> None:
    found = place_shapes(np.random.default_rng(seed), difficulty, 128, 96)
    assert 1 <= len(found) <= 8
    for shape in found:
        x0, y0, x1, y1 = shape.box
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= 128
        assert y1 <= 96


def test_difficulty_makes_objects_more_and_smaller() -> None:
    def mean(difficulty: float) -> tuple[float, float]:
        sets = [place_shapes(np.random.default_rng(i), difficulty, 256, 192) for i in range(40)]
        widths = [shape.box[2] - shape.box[0] for found in sets for shape in found]
        return sum(map(len, sets)) / len(sets), sum(widths) / len(widths)

    (easy_count, easy_width), (hard_count, hard_width) = mean(0.0), mean(1.0)
    assert easy_count == 1
    assert hard_count > 3
    assert hard_width < 0.8 * easy_width


def test_easy_pictures_show_pointed_shapes_and_hard_ones_round_shapes() -> None:
    for difficulty, family in ((0.3, POINTED), (0.7, ROUND)):
        found = place_shapes(np.random.default_rng(0), difficulty, 256, 192)
        assert {shape.name for shape in found} <= set(family)


def test_an_easy_picture_is_plain() -> None:
    picture, found = draw_picture(np.random.default_rng(0), 0.0, 128, 96)
    assert picture.shape == (96, 128, 3)
    assert picture.dtype == np.uint8
    x0, y0, x1, y1 = found[0].box.astype(int)
    outside = np.ones((96, 128), dtype=bool)
    outside[max(0, y0 - 1) : y1 + 2, max(0, x0 - 1) : x1 + 2] = False
    assert picture[outside].std(axis=0).max() < 4


def test_a_set_passes_its_own_check_and_carries_difficulties(tmp_path: Path) -> None:
    draw_dataset(tmp_path, SMALL)
    report = check_dataset(
        "drawn", str(tmp_path / "instances.json"), str(tmp_path / "images"), len(CLASSES)
    )
    assert not report.errors
    content = json.loads((tmp_path / "instances.json").read_text())
    assert [c["name"] for c in content["categories"]] == list(CLASSES)
    assert len(content["images"]) == 4
    assert all(0 <= image["difficulty"] <= 1 for image in content["images"])
    for annotation in content["annotations"]:
        points = np.array(annotation["segmentation"][0]).reshape(-1, 2)
        x, y, width, height = annotation["bbox"]
        np.testing.assert_allclose(points.min(axis=0), [x, y], atol=0.01)
        np.testing.assert_allclose(points.max(axis=0), [x + width, y + height], atol=0.02)


def test_a_set_follows_from_its_recipe(tmp_path: Path) -> None:
    for name, recipe in (("a", SMALL), ("b", SMALL), ("c", Recipe(2, 7, 96, 64))):
        draw_dataset(tmp_path / name, recipe)
    files = [sorted((tmp_path / n / "images").iterdir()) for n in "abc"]
    pictures = [[f.read_bytes() for f in folder] for folder in files]
    assert pictures[0] == pictures[1]
    assert pictures[2] == pictures[0][:2]


def test_a_drawn_set_is_kept_and_one_of_another_recipe_replaced(tmp_path: Path) -> None:
    draw_dataset(tmp_path, SMALL)
    written = (tmp_path / "instances.json").stat().st_mtime_ns
    draw_dataset(tmp_path, SMALL)
    assert (tmp_path / "instances.json").stat().st_mtime_ns == written
    draw_dataset(tmp_path, Recipe(2, 8, 96, 64))
    assert len(json.loads((tmp_path / "instances.json").read_text())["images"]) == 2


def test_pictures_that_are_missing_are_drawn_again(tmp_path: Path) -> None:
    draw_dataset(tmp_path, SMALL)
    written = (tmp_path / "instances.json").stat().st_mtime_ns
    gone = tmp_path / "images" / "000002.jpg"
    before = gone.read_bytes()
    gone.unlink()
    draw_dataset(tmp_path, SMALL)
    assert gone.read_bytes() == before
    assert (tmp_path / "instances.json").stat().st_mtime_ns == written


def test_a_folder_of_other_things_is_not_drawn_into(tmp_path: Path) -> None:
    mine = tmp_path / "instances.json"
    for content in ('{"info": {"description": "mine"}}', "[]", "{"):
        mine.write_text(content)
        with pytest.raises(ValueError, match="not of a drawn set|is not a JSON file"):
            draw_dataset(tmp_path, SMALL)
        assert mine.read_text() == content
    mine.rename(tmp_path / "other.txt")
    with pytest.raises(ValueError, match="not of a drawn set"):
        draw_dataset(tmp_path, SMALL)
    with pytest.raises(ValueError, match="is a file"):
        draw_dataset(tmp_path / "other.txt", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]
    mine = (tmp_path / "other.txt").rename(tmp_path / ".DS_Store")  # as a Mac's empty folder
    draw_dataset(tmp_path, SMALL)
    assert mine.is_file() and (tmp_path / "instances.json").is_file()


def test_a_set_of_another_recipe_may_be_somebodys(tmp_path: Path) -> None:
    refuse_other(tmp_path, SMALL)
    draw_dataset(tmp_path, SMALL)
    refuse_other(tmp_path, SMALL)
    said = r"a drawn set of num_images 4, seed 7, width 96, height 64, which would be replaced"
    with pytest.raises(ValueError, match=said):
        refuse_other(tmp_path, Recipe(2, 7, 96, 64))


def test_two_processes_do_not_draw_one_set(tmp_path: Path) -> None:
    with held(tmp_path, "The drawn set"), pytest.raises(FolderInUseError) as refused:
        draw_dataset(tmp_path, SMALL)
    assert str(refused.value).startswith(f"The drawn set {tmp_path} is in use by this very process")
    draw_dataset(tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "instances.json"]


def test_an_interrupted_drawing_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dynamicdet_d2.data.shapes.dataset.write_image", full)
        with pytest.raises(OSError, match="No space left"):
            draw_dataset(tmp_path, SMALL)
    draw_dataset(tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "instances.json"]


def test_a_recipe_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one image of 64 pixels"):
        draw_dataset(tmp_path, Recipe(0, 1))


def test_names_are_drawn_and_registered_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setitem(shapes.SPLITS, "shapes_tiny", SMALL)
    with caplog.at_level(logging.INFO):
        register_shapes(["shapes_tiny", "coco_2017_val"])
    try:
        assert len(DatasetCatalog.get("shapes_tiny")) == 4
        assert "Drawing 4 images" in caplog.text
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "other"))
        with pytest.raises(ValueError, match="^The data set 'shapes_tiny' is a drawn one: call"):
            register_shapes(["shapes_tiny"])
        assert not (tmp_path / "other").exists()
    finally:
        DatasetCatalog.remove("shapes_tiny")
        MetadataCatalog.remove("shapes_tiny")


def test_what_is_no_recipe_is_refused(tmp_path: Path) -> None:
    for values, says in (
        ((2.0, 1), "A drawn set's num_images is 2.0; it must be a whole number."),
        ((2, None), "A drawn set's seed is None; it must be a whole number."),
        ((2, 1, 96.5, 64), "A drawn set's width is 96.5; it must be a whole number."),
    ):
        with pytest.raises(ValueError) as error:
            Recipe(*values)
        assert str(error.value) == says
    with pytest.raises(ValueError, match=r"^recipe is \(2, 1\); it must be a Recipe\("):
        draw_dataset(tmp_path, (2, 1))
    assert list(tmp_path.iterdir()) == []
    draw_dataset(str(tmp_path), Recipe(np.int64(1), np.int64(7), 96, 64))
    assert json.loads((tmp_path / "instances.json").read_text())["info"]["num_images"] == 1


@pytest.mark.parametrize("main", [True, False])
def test_where_the_first_process_cannot_draw_no_other_one_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: bool
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setitem(shapes.SPLITS, "shapes_tiny", SMALL)
    (tmp_path / "shapes" / "shapes_tiny").mkdir(parents=True)
    (tmp_path / "shapes" / "shapes_tiny" / "notes.txt").touch()
    met = []

    def all_gather(said: str | None) -> list[str | None]:
        met.append(said)
        return ["what the first one says", None]

    monkeypatch.setattr(shapes.comm, "is_main_process", lambda: main)
    monkeypatch.setattr(shapes.comm, "all_gather", all_gather)
    says = "has files in it that are not of a drawn set" if main else "^what the first one says$"
    with pytest.raises(ValueError, match=says) as error:
        register_shapes(["shapes_tiny"])
    assert met == [str(error.value) if main else None]


def test_a_set_is_known_for_one_from_its_first_file_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that looks while it is begun, or after a kill, finds nobody else's files."""
    seen = []

    def look(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        seen.append(shapes._drawn(tmp_path / "set"))

    monkeypatch.setattr(shapes, "make_folder", look)
    draw_dataset(tmp_path / "set", Recipe(1, 0, width=64, height=64))
    assert seen == [{}, {}]
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / f"{shapes.UNFINISHED}.host.1-00000000.tmp").touch()
    assert shapes._drawn(begun) == {}


def test_what_a_kill_has_left_does_not_make_a_finished_set_unfinished(tmp_path: Path) -> None:
    """It would be drawn at every start, and over what was edited in it."""
    recipe = Recipe(1, 0, width=64, height=64)
    draw_dataset(tmp_path, recipe)
    (tmp_path / f"{shapes.UNFINISHED}.host.1-00000000.tmp").touch()
    assert shapes._drawn(tmp_path)["num_images"] == 1
    (tmp_path / shapes.UNFINISHED).touch()
    assert shapes._drawn(tmp_path) == {}

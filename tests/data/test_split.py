# SPDX-License-Identifier: Apache-2.0
"""One COCO file becomes three, and shapes come to lie on a photograph."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.data.shapes.dataset import Recipe
from dynamicdet_d2.data.shapes.over_photograph import draw_over_photograph
from dynamicdet_d2.data.split import split_coco
from tests.support.coco_files import image_entry, object_entry, write_coco


@pytest.fixture
def forty(tmp_path: Path) -> str:
    """Image i has i % 3 objects."""
    images = [image_entry(number) for number in range(1, 41)]
    owners = [number for number in range(1, 41) for _ in range(number % 3)]
    objects = [object_entry(id_, owner) for id_, owner in enumerate(owners, start=1)]
    return write_coco(tmp_path, images, objects, draw=False)[0]


def test_every_image_goes_into_one_part_with_its_objects(forty: str, tmp_path: Path) -> None:
    files = split_coco(forty, tmp_path / "parts")
    parts = {name: json.loads(path.read_text()) for name, path in files.items()}
    assert {name: len(part["images"]) for name, part in parts.items()} == {
        "train": 24,
        "val": 6,
        "test": 10,
    }
    ids = [image["id"] for part in parts.values() for image in part["images"]]
    assert sorted(ids) == list(range(1, 41))
    for part in parts.values():
        own = {image["id"] for image in part["images"]}
        assert {x["image_id"] for x in part["annotations"]} <= own
        assert len(part["annotations"]) == sum(id_ % 3 for id_ in own)
        assert part["categories"] == json.loads(Path(forty).read_text())["categories"]


def test_seed_and_number_of_images(forty: str, tmp_path: Path) -> None:
    def train_ids(folder: str, **options: int) -> list[int]:
        content = json.loads(split_coco(forty, tmp_path / folder, **options)["train"].read_text())
        return [image["id"] for image in content["images"]]

    assert train_ids("a", seed=1) == train_ids("b", seed=1) != train_ids("c", seed=2)
    assert len(train_ids("d", num_images=20)) == 12


def test_another_split_in_the_place_of_an_earlier_one_is_said(
    forty: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in (1, 1):
        split_coco(forty, tmp_path / "parts", seed=seed)
    assert not caplog.messages  # nothing was there, and then the same
    split_coco(forty, tmp_path / "parts", seed=2)
    said = "of an earlier import is replaced: its images or their objects are others now."
    assert caplog.messages == [
        f"{tmp_path}/parts/instances_{name}.json {said}" for name in ("train", "val", "test")
    ]


def test_too_few_images_and_other_files_are_refused(forty: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 40 image.s., of which 19 at most are asked for"):
        split_coco(forty, tmp_path, num_images=19)
    other = tmp_path / "other.json"
    other.write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"other.json has no lists of 'images' and 'annotations'"):
        split_coco(str(other), tmp_path)
    assert not (tmp_path / "instances_train.json").exists()


def test_shapes_on_a_photograph(tmp_path: Path) -> None:
    """Of a photograph that is red all over, all is red but the shapes."""
    photograph = tmp_path / "red.png"
    cv2.imwrite(str(photograph), np.full((90, 120, 3), (0, 0, 255), dtype=np.uint8))
    recipe = Recipe(num_images=4, seed=5, width=128, height=96)
    path = draw_over_photograph(tmp_path / "set", recipe, photograph)
    content = json.loads(path.read_text())
    for image in content["images"]:
        pixels = cv2.imread(str(path.parent / "images" / image["file_name"])).astype(int)
        drawn = cv2.imread(str(path.parent / "drawn" / "images" / image["file_name"])).astype(int)
        outside = np.ones(pixels.shape[:2], dtype=bool)
        for shape in content["annotations"]:
            if shape["image_id"] == image["id"]:
                x, y, w, h = (round(value) for value in shape["bbox"])
                outside[max(y - 9, 0) : y + h + 9, max(x - 9, 0) : x + w + 9] = False
                middle = np.array(shape["segmentation"][0]).reshape(-1, 2).mean(axis=0).astype(int)
                assert np.abs(pixels - drawn)[middle[1], middle[0]].max() < 40
        assert np.abs(pixels[outside] - [0, 0, 255]).max() < 20
    before = path.stat().st_mtime_ns
    draw_over_photograph(tmp_path / "set", recipe, photograph)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="gone.png cannot be read as an image"):
        draw_over_photograph(tmp_path / "other", recipe, tmp_path / "gone.png")


def test_import_data_splits_a_coco_file_and_prints_what_a_config_needs(
    forty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    words = ["import-data", "--coco", forty, "--output", "own"]
    assert main([*words, "--images", "photos", "--val-share", "0.25"]) == 0
    lines = capsys.readouterr().out.splitlines()
    counted = [line.split(",")[0] for line in lines if "WARNING" not in line]
    assert counted[1:3] == ["# train: 30 images", "# val: 10 images"]
    missing = [line[: line.index(" exist")] for line in lines if "WARNING" in line]
    assert missing == [f"# WARNING: {count} of these images do not" for count in (30, 10)]
    entries = yaml.safe_load("\n".join(lines))["DATASETS"]["COCO_JSON"]
    assert entries == [
        [f"own_{part}", f"own/instances_{part}.json", "photos"] for part in ("train", "val")
    ]
    ids = [
        {image["id"] for image in json.loads(Path(path).read_text())["images"]}
        for _, path, _ in entries
    ]
    assert not ids[0] & ids[1] and ids[0] | ids[1] == set(range(1, 41))
    with pytest.raises(SystemExit):
        main(words)
    assert "--coco and --images are given together" in capsys.readouterr().err


def test_classes_are_printed_in_the_models_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is by id, and not by place in the file."""
    categories = [{"id": 7, "name": "ring"}, {"id": 1, "name": "disc"}]
    images = [image_entry(number) for number in (1, 2)]
    json_file, root = write_coco(tmp_path, images, [], categories=categories)
    words = ["import-data", "--coco", json_file, "--images", root, "--output", str(tmp_path)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("# 2 classes: disc, ring\n")


def test_no_part_is_left_empty(forty: str, tmp_path: Path) -> None:
    shares = {"train": 5, "val": 95}
    with pytest.raises(ValueError, match="of which 5 % for train, 95 % for val leave none for"):
        split_coco(forty, tmp_path / "parts", 10, shares=shares, at_least=2)
    assert not (tmp_path / "parts").exists()


def test_shares_that_float_rounds_down(tmp_path: Path) -> None:
    """100 - 55.00000000000001 percent of 100 images are 45, and not 44."""
    images = [image_entry(number) for number in range(1, 101)]
    json_file, _ = write_coco(tmp_path, images, [], draw=False)
    files = split_coco(json_file, tmp_path, shares={"train": 100 - 100 * 0.55, "val": 100 * 0.55})
    counts = [len(json.loads(file.read_text())["images"]) for file in files.values()]
    assert counts == [45, 55]


def test_shapes_on_a_photograph_of_a_few_pixels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((2, 2, 3), 90, dtype=np.uint8))
    recipe = Recipe(num_images=1, seed=5, width=64, height=64)
    path = draw_over_photograph(tmp_path / "set", recipe, tmp_path / "small.png")
    assert cv2.imread(str(path.parent / "images" / "000000.jpg")).shape == (64, 64, 3)

# SPDX-License-Identifier: Apache-2.0
"""Data sets named in the config are registered, and what cannot be is refused in one sentence."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.data.register import (
    class_names,
    read_categories,
    register_coco_json,
    registered_classes,
)
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco


@pytest.fixture(autouse=True)
def _catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    categories = [{"id": 7, "name": "ring"}, {"id": 3, "name": "disc"}]
    annotations = [object_entry(1, 1, category_id=7), object_entry(2, 1, category_id=3)]
    return write_coco(tmp_path, [image_entry(1)], annotations, categories=categories)


def test_metadata_at_once_and_images_later(paths: tuple[str, str]) -> None:
    register_coco_json([["own", *paths]])
    metadata = MetadataCatalog.get("own")
    assert metadata.thing_classes == ["disc", "ring"]  # by id: 3, 7
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert metadata.evaluator_type == "coco"
    (image,) = DatasetCatalog.get("own")
    assert image["file_name"].endswith("images/001.jpg")
    assert [annotation["category_id"] for annotation in image["annotations"]] == [1, 0]


def test_annotations_are_read_lazily(paths: tuple[str, str]) -> None:
    register_coco_json([["own", *paths]])
    content = json.loads(Path(paths[0]).read_text())
    content["images"].append(image_entry(2))
    Path(paths[0]).write_text(json.dumps(content))
    assert len(DatasetCatalog.get("own")) == 2


def test_same_triple_twice_changes_nothing(
    paths: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register_coco_json([["own", *paths], ["own", *paths]])
    monkeypatch.chdir(Path(paths[0]).parent)
    register_coco_json((("own", "set.json", "./images"),))  # the same files, spelled otherwise
    assert MetadataCatalog.get("own").json_file == paths[0]


def test_detectron2_evaluator_accepts_it(paths: tuple[str, str]) -> None:
    register_coco_json([["own", *paths]])
    instances = Instances((30, 40))
    instances.pred_boxes = Boxes(torch.tensor([[5.0, 6.0, 15.0, 14.0]] * 2))
    instances.scores = torch.tensor([0.9, 0.8])
    instances.pred_classes = torch.tensor([0, 1])
    evaluator = COCOEvaluator("own", tasks=("bbox",), distributed=False, use_fast_impl=False)
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    "entries", ["own", 3, ["own"], [["own", "a.json"]], [["own", "a.json", 5]], [["", "a", "b"]]]
)
def test_entries_that_are_no_triples(entries: object) -> None:
    with pytest.raises(ValueError, match=r"DATASETS\.COCO_JSON must be"):
        register_coco_json(entries)  # type: ignore[arg-type]


def test_paths_that_do_not_exist(paths: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"json file of 'own' does not exist: .*missing\.json"):
        register_coco_json([["own", paths[0] + "missing.json", paths[1]]])
    with pytest.raises(ValueError, match="image folder of 'own' does not exist: .*elsewhere"):
        register_coco_json([["own", paths[0], paths[1] + "elsewhere"]])


def test_taken_names(paths: tuple[str, str], tmp_path: Path) -> None:
    register_coco_json([["own", *paths]])
    other = write_coco(tmp_path / "other", [image_entry(1)], [])
    with pytest.raises(ValueError, match="name 'own' is taken: its json_file is"):
        register_coco_json([["own", *other]])
    with pytest.raises(ValueError, match="name 'own' is taken: its image_root is"):
        register_coco_json([["own", paths[0], other[1]]])
    DatasetCatalog.register("drawn", list)
    with pytest.raises(ValueError, match="name 'drawn' is taken"):
        register_coco_json([["drawn", *paths]])


def test_name_registered_by_detectron2_itself(paths: tuple[str, str]) -> None:
    register_coco_instances("own", {}, *paths)
    register_coco_json([["own", *paths]])
    assert MetadataCatalog.get("own").thing_classes == ["disc", "ring"]


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([], "no list of 'categories'"),
        (None, "no list of 'categories'"),
        ([{"id": 1}], "needs an integer 'id' and a 'name'"),
        ([{"id": "1", "name": "a"}], "needs an integer 'id' and a 'name'"),
        (["disc"], "needs an integer 'id' and a 'name'"),
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "id 1 stands for both 'a' and 'b'"),
    ],
)
def test_bad_categories(tmp_path: Path, categories: object, message: str) -> None:
    paths = write_coco(tmp_path, [image_entry(1)], [], categories=categories)
    with pytest.raises(ValueError, match=message):
        register_coco_json([["own", *paths]])
    assert "own" not in DatasetCatalog


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"categories": [{"id": 1'])
def test_files_that_are_not_coco_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(ValueError, match=r"set\.json (is not JSON|holds a list)"):
        register_coco_json([["own", str(tmp_path / "set.json"), str(tmp_path)]])


def test_categories_alone_equal_those_of_the_whole_file(tmp_path: Path) -> None:
    many = [{"id": i, "name": f"class {i} ä"} for i in range(1, 5000)]  # longer than one excerpt
    contents = {
        "first": {"categories": many, "images": [{"id": 1}] * 9},
        "last": {"info": {"note": 'as in \\"categories\\": [1]'}, "categories": many},
        "twice": {"info": {"categories": [1]}, "categories": many},
        "none": {"images": []},
    }
    for name, content in contents.items():
        for options in ({}, {"ensure_ascii": False, "indent": 1}):
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(content, **options), encoding="utf-8")
            assert read_categories(str(path)) == content.get("categories")
    assert list(class_names(many, "f").values())[0] == "class 1 ä"


@pytest.mark.parametrize("name", ["a" * 201, "\u65e5" * 67, "a\nb", " "])
def test_names_that_no_report_could_have(paths: tuple[str, str], name: str) -> None:
    """They are folders' names and a report's, and would be refused when all is trained."""
    with pytest.raises(ValueError, match="must be text in one line, of 200 bytes at most"):
        register_coco_json([[name, *paths]])


def test_the_longest_name(paths: tuple[str, str]) -> None:
    register_coco_json([["a" * 200, *paths]])
    assert "a" * 200 in DatasetCatalog


def test_classes_by_code_that_no_file_could_have() -> None:
    with clean_catalogs():
        MetadataCatalog.get("by_code").set(thing_classes=["caf\udce9"])
        with pytest.raises(ValueError, match="^Data set 'by_code' has the thing_classes .* halves"):
            registered_classes("by_code")

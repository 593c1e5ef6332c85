# SPDX-License-Identifier: Apache-2.0
"""Own data: classes from the JSON, and what a training may start from."""

import json
from pathlib import Path

import pytest

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.config.checking import problems
from dynamicdet_d2.data.register import KEY
from tests.support.coco_files import image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg

OWN = "configs/own_data.yaml"


def entries(folder: Path, categories: int = 3) -> list:
    """``DATASETS.COCO_JSON`` of a data set in both roles."""
    names = [{"id": i, "name": f"class {i}"} for i in range(1, categories + 1)]
    files = write_coco(folder, [image_entry(1)], [object_entry(1, 1)], categories=names)
    return [["own_train", *files], ["own_val", *files]]


def test_classes_are_those_of_the_json(tmp_path: Path) -> None:
    cfg = read_config(OWN, [KEY, str(entries(tmp_path))])
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert cfg.MODEL.RETINANET.NUM_CLASSES == 80  # not asked for
    check(cfg, Use.TRAIN)


@pytest.mark.parametrize(
    ("architecture", "section"),
    [
        ("GeneralizedRCNN", "ROI_HEADS"),
        ("RetinaNet", "RETINANET"),
        ("FCOS", "FCOS"),
        ("YOLOv7", "YOLO"),
    ],
)
def test_every_kind_of_detector_can_ask(tmp_path: Path, architecture: str, section: str) -> None:
    keys = ["DATASETS.TRAIN", "('own_train',)", KEY, str(entries(tmp_path, 2))]
    keys += ["MODEL.META_ARCHITECTURE", architecture]
    cfg = read_config("", [*keys, f"MODEL.{section}.NUM_CLASSES", "0"])
    assert cfg.MODEL[section].NUM_CLASSES == 2


def test_without_the_json_it_is_said(tmp_path: Path) -> None:
    said = problems(read_config(OWN), Use.MODEL)
    assert said == [
        "MODEL.ROI_HEADS.NUM_CLASSES is 0; it must be a whole number in [1, 100000], or 0 for as "
        "many as the JSON of DATASETS.TRAIN has, which must then be there and stand in "
        "DATASETS.COCO_JSON: DATASETS.TRAIN is ['own_train']."
    ]
    misspelt = read_config(OWN, ["DATASETS.TRAIN", "('own_trian',)", KEY, str(entries(tmp_path))])
    number = (
        "MODEL.ROI_HEADS.NUM_CLASSES is 0; it must be a whole number in [1, 100000], or 0 for as "
        "many as the JSON of DATASETS.TRAIN has, which must then be there and stand in "
        "DATASETS.COCO_JSON: DATASETS.TRAIN is ['own_trian']. The nearest is 'own_train'."
    )
    assert problems(misspelt, Use.MODEL) == [number]
    assert problems(misspelt, Use.TRAIN) == [
        "DATASETS.TRAIN names 'own_trian', which is not registered: DATASETS.COCO_JSON registers "
        "[name, json file, image folder]. The nearest is 'own_train'.",
        number,
    ]
    gone = [["own_train", str(tmp_path / "gone.json"), str(tmp_path)]]
    with pytest.raises(ValueError) as refused:
        read_config(OWN, [KEY, str(gone)])
    assert "gone.json" in str(refused.value) and "NUM_CLASSES" not in str(refused.value)
    with pytest.raises(ValueError, match=KEY):
        read_config(OWN, [KEY, "3"])


def test_a_json_without_categories_is_named(tmp_path: Path) -> None:
    found = entries(tmp_path)
    Path(found[0][1]).write_text(json.dumps({"images": []}))
    with pytest.raises(ValueError, match=r"set.json has no list of 'categories'"):
        read_config(OWN, [KEY, str(found)])


# What a training starts from


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            ["MODEL.BACKBONE.FREEZE_AT", 2],
            "MODEL.WEIGHTS is '', but MODEL.BACKBONE.FREEZE_AT is 2, so that random values would "
            "stay as they are: name weights, or set MODEL.BACKBONE.FREEZE_AT 0.",
        ),
        (
            ["MODEL.RESNETS.NORM", "FrozenBN"],
            "MODEL.WEIGHTS is '', but MODEL.RESNETS.NORM is 'FrozenBN', so that random values "
            "would stay as they are: name weights, or set MODEL.RESNETS.NORM 'BN'.",
        ),
        (
            ["MODEL.BACKBONE.FREEZE_AT", 1, "MODEL.RESNETS.NORM", "FrozenBN"],
            "MODEL.WEIGHTS is '', but MODEL.BACKBONE.FREEZE_AT is 1 and MODEL.RESNETS.NORM is "
            "'FrozenBN', so that random values would stay as they are: name weights, or set "
            "MODEL.BACKBONE.FREEZE_AT 0 and MODEL.RESNETS.NORM 'BN'.",
        ),
    ],
)
def test_random_values_must_train(keys: list, says: str) -> None:
    cfg = toy_cfg("DATASETS.TRAIN", ("shapes_train",), "DATASETS.TEST", (), *keys)
    assert problems(cfg, Use.TRAIN) == [says]
    assert problems(cfg, Use.EVALUATE) == []  # nothing is trained
    cfg.MODEL.WEIGHTS = "weights.pth"
    assert problems(cfg, Use.TRAIN) == []
    cfg.MODEL.WEIGHTS, cfg.SOLVER.MAX_ITER = "", 0  # nor here, but the router
    assert problems(cfg, Use.TRAIN) == []


def test_norms_of_other_families_do_not_matter() -> None:
    cfg = toy_cfg("DATASETS.TRAIN", ("shapes_train",), "DATASETS.TEST", ())
    assert cfg.MODEL.EFFICIENTNET_LITE.NORM == "FrozenBN"
    assert problems(cfg, Use.TRAIN) == []

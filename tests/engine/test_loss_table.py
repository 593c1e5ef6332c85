# SPDX-License-Identifier: Apache-2.0
"""The loss table: its columns, and which file of an earlier run is used."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from dynamicdet_d2.engine.loss_table import (
    COLUMNS,
    LossTable,
    LossTableFile,
    measure_losses,
    table_fingerprint,
)
from dynamicdet_d2.engine.loss_table.columns import Observed
from tests.support.toy import toy_cfg, toy_inputs, toy_model

IMAGES = [
    {"image_id": 1, "file_name": "a.jpg", "annotations": [{"bbox": [0.0, 0.0, 9.0, 9.0]}]},
    {"image_id": 2, "file_name": "b.jpg", "annotations": []},
]
COLUMN_NAMES = ("features", "losses")


LAST = 7.5


def table(**more: torch.Tensor) -> LossTable:
    features = torch.tensor([[0.0], [1.0], [LAST]])
    return LossTable({"features": features, "losses": torch.ones(3, 2), **more})


# Columns


class TwoExits:
    """A stand-in whose exits are given; it keeps the sizes that it was asked for."""

    def __init__(self, *exits: dict) -> None:
        self._exits = exits

    def exits(self, batched_inputs: list[dict]) -> list[dict]:
        self.sizes = [(x["height"], x["width"]) for x in batched_inputs]
        return list(self._exits)


def instances(boxes: list[list[float]], kind: str) -> Instances:
    fields = Instances((64, 96))
    fields.set(f"{kind}_boxes", Boxes(torch.tensor(boxes).reshape(-1, 4)))
    fields.set(f"{kind}_classes", torch.zeros(len(boxes), dtype=torch.long))
    if kind == "pred":
        fields.scores = torch.linspace(0.9, 0.5, len(boxes))
    return fields


def test_gains_by_hand() -> None:
    """Of the image alone, in percent, and of the set, as if both images gained as much."""
    box = [10.0, 10.0, 50.0, 50.0]
    right, nothing = instances([box], "pred"), instances([], "pred")
    model = TwoExits(
        {"detector1": nothing, "detector2": right}, {"detector1": right, "detector2": right}
    )
    image = {"image": torch.zeros(3, 64, 96), "height": 640, "width": 960}
    batch = Observed(model, [{**image, "instances": instances([box], "gt")}] * 2)
    found = {name: COLUMNS[name].gather(COLUMNS[name].measure(batch)) for name in ("ap", "gain")}
    assert found["ap"].tolist() == pytest.approx([100, 0])
    # An object of two is half of the set's AP; twice that, since there are two images.
    assert found["gain"].tolist() == pytest.approx([1, 0])
    # Detections are asked for in the ground truth's scale, not in that of the file.
    assert model.sizes == [(64, 96)] * 2


@pytest.mark.parametrize("objects", [0, 2])
def test_all_columns_of_a_model(objects: int) -> None:
    model = toy_model("SOLVER.ROUTER.LOSS_PROPOSALS", 32)
    images = toy_inputs(3, objects=objects)
    batches = [[{**image, "dataset_index": i}] for i, image in enumerate(images)]
    router = ("features", "losses", "ap", "gain", "matched")
    measured = measure_losses(model, batches, router)
    shapes = {name: tuple(column.shape) for name, column in measured.columns.items()}
    width = model.router.hidden.in_features
    rows = shapes.pop("matched")
    assert rows[0] >= 3 * objects and rows[1] == 6
    assert shapes == {"features": (3, width), "losses": (3, 2), "ap": (3,), "gain": (3,)}
    assert all(column.dtype == torch.float32 for column in measured.columns.values())
    assert all(column.isfinite().all() for column in measured.columns.values())
    if not objects:
        assert not measured["ap"].any()
        assert not measured["gain"].any()


# The file of an earlier run


def test_a_table_comes_back_with_the_columns_asked_for(tmp_path: Path) -> None:
    file = LossTableFile(str(tmp_path), {"the detectors": "a"})
    assert file.load(COLUMN_NAMES) is None
    saved = table(gain=torch.tensor([1.0, 2.0, 3.0]))
    file.save(saved)
    assert [path.name for path in tmp_path.iterdir()] == ["loss_table.pth"]
    for names in (COLUMN_NAMES, (*COLUMN_NAMES, "gain")):
        loaded = file.load(names)
        assert tuple(loaded.columns) == names
        assert all(torch.equal(loaded[name], saved[name]) for name in names)


def _shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _no_table(path: Path) -> None:
    torch.save({"pooled": torch.zeros(3, 1), "detectors": "a"}, path)


def _flipped(path: Path) -> None:
    """A bit of a number, which torch itself reads without a word."""
    content = bytearray(path.read_bytes())
    number = struct.pack("<f", LAST)
    content[content.index(number)] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["columns"]["features"][-1] != LAST


def _foreign(path: Path) -> None:
    torch.save({"columns": [1, 2], "of": {"the detectors": "a"}}, path)


def _of_fewer_images(path: Path) -> None:
    columns = {"features": torch.zeros(2, 1), "losses": torch.zeros(3, 2)}
    torch.save({"columns": columns, "of": {"the detectors": "a"}}, path)


def _of_nan(path: Path) -> None:
    columns = {"features": torch.zeros(3, 1), "losses": torch.full((3, 2), float("nan"))}
    torch.save({"columns": columns, "of": {"the detectors": "a"}}, path)


def _of_whole_numbers(path: Path) -> None:
    columns = {"features": torch.zeros(3, 1), "losses": torch.ones(3, 2, dtype=torch.long)}
    torch.save({"columns": columns, "of": {"the detectors": "a"}}, path)


DAMAGES = [_shortened, _no_table, _flipped, _foreign, _of_fewer_images, _of_nan, _of_whole_numbers]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_used_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    file = LossTableFile(str(tmp_path), {"the detectors": "a"})
    file.save(table())
    damage(Path(file.path))
    assert file.load(COLUMN_NAMES) is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"{file.path} is damaged or of another version: it is measured anew."


def test_a_column_that_is_missing_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = LossTableFile(str(tmp_path), {})
    file.save(table())
    assert file.load((*COLUMN_NAMES, "gain")) is None
    assert "has no column 'gain': it is measured anew." in caplog.text


def test_a_table_belongs_to_the_detectors_and_not_to_the_router() -> None:
    cfg, model = toy_cfg(), toy_model()
    before = table_fingerprint(cfg, IMAGES, model)
    nn.init.ones_(model.router.score.bias)
    assert table_fingerprint(cfg, IMAGES, model) == before
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).running_mean += 1e-3
    after = table_fingerprint(cfg, IMAGES, model)
    assert [name for name in after if after[name] != before[name]] == ["the detectors"]


def test_a_table_belongs_to_weights_that_lie_beside_a_detectors_parts() -> None:
    model, cfg = toy_model(), toy_cfg()
    model.log_scale = nn.Parameter(torch.zeros(2))
    before = table_fingerprint(cfg, IMAGES, model)
    model.log_scale.data += 1
    after = table_fingerprint(cfg, IMAGES, model)
    assert [name for name in after if after[name] != before[name]] == ["the detectors"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DATASETS.TRAIN", ("other",)),
        ("SOLVER.ROUTER.LOSS_PROPOSALS", 16),
        ("INPUT.MIN_SIZE_TEST", 32),
        ("MODEL.RPN.NMS_THRESH", 0.5),
    ],
)
def test_a_table_belongs_to_the_keys_that_it_follows_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, value: object
) -> None:
    model = toy_model()
    LossTableFile(str(tmp_path), table_fingerprint(toy_cfg(), IMAGES, model)).save(table())
    elsewhere = ("MODEL.WEIGHTS", "a.pth", "MODEL.COMPOSITE.WEIGHTS2", "b.pth")
    same = table_fingerprint(toy_cfg(*elsewhere), IMAGES, model)
    assert LossTableFile(str(tmp_path), same).load(COLUMN_NAMES) is not None
    other = table_fingerprint(toy_cfg(key, value), IMAGES, model)
    assert LossTableFile(str(tmp_path), other).load(COLUMN_NAMES) is None
    assert f"differs in {key}: it is measured anew." in caplog.text


def test_a_table_belongs_to_a_config_wherever_it_was_read(tmp_path: Path) -> None:
    """What is written as a list of lists is read as that, where the default has tuples."""
    cfg, model = toy_cfg(), toy_model()
    (tmp_path / "config.yaml").write_text(cfg.dump())
    read = toy_cfg()
    read.merge_from_file(str(tmp_path / "config.yaml"))
    weights = "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"
    before, after = (table_fingerprint(c, IMAGES, model) for c in (cfg, read))
    assert isinstance(cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS[0], tuple)
    assert after == before
    assert after[weights] == (
        "[[10.0, 10.0, 5.0, 5.0], [20.0, 20.0, 10.0, 10.0], [30.0, 30.0, 15.0, 15.0]]"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 3},
        {"file_name": "c.jpg"},
        {"annotations": [{"bbox": [0.0, 0.0, 9.0, 8.0]}]},
    ],
)
def test_a_table_belongs_to_the_images(change: dict) -> None:
    cfg, model = toy_cfg(), toy_model()
    before = table_fingerprint(cfg, IMAGES, model)
    for images in ([{**IMAGES[0], **change}, IMAGES[1]], IMAGES[:1], IMAGES[::-1]):
        after = table_fingerprint(cfg, images, model)
        assert [name for name in after if after[name] != before[name]] == ["the training images"]

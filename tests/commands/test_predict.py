# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet predict``: what it writes for the toy detector's images, and what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.commands import predict
from dynamicdet_d2.commands.main import main
from tests.support.coco_files import clean_catalogs, write_image
from tests.support.toy import toy_cfg, toy_model


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A config, weights, and a folder of two images beside a file that is none."""
    folder = tmp_path_factory.mktemp("predict")
    weights, config, images = (folder / name for name in ("model.pth", "config.yaml", "images"))
    torch.save({"model": toy_model().state_dict()}, weights)
    cfg = toy_cfg("INPUT.MIN_SIZE_TEST", 64, "MODEL.DYNAMIC.THRESHOLD", 0.0, "DATASETS.TEST", ())
    config.write_text(cfg.dump())
    images.mkdir()
    for number in (1, 2):
        write_image(images / f"{number}.png", width=96, height=64)
    (images / "notes.txt").touch()
    return SimpleNamespace(config=str(config), weights=str(weights), images=images)


def run(toy: SimpleNamespace, output: Path, *more: str, weights: bool = True) -> int:
    given = ["--weights", toy.weights] if weights else []
    paths = ["--config-file", toy.config, *given, "--output", str(output)]
    with clean_catalogs():
        return main(["predict", *paths, *more])


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / predict.LINES).read_text().splitlines()]


def test_a_folder_of_images(
    toy: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "new" / "output"
    more = ["--confidence-threshold", "0", "--input", str(toy.images)]
    assert run(toy, output, *more) == 0
    assert capsys.readouterr().out.startswith(f"2 images, 2 hard: drawn in {output}, detections")
    assert {path.name for path in output.iterdir()} == {"1.png", "2.png", predict.LINES}
    cfg = toy_cfg("INPUT.MIN_SIZE_TEST", 64, "MODEL.DYNAMIC.THRESHOLD", 0.0)
    expected = DefaultPredictor(cfg)
    expected.model.load_state_dict(torch.load(toy.weights)["model"])
    for line, name in zip(lines(output), ("1.png", "2.png"), strict=True):
        assert line["file_name"] == str(toy.images / name)
        stock = expected(cv2.imread(str(toy.images / name)))
        assert (line["difficulty"], line["route"]) == (stock["difficulty"], "hard")
        found = stock["instances"]
        scores = [detection["score"] for detection in line["detections"]]
        assert scores == pytest.approx(found.scores.tolist())
        x, y, width, height = line["detections"][0]["bbox"]
        corners = found.pred_boxes.tensor[0].tolist()
        assert [x, y, x + width, y + height] == pytest.approx(corners, abs=1e-3)
        assert cv2.imread(str(output / name)).shape == (480, 720, 3)


def test_keys_and_the_confidence_threshold_are_followed(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    image = str(toy.images / "1.png")
    keys = ["--opts", "MODEL.DYNAMIC.THRESHOLD", "1", "MODEL.WEIGHTS", toy.weights]
    arguments = ["--confidence-threshold", "1", "--input", image, *keys]
    assert run(toy, tmp_path, *arguments, weights=False) == 0
    (line,) = lines(tmp_path)
    assert (line["route"], line["detections"]) == ("easy", [])


def test_names_are_said_where_they_are_known() -> None:
    found = Instances((64, 96))
    found.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 11.0, 22.0], [0.0, 0.0, 4.0, 4.0]]))
    found.scores = torch.tensor([0.75, 0.5])
    found.pred_classes = torch.tensor([1, 2])
    prediction = {"instances": found, "route": "easy", "difficulty": 0.25}
    line = predict.described(Path("a.jpg"), prediction, ["cat", "dog"])
    assert line == {
        "file_name": "a.jpg",
        "route": "easy",
        "difficulty": 0.25,
        "detections": [
            {"category_id": 1, "category": "dog", "bbox": [1, 2, 10, 20], "score": 0.75},
            {"category_id": 2, "bbox": [0, 0, 4, 4], "score": 0.5},
        ],
    }
    blank = np.zeros((64, 96, 3), np.uint8)
    for classes in ([], ["cat", "dog"], ["cat", "dog", "cow"]):
        assert predict.drawn(blank, prediction, classes).any()
    # A detector without routes, and an image without detections.
    assert not predict.drawn(blank, {"instances": found[:0]}, []).any()


def test_class_names_come_from_the_test_set(tmp_path: Path) -> None:
    with clean_catalogs():
        assert predict.class_names(toy_cfg("DATASETS.TEST", ("shapes_test",)))[0] == "disc"
        assert len(predict.class_names(toy_cfg("DATASETS.TEST", ("coco_2017_val",)))) == 80
        gone = ("DATASETS.COCO_JSON", [["own", "gone.json", "gone"]], "DATASETS.TEST", ("own",))
        assert predict.class_names(toy_cfg(*gone)) == []
        assert predict.class_names(toy_cfg("DATASETS.TEST", ())) == []


def test_a_corrupt_image_is_named_or_left_out(
    toy: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken, output = tmp_path / "broken.jpg", tmp_path / "output"
    broken.write_bytes(b"no image")
    paths = ["--input", str(broken), str(toy.images / "1.png")]
    with pytest.raises(SystemExit) as stop:
        run(toy, output, *paths)
    assert stop.value.code == 2
    assert "broken.jpg" in capsys.readouterr().err
    assert run(toy, output, *paths, "--opts", "DATALOADER.SKIP_CORRUPT_IMAGES", "True") == 0
    assert [Path(line["file_name"]).name for line in lines(output)] == ["1.png"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--input", "gone.jpg"], "--input gone.jpg does not exist."),
        (["--input", "{empty}"], "has no images (.bmp, "),
        (["--input", "{images}", "{images}/1.png"], "several images named 1.png"),
        (["--input", "{images}", "--output", "{images}"], "would be replaced"),
        (["--input", "{images}", "--confidence-threshold", "2"], "--confidence-threshold is 2.0"),
        (["--input", "{images}", "--weights", "gone.pth"], "gone.pth does not exist"),
        (["--input", "{images}", "--weights", ""], "There are no weights"),
        (["--input", "{images}", "--weights", "{half}"], "half.pth"),
        (["--input", "{images}", "--opts", "MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu'"),
        (["--input", "{images}", "--opts", "GONE", "1"], "GONE is no key."),
    ],
)
def test_refused_by_one_sentence(
    toy: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    more: list[str],
    says: str,
) -> None:
    empty, half = tmp_path / "empty", tmp_path / "half.pth"
    empty.mkdir()
    complete = torch.load(toy.weights, weights_only=True)["model"]
    torch.save({"model": {k: v for k, v in complete.items() if "router" not in k}}, half)
    words = [word.format(images=toy.images, empty=empty, half=half) for word in more]
    with pytest.raises(SystemExit) as stop:
        run(toy, tmp_path / "output", *words)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("dynamicdet predict: error: ") and says in err and err.count("\n") == 1
    assert not (tmp_path / "output").exists()

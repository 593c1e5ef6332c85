# SPDX-License-Identifier: Apache-2.0
"""``DynamicPredictor`` beside Detectron2's own."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model

from dynamicdet_d2.checkpoint.conventions import keys_of
from dynamicdet_d2.checkpoint.learnt import in_checkpoint
from dynamicdet_d2.engine.predictor import Predictor
from dynamicdet_d2.engine.static import AsRun
from dynamicdet_d2.prediction import DynamicPredictor, class_names
from dynamicdet_d2.prediction.class_names import (
    class_names_of,
    say_nameless,
    say_other_places,
)
from dynamicdet_d2.utils.class_labels import name_of
from tests.support.coco_files import clean_catalogs
from tests.support.optimized import STATIC
from tests.support.predicting import made_up_calibration, predicting_cfg
from tests.support.toy import dense_cfg, toy_model
from tests.support.toy_yolo import DYNAMIC, yolo_cfg


def picture(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def equal(one: dict, other: dict) -> bool:
    return (one["difficulty"], one["route"]) == (other["difficulty"], other["route"]) and all(
        torch.equal(getattr(one["instances"], name), getattr(other["instances"], name))
        for name in ("scores", "pred_classes")
    )


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_it_gives_what_detectron2s_predictor_gives(files: SimpleNamespace, channels: str) -> None:
    cfg = predicting_cfg("INPUT.FORMAT", channels, "MODEL.WEIGHTS", files.weights)
    ours = DynamicPredictor(cfg)
    stock = DefaultPredictor(cfg)
    assert isinstance(ours, type(stock))
    assert (ours.cfg.MODEL.WEIGHTS, ours.input_format) == (files.weights, channels)
    image = picture(0, 50, 120)
    one, other = ours(image), stock(image)
    assert equal(one, other) and len(one["instances"])
    assert one["instances"].image_size == (50, 120)


def test_a_list_gives_what_its_images_give_one_by_one(predictor: DynamicPredictor) -> None:
    images = [picture(0), picture(1, 90, 70), picture(2), picture(3, 64, 100)]
    together = predictor(images)
    for image, output in zip(images, together, strict=True):
        alone = predictor(image)
        assert (output["route"], output["instances"].image_size) == (
            alone["route"],
            image.shape[:2],
        )
        assert output["difficulty"] == pytest.approx(alone["difficulty"], abs=1e-6)
        assert torch.allclose(output["instances"].scores, alone["instances"].scores, atol=1e-5)
    assert predictor([]) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((4, 4), np.uint8), r"^The image has shape \(4, 4\)"),
        (None, "^The image is of type NoneType"),
        ([np.zeros((64, 64, 3), np.uint8), None], "^Number 1 of the list: The image is of type"),
        (["photo.jpg"], "^Number 0 of the list: The image is of type str"),
    ],
)
def test_what_is_no_image_is_named(predictor: DynamicPredictor, wrong: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        predictor(wrong)


def test_names_of_classes(predictor: DynamicPredictor) -> None:
    assert predictor.class_names == predictor.metadata.thing_classes == ["cat", "dog", "cow"]
    assert [name_of(["cat"], number) for number in (0, 1)] == ["cat", "1"]
    with clean_catalogs():
        for name, count in (("shapes_test", 6), ("coco_2017_val", 80)):
            known = ("DATASETS.TEST", (name,), "MODEL.ROI_HEADS.NUM_CLASSES", count)
            assert len(class_names_of(predicting_cfg(*known))) == count
            # Those of another data set would be names of other classes.
            assert class_names_of(predicting_cfg("DATASETS.TEST", (name,))) == []
        gone = ("DATASETS.COCO_JSON", [["own", "gone.json", "gone"]], "DATASETS.TEST", ("own",))
        assert class_names_of(predicting_cfg(*gone)) == []
        assert class_names_of(predicting_cfg()) == []


def test_weights_know_the_classes_that_they_have_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the data set is elsewhere, or registered by a program."""

    def learnt(*names: object) -> list[str]:
        torch.save({"model": {}, **in_checkpoint({"classes": list(names)})}, tmp_path / "w.pth")
        return class_names_of(cfg)

    cfg = predicting_cfg("MODEL.WEIGHTS", str(tmp_path / "w.pth"), "DATASETS.TEST", ("by_code",))
    with clean_catalogs():
        assert learnt("dog", "cat", "cow") == ["dog", "cat", "cow"]
        assert learnt("dog", "cat") == learnt("dog", "cat", " ") == learnt("dog", 1, 2) == []
        learnt("dog", "cat", "cow")
        say_other_places(["hund", "katze", "kuh"], cfg, "names.json")
        assert not caplog.text
        say_other_places(["cat", "dog", "cow"], cfg, "names.json")
    assert f"'cat' in place 1, and {tmp_path / 'w.pth'} has it in place 2: if" in caplog.text


def test_a_misspelt_data_set_without_names_is_said(caplog: pytest.LogCaptureFixture) -> None:
    say_nameless(["cat"], ["coco_2017_vall"])
    assert caplog.messages == []
    with clean_catalogs():
        say_nameless([], ["coco_2017_vall"])
        say_nameless([], ["coco_2017_val"])
        say_nameless([])
    said = "No class names are known: detections will have numbers in their place."
    misspelt = (
        " DATASETS.TEST is 'coco_2017_vall', which is not registered. The nearest is "
        "'coco_2017_val'."
    )
    assert caplog.messages == [said + misspelt, said, said]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["disc", "hexagon", "pentagon", "square", "triangle", "star"], ""),
        (["disque", "hexagone", "pentagone", "carré", "triangle", "étoile"], ""),
        (["background", "disc", "hexagon", "pentagon", "square", "triangle"], "'disc' in place 2"),
        (["disc", "pentagon", "hexagon", "square", "triangle", "star"], "'pentagon' in place 2"),
    ],
)
def test_names_in_another_order_are_said(
    names: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with clean_catalogs():
        say_other_places(names, predicting_cfg("DATASETS.TEST", ("shapes_test",)), "names.json")
    assert f"names.json has {said}" in caplog.text if said else not caplog.text


def test_without_weights_there_is_no_predictor() -> None:
    with pytest.raises(ValueError, match="There are no weights: MODEL.WEIGHTS is empty."):
        DynamicPredictor(predicting_cfg())


@pytest.mark.parametrize("kind", ["YOLO", "FCOS", "RetinaNet"])
def test_a_score_of_another_kind_of_detector_is_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Detectron2's demo sets those of its own detectors, whatever the model is."""
    cfg, path = yolo_cfg(*DYNAMIC) if kind == "YOLO" else dense_cfg(kind), str(tmp_path / "own.pth")
    torch.save({"model": build_model(cfg).state_dict(), **in_checkpoint({}, keys_of(cfg))}, path)
    cfg.MODEL.WEIGHTS, cfg.MODEL.DYNAMIC.THRESHOLD = path, 1.0
    DefaultPredictor(cfg)
    assert not caplog.text
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.5
    DefaultPredictor(cfg)
    both = "MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.5 and MODEL.RETINANET.SCORE_THRESH_TEST 0.5"
    says = {
        "YOLO": f"A DynamicYOLO does not read {both}: its detections need "
        "MODEL.YOLO.SCORE_THRESH_TEST, which is 0.001.",
        "FCOS": f"A DynamicDenseDetector does not read {both}: its detections need "
        "MODEL.FCOS.SCORE_THRESH_TEST, which is 0.2.",
        "RetinaNet": "",  # whose own is one of them
    }[kind]
    assert [x.getMessage() for x in caplog.records] == [says] * bool(says)


def test_a_static_detector_is_run_as_its_evaluation_runs_it(tmp_path: Path) -> None:
    """Padded to a multiple, for one, as ``MODEL.INFERENCE`` says."""
    model, weights = build_model(predicting_cfg(*STATIC)), str(tmp_path / "static.pth")
    torch.save({"model": model.state_dict()}, weights)
    keys = ("MODEL.INFERENCE.OPTIMIZE", True, "MODEL.INFERENCE.SIZE_MULTIPLE", 128)
    cfg = predicting_cfg(*STATIC, *keys, "MODEL.WEIGHTS", weights)
    predictor = DynamicPredictor(cfg)
    as_evaluated, given = AsRun(cfg, predictor.model), predictor.model_input(picture(0))
    expected = as_evaluated([given])[0]["instances"].scores
    plain = predictor.model([given])[0]["instances"].scores
    for found in (predictor(picture(0)), predictor([picture(0)])[0], Predictor(cfg)(picture(0))):
        assert torch.equal(found["instances"].scores, expected)
    assert not torch.equal(plain[:9], expected[:9])


def test_a_program_s_own_data_set_may_be_called_as_a_drawn_one(
    files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_names, "SPLITS", ["called_alike"])
    with clean_catalogs():
        MetadataCatalog.get("called_alike").thing_classes = ["a", "b", "c"]
        cfg = predicting_cfg("MODEL.WEIGHTS", files.weights, "DATASETS.TEST", ("called_alike",))
        assert DynamicPredictor(cfg).class_names == ["a", "b", "c"]


def test_a_calibration_is_refused_under_autocast_that_begins_later(files: SimpleNamespace) -> None:
    keys = ("MODEL.DYNAMIC.CALIBRATION", files.calibration, "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    predictor = DynamicPredictor(predicting_cfg("MODEL.WEIGHTS", files.weights, *keys))
    before = predictor(picture(0))
    with pytest.raises(ValueError) as error, torch.autocast("cpu", torch.bfloat16):
        predictor(picture(0))
    assert str(error.value) == (
        f"The calibration {files.calibration} belongs to another model or input: it was made with "
        "dtype float32 (here bfloat16). Run calibrate.py for this one."
    )
    assert equal(predictor(picture(0)), before)


def test_a_calibration_is_refused_for_images_of_another_size(files: SimpleNamespace) -> None:
    keys = ("MODEL.DYNAMIC.CALIBRATION", files.calibration, "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    predictor = DynamicPredictor(predicting_cfg("MODEL.WEIGHTS", files.weights, *keys))
    before, (short, longest) = predictor(picture(0)), predictor.aug.short_edge_length
    assert short == longest
    predictor.aug = ResizeShortestEdge((short, short), predictor.aug.max_size)
    assert equal(predictor(picture(0)), before)
    says = r"^The threshold of the predictor's model is calibrated for INPUT\.FORMAT 'BGR', MIN_"
    for name, value in (("input_format", "RGB"), ("aug", ResizeShortestEdge([short // 2] * 2))):
        kept = getattr(predictor, name)
        setattr(predictor, name, value)
        with pytest.raises(ValueError, match=says):
            predictor(picture(0))
        setattr(predictor, name, kept)
    predictor.aug.short_edge_length = np.array([short // 2, short // 2])
    with pytest.raises(ValueError, match=says):
        predictor([picture(0)])
    other = predicting_cfg("MODEL.WEIGHTS", files.weights, "INPUT.MIN_SIZE_TEST", short // 2)
    borrowing = DynamicPredictor(other)
    borrowing.model = predictor.model
    with pytest.raises(ValueError, match=says):
        borrowing(picture(0))
    predictor.model.threshold = 0.5  # by hand, of whatever images
    predictor(picture(0))


def test_another_models_calibration_is_refused_before_a_budget_moves_the_threshold(
    files: SimpleNamespace, tmp_path: Path
) -> None:
    """A threshold that is set belongs to no calibration, so that nothing would refuse it later."""
    path = tmp_path / "other.json"
    made_up_calibration(toy_model(seed=5), predicting_cfg()).to_json(path)
    keys = ("MODEL.DYNAMIC.CALIBRATION", str(path), "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    cfg = predicting_cfg("MODEL.WEIGHTS", files.weights, *keys)
    for kind in (DynamicPredictor, DefaultPredictor):
        with pytest.raises(ValueError, match=r"other\.json belongs to another model"):
            kind(cfg)
    own = predicting_cfg("MODEL.WEIGHTS", files.weights, keys[0], files.calibration, *keys[2:])
    assert DynamicPredictor(own).model.threshold == pytest.approx(0.5, abs=0.01)

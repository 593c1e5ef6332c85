# SPDX-License-Identifier: Apache-2.0
"""What is given to a predictor, or to a model, and is no image: each with its sentence."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.structures import BitMasks, Boxes, Instances, RotatedBoxes
from PIL import Image

from dynamicdet_d2.config import get_cfg, read_config
from dynamicdet_d2.engine.predictor import Predictor
from dynamicdet_d2.modeling.given import _say_doubt, _say_pixels, checked_ground_truth
from dynamicdet_d2.prediction import DynamicPredictor
from dynamicdet_d2.prediction.class_names import check_class_names, say_other_places
from dynamicdet_d2.runner.images import prepare
from tests.support.toy import dense_cfg, toy_cfg, toy_inputs, toy_model
from tests.support.toy_yolo import DYNAMIC, yolo_cfg

GOOD = np.full((64, 96, 3), 128, np.uint8)
NAN, INF = float("nan"), float("inf")


def cfg_of(**keys: Any) -> Any:
    return toy_cfg("DATASETS.TEST", (), "INPUT.MIN_SIZE_TEST", 64, *keys.get("more", ()))


@pytest.fixture(scope="module")
def predictor() -> DefaultPredictor:
    return DefaultPredictor(cfg_of())


def spoiled(value: float, dtype: type = np.float32) -> np.ndarray:
    image = GOOD.astype(dtype)
    image[3, 4, 1] = value
    return image


# A grain of memory that is many pixels.
GIANT = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (20_000, 20_000, 3))

CASES: list[tuple[Any, str]] = [
    (None, "The image is of type NoneType; it must be a numpy array (H, W, 3)"),
    ("image.jpg", "The image is of type str"),
    (b"bytes", "The image is of type bytes"),
    (3, "The image is of type int"),
    (NAN, "The image is of type float"),
    ([], "The image is of type list"),
    ([GOOD], "The image is of type list"),
    ((GOOD, GOOD), "The image is of type tuple"),
    ({"image": GOOD}, "The image is of type dict"),
    (Path("image.jpg"), "The image is of type PosixPath"),
    (Image.new("RGB", (96, 64)), "The image is of type Image"),
    (torch.zeros(64, 96, 3), "The image is of type Tensor"),
    (np.ma.masked_equal(GOOD, 3), "The image is of type MaskedArray"),
    (GOOD.tolist(), "The image is of type list"),
    (np.uint8(3), "The image is of type uint8"),
    (np.array(3, np.uint8), "The image has shape ()"),
    (np.zeros(0, np.uint8), "The image has shape (0,)"),
    (GOOD[:, 0, 0], "The image has shape (64,)"),
    (GOOD[..., 0], "The image has shape (64, 96)"),
    (GOOD[..., :1], "The image has shape (64, 96, 1)"),
    (GOOD[..., :2], "The image has shape (64, 96, 2)"),
    (GOOD[..., [0, 1, 2, 0]], "The image has shape (64, 96, 4)"),
    (GOOD.transpose(2, 0, 1), "The image has shape (3, 64, 96)"),
    (GOOD[None], "The image has shape (1, 64, 96, 3)"),
    (GOOD[:0], "The image has shape (0, 96, 3)"),
    (GOOD[:, :0], "The image has shape (64, 0, 3)"),
    (GOOD[..., :0], "The image has shape (64, 96, 0)"),
    (GOOD.astype(bool), "The image has values of type bool"),
    (GOOD.astype(np.int8), "The image has values of type int8"),
    (GOOD.astype(np.uint16), "The image has values of type uint16"),
    (GOOD.astype(np.int64), "The image has values of type int64"),
    (GOOD.astype(complex), "The image has values of type complex128"),
    (GOOD.astype(str), "The image has values of type <U"),
    (GOOD.astype(object), "The image has values of type object"),
    (GOOD.astype("datetime64[s]"), "The image has values of type datetime64"),
    (spoiled(NAN), "The image has values that are not finite"),
    (spoiled(INF), "The image has values that are not finite"),
    (spoiled(-INF, np.float64), "The image has values that are not finite"),
    (spoiled(NAN, np.float16), "The image has values that are not finite"),
    (spoiled(1e300, np.float64), "The image has values from 128 to 1e+300; they must be"),
    (spoiled(300), "The image has values from 128 to 300; they must be from 0 to 255."),
    (spoiled(-1), "The image has values from -1 to 128"),
    (GOOD.astype(np.float32) / 255, "The image has values from 0.50"),
    (GIANT, "The image has 20000x20000 pixels, more than 178956970"),
    (np.zeros((1, 9000, 3), np.uint8), "its shorter side would vanish."),
    (np.zeros((9000, 1, 3), np.uint8), "The image has 1x9000 pixels"),
]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    "case", CASES, ids=[f"{n} {says[:40]}" for n, (_, says) in enumerate(CASES)]
)
def test_what_is_no_image(predictor: DefaultPredictor, case: tuple[Any, str]) -> None:
    image, says = case
    with pytest.raises(ValueError) as refused:
        predictor(image)
    said = str(refused.value)
    assert says in said and said.endswith(".") and "\n" not in said and len(said) < 300


@pytest.mark.parametrize(
    "image",
    [
        GOOD,
        GOOD[::-1, ::-1],
        np.asfortranarray(GOOD),
        GOOD.astype(np.float32),
        GOOD.astype(np.float64),
        GOOD.astype(np.float16),
        GOOD.astype(">f4"),
        np.zeros((64, 96, 3), np.float32),
        GOOD[:1, :1],
        GOOD[:1],
    ],
)
def test_what_is_one_is_predicted(predictor: DefaultPredictor, image: np.ndarray) -> None:
    output = predictor(image)
    assert 0 < output["difficulty"] < 1 and output["instances"].image_size == image.shape[:2]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ((GOOD / 255).round().astype(np.uint8), True),
        (np.zeros_like(GOOD), False),
        (np.where(GOOD > 0, GOOD, 0), False),
    ],
)
@pytest.mark.filterwarnings("always:An image of uint8:UserWarning")
def test_an_image_of_0_and_1_alone_is_said_to_be_nearly_black(
    predictor: DefaultPredictor, image: np.ndarray, said: bool
) -> None:
    """Divided by 255 and made uint8."""
    settings = {"min_size": 0, "max_size": 0, "format": "RGB", "divisibility": 1}
    more = {"placement": "corner", "mean": [0] * 3, "std": [1] * 3, "pad_value": None}
    for ask in (predictor, lambda picture: prepare([picture], {**settings, **more}, None)):
        with warnings.catch_warnings(record=True) as given:
            ask(image)
        texts = [str(one.message) for one in given]
        assert any("An image of uint8 has no values but 0 and 1" in text for text in texts) == said


def test_numbers_with_a_fraction_give_the_same(predictor: DefaultPredictor) -> None:
    whole = predictor(GOOD)["difficulty"]
    assert predictor(GOOD.astype(np.float64))["difficulty"] == pytest.approx(whole, rel=1e-6)


def test_only_configs_of_ours_get_it() -> None:
    class Own(DefaultPredictor):
        pass

    assert type(DefaultPredictor(cfg_of())) is Predictor
    assert type(Own(cfg_of())) is Own
    assert type(DefaultPredictor.__new__(DefaultPredictor, {})) is DefaultPredictor


def test_weights_that_were_forgotten_are_said(caplog: pytest.LogCaptureFixture) -> None:
    DefaultPredictor(cfg_of())
    assert "MODEL.WEIGHTS is empty: the predictor has random weights." in caplog.text


def test_a_choice_by_scores_that_would_change_nothing(predictor: DefaultPredictor) -> None:
    with pytest.raises(
        AttributeError, match="'confidence_threshold' to be set; its detections are"
    ):
        predictor.confidence_threshold = 0.3


@pytest.mark.parametrize("order", ["rgb", "BRG", None])
def test_an_order_of_channels_that_is_none(predictor: DefaultPredictor, order: Any) -> None:
    with pytest.raises(ValueError, match="^input_format is .*; it must be 'RGB' or 'BGR'.$"):
        predictor.input_format = order
    predictor.input_format = "BGR"


def test_the_name_of_a_data_set_in_the_place_of_a_list() -> None:
    cfg = cfg_of()
    cfg.defrost()
    cfg.DATASETS.TEST = "own_val"  # ("own_val"), without the comma
    with pytest.raises(ValueError, match="^DATASETS.TEST is 'own_val'; it must be a list"):
        DefaultPredictor(cfg)


@pytest.mark.parametrize("cfg", ["config.yaml", None, {}])
def test_what_is_no_config(cfg: Any) -> None:
    with pytest.raises(ValueError, match=r"^The config is of type .*; it must be a CfgNode, as"):
        DynamicPredictor(cfg)


@pytest.mark.parametrize("name", ["threshold", "hard_fraction"])
def test_a_setting_that_would_change_nothing(predictor: DefaultPredictor, name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no '{name}' to be set; model.threshold, of its"):
        setattr(predictor, name, 0.3)


@pytest.mark.parametrize(
    "name",
    ["hard_fraction", "easy_proposals", "merge_exits_iou", "calibration", "target_latency_ms"],
)
def test_a_setting_of_the_model_that_would_change_nothing(models: list[Any], name: str) -> None:
    for model in models:
        with pytest.raises(AttributeError, match=f"set: MODEL.DYNAMIC.{name.upper()} is"):
            setattr(model, name, 0.3)


def test_a_key_that_would_change_nothing(predictor: DefaultPredictor) -> None:
    with pytest.raises(AttributeError, match=r"set THRESHOLD to 0\.9, but CfgNode is immutable"):
        predictor.cfg.MODEL.DYNAMIC.THRESHOLD = 0.9


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("MODEL.WEIGHTS a.pth", "Config overrides are of type str; they must be a list ['KEY', v"),
        ({"MODEL.WEIGHTS": "a.pth"}, "Config overrides are of type dict; they must be a list"),
        ([("MODEL.WEIGHTS", "a.pth")], "have ('MODEL.WEIGHTS', 'a.pth') in the place of a key."),
        ([1, 2], "Config overrides have 1 in the place of a key."),
    ],
)
def test_what_are_no_overrides(overrides: Any, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_config("configs/quickstart.yaml", overrides)
    assert says in str(refused.value)


def test_values_as_programs_give_them(tmp_path: Path) -> None:
    given = ["SOLVER.BASE_LR", np.float64(0.5), "SOLVER.MAX_ITER", np.int64(3)]
    given += ["SOLVER.AMP.ENABLED", np.bool_(True), "OUTPUT_DIR", tmp_path]
    cfg = read_config("configs/quickstart.yaml", given)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.AMP.ENABLED) == (0.5, 3, True)
    assert cfg.OUTPUT_DIR == str(tmp_path)


@pytest.mark.parametrize("file", [b"configs/quickstart.yaml", ["a.yaml"], 3, get_cfg()])
def test_what_is_no_path_of_a_config(file: Any) -> None:
    with pytest.raises(ValueError, match=r" is no path of a config file\.$"):
        read_config(file)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("abc", "The names of classes are of type str; they must be a list."),
        ({"a", "b", "c"}, "are of type set; they must be a list."),
        (np.array(["a", "b", "c"]), "are of type ndarray; they must be a list."),
        ((x for x in "abc"), "are of type generator; they must be a list."),
        ({0: "a", 1: "b", 2: "c"}, "are of type dict; they must be a list."),
        (["a", "  ", "c"], "There is '  ' among the names of classes; each must be text"),
        (["a", None, "c"], "There is None among the names of classes; each must be text"),
        (["a"], "There are 1 names of classes, but MODEL.ROI_HEADS.NUM_CLASSES is 3"),
    ],
)
def test_what_are_no_names_of_classes(names: Any, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_class_names(names, cfg_of(more=("MODEL.ROI_HEADS.NUM_CLASSES", 3)))
    assert says in str(refused.value)


@pytest.mark.parametrize("twice", [True, False])
def test_two_classes_of_one_name_are_said(caplog: pytest.LogCaptureFixture, twice: bool) -> None:
    names = ["a", "a" if twice else "b", "c"]
    say_other_places(names, cfg_of(more=("MODEL.ROI_HEADS.NUM_CLASSES", 3)), "names.json")
    assert ("names.json has 'a' twice: two classes have one name." in caplog.text) == twice


@pytest.mark.parametrize("name", ["background", "__background__", "_Background_"])
def test_a_class_of_the_background_is_said(caplog: pytest.LogCaptureFixture, name: str) -> None:
    say_other_places([name, "a", "b"], cfg_of(more=("MODEL.ROI_HEADS.NUM_CLASSES", 3)), "n.json")
    assert f"n.json has '{name}' among the names: Detectron2's models have no class" in caplog.text


def test_another_format_is_named() -> None:
    cfg = cfg_of(more=("INPUT.FORMAT", "L", "MODEL.PIXEL_MEAN", [1.0], "MODEL.PIXEL_STD", [1.0]))
    with pytest.raises(ValueError, match="INPUT.FORMAT is 'L'; a predictor needs 'RGB' or 'BGR'."):
        DefaultPredictor(cfg)


# Models

IMAGE = toy_inputs(1)[0]["image"]


def pixel(value: float) -> torch.Tensor:
    image = IMAGE.clone()
    image[1, 2, 3] = value
    return image


INPUTS: list[tuple[Any, str]] = [
    ([], "it was given no image."),
    (None, "it was given no image."),
    ({"image": IMAGE}, "it was given dict."),
    (IMAGE, "it was given Tensor."),
    (GOOD, "it was given ndarray."),
    ([None], "Image 0 of the batch is NoneType, where a dict belongs"),
    ([IMAGE], "is Tensor, where a dict belongs, with a tensor (3, H, W) under 'image'."),
    ([{}], "Image 0 of the batch is NoneType"),
    ([{"image": None, "image_id": 4}], "Image 4 is NoneType"),
    ([{"image": GOOD, "file_name": "a.jpg"}], "Image a.jpg is ndarray"),
    ([{"image": IMAGE}, {"image": IMAGE[0]}], "Image 1 of the batch is shape (64, 96)"),
    ([{"image": IMAGE[:1]}], "is shape (1, 64, 96), where a tensor (3, H, W) belongs"),
    ([{"image": IMAGE[None]}], "is shape (1, 3, 64, 96)"),
    ([{"image": IMAGE[:, :0]}], "Image 0 of the batch has no pixels: (3, 0, 96)."),
    ([{"image": pixel(NAN), "image_id": 7}], "Image 7 has pixels that are not finite."),
    ([{"image": pixel(INF), "image_id": 7}], "Image 7 has pixels that are not finite."),
    ([{"image": pixel(-INF).half(), "file_name": "a"}], "Image a has pixels that"),
    ([{"image": IMAGE > 9, "image_id": 7}], "Image 7 is a tensor of torch.bool"),
    ([{"image": IMAGE.to(torch.complex64)}], "is a tensor of torch.complex64"),
    ([{"image": IMAGE.to_sparse()}], "torch.sparse_coo, on cpu; its pixels must be"),
    ([{"image": IMAGE.to("meta")}], "on meta; its pixels must be whole or floating"),
    ([{"image": IMAGE, "height": 0}], "Image 0 of the batch has 0 for 'height'; it must be a"),
    ([{"image": IMAGE, "width": NAN, "image_id": 7}], "Image 7 has nan for 'width'"),
    ([{"image": IMAGE, "width": "x"}], "Image 0 of the batch has 'x' for 'width'"),
    ([{"image": IMAGE, "height": 2.5}], "Image 0 of the batch has 2.5 for 'height'"),
    ([{"image": IMAGE, "height": None}], "Image 0 of the batch has None for 'height'"),
]


@pytest.fixture(scope="module")
def models() -> list[Any]:
    """One of each kind."""
    cfgs = (cfg_of(), dense_cfg("FCOS", "DATASETS.TEST", ()), yolo_cfg(*DYNAMIC))
    return [DefaultPredictor(cfg).model for cfg in cfgs]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (IMAGE / 255, "of 3 at most or below -30, as if"),
        ((IMAGE - 110) / 58, "of 3 at most or below -30, as if"),
        (IMAGE - 110, "of 3 at most or below -30, as if"),
        (IMAGE * 257, "above 400, as if they were of more than 8 bits:"),
        ((IMAGE * 257).to(torch.uint16), "above 400, as if they were of more than 8 bits:"),
        (IMAGE, ""),
        (IMAGE * 1.1, ""),  # as bicubic resizing may do
        (IMAGE.byte(), ""),
        (IMAGE * 0, ""),
        ((IMAGE / 100).floor(), ""),  # a dark frame
    ],
)
def test_pixels_that_are_hardly_from_0_to_255_are_said(
    models: list[Any], caplog: pytest.LogCaptureFixture, image: torch.Tensor, says: str
) -> None:
    _say_pixels.cache_clear()
    for _ in range(2):
        models[0]([{"image": image}])
    said = [x for x in caplog.messages if x.startswith("Images have pixels ")]
    assert len(said) == bool(says)
    assert all(says in sentence for sentence in said)


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_what_a_model_cannot_take(models: list[Any], number: int) -> None:
    given, says = INPUTS[number]
    for model in models:
        with pytest.raises(ValueError) as refused:
            model(given)
        assert says in str(refused.value)


def truth(**fields: Any) -> Instances:
    """Of two objects, with fields put in the place of the right ones; None: left out."""
    found = toy_inputs(1)[0]["instances"]
    for name, value in fields.items():
        if found.has(name):
            found.remove(name)
        if value is not None:
            found._fields[name] = value
    return found


def box(*corners: float) -> Boxes:
    return Boxes(torch.tensor([corners, (1.0, 1.0, 9.0, 9.0)]))


def wide() -> Boxes:
    """As a mapper that appends something to boxes makes them."""
    found = box(1, 2, 3, 4)
    found.tensor = torch.zeros(2, 5)
    return found


TRUTHS: list[tuple[Any, str]] = [
    (None, "of type NoneType; it must be Detectron2's Instances."),
    ([], "of type list; it must be"),
    ({"gt_boxes": 1}, "of type dict; it must be"),
    (Instances((64, 96)), "without 'gt_boxes'."),
    (Instances((10, 10)), "for an image of size (10, 10), but its own is (64, 96)."),
    (truth(gt_classes=None), "without 'gt_classes'."),
    (truth(gt_boxes=torch.zeros(2, 4)), "whose 'gt_boxes' are of type Tensor; they must be Boxes."),
    (truth(gt_boxes=RotatedBoxes(torch.zeros(2, 5))), "whose 'gt_boxes' are of type RotatedBoxes"),
    (truth(gt_classes=torch.zeros(5, dtype=torch.int64)), "of 2 boxes and 5 classes."),
    (truth(gt_classes=torch.zeros(2)), "are a tensor (2,) of torch.float32; they must be a ten"),
    (truth(gt_classes=torch.zeros(2, 1, dtype=torch.int64)), "are a tensor (2, 1) of torch.int64"),
    (truth(gt_classes=[0, 1]), "whose 'gt_classes' are of type list"),
    (truth(gt_classes=torch.tensor([0, 3])), "of class 3; the model's classes are 0 to 2."),
    (truth(gt_classes=torch.tensor([-1, 0])), "of class -1; the model's classes are 0 to 2."),
    (truth(gt_boxes=box(NAN, 5, 30, 30)), "with the box [nan, 5.0, 30.0, 30.0]; it must be"),
    (truth(gt_boxes=box(0, 0, INF, 9)), "with the box [0.0, 0.0, inf, 9.0]"),
    (truth(gt_boxes=box(30, 30, 5, 5)), "with the box [30.0, 30.0, 5.0, 5.0]"),
    (truth(gt_boxes=box(-1e9, 0, 1e9, 9)), "with the box [-1000000000.0, 0.0, 1000000000.0, 9.0]"),
    (truth(gt_boxes=Boxes(torch.empty(2, 4, device="meta"))), "without values, on device meta."),
    (truth(gt_boxes=wide()), "whose 'gt_boxes' are a tensor (2, 5) of torch.float32; they must be"),
    (truth(gt_difficult=torch.zeros(1)), "of 2 boxes and 1 'gt_difficult'."),
    (
        truth(gt_masks=BitMasks(torch.zeros(2, 9, 9))),
        "with 'gt_masks' of (9, 9) pixels; its own are (64, 96).",
    ),
]


@pytest.mark.parametrize("number", range(len(TRUTHS)))
def test_what_no_model_can_learn(models: list[Any], number: int) -> None:
    given, says = TRUTHS[number]
    for model in models:
        with pytest.raises(ValueError) as refused:
            model.detector_losses_per_image([{"image": IMAGE, "image_id": 7, "instances": given}])
        assert str(refused.value).startswith("Image 7 has ground truth ")
        assert says in str(refused.value)


def test_a_model_in_training_mode_is_said_to_be_in_it() -> None:
    model = toy_model().train()
    with pytest.raises(ValueError, match=r"^Image 7 came without 'instances'; losses, which a mod"):
        model([{"image": IMAGE, "image_id": 7}])


def test_masks_that_are_learnt_must_be_there() -> None:
    model = toy_model("MODEL.MASK_ON", True)
    with pytest.raises(ValueError, match="Image 1 has ground truth without 'gt_masks', which the"):
        model.detector_losses_per_image(toy_inputs(1))
    assert torch.isfinite(model.detector_losses_per_image(toy_inputs(1, objects=0))).all()
    given = {"image": IMAGE, "instances": truth(gt_masks=torch.zeros(2, 64, 96))}
    with pytest.raises(ValueError, match=r"Image 0 .* whose 'gt_masks' are a tensor \(2, 64, 96\)"):
        model.detector_losses_per_image([given])


def test_images_of_double_precision(models: list[Any]) -> None:
    for model in models:
        single, double = (model([{"image": x}])[0] for x in (IMAGE, IMAGE.double()))
        assert single["difficulty"] == double["difficulty"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_half_precision_are_named(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"^The model was turned into {dtype}, in which it cannot"):
        toy_model().to(dtype)([{"image": IMAGE}])


def test_weights_that_are_not_finite_stop_at_the_first_image() -> None:
    """Its difficulty would be NaN, and its route easy."""
    model = toy_model()
    with torch.no_grad():
        model.router.score.bias.fill_(NAN)
        for ask in (model, model.exits, model.difficulties):
            with pytest.raises(ValueError, match="The difficulty of image 1 is nan: its pixels or"):
                ask(toy_inputs(1))


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ([4.0, 4, 4, 20], "Ground truth has a box without an area, by a mapper for one"),
        ([400.0, 4, 420, 20], "Ground truth has a box outside of its image, by a mapper"),
        ([0.1, 0.2, 0.5, 1.0], "Ground truth has a box within a pixel of the corner, as shares"),
        ([0.1, 0.2, 0.5, 1.1], ""),
        ([-9.0, 4, 420, 20], ""),
    ],
)
def test_boxes_that_are_hardly_meant_are_remarked_on_once(
    caplog: pytest.LogCaptureFixture, box: list[float], says: str
) -> None:
    """As where a mapper has resized the image, and not its boxes."""
    _say_doubt.cache_clear()
    (source,) = toy_inputs(1, objects=1)
    source["instances"].gt_boxes = Boxes([box])
    for _ in range(2):
        checked_ground_truth(source, 0, (64, 96), 3, [])
    said = [message for message in caplog.messages if message.startswith("Ground truth has a box")]
    assert len(said) == bool(says) and all(says in message for message in said)

# SPDX-License-Identifier: Apache-2.0
"""Masks: training, losses an image, both exits, and COCO ground truth as it is in real life."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from pycocotools import mask as rle
from torch import Tensor, nn

from dynamicdet_d2.data.check.run import check_dataset
from dynamicdet_d2.data.loading.images import training_dicts
from dynamicdet_d2.data.loading.loaders import (
    build_finite_loader,
    build_test_loader,
    build_training_loader,
)
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg, toy_inputs, toy_model

SMALL = (
    *("MODEL.MASK_ON", True),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", 8),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 50),
)
CASCADE = (
    *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
    *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
)
SWIN = (
    *("MODEL.BACKBONE.NAME", "build_composite_swin_backbone"),
    *("MODEL.FPN.IN_FEATURES", ["stage1", "stage2", "stage3", "stage4"]),
)
SYSTEMS = {"standard": (), "cascade": CASCADE, "swin": SWIN}
HEIGHT, WIDTH = 64, 96


def masked_inputs(count: int, objects: int = 2, **keys: int) -> list[dict]:
    """Toy images whose objects are the upper left halves of their boxes, in two polygons."""
    inputs = toy_inputs(count, objects=objects, **keys)
    for image in inputs:
        instances = image["instances"]
        polygons = [_two_triangles(box) for box in instances.gt_boxes.tensor.tolist()]
        if objects:  # without objects Detectron2's mapper sets no masks
            instances.gt_masks = PolygonMasks(polygons)
    return inputs


def _two_triangles(box: list[float]) -> list[np.ndarray]:
    x0, y0, x1, y1 = box
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    triangles = ([x0, y0, x, y0, x0, y], [x, y0, x1, y0, x, y1])
    return [np.array(triangle) for triangle in triangles]


@pytest.fixture(scope="module", params=SYSTEMS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    model = toy_model(*SMALL, *SYSTEMS[request.param])
    for parameter in model.backbone.connections.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def test_training_gives_both_detectors_a_mask_loss(model: nn.Module) -> None:
    model.train()
    with EventStorage():
        losses = model(masked_inputs(2))
    model.eval()
    assert {"detector1/loss_mask", "detector2/loss_mask"} < losses.keys()
    predictor = model.roi_heads.mask_head.predictor
    last = list(model.backbone.bottom_up2.parameters())[-1]
    for number in (1, 2):
        model.zero_grad()
        losses[f"detector{number}/loss_mask"].backward(retain_graph=True)
        assert predictor.weight.grad.any()
        assert (last.grad is not None and last.grad.any().item()) == (number == 2)


def test_losses_per_image_contain_the_masks(model: nn.Module) -> None:
    """A mask head that is certain of nothing pays more than one that is sure of all it sees."""
    inputs = masked_inputs(1)
    before = model.detector_losses_per_image(inputs)
    assert torch.isfinite(before).all()
    bias = model.roi_heads.mask_head.predictor.bias
    with torch.no_grad():
        bias.add_(20)  # every pixel is foreground: half of them wrongly
        worse = model.detector_losses_per_image(inputs)
        bias.sub_(20)
    assert (worse > before + 1).all()


def test_losses_per_image_do_not_depend_on_the_batch(model: nn.Module) -> None:
    inputs = masked_inputs(1) + masked_inputs(1, objects=0, seed=1) + masked_inputs(1, seed=2)
    together = model.detector_losses_per_image(inputs)
    alone = torch.cat([model.detector_losses_per_image([x]) for x in inputs])
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_images_without_objects_train(model: nn.Module) -> None:
    model.train()
    for inputs in (masked_inputs(2, objects=0), masked_inputs(1) + masked_inputs(1, objects=0)):
        with EventStorage():
            losses = model(inputs)
        assert all(torch.isfinite(loss) for loss in losses.values())
        sum(losses.values()).backward()
    model.eval()


@torch.no_grad()
def test_both_exits_and_routes_carry_masks(model: nn.Module) -> None:
    inputs = [{**x, "height": 2 * HEIGHT, "width": 2 * WIDTH} for x in masked_inputs(2)]
    exits = model.exits(inputs)
    for threshold, name in ((1.0, "detector1"), (0.0, "detector2")):
        model.threshold = threshold
        for routed, both in zip(model(inputs), exits, strict=True):
            masks = routed["instances"].pred_masks
            assert masks.shape[1:] == (2 * HEIGHT, 2 * WIDTH) and masks.dtype == torch.bool
            assert len(masks) > 0
            assert torch.equal(masks, both[name].pred_masks)


# Ground truth of real life: two-part objects, crowds in both spellings of RLE, empty images


def disc(x: int, y: int, radius: int = 9) -> np.ndarray:
    """(HEIGHT, WIDTH) uint8."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    return ((xs - x) ** 2 + (ys - y) ** 2 <= radius**2).astype(np.uint8)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> list[int]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def crowd(id_: int, image_id: int, mask: np.ndarray, compressed: bool) -> dict:
    """A crowd region as COCO writes it: by run lengths, as a list or as a string."""
    packed = rle.encode(np.asfortranarray(mask))
    box, area = rle.toBbox(packed).tolist(), int(mask.sum())
    counts: object = packed["counts"].decode()
    if not compressed:
        flat = mask.flatten(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    changes = {"bbox": box, "area": area, "iscrowd": 1, "segmentation": segmentation}
    return object_entry(id_, image_id, **changes)


TWO_PARTS = [rectangle(8, 8, 24, 40), rectangle(32, 8, 48, 40)]
ANNOTATIONS = [
    object_entry(1, 1, bbox=[8, 8, 40, 32], area=1024, segmentation=TWO_PARTS),
    crowd(2, 1, disc(76, 30) | disc(76, 50), compressed=False),
    object_entry(3, 3, category_id=2, bbox=[50, 20, 30, 30], area=900,
                 segmentation=[rectangle(50, 20, 80, 50)]),
    crowd(4, 3, disc(20, 30), compressed=True),
    crowd(5, 4, disc(30, 30), compressed=False),
]  # fmt: skip
# Image 2 has nothing, image 4 a crowd only.
IMAGES = [image_entry(id_, WIDTH, HEIGHT) for id_ in (1, 2, 3, 4)]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Registered as "life"; the json file and the image folder."""
    paths = write_coco(tmp_path, IMAGES, ANNOTATIONS)
    with clean_catalogs():
        register_coco_json([["life", *paths]])
        yield paths


def life_cfg(*overrides: object) -> CfgNode:
    return toy_cfg(
        *SMALL,
        *("DATASETS.TRAIN", ("life",)),
        *("DATASETS.TEST", ("life",)),
        *("INPUT.MIN_SIZE_TRAIN", (HEIGHT,)),
        *("INPUT.MIN_SIZE_TEST", HEIGHT),
        *("DATALOADER.NUM_WORKERS", 0),
        *("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False),
        *("SOLVER.IMS_PER_BATCH", 4),
        *("TEST.DYNAMIC.LATENCY_IMAGES", 1),
        *("TEST.DYNAMIC.LATENCY_WARMUP", 1),
        *("TEST.DYNAMIC.RANDOM_DRAWS", 2),
        *overrides,
    )


def test_the_check_has_nothing_against_it(dataset: tuple[str, str]) -> None:
    report = check_dataset("life", *dataset, num_classes=2, testing=True, mask_format="polygon")
    report.raise_errors()


def test_crowds_are_no_objects_and_all_polygons_are(dataset: tuple[str, str]) -> None:
    cfg = life_cfg("INPUT.RANDOM_FLIP", "none")
    loader = build_finite_loader(cfg, DatasetMapper(cfg, is_train=True))
    instances = {x["image_id"]: x["instances"] for batch in loader for x in batch}
    assert {id_: len(found) for id_, found in instances.items()} == {1: 1, 2: 0, 3: 1, 4: 0}
    masks = instances[1].gt_masks
    assert [polygon.tolist() for polygon in masks.polygons[0]] == TWO_PARTS


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_training_and_losses_per_image(dataset: tuple[str, str], mask_format: str) -> None:
    cfg = life_cfg("INPUT.MASK_FORMAT", mask_format)
    model = toy_model(*SMALL)
    mapper = DatasetMapper(cfg, is_train=True)
    batch = next(iter(build_training_loader(cfg, mapper, seed=0)))
    assert len(batch) == 4
    model.train()
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    model.eval()
    for batch in build_finite_loader(cfg, mapper):
        assert torch.isfinite(model.detector_losses_per_image(batch)).all()


def test_empty_images_are_left_out_where_the_config_says_so(dataset: tuple[str, str]) -> None:
    images = training_dicts(life_cfg("DATALOADER.FILTER_EMPTY_ANNOTATIONS", True))
    assert [image["image_id"] for image in images] == [1, 3]


def detections(masks: list[np.ndarray], classes: list[int], scores: list[float]) -> Instances:
    boxes = [rle.toBbox(rle.encode(np.asfortranarray(mask))) for mask in masks]
    found = Instances((HEIGHT, WIDTH))
    corners = Tensor(np.array(boxes).reshape(-1, 4))
    corners[:, 2:] += corners[:, :2]
    found.pred_boxes = Boxes(corners)
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    found.scores = torch.tensor(scores)
    found.pred_masks = torch.tensor(np.array(masks).reshape(-1, HEIGHT, WIDTH), dtype=torch.bool)
    return found


def filled(*corners: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x0, y0, x1, y1 in corners:
        mask[y0:y1, x0:x1] = 1
    return mask


NOTHING = detections([], [], [])
WHOLE = filled((8, 8, 24, 40), (32, 8, 48, 40))
PERFECT = {
    # What lies inside the crowd is more sure of itself than the object, and counts for nothing.
    1: detections([disc(76, 30, 4), WHOLE], [0, 0], [0.9, 0.8]),
    2: NOTHING,
    3: detections([filled((50, 20, 80, 50))], [1], [0.8]),
    4: detections([disc(30, 30, 4)], [0], [0.9]),
}
ONE_PART = {**PERFECT, 1: detections([filled((8, 8, 48, 40))], [0], [0.8])}


@pytest.mark.parametrize(
    ("detector1", "mask_easy"),
    # The box is right without the gap between the parts; the mask's overlap is 1024 / 1280 = 0.8:
    # right at 7 of the 10 overlaps 0.5, 0.55, ..., 0.95 (0.8 included). Two classes.
    [({}, 0.0), (ONE_PART, (70 + 100) / 2)],
    ids=["nothing", "no gap"],
)
def test_box_and_mask_ap_by_hand(
    dataset: tuple[str, str], tmp_path: Path, detector1: dict, mask_easy: float
) -> None:
    cfg = life_cfg()
    evaluator = TradeoffEvaluator("life", cfg, toy_model(*SMALL), str(tmp_path))
    evaluator.reset()
    for (image,) in build_test_loader(cfg, "life"):
        id_ = image["image_id"]
        found = {"detector1": detector1.get(id_, NOTHING), "detector2": PERFECT[id_]}
        evaluator.process([image], [{"difficulty": 0.2 * id_, **found}])
    results = evaluator.evaluate()
    assert {"bbox", "segm"} < results.keys()
    points = json.loads((tmp_path / "dynamic" / "tradeoff.json").read_text())["points"]
    box_easy = 100.0 if detector1 else 0.0
    assert points[0]["box"]["AP"] == pytest.approx(box_easy)
    assert points[0]["mask"]["AP"] == pytest.approx(mask_easy)
    assert points[-1]["box"]["AP"] == points[-1]["mask"]["AP"] == pytest.approx(100)
    # Half of the images are hard: 3, whose object is the only one of its class, and 4.
    half = next(point for point in points if point["hard_fraction"] == 0.5)
    assert half["mask"]["AP"] == pytest.approx(50 if not detector1 else (70 + 100) / 2)


# End to end


def drawn_cfg(folder: Path) -> CfgNode:
    """A detector that learns four small pictures by heart in forty steps."""
    drawn = folder / "drawn"
    draw_dataset(drawn, Recipe(num_images=4, seed=5, width=WIDTH, height=HEIGHT))
    register_coco_json([["drawn", str(drawn / "instances.json"), str(drawn / "images")]])
    return life_cfg(
        *("DATASETS.TRAIN", ("drawn",)),
        *("DATASETS.TEST", ("drawn",)),
        *("INPUT.RANDOM_FLIP", "none"),
        *("MODEL.RESNETS.STEM_OUT_CHANNELS", 16),
        *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
        *("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4"]),
        *("MODEL.FPN.OUT_CHANNELS", 32),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64]]),
        *("MODEL.RPN.IN_FEATURES", ["p2", "p3", "p4", "p5"]),
        *("MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p3", "p4"]),
        *("MODEL.ROI_HEADS.NUM_CLASSES", 6),
        *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32),
        *("MODEL.ROI_BOX_HEAD.FC_DIM", 64),
        *("MODEL.ROI_MASK_HEAD.NUM_CONV", 2),
        *("MODEL.ROI_MASK_HEAD.CONV_DIM", 16),
        *("SOLVER.OPTIMIZER", "ADAMW"),
        *("SOLVER.BASE_LR", 2e-3),
        *("SOLVER.WARMUP_ITERS", 0),
        *("SOLVER.CLIP_GRADIENTS.ENABLED", True),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"),
        *("SOLVER.MAX_ITER", 40),
        *("SEED", 0),
        *("OUTPUT_DIR", str(folder / "output")),
    )


@pytest.mark.usefixtures("undrawn")
def test_mask_ap_rises_over_training_at_both_exits(tmp_path: Path) -> None:
    """All phases, and the trade-off at the end."""
    with clean_catalogs():
        trainer = DynamicTrainer(drawn_cfg(tmp_path))
        before = trainer.test(trainer.cfg, trainer.detector)
        trainer.train()
    assert before["segm"]["AP"] < 5
    report = tmp_path / "output" / "inference" / "dynamic" / "tradeoff.json"
    points = json.loads(report.read_text())["points"]
    assert points[0]["mask"]["AP"] > 15  # 41 and 45 when this was written
    assert points[-1]["mask"]["AP"] > 15
    assert trainer.phase.name == "router" and torch.isfinite(trainer.detector.loss_offset)

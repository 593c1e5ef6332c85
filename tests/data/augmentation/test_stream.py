# SPDX-License-Identifier: Apache-2.0
"""The multi-image stream: a function of seed and position, for all kinds of images."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from PIL import Image

from dynamicdet_d2.data import (
    CorruptImageError,
    ResumableLoader,
    build_training_loader,
    register_coco_json,
    training_dicts,
)
from dynamicdet_d2.data.augmentation import MultiImageAugmentation, Settings
from dynamicdet_d2.data.augmentation.picture import Picture
from dynamicdet_d2.data.loading.corrupt import REPLACED, NoUsableImageError
from dynamicdet_d2.data.loading.multi_image import MultiImageStream
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, toy_cfg, write_coco

NUM_IMAGES, SIZE = 7, 48


@pytest.fixture(autouse=True)
def _catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Seven images: one is grey, one a strip of 4 x 30 pixels, one without objects, one a crowd."""
    shapes = {1: (30, 40), 2: (4, 30)}
    images = [image_entry(i, *shapes.get(i, (40, 30))) for i in range(1, NUM_IMAGES + 1)]
    objects = [object_entry(i, i) for i in (1, 3, 4, 5)]
    thin = object_entry(2, 2, bbox=[0, 6, 4, 8], segmentation=[[0, 6, 4, 6, 4, 14, 0, 14]])
    run_lengths = {"size": [30, 40], "counts": [40, 100, 1060]}
    crowd = object_entry(6, 6, iscrowd=1, segmentation=run_lengths)
    paths = write_coco(tmp_path, images, [*objects, thin, crowd])
    Image.new("L", (40, 30), 90).save(Path(paths[1]) / "003.jpg")
    register_coco_json([["toy", *paths]])
    cfg = toy_cfg()
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.INPUT.MOSAIC.ENABLED = True
    cfg.INPUT.MAX_SIZE_TRAIN = SIZE
    # Everything happens often.
    cfg.INPUT.MOSAIC.PROBABILITY = 0.8
    cfg.INPUT.MOSAIC.NINE = 0.5
    cfg.INPUT.MIXUP.PROBABILITY = cfg.INPUT.PASTE_IN.PROBABILITY = 0.5
    cfg.INPUT.AFFINE.DEGREES = 30.0
    return cfg


def batches(cfg: CfgNode, count: int, **options: Any) -> list[list[dict[str, Any]]]:
    return list(itertools.islice(build_training_loader(cfg, seed=3, **options), count))


def samples(cfg: CfgNode, count: int, **options: Any) -> list[dict[str, Any]]:
    return list(itertools.chain(*batches(cfg, count, **options)))


def assert_same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert (a["image_id"], a["dataset_index"]) == (b["image_id"], b["dataset_index"])
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["instances"].gt_boxes.tensor, b["instances"].gt_boxes.tensor)


@pytest.mark.parametrize("masks", [False, True])
def test_samples_are_what_the_mapper_gives(cfg: CfgNode, masks: bool) -> None:
    cfg.MODEL.MASK_ON = masks
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    drawn = samples(cfg, 20)
    for sample in drawn:
        assert sample["image"].shape == (3, SIZE, SIZE)
        assert sample["image"].dtype == torch.uint8
        assert (sample["height"], sample["width"]) == (SIZE, SIZE)
        instances = sample["instances"]
        assert instances.image_size == (SIZE, SIZE)
        boxes = instances.gt_boxes.tensor
        assert ((boxes >= 0) & (boxes <= SIZE)).all()
        assert (boxes[:, 2:] - boxes[:, :2] > 2 - 1e-4).all()
        assert len(instances.gt_classes) == len(boxes)
        if len(instances):
            assert instances.has("gt_masks") == masks
    assert len({len(sample["instances"]) for sample in drawn}) > 3
    cfg.INPUT.MOSAIC.ENABLED = False
    plain = samples(cfg, 20)
    assert plain[0].keys() == drawn[0].keys()
    names = [[sample["image_id"] for sample in found] for found in (plain, drawn)]
    assert names[0] == names[1]


def test_workers_and_resuming_change_nothing(cfg: CfgNode) -> None:
    whole = samples(cfg, 10)
    assert_same(samples(cfg, 4, start_iter=6), whole[12:])
    for workers in (1, 2):
        cfg.DATALOADER.NUM_WORKERS = workers
        assert_same(samples(cfg, 10), whole)
        assert_same(samples(cfg, 4, start_iter=6), whole[12:])


def test_two_ranks_together_see_the_batches_of_one(
    cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = samples(cfg, 4, total_batch_size=4)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        ranks.append(batches(cfg, 4, total_batch_size=4))
    assert_same([s for a, b in zip(*ranks, strict=True) for s in a + b], whole)


def test_generators_of_the_caller_go_on_undisturbed(cfg: CfgNode) -> None:
    np.random.seed(0), torch.manual_seed(0)
    expected = np.random.rand(), torch.rand(()).item()
    np.random.seed(0), torch.manual_seed(0)
    samples(cfg, 3)
    assert (np.random.rand(), torch.rand(()).item()) == expected


def test_another_seed_gives_other_samples(cfg: CfgNode) -> None:
    (one,), (other,) = (next(iter(build_training_loader(cfg, seed=s)))[:1] for s in (1, 2))
    assert not torch.equal(one["image"], other["image"])


class Remembered(MultiImageAugmentation):
    """Reads pictures that are their number everywhere; ``read_of`` lists them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.read_of: list[int] = []

    def read(self, dataset_dict: Any) -> Picture:
        self.read_of.append(dataset_dict["number"])
        return Picture(np.full((SIZE, SIZE, 3), dataset_dict["number"], dtype=np.uint8), [])


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"number": number} for number in range(count)]


def test_the_last_samples_are_of_single_images(cfg: CfgNode) -> None:
    cfg.INPUT.MOSAIC.PROBABILITY = 1.0
    augmentation = Remembered(Settings.from_config(cfg))
    stream = MultiImageStream(numbered(9), augmentation, 0, single_from=5)
    for position in range(10):
        augmentation.read_of.clear()
        sample = stream[position]
        assert augmentation.read_of[0] == sample["dataset_index"] == sample["number"]
        assert (len(augmentation.read_of) == 1) == (position >= 5)


@pytest.mark.parametrize(("off", "expected"), [(0, None), (4, 12)])
def test_where_the_last_samples_begin(cfg: CfgNode, off: int, expected: int | None) -> None:
    """Ten steps of two images, without the last four."""
    cfg.SOLVER.MAX_ITER, cfg.INPUT.MOSAIC.OFF_LAST_STEPS = 10, off
    whole = samples(cfg, 10)
    cfg.SOLVER.MAX_ITER, cfg.INPUT.MOSAIC.OFF_LAST_STEPS = 1000, 0
    never = samples(cfg, 10)
    same = [torch.equal(a["image"], b["image"]) for a, b in zip(whole, never, strict=True)]
    assert all(same[:expected])
    assert expected is None or not all(same[expected:])


def test_images_are_drawn_as_often_as_they_are_repeated(cfg: CfgNode) -> None:
    augmentation = Remembered(Settings.from_config(cfg))
    stream = MultiImageStream(numbered(4), augmentation, 0, repeats=np.array([1.0, 1, 1, 5]))
    first = Counter(stream[position]["number"] for position in range(200))
    partners = Counter(augmentation.read_of) - first
    assert partners.total() >= 3 * 200 * 0.7
    assert partners[3] / partners.total() == pytest.approx(5 / 8, abs=0.05)
    assert min(partners[number] for number in range(4)) > 50


def test_a_data_set_without_any_object(tmp_path: Path, cfg: CfgNode) -> None:
    register_coco_json([["empty", *write_coco(tmp_path / "2", [image_entry(1)], [])]])
    cfg.DATASETS.TRAIN = ("empty",)
    cfg.INPUT.PASTE_IN.PROBABILITY = 1.0
    drawn = samples(cfg, 5)
    assert all(len(sample["instances"]) == 0 for sample in drawn)
    assert all(sample["instances"].gt_boxes.tensor.shape == (0, 4) for sample in drawn)


# Corrupt images


def truncate(cfg: CfgNode, id_: int) -> None:
    path = Path(training_dicts(cfg)[id_ - 1]["file_name"])
    path.write_bytes(path.read_bytes()[:-400])


def test_a_corrupt_image_is_named_wherever_it_is_drawn(cfg: CfgNode) -> None:
    cfg.INPUT.MOSAIC.PROBABILITY = 1.0
    truncate(cfg, 4)
    loader = iter(build_training_loader(cfg, seed=3))
    with pytest.raises(CorruptImageError, match=r"004\.jpg \(id 4\) cannot be read"):
        for _ in range(10):
            next(loader)


def test_a_corrupt_image_is_left_out_wherever_it_is_drawn(cfg: CfgNode) -> None:
    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    truncate(cfg, 4)
    loader = build_training_loader(cfg, seed=3)
    found = list(itertools.chain(*itertools.islice(loader, 12)))
    assert all(sample["image_id"] != 4 for sample in found)
    assert not any(REPLACED in sample for sample in found)
    assert loader.corrupt_images.total() > 24 / NUM_IMAGES  # partners as well
    cfg.DATALOADER.NUM_WORKERS = 2
    assert_same(samples(cfg, 3, start_iter=9), found[18:])


def test_nothing_but_corrupt_images_is_an_error(cfg: CfgNode) -> None:
    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    for id_ in range(1, NUM_IMAGES + 1):
        truncate(cfg, id_)
    with pytest.raises(NoUsableImageError, match="corrupt images in a row"):
        samples(cfg, 1)


# Mappers


def test_a_mapper_of_ones_own_is_refused_beside_it(cfg: CfgNode) -> None:
    mapper = DatasetMapper(cfg, is_train=True)
    loader = ResumableLoader(cfg, mapper)
    with pytest.raises(ValueError, match=r"INPUT\.MOSAIC\.ENABLED is True, but .* a mapper"):
        next(iter(loader))
    cfg.INPUT.MOSAIC.ENABLED = False
    assert len(next(iter(ResumableLoader(cfg, mapper)))) == 2

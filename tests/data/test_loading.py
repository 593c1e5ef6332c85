# SPDX-License-Identifier: Apache-2.0
"""Loaders: the stream is a function of position, passes are complete, corrupt images are named."""

import itertools
import logging
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dynamicdet_d2.data import (
    CorruptImageError,
    ImageLoader,
    NamedErrors,
    PositionBatches,
    TrainingStream,
    build_finite_loader,
    build_test_loader,
    build_training_loader,
    register_coco_json,
)
from dynamicdet_d2.data.check.keypoint_names import refuse_unknown_pairs, warn_of_other_names
from dynamicdet_d2.data.loading.corrupt import REPLACED, NoUsableImageError, image_fault
from dynamicdet_d2.data.loading.epochs import epoch_order
from dynamicdet_d2.data.loading.images import training_dicts
from dynamicdet_d2.data.loading.loaders import (
    ConsecutiveBatches,
)
from dynamicdet_d2.data.loading.mappers import annotated_mapper, inference_mapper
from dynamicdet_d2.data.loading.stream import MAX_TRIES
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, toy_cfg, write_coco

NUM_IMAGES = 7


@pytest.fixture(autouse=True)
def _catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Seven images of two orientations, with one object each except the last."""
    images = [image_entry(i, *((40, 30) if i % 3 else (30, 40))) for i in range(1, NUM_IMAGES + 1)]
    annotations = [object_entry(i, i) for i in range(1, NUM_IMAGES)]
    register_coco_json([["toy", *write_coco(tmp_path, images, annotations)]])
    cfg = toy_cfg()
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    return cfg


def image_file(cfg: CfgNode, id_: int) -> Path:
    return Path(training_dicts(cfg)[id_ - 1]["file_name"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def training_batches(cfg: CfgNode, count: int, **options: Any) -> list[list[dict[str, Any]]]:
    loader = build_training_loader(cfg, DatasetMapper(cfg, is_train=True), seed=3, **options)
    return list(itertools.islice(loader, count))


def assert_same_batches(
    first: list[list[dict[str, Any]]], second: list[list[dict[str, Any]]]
) -> None:
    assert [len(batch) for batch in first] == [len(batch) for batch in second]
    for a, b in zip(itertools.chain(*first), itertools.chain(*second), strict=True):
        assert a.keys() == b.keys()
        assert a["image_id"] == b["image_id"]
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["instances"].gt_boxes.tensor, b["instances"].gt_boxes.tensor)


# Positions


def positions(count: int, *, size: int = NUM_IMAGES, **options: Any) -> list[list[int]]:
    options = {"total_batch_size": 2, **options}
    return list(itertools.islice(PositionBatches(size, 3, **options), count))


def test_each_epoch_has_every_image_once_in_an_order_of_its_own() -> None:
    orders = [epoch_order(3, epoch, 50).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(4, 0, 50).tolist() != orders[0]


def test_batches_without_grouping_are_consecutive_positions() -> None:
    assert positions(3) == [[0, 1], [2, 3], [4, 5]]
    assert positions(2, start_batch=5) == [[10, 11], [12, 13]]
    assert positions(2, total_batch_size=4, rank=1, world_size=2) == [[2, 3], [6, 7]]


def test_grouped_batches_by_hand() -> None:
    landscape = np.array([True, False, True])
    expected, waiting = [], {True: [], False: []}
    for position in range(3 * 4):
        epoch, offset = divmod(position, 3)
        group = waiting[bool(landscape[epoch_order(3, epoch, 3)[offset]])]
        group.append(position)
        if len(group) == 2:
            expected.append(group[:])
            group.clear()
    # Four epochs: 8 landscape and 4 portrait images, so 4 + 2 full batches.
    assert len(expected) == 6
    assert positions(6, size=3, landscape=landscape) == expected


@given(
    landscape=st.lists(st.booleans(), min_size=1, max_size=12),
    share=st.integers(1, 3),
    world_size=st.integers(1, 4),
    start=st.integers(0, 9),
)
def test_neither_ranks_nor_resuming_change_the_batches(
    landscape: list[bool], share: int, world_size: int, start: int
) -> None:
    options = {
        "size": len(landscape),
        "total_batch_size": share * world_size,
        "landscape": np.array(landscape),
    }
    whole = positions(12, **options)
    ranks = [
        positions(12 - start, rank=rank, world_size=world_size, start_batch=start, **options)
        for rank in range(world_size)
    ]
    assert [list(itertools.chain(*parts)) for parts in zip(*ranks, strict=True)] == whole[start:]
    flat = list(itertools.chain(*whole))
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize(("total", "world_size"), [(0, 1), (3, 2), (-2, 2)])
def test_batch_sizes_that_cannot_be_shared(total: int, world_size: int) -> None:
    with pytest.raises(ValueError, match=f"IMS_PER_BATCH.* is {total}; .* {world_size}"):
        PositionBatches(5, 0, total_batch_size=total, world_size=world_size)


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 5))
def test_ranks_share_a_pass_without_overlap(count: int, batch_size: int, world_size: int) -> None:
    parts = [ConsecutiveBatches(count, batch_size, rank, world_size) for rank in range(world_size)]
    assert [i for part in parts for batch in part for i in batch] == list(range(count))
    assert all(len(list(part)) == len(part) for part in parts)
    sizes = [sum(map(len, part)) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] or not count  # the first process says what is found


# The training stream


def random_mapper(dataset_dict: dict[str, Any]) -> dict[str, Any]:
    draws = (np.random.rand(), random.random(), torch.rand(()).item())
    return {**dataset_dict, "draws": draws}


def test_samples_depend_on_seed_and_position_only() -> None:
    stream = TrainingStream([{"id": i} for i in range(5)], random_mapper, seed=1)
    samples = [stream[position] for position in range(10)]
    assert [stream[position] for position in reversed(range(10))] == samples[::-1]
    assert sorted(sample["id"] for sample in samples[:5]) == list(range(5))
    assert all(sample["id"] == sample["dataset_index"] for sample in samples)
    draws = [draw for sample in samples for draw in sample["draws"]]
    assert len(set(draws)) == 30
    other = TrainingStream([{"id": i} for i in range(5)], random_mapper, seed=2)
    assert other[0]["draws"] != samples[0]["draws"]


def test_generators_of_the_caller_go_on_undisturbed(cfg: CfgNode) -> None:
    def draws() -> tuple[float, float, float]:
        return np.random.rand(), random.random(), torch.rand(()).item()

    def seed() -> None:
        np.random.seed(0), random.seed(0), torch.manual_seed(0)

    seed()
    expected = draws()
    seed()
    training_batches(cfg, 2)
    list(build_finite_loader(cfg, DatasetMapper(cfg, is_train=True)))
    assert draws() == expected


def test_workers_and_resuming_change_nothing(cfg: CfgNode) -> None:
    whole = training_batches(cfg, 10)
    sizes = {sample["image"].shape for batch in whole for sample in batch}
    assert len(sizes) > 2  # the augmentation does draw sizes
    for batch in whole:
        assert len({sample["width"] > sample["height"] for sample in batch}) == 1
    cfg.DATALOADER.NUM_WORKERS = 2
    assert_same_batches(training_batches(cfg, 10), whole)
    assert_same_batches(training_batches(cfg, 4, start_iter=6), whole[6:])


def test_resuming_reads_no_image_of_the_batches_passed_over(cfg: CfgNode) -> None:
    read = []

    def mapper(dataset_dict: dict[str, Any]) -> dict[str, Any]:
        read.append(dataset_dict["image_id"])
        return dataset_dict

    loader = build_training_loader(cfg, mapper, seed=0, start_iter=100)
    next(iter(loader))
    assert len(read) == 2


def test_two_ranks_together_see_the_batches_of_one(
    cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training_batches(cfg, 4, total_batch_size=4)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        ranks.append(training_batches(cfg, 4, total_batch_size=4))
    assert_same_batches([a + b for a, b in zip(*ranks, strict=True)], whole)


def test_images_without_objects(cfg: CfgNode) -> None:
    assert len(training_dicts(cfg)) == NUM_IMAGES
    samples = list(itertools.chain(*training_batches(cfg, 12)))
    assert {len(sample["instances"]) for sample in samples} == {0, 1}
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    assert len(training_dicts(cfg)) == NUM_IMAGES - 1


@pytest.mark.parametrize("grouped", [False, True])
def test_repeated_images_resume_as_others_do(cfg: CfgNode, grouped: bool) -> None:
    """The class is in 6 of 7 images: sqrt(4 / (6/7)) = 2.2 times an epoch, the other image once."""
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = grouped
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 4.0
    whole = training_batches(cfg, 40)
    assert_same_batches(training_batches(cfg, 4, start_iter=36), whole[36:])
    counts = Counter(sample["image_id"] for sample in itertools.chain(*whole))
    assert len(counts) == NUM_IMAGES
    assert 2 * counts[NUM_IMAGES] < min(counts[i] for i in range(1, NUM_IMAGES)) + 3


def test_keys_that_cannot_be_followed(cfg: CfgNode) -> None:
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    with pytest.raises(ValueError, match=r"DATALOADER\.SAMPLER_TRAIN is 'RandomSubset.* router"):
        training_batches(cfg, 1)
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    with pytest.raises(ValueError, match=r"ASPECT_RATIO_GROUPING .* a\.jpg has no 'width'"):
        training_batches(cfg, 1, dataset_dicts=[{"file_name": "a.jpg"}])
    cfg.DATASETS.TRAIN = ("toys",)
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN names 'toys'.* Close to it: toy"):
        training_dicts(cfg)
    says = (
        r"programs call dynamicdet_d2\.data\.register_coco_json\(cfg\.DATASETS\.COCO_JSON\)\. Close"
    )
    with pytest.raises(ValueError, match=says):
        training_dicts(cfg)
    cfg.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN names no data set"):
        training_dicts(cfg)
    with pytest.raises(ValueError, match=r"DATASETS\.TEST names 'val', which is not registered"):
        build_test_loader(cfg, "val")


def test_keypoints_have_names_in_the_metadata(cfg: CfgNode) -> None:
    cfg.MODEL.KEYPOINT_ON, cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = True, 0
    cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 1
    with pytest.raises(ValueError, match=r"'toy' has no keypoint_names in its metadata, which is"):
        training_dicts(cfg)
    MetadataCatalog.get("toy").set(keypoint_names=["nose"])
    with pytest.raises(ValueError, match=r"get\('toy'\)\.set\(keypoint_flip_map=\.\.\.\)\.$"):
        training_dicts(cfg)
    MetadataCatalog.get("toy").set(keypoint_flip_map=[])
    assert len(training_dicts(cfg)) == NUM_IMAGES


@pytest.mark.parametrize(
    ("names", "pairs", "says"),
    [
        (["left", "right"], [("lefts", "rights")], r"\['left', 'right'\], and 'lefts' is none"),
        (["left", "right"], [(0, 1)], "and 0 is none"),
        (["left", "right"], ["left", "right"], "is none"),
        (["left", "right"], 3, "and 3 is none"),
        (["left", "left"], [], "it must be a list of names, each there once"),
        (zip("ab", "cd", strict=True), [], "it must be a list of names, each there once"),
        (["left", "right"], zip(["left"], ["right"], strict=True), "and .*zip.* is none"),
        (["a", "b", "c"], [("a", "b"), ("b", "c")], r"\['a', 'b', 'c'\], and 'b' has two partners"),
        (["a", "b", "c"], {"a": "b", "b": "c"}, "and 'b' has two partners"),
    ],
)
def test_pairs_of_keypoints_that_no_flip_can_exchange(
    cfg: CfgNode, names: list[str], pairs: object, says: str
) -> None:
    MetadataCatalog.get("toy").set(keypoint_names=names, keypoint_flip_map=pairs)
    with pytest.raises(ValueError, match=f"^Data set 'toy' has the keypoint_.* {says}"):
        refuse_unknown_pairs("toy")


PAIRS = [("a", "b"), ("b", "a"), ("c", "c")]


def test_a_keypoint_in_the_middle_may_be_its_own_pair(cfg: CfgNode) -> None:
    given = {"keypoint_names": ["a", "b", "c"], "keypoint_flip_map": PAIRS}
    MetadataCatalog.get("toy").set(**given)
    refuse_unknown_pairs("toy")


def test_images_are_measured_without_names_of_keypoints(cfg: CfgNode) -> None:
    """Detectron2's mapper asks the metadata which keypoints a flip exchanges."""
    cfg.MODEL.KEYPOINT_ON = True
    assert "image" in inference_mapper(cfg)(DatasetCatalog.get("toy")[0])
    assert annotated_mapper(cfg).use_keypoint


def test_keypoints_in_another_order_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with clean_catalogs():
        MetadataCatalog.get("learnt").set(keypoint_names=["left", "right"])
        MetadataCatalog.get("same").set(keypoint_names=["left", "right"])
        MetadataCatalog.get("other").set(keypoint_names=["right", "left"])
        warn_of_other_names(["learnt"], ["same", "nameless"])
        assert not caplog.text
        warn_of_other_names(["learnt"], ["same", "other"])
    assert "The keypoints of 'other' are ['right', 'left'], but those of 'learnt'" in caplog.text


def test_a_data_set_without_any_usable_image(tmp_path: Path) -> None:
    register_coco_json([["toy", *write_coco(tmp_path, [image_entry(1)], [])]])
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN \['toy'\] cannot be loaded: No valid"):
        training_dicts(toy_cfg())


# Passes that end


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_finite_pass_has_every_image_once(cfg: CfgNode, num_workers: int) -> None:
    cfg.DATALOADER.NUM_WORKERS = num_workers
    mapper = DatasetMapper(cfg, is_train=True)
    loader = build_finite_loader(cfg, mapper, batch_size=3)
    first, second = list(loader), list(loader)
    assert_same_batches(first, second)
    samples = list(itertools.chain(*first))
    assert [sample["dataset_index"] for sample in samples] == list(range(NUM_IMAGES))
    assert [sample["image_id"] for sample in samples] == list(range(1, NUM_IMAGES + 1))
    assert [len(batch) for batch in first] == [3, 3, 1]
    assert len(loader) == 3
    assert len(build_finite_loader(cfg, mapper)) == NUM_IMAGES


def test_the_finite_pass_is_split_over_ranks(cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    seen = []
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        loader = build_finite_loader(cfg, DatasetMapper(cfg, is_train=True))
        seen.append([batch[0]["dataset_index"] for batch in loader])
    assert seen == [[0, 1, 2, 3], [4, 5, 6]]


def test_the_test_loader_gives_what_detectron2_gives(cfg: CfgNode) -> None:
    batches = list(build_test_loader(cfg, "toy"))
    mapper = DatasetMapper(cfg, is_train=False)
    assert [len(batch) for batch in batches] == [1] * NUM_IMAGES
    for (sample,), dataset_dict in zip(batches, training_dicts(cfg), strict=True):
        expected = mapper(dataset_dict)
        assert torch.equal(sample.pop("image"), expected.pop("image"))
        assert sample.pop("dataset_index") == expected["image_id"] - 1
        assert sample == expected


# Unusual images that work


def test_grey_and_rotated_images(tmp_path: Path) -> None:
    images = [image_entry(1, 40, 30), image_entry(2, 30, 40)]
    paths = write_coco(tmp_path, images, [object_entry(1, 1), object_entry(2, 2)])
    Image.new("L", (40, 30), 90).save(Path(paths[1]) / "001.jpg")
    exif = Image.Exif()
    exif[274] = 6  # shown after a quarter turn clockwise: 30x40
    stored = Image.new("RGB", (40, 30))
    stored.paste((200, 200, 200), (0, 0, 20, 30))  # the left half becomes the upper one
    stored.save(Path(paths[1]) / "002.jpg", exif=exif, quality=100)
    register_coco_json([["toy", *paths]])
    cfg = toy_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 30
    (grey,), (rotated,) = build_test_loader(cfg, "toy")
    assert grey["image"].shape == (3, 30, 40)
    assert int(grey["image"].min()) == int(grey["image"].max()) == 90
    assert rotated["image"].shape == (3, 40, 30)
    assert rotated["image"][:, :16].min() > 150 and rotated["image"][:, 24:].max() < 50


# Corrupt images


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (truncate, "cannot be read: OSError: image file is truncated"),
        (lambda path: path.write_bytes(b""), "cannot be read: UnidentifiedImageError"),
        (lambda path: path.write_text("<html>"), "cannot be read: UnidentifiedImageError"),
        (Path.unlink, "does not exist"),
        (
            lambda path: Image.new("RGB", (20, 10)).save(path),
            r"is 20x10 pixels \(EXIF rotation applied\), but the data set says 40x30",
        ),
    ],
)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_each_kind_of_corrupt_image_is_named(
    cfg: CfgNode, damage: Any, cause: str, num_workers: int
) -> None:
    path = image_file(cfg, 2)
    damage(path)
    cfg.DATALOADER.NUM_WORKERS = num_workers
    with pytest.raises(CorruptImageError, match=rf"{path.name} \(id 2\) {cause}") as caught:
        list(build_test_loader(cfg, "toy"))
    assert str(caught.value).count("\n") == 0  # no traceback of a worker inside
    assert str(caught.value).endswith("DATALOADER.SKIP_CORRUPT_IMAGES True leaves such images out.")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipping_in_passes(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    truncate(image_file(cfg, 2))
    image_file(cfg, 6).unlink()
    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    cfg.DATALOADER.NUM_WORKERS = num_workers
    loader = build_test_loader(cfg, "toy")
    with caplog.at_level(logging.WARNING, "dynamicdet_d2"):
        for _ in range(2):
            assert [sample["image_id"] for (sample,) in loader] == [1, 3, 4, 5, 7]
    assert sorted(loader.corrupt_images.values()) == [2, 2]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2  # once a file, not once a pass
    assert "002.jpg (id 2) cannot be read" in messages[0]
    assert messages[0].endswith("Left out; corrupt images so far: 1.")
    assert messages[1].endswith("Left out; corrupt images so far: 2.")
    finite = build_finite_loader(cfg, DatasetMapper(cfg, is_train=True), batch_size=2)
    batches = [[sample["dataset_index"] for sample in batch] for batch in finite]
    assert batches == [[0], [2, 3], [4], [6]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipping_in_training(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    whole = training_batches(cfg, 14)
    truncate(image_file(cfg, 2))
    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    cfg.DATALOADER.NUM_WORKERS = num_workers
    loader = build_training_loader(cfg, DatasetMapper(cfg, is_train=True), seed=3)
    with caplog.at_level(logging.WARNING, "dynamicdet_d2"):
        skipping = list(itertools.islice(loader, 14))
    assert len(caplog.records) == 1
    assert_same_batches(training_batches(cfg, 4, start_iter=10), skipping[10:])
    pairs = list(zip(itertools.chain(*whole), itertools.chain(*skipping), strict=True))
    replaced = [(a, b) for a, b in pairs if a["image_id"] == 2]
    assert len(replaced) >= 2
    assert all(b["image_id"] != 2 for _, b in pairs)
    assert all(torch.equal(a["image"], b["image"]) for a, b in pairs if a["image_id"] != 2)
    # At a turn of epochs an image can be followed by itself: two failures for one replacement.
    assert loader.corrupt_images.keys() == {str(image_file(cfg, 2))}
    assert loader.corrupt_images.total() >= len(replaced)
    assert not any(REPLACED in sample for _, sample in pairs)


def test_the_replacement_is_the_next_usable_position() -> None:
    def mapper(dataset_dict: dict[str, Any]) -> dict[str, Any]:
        if dataset_dict["id"] in (1, 2):
            raise CorruptImageError("f", dataset_dict["id"], "is broken")
        return dict(dataset_dict)

    stream = TrainingStream([{"id": i} for i in range(5)], mapper, seed=0, skip_corrupt=True)
    order = [stream.index(position) for position in range(10)]
    usable = [i for i in order if i not in (1, 2)]
    for position in range(5):
        expected = next(i for i in order[position:] if i in usable)
        assert stream[position]["id"] == expected
        number_replaced = order[position:].index(expected)
        assert len(stream[position].get(REPLACED, [])) == number_replaced


@pytest.mark.parametrize("num_workers", [0, 1])
def test_skipping_everything_is_an_error(cfg: CfgNode, num_workers: int) -> None:
    for id_ in range(1, NUM_IMAGES + 1):
        image_file(cfg, id_).unlink()
    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    cfg.DATALOADER.NUM_WORKERS = num_workers
    with pytest.raises(NoUsableImageError, match=f"^{MAX_TRIES} corrupt images in a row, the last"):
        training_batches(cfg, 1)
    assert list(build_test_loader(cfg, "toy")) == []


def test_a_mapper_that_fails_on_a_good_image_is_not_hidden(cfg: CfgNode) -> None:
    def mapper(dataset_dict: dict[str, Any]) -> dict[str, Any]:
        raise IndexError("a bug of the mapper")

    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    with pytest.raises(IndexError, match="a bug") as caught:
        list(build_finite_loader(cfg, mapper))
    assert "001.jpg" in caught.value.__notes__[0]


def test_a_mapper_that_writes_into_what_it_is_given_is_not_hidden(cfg: CfgNode) -> None:
    """Its failure would be taken for an image of another size, and be skipped."""

    def doubling(dataset_dict: dict[str, Any]) -> dict[str, Any]:
        dataset_dict["width"] *= 2
        raise KeyError("bug")

    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = True
    with pytest.raises(KeyError, match="bug"):
        next(iter(build_training_loader(cfg, doubling, seed=3)))


def test_a_mapper_that_gives_no_dict(cfg: CfgNode) -> None:
    """As a training on tuples of torchvision's has them."""

    def mapper(dataset_dict: dict[str, Any]) -> Any:
        return dataset_dict["file_name"], []

    says = r"^The mapper makes a tuple of Image .*\.jpg \(id 1\); it must make a dict, with 'image'"
    with pytest.raises(ValueError, match=says):
        list(build_finite_loader(cfg, mapper))
    stream = TrainingStream([{"image_id": 7}], lambda x: [x], seed=0)
    with pytest.raises(ValueError, match="The mapper makes a list of Image 7; it must make a dict"):
        stream[0]


def test_a_mapper_that_stops_does_not_end_the_pass(cfg: CfgNode) -> None:
    """torch would take it for the end of the data set, which is then shorter in silence."""

    def mapper(dataset_dict: dict[str, Any]) -> dict[str, Any]:
        return next(iter([]))

    with pytest.raises(RuntimeError, match="The mapper raised StopIteration"):
        list(build_finite_loader(cfg, mapper))


def test_a_mapper_that_refuses_an_image() -> None:
    with pytest.raises(CorruptImageError, match=r"a\.jpg \(id 4\) was refused by the mapper"):
        NamedErrors(lambda dataset_dict: None)({"file_name": "a.jpg", "image_id": 4})


def test_faults_of_dicts_without_file_or_size(tmp_path: Path) -> None:
    assert image_fault({"image_id": 1}) is None
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert image_fault({"file_name": str(tmp_path / "a.png")}) is None


def test_errors_survive_the_way_out_of_a_worker() -> None:
    error = CorruptImageError("a.jpg", 4, "is broken")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.sentence == "Image a.jpg (id 4) is broken."


def test_image_loader_raises_in_order_of_the_batch() -> None:
    items = [[{"id": 1}, CorruptImageError("a", 2, "is broken")]]
    with pytest.raises(CorruptImageError, match="a "):
        next(iter(ImageLoader(items, skip_corrupt=False)))  # type: ignore[arg-type]
    loader = ImageLoader(items, skip_corrupt=True)  # type: ignore[arg-type]
    assert list(loader) == [[{"id": 1}]]
    assert loader.corrupt_images == Counter({"a": 1})

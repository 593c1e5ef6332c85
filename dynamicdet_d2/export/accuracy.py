# SPDX-License-Identifier: Apache-2.0
"""COCO AP of an exported detector and of its model, from both routes of every image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import read_image
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import Boxes, Instances
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy
from dynamicdet_d2.data import NamedErrors, build_finite_loader
from dynamicdet_d2.data.loading.corrupt import CorruptImageError, Sample
from dynamicdet_d2.data.loading.images import images_of
from dynamicdet_d2.data.loading.mappers import inference_mapper
from dynamicdet_d2.evaluation.exit_records import EXITS, ExitRecord, merged
from dynamicdet_d2.evaluation.ground_truth import GroundTruth, read_ground_truth
from dynamicdet_d2.evaluation.observe import BothExits, Observer
from dynamicdet_d2.evaluation.task_sweeps import task_sweeps
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.runner import Detections, Runner
from dynamicdet_d2.utils.progress import Progress
from dynamicdet_d2.utils.spread import spread


@dataclass(frozen=True)
class ImageSet:
    """Images that something is measured on.

    Attributes:
        name: of their data set.
        images: Detectron2's dicts of some or all of it.
        truth: what is to be found in them.
    """

    name: str
    images: Sequence[Sample]
    truth: GroundTruth

    @classmethod
    def read(cls, option: str, name: str, count: int) -> "ImageSet":
        """Images of a registered data set, evenly spread over it; all where it has fewer.

        Args:
            option: that the user named the data set with, for complaints.
            count: at least 1.

        Raises:
            ValueError: the data set cannot be read, or there is nothing to be found in it.
        """
        images = some_images(option, name, count)
        truth = read_ground_truth(name)
        if not any(truth.objects(image["image_id"]) for image in images):
            raise ValueError(
                f"{option} {name}: there is no object in its {len(images)} images, and so no AP."
            )
        return cls(name, images, truth)


def some_images(option: str, name: str, count: int) -> list[Sample]:
    """As ``ImageSet.read``, of a data set that needs no annotations."""
    return spread(images_of(option, [name], filter_empty=False), count)


def pictures_of(images: Sequence[Sample]) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8, RGB.

    Raises:
        ValueError: naming the image that cannot be read.
    """
    read = NamedErrors(lambda image: {"image": read_image(image["file_name"], "RGB")})
    for image in images:
        with _none_left_out():
            picture = read(image)["image"]
        yield picture


def exported_records(runner: Runner, images: Sequence[Sample], what: str) -> list[ExitRecord]:
    """Both routes of every image, one image at a time; the runner's threshold is left as it was.

    By ascending image id, as those of ``model_records`` are: one is held against the other.

    Args:
        what: of the progress that is logged.
    """
    records, before = [], runner.threshold
    progress = Progress(len(images), what)
    try:
        for image, picture in zip(images, pictures_of(images), strict=True):
            found = []
            for threshold in (1.0, 0.0) if runner.dynamic else (None,):
                if threshold is not None:
                    runner.threshold = threshold
                found += runner([picture])
            records.append(_record(image, picture, found))
            progress.step()
    finally:
        if before is not None:
            runner.threshold = before
    return merged([records])


def model_records(model: nn.Module, cfg: CfgNode, images: Sequence[Sample]) -> list[ExitRecord]:
    """The same of the model itself, in PyTorch, as ``MODEL.INFERENCE`` says."""
    loader = build_finite_loader(cfg, inference_mapper(cfg), dataset_dicts=list(images))
    observer = Observer(sample_size=0)
    if isinstance(model, DynamicDetector):
        observed: nn.Module = BothExits(model)
    else:
        options = InferenceOptions.from_config(cfg)
        observed = _OneExit(OptimizedCopy(options, whole=True).of(model))
    with _none_left_out():
        inference_on_dataset(observed, loader, observer)
    return list(observer.observation().records)


@contextmanager
def _none_left_out() -> Iterator[None]:
    """Both are measured on the same images, whatever ``DATALOADER.SKIP_CORRUPT_IMAGES`` says.

    Raises:
        ValueError: naming the image that cannot be read, without the advice of that key.
    """
    try:
        yield
    except CorruptImageError as error:
        raise ValueError(error.sentence) from None


class Accuracy:
    """What a detector gets right at any threshold.

    Attributes:
        difficulties: of each image, by image id; zeros of a static detector.
    """

    def __init__(self, records: Sequence[ExitRecord], truth: GroundTruth) -> None:
        """
        Args:
            records: at least one, each of another image of the ground truth.
            truth: of the data set.
        """
        self._sweeps = task_sweeps(records, truth.coco, truth.category_ids)
        self.difficulties = np.array([record.difficulty for record in records])

    def ap(self, threshold: float) -> dict[str, float]:
        """Task ("box", "mask") -> AP in percent, where an image is hard above the threshold."""
        hard = self.difficulties > threshold
        return {task: sweep.evaluate(hard).ap for task, sweep in self._sweeps.items()}

    def hard_fraction(self, threshold: float) -> float:
        """Share of the images that are hard."""
        return float(np.mean(self.difficulties > threshold))


class _OneExit(nn.Module):
    """A static detector, whose detections stand for both exits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        found = [output["instances"] for output in self.model(batched_inputs)]
        return [{"difficulty": 0.0, **dict.fromkeys(EXITS, own)} for own in found]


def _record(image: Sample, picture: np.ndarray, found: Sequence[Detections]) -> ExitRecord:
    """Of an image's detections on the easy and the hard route, or on the only one."""
    size: tuple[int, int] = picture.shape[:2]
    first, last = (_instances(found[i], size) for i in (0, -1))
    output: dict[str, Any] = dict(zip(EXITS, (first, last), strict=True))
    output["difficulty"] = found[0].difficulty or 0.0
    return ExitRecord.of({**image, "image": torch.empty(0, *size)}, output)


def _instances(found: Detections, size: tuple[int, int]) -> Instances:
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.from_numpy(found.boxes))
    instances.scores = torch.from_numpy(found.scores)
    instances.pred_classes = torch.from_numpy(found.classes)
    if found.masks is not None:
        instances.pred_masks = torch.from_numpy(found.masks)
    return instances

# SPDX-License-Identifier: Apache-2.0
"""One pass over a data set: what evaluation and calibration know of its images.

``Observer`` keeps what each image's output says; ``observe`` makes a pass with one, and the
evaluator is one. Works on several processes, and reports progress as Detectron2 does.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from dynamicdet_d2.evaluation.exit_records import ExitRecord, SpreadSample, merged
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import modes_kept
from dynamicdet_d2.modeling.routing import route_name
from dynamicdet_d2.utils.own_code import own_methods
from dynamicdet_d2.utils.words import named_image

logger = logging.getLogger(__name__)

# Ground truth; whatever else a mapper gives, a detector of one's own may read.
_NOT_FOR_INFERENCE = ("instances", "annotations", "sem_seg")


@dataclass(frozen=True)
class Observation:
    """What one pass over a data set found. N: images.

    Attributes:
        records: (N,) by ascending image id, each image once.
        sample: some of the images, spread over the data set, as input dicts in memory.
    """

    records: Sequence[ExitRecord]
    sample: Sequence[dict[str, Any]]

    @property
    def difficulties(self) -> list[float]:
        """(N,) in [0, 1], 1 = hard."""
        return [record.difficulty for record in self.records]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(N,) height and width of the network's input in pixels, before padding."""
        return [record.size for record in self.records]


def observe(
    model: nn.Module, loader: Iterable[list[dict]], sample_size: int, *, detections: bool
) -> Observation:
    """Go over a data set once.

    Args:
        model: a dynamic detector.
        loader: batches of Detectron2's input dicts; has a length.
        sample_size: images to keep for measuring latency.
        detections: also keep both detectors' boxes (no masks), which needs the whole of both
            detectors instead of backbone 1 and the router.

    Returns:
        of all processes' images on the main one; without images on the others.

    Raises:
        ValueError: there was no image, or one whose difficulty is not finite.
    """
    observer = Observer(sample_size, with_masks=False)
    observed = BothExits(model) if detections else Difficulties(model)
    with modes_kept(model):
        inference_on_dataset(observed, loader, observer)
    observation = observer.observation()
    if comm.is_main_process() and not observation.records:
        raise ValueError("No image of the data set could be read; the log names each.")
    return observation


def unwrapped(model: nn.Module) -> DynamicDetector:
    """The dynamic detector itself, where it is wrapped for distributed training.

    Raises:
        TypeError: it is no dynamic detector.
    """
    inner = model.module if isinstance(model, DistributedDataParallel | DataParallel) else model
    if not isinstance(inner, DynamicDetector):
        raise TypeError(f"A dynamic detector is needed; found a {type(inner).__name__}.")
    return inner


class _View(nn.Module):
    """A dynamic detector with another output, for ``inference_on_dataset``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = unwrapped(model)
        # The caller puts back the mode that it finds here, and would wake a model at rest.
        self.training = self.model.training


def say_if_asked_alone(model: nn.Module, name: str) -> None:
    """Say that a method of a program's own is asked for figures, and by no prediction."""
    if own_methods(model, (name,)):
        logger.warning(
            "%s() of %s is asked for figures and not for predictions: what it changes is in these "
            "figures alone; detections(), and the router, are the places for it.",
            *(name, type(model).__name__),
        )


class Difficulties(_View):
    """A dynamic detector whose output is the difficulty alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        say_if_asked_alone(self.model, "difficulties")

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """One dict per image: ``"difficulty"`` (float)."""
        return [{"difficulty": x} for x in self.model.difficulties(batched_inputs)]


class BothExits(_View):
    """A dynamic detector whose output is that of both exits.

    The routed detector's own output is part of it, so that any evaluator of Detectron2 can be
    used beside ``TradeoffEvaluator``: one call can have both where their results have other names,
    which those of ``COCOEvaluator`` have not ("bbox" is both's).
    """

    def __init__(self, model: nn.Module, with_losses: bool = False) -> None:
        """
        Args:
            model: a dynamic detector, or the same wrapped for distributed training.
            with_losses: also compute both detectors' losses, which costs about as much again;
                the inputs must then have ``"instances"``.
        """
        super().__init__(model)
        self.with_losses = with_losses
        kind = type(self.model).__name__
        for name in own_methods(self.model, ("forward", "inference")):
            logger.warning(
                "%s() of %s is not asked where both exits of every image are: what it changes is "
                "in no figure and in no results; detections() is the place for it.",
                *(name, kind),
            )
        say_if_asked_alone(self.model, "exits")

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """As the model's ``exits``, with more in each dict.

        Returns:
            one dict per image: ``"difficulty"``, ``"detector1"``, ``"detector2"``; ``"route"`` and
            ``"instances"`` at the model's own threshold; ``"model"``, the model itself; with
            losses ``"losses"``, L1 and L2.
        """
        outputs = self.model.exits(batched_inputs)
        for output in outputs:
            route = route_name(output["difficulty"], self.model.threshold)
            instances = output["detector2" if route == "hard" else "detector1"]
            output.update(route=route, instances=instances, model=self.model)
        if self.with_losses:
            losses = self.model.detector_losses_per_image(batched_inputs).tolist()
            for output, pair in zip(outputs, losses, strict=True):
                output["losses"] = tuple(pair)
        return outputs


class Observer(DatasetEvaluator):
    """Keeps a record of every image and a spread sample of the images themselves.

    Memory grows by the detections (masks as RLE); the main process also holds up to twice as many
    images as the sample is to have.
    """

    def __init__(self, sample_size: int, with_masks: bool = True) -> None:
        """
        Args:
            sample_size: images in the sample, >= 0.
            with_masks: keep masks where there are some; encoding them takes longer than all else.
        """
        self._sample_size, self._with_masks = sample_size, with_masks
        Observer.reset(self)  # for loops of a user's own, which may not

    def reset(self) -> None:
        """Forget what was seen."""
        self._records: list[ExitRecord] = []
        self._evaluated: set[Any] = set()  # ids
        self._sample = SpreadSample(self._sample_size if comm.is_main_process() else 0)

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep what is needed of a batch: Detectron2's input dicts and the outputs for them.

        Raises:
            ValueError: an image comes again after an evaluation, without ``reset``.
        """
        for image, output in zip(inputs, outputs, strict=True):
            record = ExitRecord.of(image, output, self._with_masks)
            if record.image_id in self._evaluated:  # whose record of then would be taken
                raise ValueError(
                    f"{named_image(image, 'An image')} was evaluated before: reset() of "
                    f"{type(self).__name__} begins another pass."
                )
            self._records.append(record)
            self._sample.add({k: v for k, v in image.items() if k not in _NOT_FOR_INFERENCE})

    def observation(self) -> Observation:
        """Of all processes' images on the main one; without images on the others."""
        self._evaluated = {record.image_id for record in self._records}
        return Observation(merged(comm.gather(self._records, dst=0)), self._sample.items())

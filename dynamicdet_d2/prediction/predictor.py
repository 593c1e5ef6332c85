# SPDX-License-Identifier: Apache-2.0
"""The predictor of the project's configs, for one image or many, with class names."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, overload

import torch
from detectron2.config import CfgNode
from detectron2.data.catalog import Metadata
from numpy.typing import NDArray

from dynamicdet_d2.engine.predictor import Predictor
from dynamicdet_d2.prediction.class_names import check_class_names, class_names_of
from dynamicdet_d2.utils.arguments import refuse_no_config

Image = NDArray[Any]
Prediction = dict[str, Any]


class UnusableImageError(ValueError):
    """An image of a list that cannot be predicted.

    Args:
        place: of the image in the list.
        sentence: what is wrong with it.
    """

    def __init__(self, place: int, sentence: str) -> None:
        super().__init__(place, sentence)
        self.place, self.sentence = place, sentence

    def __str__(self) -> str:
        return f"Number {self.place} of the list: {self.sentence}"


class DynamicPredictor(Predictor):
    """``DefaultPredictor``, which also takes a list of images and knows the classes' names.

    Static detectors are served as well; their outputs have neither ``"difficulty"`` nor
    ``"route"``. ::

        predictor = DynamicPredictor(cfg)
        output = predictor(image)  # (H, W, 3) uint8 in BGR order, as cv2.imread gives it
        output["instances"], output["difficulty"], output["route"]
        outputs = predictor([image, another])

    Attributes:
        cfg, model, metadata, aug, input_format: as ``DefaultPredictor``'s.
        class_names: by class as the model counts it; empty where nobody has told them.
    """

    def __init__(self, cfg: CfgNode, class_names: Sequence[str] | None = None) -> None:
        """
        Args:
            cfg: with ``MODEL.WEIGHTS`` set.
            class_names: by class as the model counts it; None: of the first data set of
                ``DATASETS.TEST``, where it is known here, or else as the weights record them.

        Raises:
            ValueError: the config is wrong, there are no weights, or they are not complete; or as
                ``Predictor``.
        """
        refuse_no_config(cfg)
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("There are no weights: MODEL.WEIGHTS is empty.")
        super().__init__(cfg)
        names = class_names_of(cfg) if class_names is None else class_names
        check_class_names(names, cfg)
        self.class_names = list(names)
        self.metadata = Metadata(thing_classes=self.class_names)

    @overload
    def __call__(self, original_image: Image) -> Prediction: ...
    @overload
    def __call__(self, original_image: Sequence[Image]) -> list[Prediction]: ...

    def __call__(self, original_image: Image | Sequence[Image]) -> Prediction | list[Prediction]:
        """Detect.

        Images of one size after resizing run as one batch, so that a list gives what its images
        give one by one.

        Args:
            original_image: as ``DefaultPredictor`` takes it, or a list of such, each of its own
                size.

        Returns:
            ``"instances"`` and, of a dynamic detector, ``"difficulty"`` (float, in (0, 1),
            1 = hard) and ``"route"``; of a list, one such dict per image, in its order.

        Raises:
            ValueError: what is no such image.
        """
        if not isinstance(original_image, list | tuple):
            return self._batches([self.model_input(original_image)])[0]
        inputs = []
        for place, image in enumerate(original_image):
            try:
                inputs.append(self.model_input(image))
            except ValueError as error:
                raise UnusableImageError(place, str(error)) from None
        return self._batches(inputs)

    def _batches(self, inputs: Sequence[dict[str, Any]]) -> list[Prediction]:
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for place, one in enumerate(inputs):
            alike[one["image"].shape].append(place)
        outputs: list[Prediction] = [{} for _ in inputs]
        model = self.as_run()
        with torch.no_grad():
            for places in alike.values():
                found = model([inputs[place] for place in places])
                for place, output in zip(places, found, strict=True):
                    outputs[place] = output
        return outputs

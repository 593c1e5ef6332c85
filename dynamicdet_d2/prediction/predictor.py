# SPDX-License-Identifier: Apache-2.0
"""Detectron2's predictor, for one image or many, with class names and a threshold that can move."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.catalog import Metadata
from detectron2.engine import DefaultPredictor
from numpy.typing import NDArray
from torch import Tensor

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.config import Use, check
from dynamicdet_d2.prediction.class_names import class_names_of

Image = NDArray[np.uint8]
Prediction = dict[str, Any]


class DynamicPredictor(DefaultPredictor):
    """``DefaultPredictor``, which also takes a list of images and knows the classes' names.

    Weights are read as every command of the project reads them: without running anything in the
    file, and refused where they leave parts of the model at random values. Static detectors are
    served as well; their outputs have neither ``"difficulty"`` nor ``"route"``. ::

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
                ``DATASETS.TEST``, where it is known here.

        Raises:
            ValueError: the config is wrong, there are no weights, or they are not complete.
        """
        check(cfg, Use.MODEL)
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("There are no weights: MODEL.WEIGHTS is empty.")
        unread = cfg.clone()
        unread.defrost()
        unread.MODEL.WEIGHTS = ""  # or the parent would read them itself
        super().__init__(unread)
        self.cfg = cfg.clone()
        checkpointer = DynamicCheckpointer(self.model, weights2=cfg.MODEL.COMPOSITE.WEIGHTS2)
        checkpointer.load(cfg.MODEL.WEIGHTS)
        check_complete(checkpointer, one_exit=cfg.MODEL.DYNAMIC.THRESHOLD in (0, 1))
        self.class_names = list(class_names_of(cfg) if class_names is None else class_names)
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
            original_image: (H, W, 3) uint8, BGR, or a list of such, each of its own size.

        Returns:
            ``"instances"`` and, of a dynamic detector, ``"difficulty"`` (float, in (0, 1),
            1 = hard) and ``"route"``; of a list, one such dict per image, in its order.

        Raises:
            ValueError: what is no such image.
        """
        if isinstance(original_image, np.ndarray) and original_image.ndim == 3:
            return self._batches([original_image])[0]
        return self._batches(list(original_image))

    def _batches(self, images: Sequence[Image]) -> list[Prediction]:
        inputs = [self._input(image, place) for place, image in enumerate(images)]
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for place, one in enumerate(inputs):
            alike[one["image"].shape].append(place)
        outputs: list[Prediction] = [{} for _ in inputs]
        with torch.no_grad():
            for places in alike.values():
                found = self.model([inputs[place] for place in places])
                for place, output in zip(places, found, strict=True):
                    outputs[place] = output
        return outputs

    def _input(self, image: Image, place: int) -> dict[str, Any]:
        """As Detectron2's: the channels of ``INPUT.FORMAT``, resized, as float32."""
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
            found = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image)
            raise ValueError(f"An image is an array (H, W, 3) in BGR; number {place} has {found}.")
        if image.dtype != np.uint8:
            raise ValueError(f"An image has values of 8 bits; number {place} has {image.dtype}.")
        height, width = image.shape[:2]
        pixels = image[:, :, ::-1] if self.input_format == "RGB" else image
        resized = self.aug.get_transform(pixels).apply_image(pixels)
        tensor: Tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}

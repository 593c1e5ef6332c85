# SPDX-License-Identifier: Apache-2.0
"""What ``DefaultPredictor(cfg)`` is for the project's configs: it takes nothing for granted.

Importing the package is enough: a config with the project's keys gets this predictor by the name
of Detectron2's.
"""

import logging
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import Augmentation, ResizeShortestEdge
from detectron2.engine import DefaultPredictor
from numpy.typing import NDArray
from torch import Tensor, nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy
from dynamicdet_d2.checkpoint import load_complete
from dynamicdet_d2.config import Config, Use, check, get_cfg
from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.rules import device_has_values
from dynamicdet_d2.config.unread import unread
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.pixels import MOST_PIXELS, ORDERS, say_nearly_black
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

_SCORES = tuple(
    f"MODEL.{name}.SCORE_THRESH_TEST" for name in ("ROI_HEADS", "RETINANET", "FCOS", "YOLO")
)
_PICTURES = [np.broadcast_to(np.uint8(0), (*x, 3)) for x in ((400, 100), (100, 400), (200, 200))]
_FORM = "it must be a numpy array (H, W, 3), BGR, uint8, as cv2.imread gives it"


class Predictor(DefaultPredictor):
    """Detectron2's predictor, with weights read as all commands of the project read them.

    Weights go into both backbones, and ones that leave parts of the model at random values are
    refused; so is what is no image, and a calibration of another model.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: with the project's keys; ``MODEL.WEIGHTS`` "" keeps the initial values, with a
                warning.

        Raises:
            ValueError: naming the key or the file that is wrong; or the threshold comes from a
                calibration of another model.
        """
        check(cfg, Use.MODEL)
        fault = device_has_values(cfg.MODEL.DEVICE)
        if fault is not None:
            raise ValueError(fault)
        if cfg.INPUT.FORMAT not in ORDERS:
            raise ValueError(
                f"INPUT.FORMAT is '{cfg.INPUT.FORMAT}'; a predictor needs 'RGB' or 'BGR'."
            )
        _say_unread_score(cfg)
        without_weights = cfg.clone()
        without_weights.defrost()
        without_weights.MODEL.WEIGHTS = ""  # or Detectron2 would read them itself
        with building():
            super().__init__(without_weights)
        self.cfg = cfg.clone()
        self.cfg.freeze()  # a change would change nothing: the model is built
        if not cfg.MODEL.WEIGHTS:
            logger.warning("MODEL.WEIGHTS is empty: the predictor has random weights.")
        one_exit = cfg.MODEL.DYNAMIC.THRESHOLD in (0, 1)
        load_complete(self.model, cfg, cfg.MODEL.WEIGHTS, one_exit=one_exit)
        dynamic = isinstance(self.model, DynamicDetector)  # which keeps its own
        if dynamic and cfg.MODEL.WEIGHTS:
            # Not at the first image: a threshold that is moved before it comes from no calibration.
            self.model.operating_point.check(self.model)
        options = None if dynamic else InferenceOptions.from_config(cfg)
        self._optimized = OptimizedCopy(options, whole=True)

    def __setattr__(self, name: str, value: object) -> None:
        """
        Raises:
            AttributeError: what would change nothing, as it is the model's.
            ValueError: an order of the channels that is none, which would be taken for BGR.
        """
        if name == "input_format" and value not in ORDERS:
            raise ValueError(f"input_format is {shown(value)}; it must be 'RGB' or 'BGR'.")
        if name == "confidence_threshold":
            raise AttributeError(
                f"A predictor has no '{name}' to be set; its detections are chosen by their "
                "scores, or by the config's SCORE_THRESH_TEST before it is built."
            )
        if name in ("threshold", "hard_fraction"):
            raise AttributeError(
                f"A predictor has no '{name}' to be set; model.threshold, of its model, is what an "
                "image is hard above."
            )
        super().__setattr__(name, value)

    def __call__(self, original_image: NDArray[Any]) -> dict[str, Any]:
        """As Detectron2's.

        Args:
            original_image: (H, W, 3), BGR; uint8, or floating point with values from 0 to 255.

        Raises:
            ValueError: it is none.
        """
        with torch.no_grad():
            output: dict[str, Any] = self.as_run()([self.model_input(original_image)])[0]
            return output

    def as_run(self) -> nn.Module:
        """The model, or where ``MODEL.INFERENCE.OPTIMIZE`` is True its optimised copy.

        Raises:
            ValueError: as ``_refuse_other_input``.
        """
        self._refuse_other_input()
        return self._optimized.of(self.model)

    def _refuse_other_input(self) -> None:
        """
        Raises:
            ValueError: the model's threshold is calibrated for images of another size or order of
                channels than ``aug`` and ``input_format`` make, which may have been set.
        """
        point = getattr(self.model, "operating_point", None)
        keys = None if point is None else point.calibrated_input
        if keys is None:
            return
        resizing = ResizeShortestEdge([keys.MIN_SIZE_TEST] * 2, keys.MAX_SIZE_TEST)
        if keys.FORMAT != self.input_format or _resizings(self.aug) != _resizings(resizing):
            raise ValueError(
                f"The threshold of the predictor's model is calibrated for INPUT.FORMAT "
                f"'{keys.FORMAT}', MIN_SIZE_TEST {keys.MIN_SIZE_TEST} and MAX_SIZE_TEST "
                f"{keys.MAX_SIZE_TEST}, and aug or input_format of the predictor make other "
                "images. Run calibrate.py for their keys, or set model.threshold by hand."
            )

    def model_input(self, image: object) -> dict[str, Any]:
        """As Detectron2's: the channels of ``INPUT.FORMAT``, resized, as float32.

        Raises:
            ValueError: it is no image.
        """
        pixels = self.checked(image)
        height, width = pixels.shape[:2]
        if self.input_format == "RGB":
            pixels = pixels[:, :, ::-1]
        resized: np.ndarray = self.aug.get_transform(pixels).apply_image(pixels)
        tensor: Tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}

    def checked(self, image: object) -> NDArray[Any]:
        """As ``checked_image``, by the config's sizes."""
        keys = self.cfg.INPUT
        return checked_image(image, keys.MAX_SIZE_TEST if keys.MIN_SIZE_TEST else None)


def _resizings(aug: Augmentation) -> list[tuple[type, dict[str, Any]]]:
    """What becomes of an upright, a wide and a square picture, in a form that can be compared."""
    found = map(aug.get_transform, _PICTURES)
    return [(type(transform), vars(transform)) for transform in found]


def _say_unread_score(cfg: CfgNode) -> None:
    """Say where a score that detections need is that of another kind of detector, as Detectron2's
    demo sets it, and the detector's own is another one.
    """
    default = get_cfg()
    values = {name: value_of(cfg, name) for name in _SCORES}
    idle = [name for name in _SCORES if unread(cfg, [name])]
    own = {name: value for name, value in values.items() if name not in idle}
    set_in_vain = [
        f"{name} {shown(values[name])}"
        for name in idle
        if values[name] not in (value_of(default, name), *own.values())
    ]
    if set_in_vain:
        logger.warning(
            "A %s does not read %s: its detections need %s.",
            cfg.MODEL.META_ARCHITECTURE,
            " and ".join(set_in_vain),
            " and ".join(f"{name}, which is {shown(value)}" for name, value in own.items()),
        )


def checked_image(image: object, longest: int | None = None) -> NDArray[Any]:
    """The image itself, (H, W, 3), uint8 or float32.

    Args:
        image: whatever a user has given.
        longest: side in pixels that it is reduced to at most; None: it is not resized.

    Raises:
        ValueError: one sentence; it is no such array, or no image of any size.
    """
    if not isinstance(image, np.ndarray) or isinstance(image, np.ma.MaskedArray):
        hint = ", which gives None for a file that it cannot read" if image is None else ""
        raise ValueError(f"The image is of type {type(image).__name__}; {_FORM}{hint}.")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"The image has shape {image.shape}; {_FORM}.")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"The image has values of type {image.dtype}; {_FORM}.")
    height, width = image.shape[:2]
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"The image has {width}x{height} pixels, more than {MOST_PIXELS}: cut or reduce it."
        )
    if longest is not None and max(height, width) >= 2 * longest * min(height, width):
        raise ValueError(
            f"The image has {width}x{height} pixels: reduced to INPUT.MAX_SIZE_TEST {longest}, "
            "its shorter side would vanish."
        )
    if image.dtype != np.uint8:
        return _checked_values(image)
    say_nearly_black(image)
    return image


def _checked_values(image: NDArray[Any]) -> NDArray[np.float32]:
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("The image has values that are not finite; they must be from 0 to 255.")
    if low < 0 or high > 255 or 0 < high <= 1:
        raise ValueError(
            f"The image has values from {low:.8g} to {high:.8g}; they must be from 0 to 255."
        )
    # Of float16 sums could overflow, and Detectron2 cannot resize it.
    return image.astype(np.float32)


def _of_our_configs(cls: type, cfg: object = None, *_: object, **__: object) -> DefaultPredictor:
    chosen = Predictor if cls is DefaultPredictor and isinstance(cfg, Config) else cls
    return object.__new__(chosen)


DefaultPredictor.__new__ = staticmethod(_of_our_configs)

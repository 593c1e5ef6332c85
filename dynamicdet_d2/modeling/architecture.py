# SPDX-License-Identifier: Apache-2.0
"""What a config's ``MODEL.META_ARCHITECTURE`` says before the model is built, and its building."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from dynamicdet_d2.config.checking import MISSING, value_of
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.errors import is_out_of_memory
from dynamicdet_d2.utils.words import in_words, shown

# What Detectron2's builders raise for values that do not go together.
_COMPLAINTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
)

_TOGETHER = "which do not go together: "

# Of static detectors, those that do not count classes as Detectron2's R-CNNs do.
_CLASS_KEYS = {
    "RetinaNet": "MODEL.RETINANET.NUM_CLASSES",
    "FCOS": "MODEL.FCOS.NUM_CLASSES",
    "YOLOv7": "MODEL.YOLO.NUM_CLASSES",
    "SemanticSegmentor": "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
}


def architecture_of(cfg: CfgNode) -> type[nn.Module]:
    """The class that the model will be of.

    Raises:
        ValueError: if there is none of that name.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY:
        known = ", ".join(sorted(name for name, _ in META_ARCH_REGISTRY))
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is '{name}'; it must be one of {known}, or one of your own "
            "whose file is imported."
        )
    return META_ARCH_REGISTRY.get(name)


@contextmanager
def building() -> Iterator[None]:
    """Builds a model inside; what Detectron2 finds wrong with its config becomes a sentence.

    Raises:
        ValueError: saying which part of which file complained, and of what.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (*_COMPLAINTS, ValueError) as error:
        if type(error) is ValueError and _is_ours(error):
            raise
        if is_out_of_memory(error):
            raise ValueError(
                "The model that the config's keys below MODEL ask for does not fit into memory: "
                f"{in_words(error)}."
            ) from error
        if "divisible by num_groups" in str(error):  # torch's own, which names no key
            raise ValueError(
                "A key NORM below MODEL is 'GN', which needs multiples of 32 channels where it "
                f"stands: {in_words(error)}."
            ) from error
        place = traceback.extract_tb(error.__traceback__)[-1]
        called = isinstance(error, TypeError) and "argument" in str(error)
        raise ValueError(
            "No model can be built from the config's keys below MODEL, "
            + ("of which one names what takes other arguments: " if called else _TOGETHER)
            # Of an assertion without words its own line.
            + f"{in_words(error) if str(error) else place.line} (in {place.name} of "
            f"{Path(place.filename).name})."
        ) from error


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised by a line of this package, which then names what is wrong."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return Path(__file__).parents[1] in Path(place.filename).parents


def is_dynamic(cfg: CfgNode) -> bool:
    """Whether the model will have two routes."""
    return issubclass(architecture_of(cfg), DynamicDetector)


def num_classes_key(cfg: CfgNode) -> str:
    """Dotted name of the key that holds the number of classes.

    Raises:
        ValueError: a user's own detector names another.
    """
    architecture = architecture_of(cfg)
    if issubclass(architecture, DynamicDetector):
        key = architecture.num_classes_key(cfg)
        if not isinstance(key, str) or value_of(cfg, key) is MISSING:
            raise ValueError(
                f"num_classes_key() of {architecture.__name__} gives {shown(key)}, which is no key."
            )
        return key
    return _CLASS_KEYS.get(architecture.__name__, "MODEL.ROI_HEADS.NUM_CLASSES")

# SPDX-License-Identifier: Apache-2.0
"""What a loss table belongs to: images, keys and detectors, in a form that can be compared."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.config.leaves import as_lists, leaves
from dynamicdet_d2.data.loading.images import images_hash
from dynamicdet_d2.operating_point import weights_fingerprint

# What is measured follows from these keys. Some of MODEL's and INPUT's count for training alone;
# a table that is measured once too often costs less than one of other losses.
_SECTIONS = ("MODEL.", "INPUT.")
_KEYS = ("DATASETS.TRAIN", "SOLVER.ROUTER.LOSS_PROPOSALS", "TEST.DETECTIONS_PER_IMAGE")
# The weights in use have their own fingerprint, wherever they came from and are.
_LEFT_OUT = ("MODEL.WEIGHTS", "MODEL.COMPOSITE.WEIGHTS2", "MODEL.DEVICE")


def table_fingerprint(cfg: CfgNode, images: Sequence[dict], model: nn.Module) -> dict[str, str]:
    """Everything that the entries of a loss table depend on, by name.

    Args:
        cfg: of the run.
        images: the training set in Detectron2's format.
        model: a dynamic detector; its router does not count.

    Returns:
        "the training images" (ids, files, sizes and annotations), "the detectors" (parameters and
        statistics), each as a hash, and the keys of the config with their values.
    """
    return {
        "the detectors": detectors_fingerprint(model),
        **_keys(cfg),
        "the training images": images_hash(images),
    }


def detectors_fingerprint(model: nn.Module) -> str:
    """Of parameters and statistics of everything but the router."""
    return weights_fingerprint(model, apart=("router.",))


def _keys(cfg: CfgNode) -> dict[str, str]:
    """What the values look like, whether they are lists or tuples."""
    values = dict(leaves(cfg))
    below = [name for name in values if name.startswith(_SECTIONS) and name not in _LEFT_OUT]
    return {name: repr(as_lists(values[name])) for name in (*below, *_KEYS)}

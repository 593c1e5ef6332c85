# SPDX-License-Identifier: Apache-2.0
"""One pass over each split with a trained dynamic detector, from which all else follows.

The detector is built with every input of the router, so that the tables have the numbers of all of
them; its own router, if it has one, is not looked at. Tables are kept beside the checkpoint.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from numpy.typing import NDArray

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.config import Use, read_config
from dynamicdet_d2.data.loading.images import images_of, training_dicts
from dynamicdet_d2.engine.loss_table import (
    LossTable,
    LossTableFile,
    obtain_table,
    table_fingerprint,
)
from dynamicdet_d2.engine.setup import checked
from dynamicdet_d2.engine.teaching import teach_map
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.evaluation.tradeoff.build import image_costs
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import ROUTER_INPUTS
from evidence.setups import Data, Run

logger = logging.getLogger(__name__)

# Each alone, and what looks furthest.
INPUTS = (("features",), ("map",), ("rpn",), ("detections",), ("rpn", "detections"))
COLUMNS = (*ROUTER_INPUTS, "losses", "ap", "gain", "matched")


@dataclass(frozen=True)
class Passes:
    """What is known of a trained detector.

    I: images of a split.

    Attributes:
        cfg: of its training, with the data.
        device: that measured.
        tables: split -> loss table with ``COLUMNS``.
        sizes: split -> height and width of each image's network input in pixels.
    """

    cfg: CfgNode
    device: str
    tables: Mapping[str, LossTable]
    sizes: Mapping[str, Sequence[tuple[int, int]]]

    def router(self, inputs: Sequence[str]) -> tuple[AdaptiveRouter, "Costs"]:
        """A new router with certain inputs, and what routes with it cost."""
        cfg = with_inputs(self.cfg, inputs)
        model = DynamicTrainer.build_model(cfg).eval()
        costs = {
            split: image_costs(model, cfg, sizes)
            for split, sizes in self.sizes.items()
            if split != "train"
        }
        return model.router, costs


Costs = Mapping[str, NDArray[np.float64]]
"""Split -> (I, 2), 10^9 multiply-adds of each image on the easy and on the hard route."""


def run_config(run: Run, data: Data, split: str, overrides: Sequence[str] = ()) -> CfgNode:
    """The config of a finished training, with the data, to be evaluated on a split."""
    keys = [*data.keys(), "DATASETS.TEST", repr((data.split(split),)), "MODEL.WEIGHTS", ""]
    folder = run.folder / "evidence" / split
    folder.mkdir(parents=True, exist_ok=True)
    output = ["OUTPUT_DIR", str(folder)]
    return checked(read_config(str(run.config), [*keys, *output, *overrides]), Use.EVALUATE)


def passes(run: Run, data: Data, splits: Sequence[str]) -> Passes:
    """The tables of a run, measured where they are not there yet.

    Args:
        splits: "train" and what is evaluated on.

    Raises:
        ValueError: the checkpoint is not that of the config's detector.
    """
    configs = {split: with_inputs(run_config(run, data, split), ROUTER_INPUTS) for split in splits}
    images = {split: _images(cfg, data, split) for split, cfg in configs.items()}
    model = detector(configs["train"], run)
    if not all(_is_there(configs[split], images[split], model) for split in splits):
        teach_map(configs["train"], model, images["train"])
    tables = {
        split: obtain_table(cfg, model, images[split], COLUMNS, resumed=True)
        for split, cfg in configs.items()
    }
    sizes = {split: _sizes(configs[split], own) for split, own in images.items()}
    return Passes(configs["train"], str(model.device), tables, sizes)


def with_inputs(cfg: CfgNode, inputs: Sequence[str]) -> CfgNode:
    """The config with other inputs of the router."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.ROUTER.INPUTS = list(inputs)
    cfg.freeze()
    return cfg


def _images(cfg: CfgNode, data: Data, split: str) -> list[dict]:
    if split == "train":
        return training_dicts(cfg)
    return images_of("DATASETS.TEST", [data.split(split)], filter_empty=False)


def detector(cfg: CfgNode, run: Run) -> DynamicDetector:
    """A run's trained detector, frozen, with a new router."""
    model = DynamicTrainer.build_model(cfg).eval()
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(run.weights)
    check_complete(checkpointer, without_router=True)
    return model.requires_grad_(False)


def _is_there(cfg: CfgNode, images: Sequence[dict], model: DynamicDetector) -> bool:
    file = LossTableFile(cfg.OUTPUT_DIR, table_fingerprint(cfg, images, model))
    return file.load(COLUMNS) is not None


def _sizes(cfg: CfgNode, images: Sequence[dict]) -> list[tuple[int, int]]:
    keys = cfg.INPUT
    return [
        ResizeShortestEdge.get_output_shape(
            x["height"], x["width"], keys.MIN_SIZE_TEST, keys.MAX_SIZE_TEST
        )
        for x in images
    ]

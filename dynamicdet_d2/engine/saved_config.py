# SPDX-License-Identifier: Apache-2.0
"""``config.yaml`` of a run: with absolute paths, so that it works from any folder."""

import os
from pathlib import Path

from detectron2.config import CfgNode

from dynamicdet_d2.data.register import checked_entry
from dynamicdet_d2.engine.run_folder import holds_a_training
from dynamicdet_d2.utils.files import whole_file
from dynamicdet_d2.utils.run_files import CONFIG


def save_config(cfg: CfgNode) -> None:
    """Write ``OUTPUT_DIR/config.yaml``, whole or not at all."""
    saved = cfg.clone()
    saved.defrost()
    saved.OUTPUT_DIR = os.path.abspath(cfg.OUTPUT_DIR)
    saved.DATASETS.COCO_JSON = [list(checked_entry(entry)) for entry in cfg.DATASETS.COCO_JSON]
    for node, key in (
        (saved.MODEL, "WEIGHTS"),
        (saved.MODEL.COMPOSITE, "WEIGHTS2"),
        (saved.MODEL.DYNAMIC, "CALIBRATION"),
    ):
        if os.path.isfile(node[key]):  # not an address, nor the name of a package's weights
            node[key] = os.path.abspath(node[key])
    with whole_file(os.path.join(cfg.OUTPUT_DIR, CONFIG)) as file:
        file.write(saved.dump().encode())


def holds_config_of_training(folder: str) -> bool:
    """Whether a folder has the ``config.yaml`` of a training, which an evaluation leaves alone."""
    return holds_a_training(Path(folder)) and (Path(folder) / CONFIG).is_file()

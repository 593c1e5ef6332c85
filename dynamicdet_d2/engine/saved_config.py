# SPDX-License-Identifier: Apache-2.0
"""``config.yaml`` of a run: with absolute paths, so that it works from any folder."""

import os

from detectron2.config import CfgNode

from dynamicdet_d2.data.register import checked_entry
from dynamicdet_d2.engine.run_folder import CONFIG
from dynamicdet_d2.utils.files import whole_file


def save_config(cfg: CfgNode) -> None:
    """Write ``OUTPUT_DIR/config.yaml``, in the place of the one that Detectron2 writes."""
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

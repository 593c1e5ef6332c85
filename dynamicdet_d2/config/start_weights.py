# SPDX-License-Identifier: Apache-2.0
"""A config that a run was made by: its MODEL.WEIGHTS began the run, and are not what it learnt."""

import logging
import os
from pathlib import Path

from detectron2.config import CfgNode

from dynamicdet_d2.utils.run_files import LAST

logger = logging.getLogger(__name__)

_OF_RUNS = "model_"


def say_start_weights(config_file: str | os.PathLike[str], cfg: CfgNode) -> None:
    """Say so where no other weights were named: they are easily taken for the trained ones.

    Args:
        config_file: that the config was read from: a run's own, or the one that was trained by,
            whose run is in OUTPUT_DIR.
        cfg: whose weights nobody has typed.
    """
    beside = Path(config_file).resolve().parent
    runs = [place for place in (beside, Path(cfg.OUTPUT_DIR).resolve()) if (place / LAST).is_file()]
    weights = Path(cfg.MODEL.WEIGHTS).resolve()
    if not runs or (weights.parent in runs and weights.name.startswith(_OF_RUNS)):
        return
    learnt = runs[0] / (runs[0] / LAST).read_text(errors="replace").strip()
    logger.warning(
        "The weights are those of MODEL.WEIGHTS in %s, %s%s; what the run %s has learnt is %s.",
        *(config_file, cfg.MODEL.WEIGHTS or "none"),
        ", which the run there began with" if runs[0] == beside else "",
        "there" if runs[0] == beside else f"in OUTPUT_DIR {cfg.OUTPUT_DIR}",
        learnt,
    )

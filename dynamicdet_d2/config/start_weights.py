# SPDX-License-Identifier: Apache-2.0
"""A run's own config, whose MODEL.WEIGHTS the run began with, and not what it has learnt."""

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
        config_file: that the config was read from.
        cfg: whose weights nobody has typed.
    """
    folder = Path(config_file).resolve().parent
    last, weights = folder / LAST, Path(cfg.MODEL.WEIGHTS).resolve()
    if not last.is_file() or (weights.parent == folder and weights.name.startswith(_OF_RUNS)):
        return
    learnt = folder / last.read_text(errors="replace").strip()
    logger.warning(
        "The weights are those of MODEL.WEIGHTS in %s, %s, which the run there began with; "
        "what it has learnt is %s.",
        *(config_file, cfg.MODEL.WEIGHTS or "none", learnt),
    )

# SPDX-License-Identifier: Apache-2.0
"""From the folder of a finished training to its result file."""

import logging
from pathlib import Path

from dynamicdet_d2.config import read_config
from dynamicdet_d2.modeling.architecture import is_dynamic
from evidence.passes import passes
from evidence.records import DynamicSplit, Result, StaticSplit, origin, write
from evidence.routers import ROUTER_SEEDS, dynamic_splits
from evidence.setups import Data, Run
from evidence.statics import static_splits

logger = logging.getLogger(__name__)


def measure(run: Run, data: Data, results: Path, *, test: bool) -> Path:
    """Measure a run, and write its file.

    Args:
        test: also on split "test". What is chosen is chosen on "val" either way.

    Raises:
        ValueError: the training is not finished, or its weights are of another detector.
    """
    for path in (run.config, run.weights):
        if not path.is_file():
            raise ValueError(f"{path} is not there: the training has not ended.")
    evaluated = ["val", *(["test"] if test else [])]
    cfg = read_config(str(run.config))
    dynamic: dict[str, DynamicSplit] = {}
    static: dict[str, StaticSplit] = {}
    if is_dynamic(cfg):
        found = passes(run, data, ["train", *evaluated])
        logger.info("Routers of %s", run.folder)
        dynamic, device = dynamic_splits(found), found.device
    else:
        static, device = static_splits(run, data, evaluated)
    command = f"python -m evidence measure {run.setup}_s{run.seed} --data {data.name}"
    result = Result(
        setup=run.setup,
        data=data.name,
        seed=run.seed,
        steps=cfg.SOLVER.MAX_ITER,
        images_per_step=cfg.SOLVER.IMS_PER_BATCH,
        router_seeds=ROUTER_SEEDS if dynamic else (),
        origin=origin(command + " --test" * test, device),
        dynamic=dynamic,
        static=static,
    )
    return write(result, results)

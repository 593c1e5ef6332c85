# SPDX-License-Identifier: Apache-2.0
"""A trained static detector on the splits, by the evaluation that its trainer has."""

from collections.abc import Sequence

from detectron2.data import DatasetCatalog

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.utils.plain import finite
from evidence.passes import run_config
from evidence.records import StaticSplit
from evidence.setups import Data, Run


def static_splits(
    run: Run, data: Data, splits: Sequence[str]
) -> tuple[dict[str, StaticSplit], str]:
    """Figures by split, and the device."""
    found = {}
    for split in splits:
        # Timings would be of a machine that does other work as well.
        cfg = run_config(run, data, split, ["TEST.DYNAMIC.LATENCY_IMAGES", "0"])
        model = StaticTrainer.build_model(cfg).eval()
        checkpointer = DynamicCheckpointer(model)
        checkpointer.load(run.weights)
        check_complete(checkpointer)
        results = StaticTrainer.test(cfg, model)
        found[split] = StaticSplit(
            images=len(DatasetCatalog.get(data.split(split))),
            ap=finite(results["bbox"]["AP"]),
            ap50=finite(results["bbox"]["AP50"]),
            gflops=results["static"]["gflops"],
        )
    return found, cfg.MODEL.DEVICE

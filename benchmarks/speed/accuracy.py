# SPDX-License-Identifier: Apache-2.0
"""AP of both ends on the drawn test images, with trained weights, as built and optimised."""

import tempfile
from typing import Any

import torch
from detectron2.modeling import build_model

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from dynamicdet_d2.evaluation.passes import evaluate

CONFIG = "configs/quickstart.yaml"


def average_precision(device: str, precisions: list[str]) -> dict[str, dict[str, float]]:
    """Name -> {"easy", "hard"}: box AP of each end in percent."""
    found = {"as built": _ends(device, False, "float32")}
    for precision in precisions:
        found[precision] = _ends(device, True, precision)
    return found


def _ends(device: str, optimize: bool, precision: str) -> dict[str, float]:
    keys: dict[str, Any] = {
        "MODEL.DEVICE": device,
        "MODEL.INFERENCE.OPTIMIZE": optimize,
        "MODEL.INFERENCE.PRECISION": precision,
        "TEST.DYNAMIC.LATENCY_IMAGES": 1,
        "TEST.DYNAMIC.GALLERY": 0,
    }
    cfg = read_config(CONFIG, [str(x) for pair in keys.items() for x in pair])
    (dataset,) = cfg.DATASETS.TEST
    register_shapes([dataset])
    model = build_model(cfg).eval()
    DynamicCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        results = evaluate(cfg, dataset, model, TradeoffEvaluator(dataset, cfg, model, folder))
    dynamic = results["dynamic"]
    return {"easy": dynamic["AP_easy_end"], "hard": dynamic["AP_hard_end"]}

# SPDX-License-Identifier: Apache-2.0
"""The pass before a phase that learns from what was measured: from the file, or made anew."""

import logging
from collections.abc import Sequence

from detectron2.config import CfgNode

from dynamicdet_d2.data.loading.loaders import build_finite_loader
from dynamicdet_d2.data.loading.mappers import annotated_mapper
from dynamicdet_d2.engine.loss_table.columns import measure_losses
from dynamicdet_d2.engine.loss_table.file import LossTableFile
from dynamicdet_d2.engine.loss_table.fingerprint import table_fingerprint
from dynamicdet_d2.engine.loss_table.table import LossTable
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector

logger = logging.getLogger(__name__)


def obtain_table(
    cfg: CfgNode,
    model: DynamicDetector,
    images: Sequence[dict],
    columns: Sequence[str],
    *,
    resumed: bool,
) -> LossTable:
    """Both detectors' losses, and whatever else is asked for, of every training image.

    Args:
        model: in evaluation mode.
        images: the training set in Detectron2's format.
        columns: as for ``measure_losses``.
        resumed: take the table that the run had measured before it died, where it is there and
            still right; a fresh run measures, whatever lies in ``OUTPUT_DIR``.
    """
    file = LossTableFile(cfg.OUTPUT_DIR, table_fingerprint(cfg, images, model))
    table = file.load(columns) if resumed else None
    if table is None:
        logger.info("Loss offset: one pass over %d training images", len(images))
        loader = build_finite_loader(cfg, annotated_mapper(cfg), dataset_dicts=images)
        table = measure_losses(model, loader, columns)
        file.save(table)
    _log(table)
    return table


def _log(table: LossTable) -> None:
    summary = table.summary()
    logger.info(
        "Loss offset (median of L1 - L2) %.4f, quartiles %.4f and %.4f, over %d images",
        summary["loss_offset/median"],
        summary["loss_offset/quartile1"],
        summary["loss_offset/quartile3"],
        len(table),
    )

# SPDX-License-Identifier: Apache-2.0
"""The data sets of a run: registered from its config, and checked before they are learnt."""

from detectron2.config import CfgNode

from dynamicdet_d2.data.check.findings import DatasetReport
from dynamicdet_d2.data.check.run import check_datasets, warn_of_other_classes
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.engine.alike import check_same_sets
from dynamicdet_d2.engine.distributed import said_once
from dynamicdet_d2.modeling.architecture import num_classes_key


def register_data(cfg: CfgNode) -> None:
    """Register what the config itself says of data sets.

    Raises:
        ValueError: naming the entry of ``DATASETS.COCO_JSON`` that is wrong.
    """
    register_coco_json(cfg.DATASETS.COCO_JSON)
    register_shapes([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, cfg.SOLVER.ROUTER.VALIDATION])


def prepare_data(cfg: CfgNode) -> list[DatasetReport]:
    """For a trainer, before it builds anything.

    Returns:
        of each data set that is checked.

    Raises:
        ValueError: as ``register_data``, or one for all that is wrong with data sets of COCO files
            (``DATASETS.CHECK``).
    """
    with said_once():
        register_data(cfg)
        return check_datasets(cfg, num_classes_key(cfg)) if cfg.DATASETS.CHECK else []


def prepare_test(cfg: CfgNode) -> None:
    """For a trainer's ``test``, which a program may call of a model without a trainer.

    Raises:
        ValueError: as ``register_data`` and ``check_same_sets``.
    """
    register_data(cfg)
    check_same_sets("DATASETS.TEST", cfg.DATASETS.TEST)
    warn_of_other_classes(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)

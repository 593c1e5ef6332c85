# SPDX-License-Identifier: Apache-2.0
"""Refuse what cannot be trained or resumed, before hours are spent in it."""

from detectron2.config import CfgNode
from detectron2.utils import comm

from dynamicdet_d2.data.loading.loaders import check_registered
from dynamicdet_d2.engine.phases import ROUTER
from dynamicdet_d2.evaluation.tradeoff.build import check_keys as check_evaluation_keys

# Key of SOLVER -> the smallest value that it can have.
_LEAST = {
    "MAX_ITER": 0,
    "CHECKPOINT_PERIOD": 1,
    "ROUTER.IMS_PER_BATCH": 1,
    "ROUTER.LOSS_PROPOSALS": 1,
    "ROUTER.EPOCHS": 0,
    "ROUTER.BASE_LR": 0,
    "ROUTER.WEIGHT_DECAY": 0,
}


def check_training_keys(cfg: CfgNode) -> None:
    """Refuse a config that some later part of the run would stumble over.

    Raises:
        ValueError: naming the key.
    """
    for name, least in _LEAST.items():
        value = cfg.SOLVER.ROUTER[name[7:]] if name.startswith("ROUTER.") else cfg.SOLVER[name]
        if value < least:
            raise ValueError(f"SOLVER.{name} is {value}; it must be at least {least}.")
    _check_router_mode(cfg)
    if cfg.SOLVER.AMP.ENABLED and not cfg.MODEL.DEVICE.startswith("cuda"):
        raise ValueError(
            f"SOLVER.AMP.ENABLED is True, but MODEL.DEVICE is {cfg.MODEL.DEVICE}; mixed precision "
            "needs a GPU."
        )
    if cfg.MODEL.DYNAMIC.CALIBRATION:
        raise ValueError(
            f"MODEL.DYNAMIC.CALIBRATION is {cfg.MODEL.DYNAMIC.CALIBRATION}, but a training gives "
            "weights that no calibration is of yet; it must be empty."
        )
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise ValueError(
            "TEST.PRECISE_BN.ENABLED is True, but precise statistics would move in phase router, "
            "when detectors are frozen; it must be False."
        )
    check_registered("DATASETS.TEST", cfg.DATASETS.TEST)
    check_evaluation_keys(cfg)


def _check_router_mode(cfg: CfgNode) -> None:
    keys, processes = cfg.SOLVER.ROUTER, comm.get_world_size()
    if keys.MODE not in ("cached", "online"):
        raise ValueError(f"SOLVER.ROUTER.MODE is '{keys.MODE}'; it must be 'cached' or 'online'.")
    if keys.OBJECTIVE not in ("loss", "ap"):
        raise ValueError(
            f"SOLVER.ROUTER.OBJECTIVE is '{keys.OBJECTIVE}'; it must be 'loss' or 'ap'."
        )
    if keys.OBJECTIVE == "ap" and keys.MODE != "cached":
        raise ValueError(
            f"SOLVER.ROUTER.OBJECTIVE 'ap' needs SOLVER.ROUTER.MODE 'cached'; found '{keys.MODE}'."
        )
    if keys.MODE == "online" and keys.EPOCHS and keys.IMS_PER_BATCH % processes:
        raise ValueError(
            f"SOLVER.ROUTER.IMS_PER_BATCH is {keys.IMS_PER_BATCH}; mode 'online' on {processes} "
            f"processes needs a multiple of {processes}."
        )


def check_checkpoint(state: dict, cfg: CfgNode) -> None:
    """Refuse to resume a run whose phases were others.

    Args:
        state: of the trainer, as the checkpoint has it.
        cfg: of the run that resumes.

    Raises:
        ValueError: naming what differs.
    """
    if "phase" not in state:
        raise ValueError(
            f"The last checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR} is of another trainer and cannot "
            "be resumed; without --resume, MODEL.WEIGHTS takes its weights."
        )
    wanted, done = cfg.SOLVER.MAX_ITER, state["iteration"] + 1
    if state["phase"] == ROUTER:
        before = state["detectors_iters"]
        if before != wanted:
            raise ValueError(
                f"SOLVER.MAX_ITER is {wanted}; the run to resume is in phase router, after "
                f"{before} iterations of phase detectors: it must stay {before}."
            )
    elif done > wanted:
        raise ValueError(
            f"SOLVER.MAX_ITER is {wanted}; the run to resume has done {done} iterations of phase "
            f"detectors: it must be at least {done}."
        )

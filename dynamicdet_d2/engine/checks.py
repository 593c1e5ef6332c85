# SPDX-License-Identifier: Apache-2.0
"""Refuse what cannot be resumed, before hours are spent in it."""

from detectron2.config import CfgNode

from dynamicdet_d2.engine.phases import ROUTER


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

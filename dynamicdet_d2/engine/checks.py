# SPDX-License-Identifier: Apache-2.0
"""Refuse what cannot be resumed, before hours are spent in it."""

from detectron2.config import CfgNode

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.engine.plan import Plan


def check_checkpoint(state: dict, plan: Plan, cfg: CfgNode) -> None:
    """Refuse to resume a run whose phases were others.

    Args:
        state: of the trainer, as the checkpoint has it.
        plan: of the run that resumes.
        cfg: of the run that resumes.

    Raises:
        ValueError: naming what differs.
    """
    if "phase" not in state:
        raise ValueError(
            f"The last checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR} is of another trainer and cannot "
            "be resumed; without --resume, MODEL.WEIGHTS takes its weights."
        )
    phase, recorded = state["phase"], _recorded_steps(state)
    reached = list(recorded)[: list(recorded).index(phase) + 1]
    if list(plan.steps)[: len(reached)] != reached:
        raise ValueError(
            f"SOLVER.PHASES is {list(plan.steps)}; the run to resume is in phase {phase}: "
            f"SOLVER.PHASES must begin with {reached}."
        )
    for name in reached[:-1]:
        if recorded[name] != plan.steps[name]:
            raise ValueError(
                f"{_asked(plan, name, cfg)}; the run to resume is in phase {phase}, after "
                f"{recorded[name]} iterations of phase {name}: it must stay {recorded[name]}."
            )
    done = state["iteration"] + 1 - plan.start(phase)
    if done > plan.steps[phase]:
        raise ValueError(
            f"{_asked(plan, phase, cfg)}; the run to resume has done {done} iterations of phase "
            f"{phase}: it must be at least {done}."
        )


def _recorded_steps(state: dict) -> dict[str, int]:
    """Name of each phase of the run to resume -> its steps, in order."""
    # Runs from before there was a plan had these two phases.
    before = {"detectors": state.get("detectors_iters"), "router": None}
    return state.get("plan", before)


def _asked(plan: Plan, name: str, cfg: CfgNode) -> str:
    """What the config asks of a phase, as the beginning of a sentence."""
    key, steps = plan.named(name).steps_key, plan.steps[name]
    value = value_of(cfg, key)
    return f"{key} is {value}" if value == steps else f"{key} is {value}, {steps} iterations"

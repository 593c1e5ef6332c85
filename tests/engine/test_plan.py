# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: which phase is when, and which runs may go on with it."""

import pytest
from detectron2.config import CfgNode

from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.engine.checks import check_checkpoint
from dynamicdet_d2.engine.phases import PHASES
from dynamicdet_d2.engine.plan import Plan, planned_phases
from tests.support.toy import toy_cfg


def config(*phases: str, steps: int = 4, epochs: int = 2) -> CfgNode:
    keys = ("SOLVER.MAX_ITER", steps, "SOLVER.ROUTER.EPOCHS", epochs)
    return toy_cfg("SOLVER.PHASES", list(phases), *keys, "SOLVER.ROUTER.IMS_PER_BATCH", 2)


def plan(*phases: str, steps: int = 4, epochs: int = 2) -> Plan:
    """Of five images."""
    return Plan(planned_phases(config(*phases, steps=steps, epochs=epochs)), num_images=5)


def at_every_iteration(plan: Plan) -> list[str]:
    return [plan.at(iteration).name for iteration in range(plan.max_iter + 1)]


def test_iterations_by_hand() -> None:
    found = plan("detectors", "detector2", "router")
    # Two epochs of five images, two per step.
    assert found.steps == {"detectors": 4, "detector2": 4, "router": 5}
    assert found.ends == {"detectors": 4, "detector2": 8, "router": 13}
    assert [found.start(name) for name in found.steps] == [0, 4, 8]
    expected = ["detectors"] * 4 + ["detector2"] * 4 + ["router"] * 6
    assert at_every_iteration(found) == expected
    assert found.named("detector2") is found.phases[1]


def test_a_phase_without_steps_is_passed_over() -> None:
    assert at_every_iteration(plan("detectors", "router", steps=0)) == ["router"] * 6
    assert at_every_iteration(plan("detectors", "router", epochs=0)) == ["detectors"] * 4 + [
        "router"
    ]


def test_iterations_that_are_passed_over_by_hand() -> None:
    found = plan("detectors", "detector2", "router")
    assert found.passed_over(0) == 0
    found.ended = {"detectors": 1, "detector2": 6}
    assert found.passed_over(0) == 3 + 2
    assert found.passed_over(2) == 2 + 2  # of a run that is gone on with
    assert (found.passed_over(5), found.passed_over(9)) == (2, 0)
    assert [i for i in range(found.max_iter) if found.passes_over(i)] == [1, 2, 3, 6, 7]


def test_the_key_has_a_range_of_these_names() -> None:
    allowed = KEYS["SOLVER.PHASES"].range
    assert all(allowed.entry.holds(name) for name in PHASES)
    assert allowed.entry.must.count("'") == 2 * len(PHASES)


# Resumption


def recorded(phase: str, iteration: int, *phases: str) -> dict:
    """A trainer's state, as a checkpoint has it, of a run of these phases."""
    steps = dict(plan(*phases).steps)
    return {"phase": phase, "iteration": iteration, "plan": steps}


def test_runs_that_may_go_on() -> None:
    phases = ("detectors", "detector2", "router")
    for phase, iteration in (("detectors", 3), ("detector2", 5), ("router", 12)):
        check_checkpoint(recorded(phase, iteration, *phases), plan(*phases), config(*phases))
    # What has not begun may be another: a router's phase where there was none.
    state = recorded("detectors", 3, "detectors")
    check_checkpoint(state, plan("detectors", "router"), config("detectors", "router"))


@pytest.mark.parametrize(
    ("state", "phases", "says"),
    [
        (
            recorded("router", 6, "detectors", "router"),
            ("detector2", "router"),
            r"SOLVER.PHASES is \['detector2', 'router'\]; .* in phase router: SOLVER.PHASES must "
            r"begin with \['detectors', 'router'\]",
        ),
        (
            {"phase": "router", "iteration": 5, "plan": {"detectors": 3, "router": 5}},
            ("detectors", "router"),
            "SOLVER.MAX_ITER is 4; .* after 3 iterations of phase detectors: it must stay 3",
        ),
        (
            {**recorded("router", 9, "detectors", "router"), "plan": {"detectors": 4, "router": 9}},
            ("detectors", "router"),
            "EPOCHS is 2, 5 iterations of DATASETS.TRAIN; .* has done 6 iterations of phase router"
            ", so that at least 6 must be asked for.$",
        ),
        (
            {
                **recorded("router", 9, "detectors", "router"),
                **{"plan": {"detectors": 4, "router": 9}, "images": {"count": 9}},
            },
            ("detectors", "router"),
            "must be asked for. DATASETS.TRAIN had 9 images then, and has 5 now.$",
        ),
        (
            {**recorded("router", 6, "detectors", "router"), "phase": "gone"},
            ("detectors", "router"),
            r"it is in phase 'gone', which its plan \['detectors', 'router'\] has not",
        ),
        (
            recorded("router", 1, "detectors", "router"),
            ("detectors", "router"),
            "it is in phase router, which its iteration 1 lies before",
        ),
    ],
)
def test_runs_that_may_not_go_on(state: dict, phases: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_checkpoint(state, plan(*phases), config(*phases))

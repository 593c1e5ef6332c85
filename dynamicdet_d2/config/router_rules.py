# SPDX-License-Identifier: Apache-2.0
"""What the keys of the router's training must agree in."""

from collections.abc import Sequence

from detectron2.utils import comm

from dynamicdet_d2.config.declare import Use, rule
from dynamicdet_d2.config.rules import unregistered


@rule("SOLVER.ROUTER.OBJECTIVE", "SOLVER.ROUTER.MODE", when=Use.TRAIN)
def gains_are_learnt_from_the_table(objective: str, mode: str) -> str | None:
    if objective in ("loss", "hardness", "hardness_regression") or mode == "cached":
        return None
    return (
        f"SOLVER.ROUTER.OBJECTIVE '{objective}' needs SOLVER.ROUTER.MODE 'cached'; found '{mode}'."
    )


@rule(
    "SOLVER.ROUTER.VALIDATION",
    "SOLVER.ROUTER.OBJECTIVE",
    "DATASETS.TEST",
    "DATASETS.TRAIN",
    "DATASETS.COCO_JSON",
    when=Use.TRAIN,
)
def an_objective_is_chosen_on_images_of_its_own(
    name: str,
    objective: str,
    test: Sequence[str],
    train: Sequence[str],
    own: Sequence[Sequence[str]],
) -> str | None:
    if not name:
        return None
    if objective != "auto":
        return (
            f"SOLVER.ROUTER.VALIDATION is '{name}', which SOLVER.ROUTER.OBJECTIVE 'auto' alone "
            f"judges on; found '{objective}'."
        )
    if name in test:
        return (
            f"SOLVER.ROUTER.VALIDATION is '{name}', one of DATASETS.TEST; what is chosen on the "
            "test images could not be tested on them any more."
        )
    if name in train:
        return (
            f"SOLVER.ROUTER.VALIDATION is '{name}', one of DATASETS.TRAIN, whose images every "
            "router has learnt; '' judges on parts of the training set that are kept aside."
        )
    return unregistered("SOLVER.ROUTER.VALIDATION", [name], own)


@rule(
    "SOLVER.ROUTER.MODE",
    "SOLVER.ROUTER.EPOCHS",
    "SOLVER.ROUTER.IMS_PER_BATCH",
    when=Use.TRAIN,
)
def processes_share_the_routers_batch(mode: str, epochs: int, batch: int) -> str | None:
    processes = comm.get_world_size()
    if mode != "online" or not epochs or batch % processes == 0:
        return None
    return (
        f"SOLVER.ROUTER.IMS_PER_BATCH is {batch}; mode 'online' on {processes} processes needs a "
        f"multiple of {processes}."
    )

# SPDX-License-Identifier: Apache-2.0
"""What the keys must agree in that say what a training starts from."""

from collections.abc import Sequence

from dynamicdet_d2.config.classes import CLASS_KEYS, FROM_JSON, number_of_classes
from dynamicdet_d2.config.declare import Use, rule
from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.utils.words import shown

# Part of MODEL.BACKBONE.NAME -> the key of the norm in its backbones.
_NORM_KEYS = {
    "resnet": "MODEL.RESNETS.NORM",
    "efficientnet_lite": "MODEL.EFFICIENTNET_LITE.NORM",
    "elan": "MODEL.YOLO.NORM",
}


@rule("DATASETS.TRAIN", "DATASETS.COCO_JSON", *CLASS_KEYS)
def classes_are_counted(
    names: Sequence[str], own: Sequence[Sequence[str]], *counts: int
) -> str | None:
    """A number that ``fill_num_classes`` has not put there, mostly as the data set is misspelt."""
    if FROM_JSON not in counts:
        return None
    key, known = CLASS_KEYS[counts.index(FROM_JSON)], [entry[0] for entry in own]
    must = f"{key} is {FROM_JSON}; it must {number_of_classes.must}"
    if set(names).intersection(known):  # the key was set by a program
        return f"{must}: read_config counts them, where it is given the key."
    hint = next((nearest(name, known) for name in names), "")
    return f"{must}: DATASETS.TRAIN is {shown(list(names))}.{hint}"


@rule(
    "MODEL.WEIGHTS",
    "MODEL.BACKBONE.NAME",
    "MODEL.BACKBONE.FREEZE_AT",
    *_NORM_KEYS.values(),
    "SOLVER.MAX_ITER",
    when=Use.TRAIN,
)
def random_values_are_trained(
    weights: str, backbone: str, freeze_at: int, *norms_and_steps: str | int
) -> str | None:
    """Frozen random layers, and batch norms that never see a statistic, learn next to nothing."""
    *norms, steps = norms_and_steps
    if weights or not steps:
        return None
    mend: dict[str, tuple[object, str]] = {}
    if freeze_at:
        mend["MODEL.BACKBONE.FREEZE_AT"] = (freeze_at, "0")
    for (family, key), norm in zip(_NORM_KEYS.items(), norms, strict=True):
        if family in backbone and norm == "FrozenBN":
            mend[key] = (norm, "'BN'")
    if not mend:
        return None
    found = " and ".join(f"{key} is {value!r}" for key, (value, _) in mend.items())
    instead = " and ".join(f"{key} {value}" for key, (_, value) in mend.items())
    return (
        f"MODEL.WEIGHTS is '', but {found}, so that random values would stay as they are: name "
        f"weights, or set {instead}."
    )

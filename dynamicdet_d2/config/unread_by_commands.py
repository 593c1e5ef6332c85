# SPDX-License-Identifier: Apache-2.0
"""Keys that are typed to a command that makes no report, or that measures at operating points of
its own, and a threshold beside what sets another one."""

from collections.abc import Sequence

from detectron2.config import CfgNode

# What says which images are hard.
_POINT_KEYS = tuple(
    f"MODEL.DYNAMIC.{x}" for x in ("CALIBRATION", "THRESHOLD", "HARD_FRACTION", "TARGET_LATENCY_MS")
)
# What a report has, and a pass over the images for something else has not.
EVALUATION_KEYS = ("TEST.AUG.ENABLED", "TEST.EVAL_LOSS", "TEST.EXPECTED_RESULTS") + tuple(
    f"TEST.DYNAMIC.{x}"
    for x in ("HARD_FRACTIONS", "INPUT_SIZES", "LOSS_GAP", "GALLERY", "RANDOM_DRAWS", "MIN_SCORE")
)


def refuse_unread(typed: Sequence[str], instead: str) -> None:
    """For a command that measures at operating points of its own, and makes no report.

    Args:
        typed: keys and values in turn.
        instead: what it does in the place of reading an operating point, for a sentence.

    Raises:
        ValueError: a key was typed that says which images are hard, or what a report has.
    """
    for name in typed[::2]:
        if name in _POINT_KEYS:
            raise ValueError(f"{name} would not be read: {instead}.")
    refuse_of_reports(typed)


def refuse_of_reports(typed: Sequence[str]) -> None:
    """For a command that makes no report, and has an option --output.

    Raises:
        ValueError: a key was typed that says what a report has, or the folder of a training.
    """
    for name in typed[::2]:
        if name in EVALUATION_KEYS:
            raise ValueError(f"{name} would not be read: it is for 'train' and 'eval'.")
        if name == "OUTPUT_DIR":
            raise ValueError("OUTPUT_DIR would not be read: --output says where to write.")


def unread_threshold(cfg: CfgNode, typed: Sequence[str]) -> list[str]:
    """A sentence where a threshold is typed beside what sets another one.

    Args:
        cfg: with all values set.
        typed: full names of keys.
    """
    keys = cfg.MODEL.DYNAMIC
    if "MODEL.DYNAMIC.THRESHOLD" not in typed:
        return []
    targets = "CALIBRATION", "HARD_FRACTION", "TARGET_LATENCY_MS"
    name = next((x for x in targets if keys[x] not in (None, "")), None)
    if name is None:
        return []
    return [
        f"MODEL.DYNAMIC.THRESHOLD is not read beside MODEL.DYNAMIC.{name} {keys[name]}: give one "
        "of them; 'predict' and 'package' take --threshold in the place of both."
    ]

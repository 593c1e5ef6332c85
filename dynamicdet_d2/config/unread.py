# SPDX-License-Identifier: Apache-2.0
"""Keys that are typed although nothing reads them: those of another kind of model or solver.

In a file they may stay, as files of Detectron2's zoo have some. Who types one expects something of
it, and would wait for it in vain.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.utils.words import shown

# Of this project and of Detectron2; those that others have registered may read what they like.
_TWO_STAGE = {"GeneralizedRCNN", "ProposalNetwork", "DynamicRCNN"}
_YOLO = {"YOLOv7", "DynamicYOLO"}
_DENSE = {"RetinaNet", "FCOS", "DynamicDenseDetector"} | _YOLO
_STATIC = {"GeneralizedRCNN", "ProposalNetwork", "RetinaNet", "FCOS", "YOLOv7"}
# Part of a backbone's name -> its family.
_FAMILIES = {
    "resnet": "ResNets",
    "swin": "Swin Transformers",
    "efficientnet_lite": "EfficientNet-Lite",
    "elan": "YOLOv7's backbones",
}


@dataclass(frozen=True)
class Owner:
    """Whose some keys are.

    Attributes:
        words: the owner, for a sentence.
        keys: full names, or sections.
        decider: name of the key that says whether the owner is there.
        absent: of a config, whether it is not.
    """

    words: str
    keys: tuple[str, ...]
    decider: str
    absent: Callable[[CfgNode], bool]

    def has(self, name: str) -> bool:
        return any(name == key or name.startswith(f"{key}.") for key in self.keys)


def _backbones(family: str, section: str) -> Owner:
    def absent(cfg: CfgNode) -> bool:
        own = [part for part in _FAMILIES if part in cfg.MODEL.BACKBONE.NAME]
        return bool(own) and family not in own

    return Owner(_FAMILIES[family], (section,), "MODEL.BACKBONE.NAME", absent)


def _detectors(words: str, others: Iterable[str], *keys: str) -> Owner:
    def absent(cfg: CfgNode) -> bool:
        return cfg.MODEL.META_ARCHITECTURE in others

    return Owner(words, keys, "MODEL.META_ARCHITECTURE", absent)


def _dense_heads(head: str, section: str) -> list[Owner]:
    """A head has a detector of its own, and is one of the two of a ``DynamicDenseDetector``."""
    others = (_TWO_STAGE | _DENSE) - {head, "DynamicDenseDetector"}

    def absent(cfg: CfgNode) -> bool:
        is_one = cfg.MODEL.META_ARCHITECTURE == "DynamicDenseDetector"
        return is_one and cfg.MODEL.DENSE.HEAD != head

    words = f"{head}'s head"
    return [
        _detectors(words, others, section),
        Owner(words, (section,), "MODEL.DENSE.HEAD", absent),
    ]


def _where(decider: str, value: object, *keys: str) -> Owner:
    """What is read where another key has one value."""
    words = f"{decider} {shown(value)}"
    return Owner(words, keys, decider, lambda cfg: value_of(cfg, decider) != value)


def _unless(decider: str, value: object, words: str, *keys: str) -> Owner:
    """What is not read where another key has one value."""
    return Owner(words, keys, decider, lambda cfg: value_of(cfg, decider) == value)


OWNERS = (
    _backbones("resnet", "MODEL.RESNETS"),
    _backbones("swin", "MODEL.SWIN"),
    _backbones("efficientnet_lite", "MODEL.EFFICIENTNET_LITE"),
    _detectors(
        "two-stage detectors",
        _DENSE,
        *("MODEL.RPN", "MODEL.ROI_HEADS", "MODEL.ROI_BOX_HEAD", "MODEL.PROPOSAL_GENERATOR"),
    ),
    _detectors("YOLOs", (_TWO_STAGE | _DENSE) - _YOLO, "MODEL.YOLO"),
    _detectors("dense and two-stage detectors", _YOLO, "MODEL.FPN", "MODEL.ANCHOR_GENERATOR"),
    *_dense_heads("RetinaNet", "MODEL.RETINANET"),
    *_dense_heads("FCOS", "MODEL.FCOS"),
    _detectors(
        "dynamic dense detectors", (_TWO_STAGE | _DENSE) - {"DynamicDenseDetector"}, "MODEL.DENSE"
    ),
    _detectors(
        "dynamic detectors",
        _STATIC,
        *("MODEL.DYNAMIC", "MODEL.COMPOSITE", "MODEL.ROUTER", "SOLVER.ROUTER", "SOLVER.PHASES"),
        *("MODEL.EFFICIENTNET_LITE.SIZE2", "MODEL.YOLO.CONNECTION_INIT"),
        "MODEL.YOLO.STRIDED_FROM_BACKBONE1",
    ),
    _unless(
        "MODEL.ROI_HEADS.NAME", "StandardROIHeads", "CascadeROIHeads", "MODEL.ROI_BOX_CASCADE_HEAD"
    ),
    _where("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD", "INPUT.MASK_FORMAT"),
    _where("MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD"),
    _where("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "SOLVER.NESTEROV"),
    _unless(
        "SOLVER.LR_SCHEDULER_NAME",
        "WarmupCosineLR",
        "WarmupMultiStepLR",
        *("SOLVER.STEPS", "SOLVER.GAMMA"),
    ),
    _unless(
        "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "WarmupCosineLR", "SOLVER.BASE_LR_END"
    ),
    _unless("SOLVER.ROUTER.OBJECTIVE", "auto", "any other objective", "SOLVER.ROUTER.BASE_LR"),
    _where(
        "SOLVER.CLIP_GRADIENTS.ENABLED",
        True,
        *(f"SOLVER.CLIP_GRADIENTS.{x}" for x in ("CLIP_TYPE", "CLIP_VALUE", "NORM_TYPE")),
    ),
    _where("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", "SOLVER.EMA.TAU"),
    _unless("SOLVER.BEST.METRIC", "", "a SOLVER.BEST.METRIC", "SOLVER.BEST.PATIENCE"),
    _where("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "INPUT.CROP.SIZE"),
    _where(
        "INPUT.MOSAIC.ENABLED",
        True,
        *(f"INPUT.MOSAIC.{x}" for x in ("PROBABILITY", "NINE", "FILL", "OFF_LAST_STEPS")),
        *("INPUT.AFFINE", "INPUT.MIXUP", "INPUT.HSV", "INPUT.PASTE_IN"),
    ),
    _where("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", "TEST.AUG.MAX_SIZE", "TEST.AUG.FLIP"),
    _where("TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER"),
    _where(
        "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD"
    ),
)


# What says which images are hard.
POINT_KEYS = tuple(
    f"MODEL.DYNAMIC.{x}" for x in ("CALIBRATION", "THRESHOLD", "HARD_FRACTION", "TARGET_LATENCY_MS")
)
# What a report has, and a pass over the images for something else has not.
_EVALUATION_KEYS = ("TEST.AUG.ENABLED", "TEST.EVAL_LOSS", "TEST.EXPECTED_RESULTS") + tuple(
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
        if name in POINT_KEYS:
            raise ValueError(f"{name} would not be read: {instead}.")
        if name in _EVALUATION_KEYS:
            raise ValueError(f"{name} would not be read: it is for 'train' and 'eval'.")


def unread(cfg: CfgNode, typed: Sequence[str]) -> list[str]:
    """A sentence for each key that nothing reads.

    Args:
        cfg: with all values set.
        typed: full names of keys.
    """
    found = []
    for name in dict.fromkeys(typed):
        owner = next((x for x in OWNERS if x.has(name) and x.absent(cfg)), None)
        if owner is not None:
            value = shown(value_of(cfg, owner.decider))
            found.append(
                f"{name} would not be read: it is for {owner.words}; found {owner.decider} {value}."
            )
    return found

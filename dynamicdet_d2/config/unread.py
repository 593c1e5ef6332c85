# SPDX-License-Identifier: Apache-2.0
"""Keys that are typed although nothing reads them: those of another kind of model or solver.

In a file they may stay, as files of Detectron2's zoo have some. Who types one expects something of
it, and would wait for it in vain.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.utils.words import shown

# Of this project and of Detectron2; those that others have registered may read what they like.
_TWO_STAGE = {"GeneralizedRCNN", "ProposalNetwork", "DynamicRCNN"}
_YOLO = {"YOLOv7", "DynamicYOLO"}
_DENSE = {"RetinaNet", "FCOS", "DynamicDenseDetector"} | _YOLO
_STATIC = {"GeneralizedRCNN", "ProposalNetwork", "RetinaNet", "FCOS", "YOLOv7"}
# Of an FPN that is Detectron2's own, and of one or two backbones.
_PLAIN_FPN = ("build_resnet_fpn_backbone", "build_retinanet_resnet_fpn_backbone")
# A family -> its backbones.
_FAMILIES = {
    "ResNets": {
        *("build_resnet_backbone", *_PLAIN_FPN, "build_resnet_dense_fpn_backbone"),
        "build_composite_resnet_backbone",
    },
    "Swin Transformers": {"build_swin_fpn_backbone", "build_composite_swin_backbone"},
    "EfficientNet-Lite": {
        "build_efficientnet_lite_fpn_backbone",
        "build_composite_efficientnet_lite_backbone",
    },
    "YOLOv7's backbones": {"build_elan_backbone", "build_composite_elan_backbone"},
}
_ARCHITECTURE, _BACKBONE = "MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME"
_SCHEDULE = "SOLVER.LR_SCHEDULER_NAME"
_TOP_INPUT = "MODEL.FPN.TOP_BLOCK_INPUT"
_SHARED = ("MODEL.COMPOSITE.SHARE_NECK", "MODEL.COMPOSITE.SHARE_HEADS")
_DEPTH = "MODEL.RESNETS.DEPTH"
_BLOCKS = ("MODEL.COMPOSITE.NUM_BLOCKS1", "MODEL.COMPOSITE.NUM_BLOCKS2")
_PHASES = "SOLVER.PHASES"
_OF_ROUTER = tuple(f"SOLVER.ROUTER.{x}" for x in ("EPOCHS", "OBJECTIVE", "MODE", "BASE_LR"))
_OF_DETECTORS = tuple(f"SOLVER.{x}" for x in ("MAX_ITER", "BASE_LR", "OPTIMIZER", "AMP", "EMA"))


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


def _without(words: str, decider: str, others: Collection[object], *keys: str) -> Owner:
    """What is not read where another key has one of some values."""
    return Owner(words, keys, decider, lambda cfg: value_of(cfg, decider) in others)


def _backbones(families: Iterable[str], *keys: str) -> Owner:
    others = set().union(*(names for x, names in _FAMILIES.items() if x not in families))
    return _without(" and ".join(families), _BACKBONE, others, *keys)


def _detectors(words: str, others: Collection[str], *keys: str) -> Owner:
    return _without(words, _ARCHITECTURE, others, *keys)


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


def _switch(words: str, others: Iterable[str], key: str) -> Owner:
    """A switch of some detectors, which may be off with the others."""

    def absent(cfg: CfgNode) -> bool:
        # Objects are pasted into mosaics by their masks, whatever the detector is.
        pasted = key == "MODEL.MASK_ON" and cfg.INPUT.MOSAIC.ENABLED
        return cfg.MODEL.META_ARCHITECTURE in others and value_of(cfg, key) is True and not pasted

    return Owner(words, (key,), _ARCHITECTURE, absent)


def _has_no_anchors(cfg: CfgNode) -> bool:
    name = cfg.MODEL.META_ARCHITECTURE
    return name == "FCOS" or (name == "DynamicDenseDetector" and cfg.MODEL.DENSE.HEAD == "FCOS")


def _lacks_router(cfg: CfgNode) -> bool:  # no steps of it are what such a plan has
    return "router" not in _listed(cfg.SOLVER.PHASES) and cfg.SOLVER.ROUTER.EPOCHS != 0


def _lacks_detectors(cfg: CfgNode) -> bool:
    static, steps = cfg.MODEL.META_ARCHITECTURE in _STATIC, cfg.SOLVER.MAX_ITER
    return not static and _listed(cfg.SOLVER.PHASES) == ["router"] and steps != 0


def _listed(value: object) -> list:
    """What else than a list a file may have, such as null, is said where values are checked."""
    return list(value) if isinstance(value, list | tuple) else []


OWNERS = (
    _backbones(("ResNets",), "MODEL.RESNETS"),
    _backbones(("Swin Transformers",), "MODEL.SWIN"),
    _backbones(("EfficientNet-Lite",), "MODEL.EFFICIENTNET_LITE"),
    _backbones(("ResNets", "EfficientNet-Lite"), "MODEL.COMPOSITE.NORM"),
    _without(
        "other FPNs than Detectron2's own", _BACKBONE, _PLAIN_FPN, "MODEL.FPN.TOP_BLOCK", _TOP_INPUT
    ),
    _without(
        "composite backbones, Swin Transformers and EfficientNet-Lite",
        _BACKBONE,
        ("build_resnet_backbone", *_PLAIN_FPN, "build_resnet_dense_fpn_backbone"),
        "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    ),
    _without(
        "ResNets that are no pair",
        _BACKBONE,
        ("build_composite_resnet_backbone",),
        *(f"MODEL.RESNETS.{x}" for x in ("OUT_FEATURES", "DEFORM_MODULATED", "DEFORM_NUM_GROUPS")),
    ),
    _without(
        "ResNets of 50 layers and more",
        _DEPTH,
        (18, 34),
        *(f"MODEL.RESNETS.{x}" for x in ("STRIDE_IN_1X1", "NUM_GROUPS", "WIDTH_PER_GROUP")),
    ),
    _where("MODEL.FPN.TOP_BLOCK", "p6p7", _TOP_INPUT),
    _detectors(
        "two-stage detectors",
        _DENSE,
        *("MODEL.RPN", "MODEL.ROI_HEADS", "MODEL.ROI_BOX_HEAD", "MODEL.PROPOSAL_GENERATOR"),
        *("MODEL.ROI_BOX_CASCADE_HEAD", "SOLVER.ROUTER.LOSS_PROPOSALS"),
    ),
    _switch("two-stage detectors, and mosaics", _DENSE, "MODEL.MASK_ON"),
    _switch("two-stage detectors", _DENSE, "MODEL.KEYPOINT_ON"),
    _detectors(
        "panoptic detectors", _TWO_STAGE | _DENSE, "MODEL.SEM_SEG_HEAD", "MODEL.PANOPTIC_FPN"
    ),
    Owner("detectors with anchors", ("MODEL.ANCHOR_GENERATOR",), _ARCHITECTURE, _has_no_anchors),
    _without(
        "RotatedAnchorGenerator",
        "MODEL.ANCHOR_GENERATOR.NAME",
        ("DefaultAnchorGenerator",),
        "MODEL.ANCHOR_GENERATOR.ANGLES",
    ),
    _detectors("YOLOv7", {"DynamicYOLO"}, "MODEL.YOLO.AUXILIARY"),
    _detectors("detectors other than YOLOs", {"DynamicYOLO"}, *_SHARED),
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
        *("MODEL.YOLO.STRIDED_FROM_BACKBONE1", "TEST.DYNAMIC.HARD_FRACTIONS"),
        *(f"TEST.DYNAMIC.{x}" for x in ("RANDOM_DRAWS", "MIN_SCORE", "LOSS_GAP", "GALLERY")),
        *("TEST.DYNAMIC.INPUT_SIZES", "TEST.DYNAMIC.PLAN"),
    ),
    Owner("phase 'router'", _OF_ROUTER, _PHASES, _lacks_router),
    Owner("phases that train detectors", _OF_DETECTORS, _PHASES, _lacks_detectors),
    _without(
        "CascadeROIHeads",
        "MODEL.ROI_HEADS.NAME",
        ("StandardROIHeads",),
        "MODEL.ROI_BOX_CASCADE_HEAD",
    ),
    _where("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD", "INPUT.MASK_FORMAT"),
    _where("MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD", "TEST.KEYPOINT_OKS_SIGMAS"),
    _where("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "SOLVER.NESTEROV"),
    _without("WarmupMultiStepLR", _SCHEDULE, ("WarmupCosineLR",), "SOLVER.STEPS", "SOLVER.GAMMA"),
    _without("WarmupCosineLR", _SCHEDULE, ("WarmupMultiStepLR",), "SOLVER.BASE_LR_END"),
    _without("any other objective", "SOLVER.ROUTER.OBJECTIVE", ("auto",), "SOLVER.ROUTER.BASE_LR"),
    _where(
        "SOLVER.CLIP_GRADIENTS.ENABLED",
        True,
        *(f"SOLVER.CLIP_GRADIENTS.{x}" for x in ("CLIP_TYPE", "CLIP_VALUE", "NORM_TYPE")),
    ),
    _where("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", "SOLVER.CLIP_GRADIENTS.NORM_TYPE"),
    _where("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", "SOLVER.EMA.TAU"),
    _without("a SOLVER.BEST.METRIC", "SOLVER.BEST.METRIC", ("",), "SOLVER.BEST.PATIENCE"),
    _where("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "INPUT.CROP.SIZE"),
    _where(
        "INPUT.MOSAIC.ENABLED",
        True,
        *(f"INPUT.MOSAIC.{x}" for x in ("PROBABILITY", "NINE", "FILL", "OFF_LAST_STEPS")),
        *("INPUT.AFFINE", "INPUT.MIXUP", "INPUT.HSV", "INPUT.PASTE_IN"),
    ),
    _where(
        "INPUT.MOSAIC.ENABLED",
        False,
        *("INPUT.MIN_SIZE_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING"),
        "DATALOADER.ASPECT_RATIO_GROUPING",
    ),
    _without("mosaics", "INPUT.MOSAIC.PROBABILITY", (0,), "INPUT.MOSAIC.NINE", "INPUT.MIXUP"),
    *(
        _where(f"MODEL.{x}.BBOX_REG_LOSS_TYPE", "smooth_l1", f"MODEL.{x}.{beta}")
        for x, beta in (
            ("RPN", "SMOOTH_L1_BETA"),
            ("ROI_BOX_HEAD", "SMOOTH_L1_BETA"),
            ("RETINANET", "SMOOTH_L1_LOSS_BETA"),
        )
    ),
    _without(
        "SOLVER.WARMUP_ITERS above 0",
        "SOLVER.WARMUP_ITERS",
        (0,),
        *(f"SOLVER.WARMUP_{x}" for x in ("FACTOR", "METHOD", "BIAS_LR", "MOMENTUM")),
    ),
    _where(
        "MODEL.LOAD_PROPOSALS",
        True,
        *(f"DATASETS.PROPOSAL_FILES_{x}" for x in ("TRAIN", "TEST")),
        *(f"DATASETS.PRECOMPUTED_PROPOSAL_TOPK_{x}" for x in ("TRAIN", "TEST")),
    ),
    _where("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", "TEST.AUG.MAX_SIZE", "TEST.AUG.FLIP"),
    _where("TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER"),
    _where(
        "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "DATALOADER.REPEAT_THRESHOLD"
    ),
)


def unread(cfg: CfgNode, typed: Sequence[str]) -> list[str]:
    """A sentence for each key that nothing reads.

    Args:
        cfg: with all values set.
        typed: full names of keys.
    """
    found = []
    for name in dict.fromkeys(typed):
        owner = next((x for x in OWNERS if x.has(name) and x.absent(cfg)), None)
        value = None if owner is None else value_of(cfg, owner.decider)
        # A decider that is misspelt is said by check, beside which the key may be right.
        if owner is not None and not _out_of_range(owner.decider, value):
            found.append(
                f"{name} would not be read: it is for {owner.words}; "
                f"found {owner.decider} {shown(value)}."
            )
    return found or _no_depth(cfg, typed)


def _out_of_range(name: str, value: object) -> bool:
    return name in KEYS and not KEYS[name].range.holds(value)


def _no_depth(cfg: CfgNode, typed: Collection[str]) -> list[str]:
    """A sentence where a depth is typed, and the file says the number of blocks in its place.

    It says which kind of blocks there are in any case, so that who types both can mean it.
    """
    keys = cfg.MODEL.COMPOSITE
    blocks = [_listed(keys.NUM_BLOCKS1), _listed(keys.NUM_BLOCKS2)]
    wrong = _out_of_range(_DEPTH, cfg.MODEL.RESNETS.DEPTH)  # which check says
    if wrong or _DEPTH not in typed or not all(blocks) or set(_BLOCKS).intersection(typed):
        return []
    return [
        f"{_DEPTH} would change no number of blocks: {_BLOCKS[0]} and NUM_BLOCKS2 say them, "
        f"{blocks[0]} and {blocks[1]}; type those beside it, or [] for what the depth says."
    ]

# SPDX-License-Identifier: Apache-2.0
"""What Detectron2's keys of optimizer, schedule, images and loaders may be, and must agree in."""

from collections.abc import Sequence
from importlib.util import find_spec

from dynamicdet_d2.config.declare import Use, limit, rule
from dynamicdet_d2.config.ranges import (
    above,
    between,
    each,
    integer,
    none_or,
    one_of,
    rate,
    side,
    true_or_false,
)
from dynamicdet_d2.utils.words import shown

# Less is less than a pixel of many an image.
_SMALLEST_SHARE = 0.01
_SIGMAS_OF_COCO = 17

limit("SOLVER.NESTEROV", true_or_false)
limit("SOLVER.WEIGHT_DECAY_NORM", rate)
limit("SOLVER.WEIGHT_DECAY_BIAS", none_or(rate))
limit("SOLVER.BIAS_LR_FACTOR", rate)
limit("SOLVER.WARMUP_METHOD", one_of("linear", "constant"))
limit("SOLVER.REFERENCE_WORLD_SIZE", integer(at_least=0))
limit("DATALOADER.REPEAT_THRESHOLD", between(0, 1))
limit("TEST.AUG.MAX_SIZE", side)
limit("TEST.AUG.FLIP", true_or_false)
limit("TEST.KEYPOINT_OKS_SIGMAS", each(above(0)))
limit("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", integer(at_least=1))
limit("TEST.PRECISE_BN.NUM_ITER", integer(at_least=1))
limit("CUDNN_BENCHMARK", true_or_false)


@rule("SOLVER.NESTEROV", "SOLVER.MOMENTUM", "SOLVER.OPTIMIZER", when=Use.TRAIN)
def nesterov_has_momentum(nesterov: bool, momentum: float, optimizer: str) -> str | None:
    if not nesterov or momentum or optimizer != "SGD":
        return None
    return "SOLVER.NESTEROV is True, but SOLVER.MOMENTUM is 0; it must be above 0."


@rule("SOLVER.REFERENCE_WORLD_SIZE", "SOLVER.IMS_PER_BATCH", when=Use.TRAIN)
def batches_are_of_whole_images(processes: int, images: int) -> str | None:
    if not processes or images % processes == 0:
        return None
    return (
        f"SOLVER.REFERENCE_WORLD_SIZE is {processes}; SOLVER.IMS_PER_BATCH, which is {images}, "
        "must be a multiple of it."
    )


@rule("SOLVER.STEPS", "SOLVER.MAX_ITER", "SOLVER.LR_SCHEDULER_NAME", when=Use.TRAIN)
def the_rate_changes_on_the_way(steps: Sequence[int], end: int, name: str) -> str | None:
    """Detectron2 leaves out larger ones."""
    if name != "WarmupMultiStepLR" or not end or not {0, end}.intersection(steps):
        return None
    found = 0 if 0 in steps else end
    return f"SOLVER.STEPS has {found}; each must be above 0 and below SOLVER.MAX_ITER {end}."


@rule(
    "SOLVER.CLIP_GRADIENTS.ENABLED",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
    when=Use.TRAIN,
)
def gradients_are_clipped_one_by_one(enabled: bool, kind: str) -> str | None:
    if not enabled or kind != "full_model":
        return None
    return (
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE is 'full_model', which the project's optimizers do not "
        "have; it must be 'value' or 'norm'."
    )


@rule(
    "INPUT.MIN_SIZE_TRAIN",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING",
    "INPUT.MOSAIC.ENABLED",
    when=Use.TRAIN,
)
def sizes_are_a_range(sizes: Sequence[int], sampling: str, mosaic: bool) -> str | None:
    if mosaic or sampling != "range" or (len(sizes) == 2 and sizes[0] <= sizes[1]):
        return None
    return (
        f"INPUT.MIN_SIZE_TRAIN is {shown(list(sizes))}; with INPUT.MIN_SIZE_TRAIN_SAMPLING 'range' "
        "it must be two numbers, the least first."
    )


@rule("INPUT.CROP.ENABLED", "INPUT.CROP.TYPE", "INPUT.CROP.SIZE", when=Use.TRAIN)
def crops_are_of_some_size(enabled: bool, kind: str, size: Sequence[float]) -> str | None:
    if not enabled:
        return None
    if kind.startswith("relative"):
        if all(_SMALLEST_SHARE <= side <= 1 for side in size):
            return None
        must = f"be two shares of the image, in [{_SMALLEST_SHARE}, 1]"
    elif all(isinstance(side, int) for side in size) and (kind == "absolute" or size[0] <= size[1]):
        return None
    else:
        must = "be two whole numbers of pixels"
        must += "" if kind == "absolute" else ", the least first"
    return f"INPUT.CROP.SIZE is {shown(list(size))}; with INPUT.CROP.TYPE '{kind}' it must {must}."


@rule("INPUT.CROP.ENABLED", "MODEL.MASK_ON", when=Use.TRAIN)
def polygons_can_be_cropped(enabled: bool, masks: bool) -> str | None:
    """Detectron2 asks for the package when it crops the first of them."""
    if not (enabled and masks) or find_spec("shapely") is not None:
        return None
    return (
        "INPUT.CROP.ENABLED is True, for which Detectron2 crops the polygons of MODEL.MASK_ON by a "
        "package that is not installed: pip install shapely."
    )


@rule("TEST.EXPECTED_RESULTS", "DATASETS.TEST", when=Use.EVALUATE)
def expected_figures_are_of_one_data_set(
    expected: Sequence[Sequence[object]], names: Sequence[str]
) -> str | None:
    if not expected or len(set(names)) == 1:
        return None
    return (
        f"TEST.EXPECTED_RESULTS is {shown(list(expected))}, figures of one data set, but "
        f"DATASETS.TEST is {shown(list(names))}; it must name one."
    )


@rule(
    "MODEL.KEYPOINT_ON",
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS",
    "TEST.KEYPOINT_OKS_SIGMAS",
    "DATASETS.TEST",
    when=Use.EVALUATE,
)
def each_keypoint_has_a_sigma(
    enabled: bool, count: int, sigmas: Sequence[float], names: Sequence[str]
) -> str | None:
    if not (enabled and names) or (len(sigmas) or _SIGMAS_OF_COCO) == count:
        return None
    found = f"has {len(sigmas)} numbers" if sigmas else f"is empty, for COCO's {_SIGMAS_OF_COCO}"
    return (
        f"TEST.KEYPOINT_OKS_SIGMAS {found}; it must have one for each of the {count} keypoints of "
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS."
    )

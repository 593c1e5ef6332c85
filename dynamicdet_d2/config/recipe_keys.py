# SPDX-License-Identifier: Apache-2.0
"""Keys of the training recipe of one-stage detectors, which serves every detector.

Multi-image augmentation, averaged weights, warm-ups. The defaults are YOLOv7's published recipe,
switched off.
"""

from collections.abc import Sequence

from dynamicdet_d2.config.declare import Use, key, limit, rule
from dynamicdet_d2.config.ranges import (
    Range,
    above,
    between,
    each,
    integer,
    none_or,
    number,
    one_of,
    rate,
    text,
    true_or_false,
)
from dynamicdet_d2.utils.words import shown

# Pixels: less is no image, and nine images of more take gigabytes.
SMALLEST_MOSAIC, LARGEST_MOSAIC = 32, 8192
grey = Range(
    "be a whole number in [0, 255]",
    lambda x: integer(at_least=0).holds(x) and between(0, 255).holds(x),
)

# Train on squares of INPUT.MAX_SIZE_TRAIN pixels a side that are put together by the keys below and
# by FORMAT, RANDOM_FLIP and MASK_FORMAT; of INPUT's other keys none is read. Images are resized so
# that their longest side has that size.
key("INPUT.MOSAIC.ENABLED", False, true_or_false)
# Probability that an image is put into a mosaic with others, drawn at random, in [0, 1]; one that
# is not stands alone in the middle of its square.
key("INPUT.MOSAIC.PROBABILITY", 1.0, between(0, 1))
# Share of the mosaics that are of nine images and not of four, in [0, 1].
key("INPUT.MOSAIC.NINE", 0.2, between(0, 1))
# Grey where no image is, 0 to 255.
key("INPUT.MOSAIC.FILL", 114, grey)
# Steps at the end of a phase that trains detectors (SOLVER.MAX_ITER steps) in which every image
# stands alone: no mosaic, mixup and paste-in; >= 0.
key("INPUT.MOSAIC.OFF_LAST_STEPS", 0, integer(at_least=0))

# The view of a mosaic or a single image, each drawn from U(-x, x): translation as a share of the
# side, in [0, 0.5]; rotation in degrees, in [0, 180]; shear of both axes in degrees, in [0, 60];
# perspective, the share by which the far edges shrink or grow, in [0, 0.5).
key("INPUT.AFFINE.TRANSLATE", 0.2, between(0, 0.5))
key("INPUT.AFFINE.DEGREES", 0.0, between(0, 180))
key("INPUT.AFFINE.SHEAR", 0.0, between(0, 60))
key("INPUT.AFFINE.PERSPECTIVE", 0.0, number(at_least=0, below=0.5))
# Least and largest scale of the view, > 0, drawn uniformly.
key("INPUT.AFFINE.SCALE", [0.1, 2.0], each(above(0), length=2))
# Of the boxes in view those are kept whose sides are both longer than this, in pixels, >= 0, ...
key("INPUT.AFFINE.MIN_SIDE", 2.0, number(at_least=0))
# ... whose longer side is shorter than so many times the other, >= 1, ...
key("INPUT.AFFINE.MAX_ASPECT", 20.0, number(at_least=1))
# ... and of whose area more than this share is still in view, in [0, 1): of objects that have a box
# alone, and of those with a polygon or mask, whose boxes are tight.
key("INPUT.AFFINE.MIN_SHARE", 0.1, number(at_least=0, below=1))
key("INPUT.AFFINE.MIN_SHARE_OUTLINED", 0.01, number(at_least=0, below=1))

# Probability that a mosaic is mixed with a second one, in [0, 1]; the share of the first is drawn
# from Beta(ALPHA, ALPHA), ALPHA > 0.
key("INPUT.MIXUP.PROBABILITY", 0.15, between(0, 1))
key("INPUT.MIXUP.ALPHA", 8.0, above(0))
# Hue, saturation and value are multiplied by 1 + U(-1, 1) x gain; three gains in [0, 1].
key("INPUT.HSV.GAINS", [0.015, 0.7, 0.4], each(between(0, 1), length=3))
# Probability that objects of other images, cut out by their polygons (or masks, where
# MODEL.MASK_ON), are pasted in, in [0, 1]. Nothing happens in data sets without them.
key("INPUT.PASTE_IN.PROBABILITY", 0.15, between(0, 1))

# Keep a moving average of parameters and statistics in the phases that train detectors. It is what
# is evaluated, saved as the model, and handed to the next phase.
key("SOLVER.EMA.ENABLED", False, true_or_false)
# The average's own weight in its u-th update is DECAY (1 - exp(-u / TAU)); DECAY in [0, 1), TAU
# above 0.
key("SOLVER.EMA.DECAY", 0.9999, number(at_least=0, below=1))
key("SOLVER.EMA.TAU", 2000.0, above(0))

# Keep the best weights of a phase that trains detectors, by this figure of an evaluation, such as
# "bbox/AP", "dynamic/AP_hard_end" or, lower being better, "losses/L2" (TEST.EVAL_LOSS) and what
# images cost: they are model_best.pth, and what the phase hands over. "": the last ones are.
key("SOLVER.BEST.METRIC", "", text)
# Evaluations (TEST.EVAL_PERIOD) without a better figure after which the phase ends; 0: never.
key("SOLVER.BEST.PATIENCE", 0, integer(at_least=0))

# Learning rate at the end of schedule "WarmupCosineLR", in [0, BASE_LR]; later versions of
# Detectron2 have this key themselves.
key("SOLVER.BASE_LR_END", 0.0, rate)
# Learning rate that biases begin with in the WARMUP_ITERS, >= 0; it goes to the schedule's
# linearly. None: they warm up as all else does.
key("SOLVER.WARMUP_BIAS_LR", None, none_or(rate))
# Momentum that SGD begins with in the WARMUP_ITERS, in [0, 1); it goes to MOMENTUM linearly. None:
# MOMENTUM from the start.
key("SOLVER.WARMUP_MOMENTUM", None, none_or(number(at_least=0, below=1)))

# Of Detectron2's own
# Pillow's modes of 8 bits that Detectron2 converts to.
limit("INPUT.FORMAT", one_of("BGR", "RGB", "L", "YUV-BT.601", "HSV", "LAB", "YCbCr"))
limit("INPUT.MAX_SIZE_TRAIN", integer(at_least=1))
limit("INPUT.RANDOM_FLIP", one_of("horizontal", "vertical", "none"))
limit("INPUT.CROP.ENABLED", true_or_false)
limit("MODEL.KEYPOINT_ON", true_or_false)
limit("SOLVER.LR_SCHEDULER_NAME", text)
limit("SOLVER.MOMENTUM", number(at_least=0, below=1))
limit("SOLVER.WARMUP_ITERS", integer(at_least=0))
limit("SOLVER.WARMUP_FACTOR", rate)


@rule("INPUT.AFFINE.SCALE", when=Use.TRAIN)
def scales_are_in_order(scales: Sequence[float]) -> str | None:
    least, largest = scales
    if least <= largest:
        return None
    return f"INPUT.AFFINE.SCALE is [{least}, {largest}]; the first must not be above the second."


@rule(
    "INPUT.MOSAIC.ENABLED",
    "INPUT.FORMAT",
    "INPUT.CROP.ENABLED",
    "MODEL.KEYPOINT_ON",
    when=Use.TRAIN,
)
def mosaics_know_boxes_and_masks(
    enabled: bool, image_format: str, crop: bool, keypoints: bool
) -> str | None:
    if not enabled:
        return None
    if image_format not in ("RGB", "BGR"):
        return (
            f"INPUT.FORMAT is '{image_format}'; with INPUT.MOSAIC.ENABLED it must be 'RGB' or "
            "'BGR'."
        )
    if crop or keypoints:
        name = "INPUT.CROP.ENABLED" if crop else "MODEL.KEYPOINT_ON"
        return f"{name} is True; with INPUT.MOSAIC.ENABLED it must be False."
    return None


@rule("INPUT.MOSAIC.ENABLED", "INPUT.MAX_SIZE_TRAIN", when=Use.TRAIN)
def mosaics_are_of_some_size(enabled: bool, side: int) -> str | None:
    if not enabled or SMALLEST_MOSAIC <= side <= LARGEST_MOSAIC:
        return None
    return (
        f"INPUT.MAX_SIZE_TRAIN is {side}; it is the side of a mosaic's square, and with "
        f"INPUT.MOSAIC.ENABLED must lie in [{SMALLEST_MOSAIC}, {LARGEST_MOSAIC}]."
    )


@rule("INPUT.MOSAIC.OFF_LAST_STEPS", "SOLVER.MAX_ITER", when=Use.TRAIN)
def the_last_steps_are_steps(off: int, steps: int) -> str | None:
    if off <= steps or not steps:
        return None
    return (
        f"INPUT.MOSAIC.OFF_LAST_STEPS is {off}; it must be at most SOLVER.MAX_ITER, which is "
        f"{steps}."
    )


@rule("SOLVER.EMA.ENABLED", "TEST.PRECISE_BN.ENABLED", when=Use.TRAIN)
def one_way_to_better_statistics(averaged: bool, precise: bool) -> str | None:
    if not (averaged and precise):
        return None
    return (
        "TEST.PRECISE_BN.ENABLED is True, but SOLVER.EMA.ENABLED evaluates averaged statistics; "
        "one of them must be False."
    )


@rule(
    "SOLVER.BEST.METRIC",
    "SOLVER.BEST.PATIENCE",
    "TEST.EVAL_PERIOD",
    "TEST.EVAL_LOSS",
    "DATASETS.TEST",
    "MODEL.MASK_ON",
    when=Use.TRAIN,
)
def the_best_is_evaluated(
    metric: str, patience: int, period: int, losses: bool, test: Sequence[str], masks: bool
) -> str | None:
    if patience and not (metric and period):
        return (
            f"SOLVER.BEST.PATIENCE is {patience}, which counts evaluations of a metric: "
            "SOLVER.BEST.METRIC must name one, and TEST.EVAL_PERIOD be above 0."
        )
    if metric and not test:
        return f"SOLVER.BEST.METRIC is '{metric}', but DATASETS.TEST names no data set."
    if not metric:
        return None
    figure = metric
    if len(set(test)) > 1:
        name, _, figure = metric.partition("/")
        if name not in test:
            return (
                f"SOLVER.BEST.METRIC is '{metric}'; of several data sets it must begin with one of "
                f"{shown(list(test))}, such as '{test[0]}/bbox/AP'."
            )
    if "/" not in figure:
        return f"SOLVER.BEST.METRIC is '{metric}'; its last parts must be as in 'bbox/AP'."
    needs = {"losses/": (losses, "TEST.EVAL_LOSS"), "segm/": (masks, "MODEL.MASK_ON")}
    for group, (given, name) in needs.items():
        if figure.startswith(group) and not given:
            return f"SOLVER.BEST.METRIC is '{metric}', which needs {name} True."
    return None


@rule("SOLVER.BASE_LR_END", "SOLVER.BASE_LR", "SOLVER.LR_SCHEDULER_NAME", when=Use.TRAIN)
def the_rate_does_not_rise(end: float, base: float, name: str) -> str | None:
    if end <= base or name != "WarmupCosineLR":
        return None
    return f"SOLVER.BASE_LR_END is {end}; it must be at most SOLVER.BASE_LR, which is {base}."


@rule("SOLVER.WARMUP_MOMENTUM", "SOLVER.OPTIMIZER", when=Use.TRAIN)
def momentum_is_of_sgd(momentum: float | None, optimizer: str) -> str | None:
    if momentum is None or optimizer == "SGD":
        return None
    return (
        f"SOLVER.WARMUP_MOMENTUM is {momentum}, but SOLVER.OPTIMIZER '{optimizer}' has no "
        "momentum that could warm up; it must be None."
    )


@rule(
    "SOLVER.WARMUP_BIAS_LR",
    "SOLVER.WARMUP_MOMENTUM",
    "SOLVER.LR_SCHEDULER_NAME",
    when=Use.TRAIN,
)
def warm_ups_are_of_known_schedules(
    rate: float | None, momentum: float | None, name: str
) -> str | None:
    given = {"SOLVER.WARMUP_BIAS_LR": rate, "SOLVER.WARMUP_MOMENTUM": momentum}
    asked = [f"{key} is {value}" for key, value in given.items() if value is not None]
    if not asked or name in ("WarmupMultiStepLR", "WarmupCosineLR"):
        return None
    return (
        f"{asked[0]}, which needs SOLVER.LR_SCHEDULER_NAME 'WarmupMultiStepLR' or "
        f"'WarmupCosineLR'; found {shown(name)}."
    )

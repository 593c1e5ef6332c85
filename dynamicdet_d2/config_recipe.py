# SPDX-License-Identifier: Apache-2.0
"""The config keys of the training recipe of one-stage detectors: meaning, range.

They serve every detector. The defaults are YOLOv7's published recipe, switched off.
"""

from detectron2.config import CfgNode


def add_recipe_config(cfg: CfgNode) -> None:
    """Add multi-image augmentation, weight averaging and warm-ups to a config, in place."""
    _add_mosaic_keys(cfg.INPUT)
    _add_affine_keys(cfg.INPUT)
    _add_average_keys(cfg.SOLVER)
    _add_schedule_keys(cfg.SOLVER)


def _add_mosaic_keys(keys: CfgNode) -> None:
    keys.MOSAIC = CfgNode()
    # Train on squares of INPUT.MAX_SIZE_TRAIN pixels a side that are put together by the keys
    # below, and by FORMAT, RANDOM_FLIP and MASK_FORMAT; of INPUT's other keys none is read.
    # Images are resized so that their longest side has that size.
    keys.MOSAIC.ENABLED = False
    # Probability that an image is put into a mosaic with others, drawn at random, in [0, 1]; one
    # that is not stands alone in the middle of its square.
    keys.MOSAIC.PROBABILITY = 1.0
    # Share of the mosaics that are of nine images and not of four, in [0, 1].
    keys.MOSAIC.NINE = 0.2
    # Grey where no image is, 0 to 255.
    keys.MOSAIC.FILL = 114
    # Steps at the end of a phase that trains detectors (SOLVER.MAX_ITER steps) in which every
    # image stands alone: no mosaic, mixup and paste-in; >= 0.
    keys.MOSAIC.OFF_LAST_STEPS = 0

    keys.MIXUP = CfgNode()
    # Probability that a mosaic is mixed with a second one, in [0, 1]; the share of the first is
    # drawn from Beta(ALPHA, ALPHA), ALPHA > 0.
    keys.MIXUP.PROBABILITY = 0.15
    keys.MIXUP.ALPHA = 8.0

    keys.HSV = CfgNode()
    # Hue, saturation and value are multiplied by 1 + U(-1, 1) x gain; three gains in [0, 1].
    keys.HSV.GAINS = [0.015, 0.7, 0.4]

    keys.PASTE_IN = CfgNode()
    # Probability that objects of other images, cut out by their polygons (or masks, where
    # MODEL.MASK_ON), are pasted in, in [0, 1]. Nothing happens in data sets without them.
    keys.PASTE_IN.PROBABILITY = 0.15


def _add_affine_keys(keys: CfgNode) -> None:
    affine = keys.AFFINE = CfgNode()
    # The view of a mosaic or image, each drawn from U(-x, x): translation as a share of the side,
    # in [0, 0.5]; rotation in degrees, in [0, 180]; shear of both axes in degrees, in [0, 60];
    # perspective, the share by which the far edges shrink or grow, in [0, 0.5).
    affine.TRANSLATE = 0.2
    affine.DEGREES = 0.0
    affine.SHEAR = 0.0
    affine.PERSPECTIVE = 0.0
    # Least and largest scale, > 0.
    affine.SCALE = [0.1, 2.0]
    # A box is kept iff both sides are longer than this, in pixels, >= 0, ...
    affine.MIN_SIDE = 2.0
    # ... its longer side is shorter than so many times the other, > 1, ...
    affine.MAX_ASPECT = 20.0
    # ... and more than this share of its area is still in view, in [0, 1): of objects that have a
    # box alone, and of those with a polygon or mask, whose boxes are tight.
    affine.MIN_SHARE = 0.1
    affine.MIN_SHARE_OUTLINED = 0.01


def _add_average_keys(solver: CfgNode) -> None:
    solver.EMA = CfgNode()
    # Keep a moving average of parameters and statistics in the phases that train detectors. It is
    # what is evaluated, saved as the model, and handed to the next phase.
    solver.EMA.ENABLED = False
    # The average's own weight in its u-th update is DECAY (1 - exp(-u / TAU)): DECAY in [0, 1),
    # TAU > 0.
    solver.EMA.DECAY = 0.9999
    solver.EMA.TAU = 2000.0


def _add_schedule_keys(solver: CfgNode) -> None:
    # Learning rate at the end of schedule "WarmupCosineLR", in [0, BASE_LR]; later versions of
    # Detectron2 have this key themselves.
    solver.BASE_LR_END = 0.0
    # Learning rate that biases begin with in the WARMUP_ITERS, >= 0; it goes to the schedule's
    # linearly. None: they warm up as all else does.
    solver.WARMUP_BIAS_LR = None
    # Momentum that SGD begins with in the WARMUP_ITERS, in [0, 1); it goes to MOMENTUM linearly.
    # None: MOMENTUM from the start.
    solver.WARMUP_MOMENTUM = None

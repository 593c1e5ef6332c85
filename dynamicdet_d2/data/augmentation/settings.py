# SPDX-License-Identifier: Apache-2.0
"""What the keys of multi-image augmentation say, in one record."""

from dataclasses import dataclass

from detectron2.config import CfgNode

from dynamicdet_d2.data.augmentation.affine import AffineRanges, BoxRules


@dataclass(frozen=True)
class Settings:
    """Named after the keys below ``INPUT`` that their ranges stand beside.

    Attributes:
        size: side of what is trained on, in pixels.
        fill: value of what no picture covers.
        mosaic: probability of a mosaic.
        nine: share of the mosaics that are of nine pictures.
        mixup: probability that a mosaic is mixed with another one.
        mixup_alpha: of the Beta distribution of its share.
        paste_in: probability that objects are pasted in.
        hsv: gains of hue, saturation and value.
        flip: "horizontal", "vertical" or "none"; with a probability of one half.
        affine, rules: ranges of the view, and which boxes are kept in it.
        image_format: "RGB" or "BGR".
        masks, mask_format: whether masks are trained, and in which form.
    """

    size: int
    fill: int
    mosaic: float
    nine: float
    mixup: float
    mixup_alpha: float
    paste_in: float
    hsv: tuple[float, float, float]
    flip: str
    affine: AffineRanges
    rules: BoxRules
    image_format: str
    masks: bool
    mask_format: str

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Settings":
        keys = cfg.INPUT
        return cls(
            size=keys.MAX_SIZE_TRAIN,
            fill=keys.MOSAIC.FILL,
            mosaic=keys.MOSAIC.PROBABILITY,
            nine=keys.MOSAIC.NINE,
            mixup=keys.MIXUP.PROBABILITY,
            mixup_alpha=keys.MIXUP.ALPHA,
            paste_in=keys.PASTE_IN.PROBABILITY,
            hsv=tuple(keys.HSV.GAINS),
            flip=keys.RANDOM_FLIP,
            affine=_ranges(keys.AFFINE),
            rules=_rules(keys.AFFINE),
            image_format=keys.FORMAT,
            masks=cfg.MODEL.MASK_ON,
            mask_format=keys.MASK_FORMAT,
        )


def _ranges(keys: CfgNode) -> AffineRanges:
    return AffineRanges(
        translate=keys.TRANSLATE,
        scale=tuple(keys.SCALE),
        degrees=keys.DEGREES,
        shear=keys.SHEAR,
        perspective=keys.PERSPECTIVE,
    )


def _rules(keys: CfgNode) -> BoxRules:
    return BoxRules(
        min_side=keys.MIN_SIDE,
        max_aspect=keys.MAX_ASPECT,
        min_share=keys.MIN_SHARE,
        min_share_outlined=keys.MIN_SHARE_OUTLINED,
    )

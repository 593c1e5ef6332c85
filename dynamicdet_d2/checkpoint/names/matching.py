# SPDX-License-Identifier: Apache-2.0
"""Names of weights: which tensor of a file goes where in a model. Pure.

All names meet in the middle, at the *detector name*: that of the weight in a single-backbone
Detectron2 detector with an FPN (``backbone.bottom_up.res3.0.conv1.weight``,
``backbone.fpn_lateral2.bias``, ``roi_heads. ...``). Files of every format are renamed to it, and
every weight of a dynamic detector knows the detector name that it can start from. So a weight
that exists in both backbones needs no rule of its own, and a further format (or family of
backbones) is one more entry in ``_RENAMERS``.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names

from dynamicdet_d2.checkpoint.names import lite as lite_names
from dynamicdet_d2.checkpoint.names import swin as swin_names

DYNAMICDET = "DynamicDet"
DETECTRON2 = "Detectron2"
CAFFE2 = "Caffe2"
TORCHVISION = "torchvision"
SWIN = "Swin"
TORCHVISION_SWIN = "torchvision Swin"
EFFICIENTNET_LITE = "EfficientNet-Lite"

# A format is recognised by one name that only it has; what no pattern finds is Detectron2's.
_SIGNS = (
    (DYNAMICDET, re.compile(r"backbone\.bottom_up1\.")),
    (CAFFE2, re.compile(r"res[2-5]_\d+_branch")),
    (TORCHVISION, re.compile(r"layer1\.0\.")),
    (SWIN, swin_names.SWIN_SIGN),
    (TORCHVISION_SWIN, swin_names.TORCHVISION_SIGN),
    (EFFICIENTNET_LITE, lite_names.SIGN),
)

# Counters, and what follows from the config but is or was kept in the state dict: no weights, so
# nobody needs to hear of them.
_NO_WEIGHT = re.compile(
    r"(^|\.)num_batches_tracked$|^pixel_(mean|std)$|anchor_generator\.cell_anchors|_momentum$"
    r"|\.relative_position_index$|\.attn_mask$"
)

_BARE_BACKBONE = re.compile(
    r"^(?:backbone\.)?(?:bottom_up\.)?(stem|res[2-5]|patch_embed|stage[1-4]|p[1-6])\."
)

# Of a plain detector: its backbone, and the last stage of one whose heads run it (C4).
_WITHOUT_FPN = re.compile(r"^(backbone\.(?=(stem|res[2-5])\.)|roi_heads\.(?=res5\.))")

# Of a detector whose two detectors have a neck and a head each.
_OWN_TAIL = re.compile(r"^(neck|head)[12]\.")

# Of one whose detector2 has parts of the tail for itself, beside those of detector1.
_SECOND_TAIL = re.compile(r"^tail2\.")

_TORCHVISION_RULES = (
    (re.compile(r"^conv1\."), "stem.conv1."),
    (re.compile(r"^bn1\."), "stem.conv1.norm."),
    (re.compile(r"^layer(\d)\."), lambda found: f"res{int(found[1]) + 1}."),
    (re.compile(r"\.downsample\.0\."), ".shortcut."),
    (re.compile(r"\.downsample\.1\."), ".shortcut.norm."),
    (re.compile(r"\.bn(\d)\."), r".conv\1.norm."),
)


@dataclass(frozen=True)
class Match:
    """Where the weights of a model come from.

    Attributes:
        file_format: one of the formats above.
        sources: name in the model -> name in the file, for every weight that the file has.
        unmatched: names in the file that no weight of the model asks for.
    """

    file_format: str
    sources: dict[str, str]
    unmatched: tuple[str, ...]


def match(model_names: Iterable[str], file_names: Iterable[str]) -> Match:
    """Find for each weight of a model the tensor of a file that it is loaded from.

    A name that the file has as it stands is taken first, so that a checkpoint of the same model
    loads as it is.

    Args:
        model_names: of the model's state dict; of a dynamic detector or a plain one.
        file_names: of the file's state dict, in any of the formats.
    """
    file_names = list(file_names)
    file_format = recognise(file_names)
    renamed = _RENAMERS[file_format](file_names)
    originals = dict(zip(renamed, file_names, strict=True)) | {name: name for name in file_names}
    sources = {}
    for name in model_names:
        asked = (name, *_of_detector1(name))
        if file_format != DYNAMICDET:  # whose names are a dynamic detector's own
            asked += (detector_name(name),)
        original = next((originals[x] for x in asked if x in originals), None)
        if original is not None:
            sources[name] = original
    used = set(sources.values())
    unmatched = tuple(name for name in file_names if name not in used and is_weight(name))
    return Match(file_format, sources, unmatched)


def recognise(file_names: Iterable[str]) -> str:
    """The format of a file by its names."""
    file_names = list(file_names)
    for file_format, sign in _SIGNS:
        if any(sign.match(name) for name in file_names):
            return file_format
    return DETECTRON2


def detector_name(model_name: str) -> str:
    """What a weight of the model is called in a single-backbone detector with an FPN.

    Both backbones answer with the same name, and so do the necks and heads of both detectors;
    weights that only a dynamic detector has (connections, router, loss offset) with one that no
    single-backbone detector uses.
    """
    name = re.sub(r"^backbone\.bottom_up[12]\.", "backbone.bottom_up.", model_name)
    if _WITHOUT_FPN.match(name):
        return _WITHOUT_FPN.sub("backbone.bottom_up.", name)
    if _OWN_TAIL.match(name):
        return _OWN_TAIL.sub(r"\1.", name)
    # The neck, and the neck and head of a dense detector, are named from one root on.
    name = re.sub(r"^(dense|tail2)\.", "", name)
    return re.sub(r"^neck\.", "backbone.", name)


def _of_detector1(model_name: str) -> tuple[str, ...]:
    """What detector1 may call its part, for one that detector2 has for itself."""
    if not _SECOND_TAIL.match(model_name):
        return ()
    return tuple(_SECOND_TAIL.sub(root, model_name) for root in ("", "dense."))


def is_weight(name: str) -> bool:
    """Whether a name is worth reporting when it is left over."""
    return _NO_WEIGHT.search(name) is None


def _from_dynamicdet(names: list[str]) -> list[str]:
    return names


def _from_detectron2(names: list[str]) -> list[str]:
    """A bare backbone gets its place in the detector."""
    return [_BARE_BACKBONE.sub(r"backbone.bottom_up.\1.", name) for name in names]


def _from_caffe2(names: list[str]) -> list[str]:
    return _from_detectron2(convert_basic_c2_names(names))


def _from_torchvision(names: list[str]) -> list[str]:
    for pattern, replacement in _TORCHVISION_RULES:
        names = [pattern.sub(replacement, name) for name in names]
    return _from_detectron2(names)


def _from_swin(names: list[str]) -> list[str]:
    return _from_detectron2(swin_names.from_swin(names))


def _from_torchvision_swin(names: list[str]) -> list[str]:
    return _from_detectron2(swin_names.from_torchvision(names))


def _from_lite(names: list[str]) -> list[str]:
    return _from_detectron2(lite_names.from_lite(names))


_RENAMERS: dict[str, Callable[[list[str]], list[str]]] = {
    DYNAMICDET: _from_dynamicdet,
    DETECTRON2: _from_detectron2,
    CAFFE2: _from_caffe2,
    TORCHVISION: _from_torchvision,
    SWIN: _from_swin,
    TORCHVISION_SWIN: _from_torchvision_swin,
    EFFICIENTNET_LITE: _from_lite,
}

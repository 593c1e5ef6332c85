# SPDX-License-Identifier: Apache-2.0
"""Published weights of YOLOv7 and Dy-YOLOv7 into a checkpoint and a config of this project.

The files are their authors' and under their licences (YOLOv7: GPL-3.0; DynamicDet: academic use);
nothing of them is shipped, and nothing in them is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from torch import Tensor, nn

from dynamicdet_d2.checkpoint.complete import without_use
from dynamicdet_d2.checkpoint.conventions import keys_of
from dynamicdet_d2.checkpoint.learnt import in_checkpoint
from dynamicdet_d2.checkpoint.names.yolo import Layout, Source, recognise
from dynamicdet_d2.checkpoint.pickled_modules import read_pickled_weights
from dynamicdet_d2.checkpoint.published_anchors import anchors_of
from dynamicdet_d2.config import add_dynamicdet_config
from dynamicdet_d2.modeling.yolo.build import dynamic_parts, static_parts
from dynamicdet_d2.modeling.yolo.head import NUM_BOX_LOGITS
from dynamicdet_d2.modeling.yolo.variants import VARIANTS
from dynamicdet_d2.utils.files import names_a_file, too_long, whole_file
from dynamicdet_d2.utils.words import shown


@dataclass(frozen=True)
class Converted:
    """What came of a conversion.

    Attributes:
        layout: what the file held.
        num_classes: of its head.
        weights, config: files that were written.
    """

    layout: Layout
    num_classes: int
    weights: Path
    config: Path


def convert(path: str, output: str) -> Converted:
    """Convert a published file.

    Weights become float32. Of a dynamic detector the router's last layer changes its sign: the
    published score is 1 - difficulty, and a published threshold t is 1 - t here.

    Args:
        path: of the published file.
        output: ``NAME.pth`` to write; a config that builds the model and loads it is written
            beside it as ``NAME.yaml``.

    Raises:
        ValueError: if the file is not one of the published layouts, does not fit its model, or has
            values that nothing can be detected by.
    """
    target = Path(output)
    if target.suffix != ".pth":
        raise ValueError(f"The output is {output}; its name must end in .pth.")
    config = target.with_suffix(".yaml")
    _check_output(Path(path), target, config)
    published = read_pickled_weights(path)
    try:
        layout, weights, keys = _understood(published)
        cfg = _checked_shapes(weights, layout, keys)
    except ValueError as error:
        raise ValueError(f"{path} cannot be converted: {error}") from None
    keys["MODEL"]["WEIGHTS"] = str(target)
    with whole_file(target) as file:
        # Whichever config it is run by later, what its weights need is known.
        torch.save({"model": weights, **in_checkpoint({}, keys_of(cfg))}, file)
    with whole_file(config) as file:
        file.write(_marked(yaml.safe_dump(keys, sort_keys=False), target).encode())
    classes = keys["MODEL"]["YOLO"]["NUM_CLASSES"]
    return Converted(layout, classes, target, config)


def _check_output(published: Path, target: Path, config: Path) -> None:
    """Refuse to replace what no conversion has written: it writes both files or none."""
    if not names_a_file(str(target)):
        raise ValueError(f"The output {shown(str(target))} names no file{too_long(str(target))}.")
    there = [file for file in (target, config) if file.exists()]
    own = len(there) == 2 and _are_as_written(config, target)
    if there and not (own and not (published.exists() and target.samefile(published))):
        raise ValueError(
            f"The output would replace {there[0]}, which no conversion has written as it is; "
            "choose another name, or remove it."
        )


def _marked(config: str, weights: Path) -> str:
    """With a first line, which is another one where config or weights were changed since, or are
    somebody's own."""
    with open(weights, "rb") as file:
        digest = file_digest(file, "sha256")
    digest.update(config.encode())
    return f"# Written by 'dynamicdet convert': {digest.hexdigest()}\n{config}"


def _are_as_written(config: Path, weights: Path) -> bool:
    if not (config.is_file() and weights.is_file()):  # pipes would be waited for
        return False
    try:
        text = config.read_text(encoding="utf-8")
        return text == _marked(text.partition("\n")[2], weights)
    except (OSError, ValueError):
        return False


def _understood(published: Mapping[str, Tensor]) -> tuple[Layout, dict[str, Tensor], dict]:
    layout = recognise(published)
    try:
        weights = renamed(published, layout)
        return layout, weights, config_keys(layout, weights, anchors_of(published, layout))
    except (IndexError, RuntimeError, TypeError):
        raise ValueError("its weights have other numbers of dimensions.") from None


def renamed(published: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """A published state dict under our names, in float32.

    Counters that it lacks start at 0. Folded implicit vectors become ones that do nothing.

    Raises:
        ValueError: naming a tensor of the file that is too small, has too few dimensions, or values
            that are no floats, not finite, or no variances.
    """
    weights = {}
    sources = layout.sources()
    for name, source in sources.items():
        if source.name not in published:
            weights[name] = torch.zeros((), dtype=torch.long)
            continue
        tensor = published[source.name]
        if not (tensor.is_floating_point() or name.endswith(".num_batches_tracked")):
            raise ValueError(
                f"{source.name} has values of type {tensor.dtype}, where floating point numbers "
                "belong."
            )
        _check_dimensions(tensor, name, source)
        weights[name] = _taken(tensor, source)
    found = without_use(weights)
    if found is not None:
        raise ValueError(f"{sources[found[0]].name} has values {found[1]}.")
    if not layout.implicit:
        weights |= _without_effect(weights)
    return weights


def _check_dimensions(tensor: Tensor, name: str, source: Source) -> None:
    """Of others than these, ``_checked_shapes`` says what they should be."""
    if name.endswith(".num_batches_tracked"):
        return
    least = 2 if source.flat or name.endswith(".conv.weight") else 1
    if tensor.ndim < least:
        raise ValueError(
            f"its weights have other numbers of dimensions: {source.name} has the shape "
            f"{tuple(tensor.shape)}, with less than {least}."
        )


def _taken(tensor: Tensor, source: Source) -> Tensor:
    if tensor.is_floating_point():
        tensor = tensor.float()
    if source.rows is not None:
        if source.rows[1] > len(tensor):
            raise ValueError(f"{source.name} has only {len(tensor)} output channels.")
        tensor = tensor[slice(*source.rows)]
    if source.flat:
        tensor = tensor.flatten(1)
    return -tensor if source.negated else tensor.clone()


def _without_effect(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Implicit vectors of zeros and ones for predictions that are plain convolutions."""
    vectors = {}
    for name, weight in weights.items():
        if name.startswith("head.predictors.") and name.endswith(".conv.weight"):
            outputs, inputs = weight.shape[:2]
            place = name.removesuffix("conv.weight")
            vectors[f"{place}add.implicit"] = torch.zeros(1, inputs, 1, 1)
            vectors[f"{place}multiply.implicit"] = torch.ones(1, outputs, 1, 1)
    return vectors


def config_keys(layout: Layout, weights: Mapping[str, Tensor], anchors: list | None) -> dict:
    """The config that the weights are for, without where they lie.

    Args:
        layout: what the file held.
        weights: under our names.
        anchors: other than the variant's; None: the variant's.

    Raises:
        ValueError: if the predictors are of no classes, or of other anchors.
    """
    variant = VARIANTS[layout.variant]
    finest = f"p{len(variant.backbone.levels) - len(variant.anchors) + 1}"
    head = "head1" if layout.dynamic else "head"
    name = f"{head}.predictors.n{finest[1:]}.conv.bias"
    per_position = len((anchors or variant.anchors)[0])
    classes = _num_classes(layout.sources()[name].name, len(weights[name]), per_position)
    size = 1280 if layout.variant == "yolov7_w6" else 640
    yolo: dict[str, Any]
    yolo = {"VARIANT": layout.variant, "NUM_CLASSES": classes}
    yolo["LOSS"] = {"TRAIN_SIZE": size}
    if anchors:
        yolo["ANCHORS"] = anchors
    if layout.auxiliary:
        yolo["AUXILIARY"] = True
        yolo["LOSS"]["TOP_K"] = 20
    if layout.dynamic and layout.variant == "yolov7x":
        yolo["STRIDED_FROM_BACKBONE1"] = ["p3"]  # as its weights were trained
    builder = "build_composite_elan_backbone" if layout.dynamic else "build_elan_backbone"
    return {
        "MODEL": {
            "META_ARCHITECTURE": "DynamicYOLO" if layout.dynamic else "YOLOv7",
            "BACKBONE": {"NAME": builder, "FREEZE_AT": 0},
            "PIXEL_MEAN": [0.0, 0.0, 0.0],
            "PIXEL_STD": [255.0, 255.0, 255.0],
            "YOLO": yolo,
        },
        "INPUT": {
            "FORMAT": "RGB",
            "MIN_SIZE_TRAIN": [size],
            "MAX_SIZE_TRAIN": size,
            "MIN_SIZE_TEST": size,
            "MAX_SIZE_TEST": size,
        },
        "TEST": {"DETECTIONS_PER_IMAGE": 300},
        "VERSION": 2,
    }


def _num_classes(name: str, outputs: int, per_position: int) -> int:
    """Of a predictor with so many outputs for so many anchors of a position."""
    each, left = divmod(outputs, per_position)
    if left or each <= NUM_BOX_LOGITS:
        raise ValueError(
            f"{name} has {outputs} outputs for the {per_position} anchors of a position, where "
            f"each has {NUM_BOX_LOGITS} and one for every class, of which there is one at least."
        )
    return each - NUM_BOX_LOGITS


def _checked_shapes(weights: Mapping[str, Tensor], layout: Layout, keys: dict) -> CfgNode:
    """The config of the model that they fit."""
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(keys))
    with torch.device("meta"):
        parts = dynamic_parts(cfg) if layout.dynamic else static_parts(cfg)
    expected = nn.ModuleDict({k: part for k, part in parts.items() if part is not None})
    for name, tensor in expected.state_dict().items():
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f"it has {tuple(weights[name].shape)} for {name}, where {layout.variant} has "
                f"{tuple(tensor.shape)}."
            )
    return cfg

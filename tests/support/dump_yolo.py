# SPDX-License-Identifier: Apache-2.0
"""What a converted YOLO computes, for a comparison with the code that its weights are from.

    python -m tests.support.dump_yolo --weights NAME.pth --inputs FILE.npz --output FILE.npz

NAME.pth and the NAME.yaml beside it are what ``dynamicdet convert`` wrote. The inputs hold
``images``, (N, 3, H, W): RGB in [0, 1], as the network takes them, sides multiples of the coarsest
stride. Everything is computed in float64. K = 5 + classes, A = 3 anchors; the output holds

- ``raw_p3``, ``raw_p4``, ...: (N, A, H_l, W_l, K), logits of each level;
- ``decoded``: (N, R, K), centre x, y, width, height in pixels and probabilities, by level (fine to
  coarse), anchor, row and column;
- ``auxiliary_raw_p3``, ...: of an auxiliary head, where there is one;

and of a dynamic detector, in place of the first two, ``detector1_raw_p3``, ``detector2_decoded``
and so on for both exits, and ``difficulty``, (N,): 1 - the published score.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config import read_config
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, flattened
from dynamicdet_d2.modeling.yolo.yolov7 import YOLOv7
from dynamicdet_d2.utils.errors import one_sentence

Arrays = dict[str, Tensor]


def converted_model(weights: str) -> nn.Module:
    """A converted model in float64, in evaluation mode, on the CPU.

    Raises:
        ValueError: if the config beside the weights is missing or the weights do not fill it.
    """
    config = Path(weights).with_suffix(".yaml")
    cfg = read_config(str(config), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", weights])
    model = build_model(cfg)
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(weights)
    left = [name for name in checkpointer.report.initial if name != "loss_offset"]
    if left:
        raise ValueError(f"{weights} lacks {left[0]} and {len(left) - 1} more of {config}.")
    return model.double().eval()


@torch.no_grad()
def outputs_of(model: nn.Module, images: Tensor) -> Arrays:
    """What the module's docstring lists, of (N, 3, H, W) float64."""
    x = (images * 255 - model.pixel_mean) / model.pixel_std
    if isinstance(model, YOLOv7):
        maps = model.neck(model.backbone(x))
        arrays = _head_outputs(model.head(maps), model.detections.grid, "")
        if model.auxiliary_head is not None:
            arrays |= _raw(model.auxiliary_head(maps), model.detections.grid, "auxiliary_")
        return arrays
    first = model.first(ImageList(x, [x.shape[-2:]] * len(x)))
    features1 = first.seen.features
    features2 = model.backbone.second(features1, first.start)
    arrays = {"difficulty": first.difficulties}
    for detector, features in ((1, features1), (2, features2)):
        logits = model.predictions(detector, model.pyramid(detector, features))
        arrays |= _head_outputs(logits, model.detect.grid, f"detector{detector}_")
    return arrays


def _head_outputs(logits: Sequence[Tensor], grid: AnchorGrid, prefix: str) -> Arrays:
    decoded = grid(logits).decoded(flattened(logits))
    return {**_raw(logits, grid, prefix), f"{prefix}decoded": decoded}


def _raw(logits: Sequence[Tensor], grid: AnchorGrid, prefix: str) -> Arrays:
    """By the level's name: stride 8 is p3."""
    levels = [stride.bit_length() - 1 for stride in grid.strides]
    return {f"{prefix}raw_p{i}": x for i, x in zip(levels, logits, strict=True)}


def images_of(path: str, multiple: int) -> Tensor:
    """``images`` of a file, checked.

    Raises:
        ValueError: if they are missing or of a wrong shape.
    """
    with np.load(path, allow_pickle=False) as file:
        if "images" not in file:
            raise ValueError(f"{path} has {', '.join(file) or 'nothing'}, and no 'images'.")
        images = torch.from_numpy(file["images"]).double()
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] % multiple or shape[3] % multiple:
        raise ValueError(
            f"{path} has images of shape {shape}; it must be (N, 3, H, W) with H and W multiples "
            f"of {multiple}."
        )
    return images


def main(argv: Sequence[str] | None = None) -> None:
    """Read the images, run the model, write its outputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.dump_yolo")
    for name in ("--weights", "--inputs", "--output"):
        parser.add_argument(name, required=True, metavar="FILE")
    args = parser.parse_args(argv)
    with one_sentence(parser.prog):
        model = converted_model(args.weights)
        images = images_of(args.inputs, model.backbone.size_divisibility)
        arrays = {name: x.numpy() for name, x in outputs_of(model, images).items()}
        np.savez(args.output, **arrays)
    sys.stdout.write(f"{args.output}: {', '.join(arrays)}\n")


if __name__ == "__main__":
    main()

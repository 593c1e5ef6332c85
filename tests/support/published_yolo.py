# SPDX-License-Identifier: Apache-2.0
"""Weights in the form of the published YOLOv7 files, and a plain reading of those lists of layers.

``PublishedYOLO`` runs weights by their published names, layer by layer and without a module of the
package, so that converted models have something to be compared with.
"""

import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicdet_d2.checkpoint.names.yolo import Source

Layers = list[tuple[str, int, str, int]]

# Of each level: how it is entered and by which layer, its block and the block's first layer.
BACKBONES: dict[str, Layers] = {
    "yolov7": [
        ("cv", 1, "cv", 2),
        ("cv", 3, "elan", 4),
        ("mp", 12, "elan", 17),
        ("mp", 25, "elan", 30),
        ("mp", 38, "elan", 43),
    ],
    "yolov7x": [
        ("cv", 1, "cv", 2),
        ("cv", 3, "elan", 4),
        ("mp", 14, "elan", 19),
        ("mp", 29, "elan", 34),
        ("mp", 44, "elan", 49),
    ],
    "yolov7_w6": [
        ("", 0, "cv", 1),
        ("cv", 2, "elan", 3),
        ("cv", 11, "elan", 12),
        ("cv", 20, "elan", 21),
        ("cv", 29, "elan", 30),
        ("cv", 38, "elan", 39),
    ],
}
SECOND_BACKBONES: dict[str, Layers] = {
    "yolov7": [
        ("cv", 6, "cv", 8),
        ("cv", 9, "elan", 11),
        ("mp", 19, "elan", 25),
        ("mp", 33, "elan", 39),
        ("mp", 47, "elan", 53),
    ],
    "yolov7x": [
        ("cv", 6, "cv", 8),
        ("cv", 9, "elan", 11),
        ("mp", 21, "elan", 27),
        ("mp", 37, "elan", 43),
        ("mp", 53, "elan", 59),
    ],
    "yolov7_w6": [
        ("", 0, "cv", 5),
        ("cv", 6, "elan", 8),
        ("cv", 16, "elan", 18),
        ("cv", 26, "elan", 28),
        ("cv", 36, "elan", 38),
        ("cv", 46, "elan", 48),
    ],
}
# From the neck's first layer on: (reduce, lateral, block) top-down, (down, block) bottom-up, the
# convolutions of the heads, the detection layer.
TAILS = {
    "yolov7": ([(1, 3, 5), (13, 15, 17)], [(25, 30), (38, 43)], [51, 52, 53], 54),
    "yolov7x": ([(1, 3, 5), (15, 17, 19)], [(29, 34), (44, 49)], [59, 60, 61], 62),
    "yolov7_w6": (
        [(1, 3, 5), (13, 15, 17), (25, 27, 29)],
        [(37, 39), (47, 49), (57, 59)],
        [67, 68, 69, 70],
        71,
    ),
}
NUM_BACKBONE_LAYERS = {"yolov7": 51, "yolov7x": 59, "yolov7_w6": 47}


class PublishedYOLO:
    """Weights by their published names."""

    def __init__(self, weights: Mapping[str, Tensor], variant: str) -> None:
        self.weights = {k: w.double() if w.is_floating_point() else w for k, w in weights.items()}
        self.variant = variant
        self.depth = 6 if variant == "yolov7x" else 4

    def static(self, images: Tensor, auxiliary: bool = False) -> list[list[Tensor]]:
        """Logits by level of the detection head, and of the auxiliary one."""
        first = NUM_BACKBONE_LAYERS[self.variant]
        features = self.backbone("model", BACKBONES[self.variant], 0, images)
        return self.tail("model", features[-len(TAILS[self.variant][2]) :], first, auxiliary)

    def dynamic(self, images: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The published score (1 - difficulty), and the logits of both detectors."""
        features1 = self.backbone("model_b", BACKBONES[self.variant], 0, images)
        pooled = torch.cat([level.mean(dim=(2, 3), keepdim=True) for level in features1], dim=1)
        hidden = self.plain("router.layer1", pooled).relu()
        score = self.plain("router.layer2", hidden).sigmoid().flatten()
        layers = SECOND_BACKBONES[self.variant]
        features2 = self.backbone("model_b2", layers, 5, images, features1)
        count = len(TAILS[self.variant][2])
        first, second = (
            self.tail(name, features[-count:], 0)[0]
            for name, features in (("model_h", features1), ("model_h2", features2))
        )
        return score, first, second

    def backbone(
        self,
        name: str,
        layers: Layers,
        stem: int,
        x: Tensor,
        features1: list[Tensor] | None = None,
    ) -> list[Tensor]:
        if self.variant == "yolov7_w6":
            corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
            x = torch.cat([x[..., row::2, column::2] for row, column in corners], dim=1)
        else:
            x = self.cv(f"{name}.{stem}", x)
        features = []
        for level, (entry, first, block, next_layer) in enumerate(layers):
            # Dy-YOLOv7-X's second backbone reads the first one's P2 in one branch into P3.
            odd = features1 and self.variant == "yolov7x" and level == 2
            if entry == "mp":
                x = self.mp(name, first, x, features1[1] if odd else x)
            elif entry:
                x = self.cv(f"{name}.{first}", x, stride=2)
            if features1 and (self.variant != "yolov7_w6" or level > 0):
                x = x + self.connected(name, level, x, features1)
            x = (
                self.cv(f"{name}.{next_layer}", x)
                if block == "cv"
                else self.elan(name, next_layer, x, self.depth, every=2)
            )
            features.append(x)
        return features

    def connected(self, name: str, level: int, x: Tensor, features1: list[Tensor]) -> Tensor:
        """One convolution for each source, with the outputs for all of its targets in a row."""
        skipped = 1 if self.variant == "yolov7_w6" else 0
        total = torch.zeros_like(x)
        for source in range(level, len(features1)):
            y = self.plain(f"{name}.{source - skipped}.conv", features1[source])
            widths = [self.target_width(name, target) for target in range(skipped, source + 1)]
            part = y.split(widths, dim=1)[level - skipped]
            total = total + F.interpolate(part, size=x.shape[-2:], mode="nearest")
        return total

    def target_width(self, name: str, level: int) -> int:
        _, _, block, first = SECOND_BACKBONES[self.variant][level]
        return self.weights[f"{name}.{first}.conv.weight"].shape[1]

    def tail(
        self, name: str, features: list[Tensor], first: int, auxiliary: bool = False
    ) -> list[list[Tensor]]:
        top_down, bottom_up, convs, detection = TAILS[self.variant]
        every, depth = (2, 6) if self.variant == "yolov7x" else (1, 4)
        x = self.sppcspc(f"{name}.{first}", features[-1])
        maps = [x]
        for (reduce, lateral, block), level in zip(top_down, features[-2::-1], strict=True):
            up = self.cv(f"{name}.{first + reduce}", x).repeat_interleave(2, 2)
            side = self.cv(f"{name}.{first + lateral}", level)
            joined = torch.cat([side, up.repeat_interleave(2, 3)], dim=1)
            x = self.elan(name, first + block, joined, depth, every)
            maps.insert(0, x)
        outputs = [x]
        for (down, block), above in zip(bottom_up, maps[1:], strict=True):
            if self.variant == "yolov7_w6":
                x = self.cv(f"{name}.{first + down}", x, stride=2)
            else:
                x = self.mp(name, first + down, x, x)
            x = self.elan(name, first + block, torch.cat([x, above], dim=1), depth, every)
            outputs.append(x)
        conv = self.rep_conv if self.variant == "yolov7" else self.cv
        lead = [conv(f"{name}.{first + i}", y) for i, y in zip(convs, outputs, strict=True)]
        detection += first + (len(convs) if auxiliary else 0)
        logits = [self.detect(f"{name}.{detection}", i, y) for i, y in enumerate(lead)]
        if not auxiliary:
            return [logits]
        others = [self.cv(f"{name}.{first + 71 + i}", y) for i, y in enumerate(maps)]
        more = [self.by_anchor(f"{name}.{detection}.m2.{i}", y) for i, y in enumerate(others)]
        return [logits, more]

    def cv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        return F.silu(self.normed(f"{name}.conv.weight", f"{name}.bn", x, stride))

    def normed(self, weight: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self.weights[weight]
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, scale, shift = (
            self.weights[f"{norm}.{kind}"][:, None, None]
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / (var + 1e-3).sqrt() * scale + shift

    def elan(self, name: str, first: int, x: Tensor, depth: int, every: int) -> Tensor:
        side, y = self.cv(f"{name}.{first}", x), self.cv(f"{name}.{first + 1}", x)
        chain = [y]
        for number in range(depth):
            chain.append(self.cv(f"{name}.{first + 2 + number}", chain[-1]))
        joined = torch.cat([*chain[1:][::-1][::every], y, side], dim=1)
        return self.cv(f"{name}.{first + depth + 3}", joined)

    def mp(self, name: str, first: int, x: Tensor, strided_from: Tensor) -> Tensor:
        pooled = self.cv(f"{name}.{first + 1}", F.max_pool2d(x, 2, 2))
        strided = self.cv(f"{name}.{first + 2}", strided_from)
        return torch.cat([self.cv(f"{name}.{first + 3}", strided, stride=2), pooled], dim=1)

    def sppcspc(self, name: str, x: Tensor) -> Tensor:
        y = self.cv(f"{name}.cv4", self.cv(f"{name}.cv3", self.cv(f"{name}.cv1", x)))
        pooled = [F.max_pool2d(y, k, 1, k // 2) for k in (5, 9, 13)]
        z = self.cv(f"{name}.cv6", self.cv(f"{name}.cv5", torch.cat([y, *pooled], dim=1)))
        return self.cv(f"{name}.cv7", torch.cat([z, self.cv(f"{name}.cv2", x)], dim=1))

    def rep_conv(self, name: str, x: Tensor) -> Tensor:
        dense = self.normed(f"{name}.rbr_dense.0.weight", f"{name}.rbr_dense.1", x)
        return F.silu(dense + self.normed(f"{name}.rbr_1x1.0.weight", f"{name}.rbr_1x1.1", x))

    def plain(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def detect(self, name: str, level: int, x: Tensor) -> Tensor:
        added = self.weights.get(f"{name}.ia.{level}.implicit", 0.0)
        y = self.by_anchor(f"{name}.m.{level}", x + added)
        factor = self.weights.get(f"{name}.im.{level}.implicit")
        return y if factor is None else y * factor.view(1, 3, 1, 1, -1)

    def by_anchor(self, name: str, x: Tensor) -> Tensor:
        y = self.plain(name, x)
        images, channels, height, width = y.shape
        return y.view(images, 3, channels // 3, height, width).permute(0, 1, 3, 4, 2)


# Files


def published_weights(
    weights: Mapping[str, Tensor], sources: Mapping[str, Source], anchors: tuple
) -> dict[str, Tensor]:
    """Our weights in a published layout, in float16, with anchors in every detection layer."""
    published: dict[str, Tensor] = {}
    for name, source in sources.items():
        tensor = weights[name].clone()
        tensor = tensor.half() if tensor.is_floating_point() else tensor
        tensor = -tensor if source.negated else tensor
        tensor = tensor[..., None, None] if source.flat else tensor
        if source.rows and source.rows[0]:
            tensor = torch.cat([published[source.name], tensor])
        published[source.name] = tensor
    for name in [k for k in published if k.endswith(".m.0.weight")]:
        layer = name.removesuffix(".m.0.weight")
        pixels = torch.tensor(anchors, dtype=torch.float32)
        strides = 8 * 2 ** torch.arange(len(pixels))
        published[f"{layer}.anchors"] = (pixels / strides[:, None, None]).half()
        published[f"{layer}.anchor_grid"] = pixels.view(len(pixels), 1, -1, 1, 1, 2).half()
    return published


@contextmanager
def foreign_classes() -> Iterator[tuple[type, type]]:
    """Classes ``models.yolo.Model`` and ``models.common.Conv``, which only exist inside."""
    names = ("models", "models.common", "models.yolo")
    modules = {name: types.ModuleType(name) for name in names}
    made = []
    for module, name in (("models.yolo", "Model"), ("models.common", "Conv")):
        kind = type(name, (nn.Module,), {"__module__": module})
        setattr(modules[module], name, kind)
        made.append(kind)
    sys.modules.update(modules)
    try:
        yield made[0], made[1]
    finally:
        for name in names:
            del sys.modules[name]


def save_module(weights: Mapping[str, Tensor], path: str) -> None:
    """As the static files are: a pickled module, with other things beside it."""
    with foreign_classes() as (model, block):
        root = model()
        root.yaml, root.stride = {"nc": 80}, torch.tensor([8.0, 16.0])
        root.register_buffer("fleeting", torch.zeros(2), persistent=False)
        for name, tensor in weights.items():
            *parents, last = name.split(".")
            place = root
            for parent in parents:
                if parent not in place._modules:
                    place.add_module(parent, nn.Sequential() if parent == "model" else block())
                place = place._modules[parent]
            if last.startswith(("running_", "num_", "anchor")):
                place.register_buffer(last, tensor)
            else:
                place.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
        torch.save({"model": root, "epoch": -1, "optimizer": None, "ema": None}, path)


def save_state_dict(weights: Mapping[str, Tensor], path: str) -> None:
    """As the dynamic files are: a state dict, with a numpy array beside it."""
    content = {"model": dict(weights), "best_fitness": np.array([0.5]), "epoch": 299, "ema": None}
    torch.save(content, path)

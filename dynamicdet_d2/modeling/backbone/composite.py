# SPDX-License-Identifier: Apache-2.0
"""The composite of two staged backbones, written once for every family.

A family (ResNet, Swin, ...) says what its stem, its stages and its connections are by a
``StagedBackbone``; how two of them are composed (section 3.1 of the paper, DHLC of CBNetV2)
is said here and nowhere else.

N: images, C_i, H_i, W_i: channels and size of stage i, numbered 0..S-1 from the stem on.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dynamicdet_d2.modeling.backbone.connections import CompositeConnections, Injection
from dynamicdet_d2.modeling.backbone.family import check_family


class StagedBackbone(Backbone):
    """A backbone that offers a stem and a list of stages with known shapes.

    Tensors at all of these boundaries are (N, C, H, W). A stage is entered (``enter``), which
    leads to the point where composite connections are added, and then run (``run``); the
    result is carried on to the next stage, and ``feature`` is what the outside sees of it.
    """

    can_share_stem: bool = True
    """Whether backbone 2 can take over the stem (and ``num_shared_stages``) of backbone 1."""

    num_shared_stages: int = 0
    """Leading stages that backbone 2 takes over beside the stem, where it takes over that."""

    gradient_checkpointing: bool = False
    """Whether ``run_blocks`` keeps inputs of blocks only; ``checkpoint_gradients`` sets it."""

    @property
    def first_injected_stage(self) -> int:
        """The first stage that H is added in, also where nothing is shared.

        A family may well say something else: what can be shared needs no connections.
        """
        return self.num_shared_stages

    @property
    @abstractmethod
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages, as in ``output_shape()``; S of them."""

    @abstractmethod
    def stem_forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> what stage 0 enters with."""

    def enter(self, stage: int, x: Tensor) -> Tensor:
        """What the stage before carried -> the input of this stage's blocks."""
        return x

    def enter_second(self, stage: int, x: Tensor, features1: Sequence[Tensor]) -> Tensor:
        """As ``enter``, in backbone 2, for a family that reads F1 there too.

        Args:
            features1: the S feature maps of backbone 1.
        """
        return self.enter(stage, x)

    @abstractmethod
    def run(self, stage: int, x: Tensor) -> Tensor:
        """The stage's blocks."""

    def feature(self, stage: int, x: Tensor) -> Tensor:
        """The stage's feature map, (N, C_i, H_i, W_i), from what it carries."""
        return x

    @abstractmethod
    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        """g_ij for i = target, j = source: (N, C_j, ...) -> channels of the input of i's blocks.

        Its output is zero at the start wherever the family can have it so.

        Args:
            in_channels: C_j, of backbone 1.
        """

    @abstractmethod
    def drop_shared(self) -> None:
        """Delete the stem and the shared stages, which backbone 2 does not own."""

    def run_blocks(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        """A stage's blocks one after the other, for ``run``."""
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        if isinstance(blocks, nn.Sequential) and not recompute:
            return blocks(x)  # as a whole, so that hooks of the stage are called
        for block in blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return x

    def checkpoint_gradients(self) -> None:
        """Compute the inside of each block again in the backward pass instead of keeping it.

        Raises:
            ValueError: with batch norms, whose statistics would see every image twice.
        """
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules()):
            raise ValueError(
                "MODEL.BACKBONE.GRADIENT_CHECKPOINTING is True, but the backbone has batch norms "
                "that train; their norm must be 'FrozenBN' or one without statistics, such as "
                "'GN' (MODEL.RESNETS.NORM, MODEL.EFFICIENTNET_LITE.NORM, MODEL.YOLO.NORM)."
            )
        self.gradient_checkpointing = True

    def stages_from(self, first: int, x: Tensor, injected: Injection | None = None) -> list:
        """Run stages first..S-1.

        Args:
            first: the first stage to run.
            x: what stage ``first`` enters with.
            injected: adds H at each stage's input, from ``first_injected_stage`` on; None: a
                plain backbone.

        Returns:
            per stage (carried, feature).
        """
        outputs = []
        for stage in range(first, len(self.stage_names)):
            if injected is None:
                x = self.enter(stage, x)
            else:
                x = self.enter_second(stage, x, injected.features1)
                if stage >= self.first_injected_stage:
                    x = injected(stage, x)
            x = self.run(stage, x)
            outputs.append((x, self.feature(stage, x)))
        return outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """As a plain backbone: images -> features by stage name."""
        outputs = self.stages_from(0, self.stem_forward(images))
        return {name: f for name, (_, f) in zip(self.stage_names, outputs, strict=True)}


def _check_staged(first: StagedBackbone, second: StagedBackbone) -> None:
    """Refuse what are no two families' backbones, or lack levels that they name.

    Raises:
        ValueError: naming the class.
    """
    for backbone in (first, second):
        if not isinstance(backbone, StagedBackbone):
            name = type(backbone).__name__
            raise ValueError(f"{name} is no StagedBackbone, of which a CompositeBackbone has two.")
        check_family(backbone)
    if first is second:
        name = type(first).__name__
        raise ValueError(f"Both backbones are one {name}; each has to be built for itself.")


def _check_shapes(
    first: StagedBackbone, second: StagedBackbone, one_neck: bool, share_stem: bool
) -> None:
    """Refuse two backbones that cannot be composed, or cannot feed what comes after them."""
    shapes1, shapes2 = first.output_shape(), second.output_shape()
    if one_neck and shapes1 != shapes2:
        raise ValueError(
            "Both backbones feed one neck and must agree in their output shapes, or "
            "MODEL.COMPOSITE.SHARE_NECK must be False, which an own builder hands on as one_neck; "
            f"found {shapes1} and {shapes2}."
        )
    strides1, strides2 = ({n: s.stride for n, s in x.items()} for x in (shapes1, shapes2))
    shared = second.stage_names[: second.num_shared_stages] if share_stem else ()
    if strides1 != strides2 or any(shapes1[name] != shapes2[name] for name in shared):
        raise ValueError(
            "Both backbones must agree in the strides of their stages, and in the shapes of the "
            f"stages that they share (with MODEL.COMPOSITE.SHARE_STEM True: {list(shared)}); "
            f"found {shapes1} and {shapes2}."
        )


class CompositeBackbone(Backbone):
    """Backbone 1, the connections and backbone 2.

    As a ``Backbone`` it is detector1's: ``forward`` returns F1. ``first`` and ``second`` are the
    two halves that a dynamic detector runs. Stem and shared stages exist once, in
    ``bottom_up1``; where nothing is shared, backbone 2 starts from the images.
    """

    def __init__(
        self,
        *,
        bottom_up1: StagedBackbone,
        bottom_up2: StagedBackbone,
        share_stem: bool = True,
        one_neck: bool = True,
    ) -> None:
        """
        Args:
            bottom_up1: backbone 1.
            bottom_up2: backbone 2, complete; what it shares with backbone 1 is dropped from it.
            share_stem: whether it shares what its family can share.
            one_neck: whether both feed one neck, so that they must be equally wide.

        Raises:
            ValueError: if the two do not agree in their stages and output shapes, or ``share_stem``
                is neither True nor False.
        """
        super().__init__()
        if not isinstance(share_stem, bool):
            raise ValueError(f"share_stem is {share_stem!r}; it must be True or False.")
        _check_staged(bottom_up1, bottom_up2)
        self.share_stem = share_stem and bottom_up2.can_share_stem
        _check_shapes(bottom_up1, bottom_up2, one_neck, self.share_stem)
        if self.share_stem:
            bottom_up2.drop_shared()
        self.bottom_up1 = bottom_up1
        self.bottom_up2 = bottom_up2
        self.connections = CompositeConnections(bottom_up2, bottom_up1.output_shape())

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Shapes of F1 by stage name."""
        return self.bottom_up1.output_shape()

    def output_shape2(self) -> dict[str, ShapeSpec]:
        """Shapes of F2 by stage name."""
        return self.bottom_up2.output_shape()

    @property
    def size_divisibility(self) -> int:
        """A multiple of the coarsest stride, so that the levels of an FPN fit each other, and of
        what a family asks for beyond it, such as whole windows."""
        coarsest = max(shape.stride for shape in self.output_shape().values())
        asked = (own.size_divisibility for own in (self.bottom_up1, self.bottom_up2))
        return math.lcm(coarsest, *(max(number, 1) for number in asked))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """F1 by stage name (eq. 1): (N, 3, H, W) -> (N, C_i, H_i, W_i)."""
        return self.first(images)[0]

    def first(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Backbone 1.

        Args:
            images: (N, 3, H, W), normalised and padded.

        Returns:
            F1 by stage name, and what backbone 2 starts from: the output of the last shared
            stage, or of the stem when no stage is shared; the images when the stem is not.
        """
        backbone = self.bottom_up1
        x = backbone.stem_forward(images)
        outputs = backbone.stages_from(0, x)
        features = {name: f for name, (_, f) in zip(backbone.stage_names, outputs, strict=True)}
        if not self.share_stem:
            return features, images
        return features, outputs[self._start - 1][0] if self._start else x

    def second(self, features1: dict[str, Tensor], start: Tensor) -> dict[str, Tensor]:
        """Connections and backbone 2 (eq. 4-5).

        Args:
            features1: F1 by stage name, of the hard images only.
            start: what ``first`` returned beside F1, of the same images.

        Returns:
            F2 by stage name; the features of shared stages are F1's own.
        """
        backbone = self.bottom_up2
        names = backbone.stage_names
        x = start if self.share_stem else backbone.stem_forward(start)
        injection = Injection(self.connections, [features1[name] for name in names])
        outputs = backbone.stages_from(self._start, x, injection)
        features2 = {name: features1[name] for name in names[: self._start]}
        features2.update({n: f for n, (_, f) in zip(names[self._start :], outputs, strict=True)})
        return features2

    @property
    def _start(self) -> int:
        """The first stage that backbone 2 runs."""
        return self.bottom_up2.num_shared_stages if self.share_stem else 0

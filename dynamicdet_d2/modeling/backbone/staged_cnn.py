# SPDX-License-Identifier: Apache-2.0
"""What the convolutional families (ResNet, EfficientNet-Lite) have in common as staged backbones.

The connections of the two are alike too; a family of another kind takes ``zero_connection`` alone.
"""

from collections.abc import Sequence

import fvcore.nn.weight_init as weight_init
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from torch import Tensor, nn

from dynamicdet_d2.modeling.backbone.composite import StagedBackbone


class StagedCNN(StagedBackbone):
    """A stem and stages of Detectron2's ``CNNBlockBase``, which can be run one by one.

    H is added to the input of a stage, that is to the output of the stage before it. The stem and
    the first stage can be shared (then backbone 2 owns the later stages only), and so connections
    begin at the second stage. Stages are modules of the names that a subclass gives them.
    """

    num_shared_stages = 1

    def __init__(
        self, *, stem: CNNBlockBase, stages: Sequence[nn.Sequential], connection_norm: str
    ) -> None:
        """
        Args:
            stem: what comes before the stages.
            stages: one for each of ``stage_names``, each a sequence of ``CNNBlockBase``.
            connection_norm: norm of the composite connections; its affine must train.
        """
        super().__init__()
        self.stem: CNNBlockBase = stem
        self._shapes: dict[str, ShapeSpec] = {}
        self._injection_channels: list[int] = []
        stride = stem.stride
        for name, stage in zip(self.stage_names, stages, strict=True):
            self.add_module(name, stage)
            blocks: list[CNNBlockBase] = list(stage)
            for block in blocks:
                stride *= block.stride
            self._injection_channels.append(blocks[0].in_channels)
            self._shapes[name] = ShapeSpec(channels=blocks[-1].out_channels, stride=stride)
        self._connection_norm = connection_norm

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def stem_forward(self, images: Tensor) -> Tensor:
        return self.stem(images)

    def run(self, stage: int, x: Tensor) -> Tensor:
        return self.run_blocks(getattr(self, self.stage_names[stage]), x)

    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        return zero_connection(in_channels, self._injection_channels[target], self._connection_norm)

    def drop_shared(self) -> None:
        del self.stem
        for name in self.stage_names[: self.num_shared_stages]:
            delattr(self, name)

    def freeze(self, freeze_at: int) -> None:
        """Freeze the stem (1), the first stage (2), ... as ``MODEL.BACKBONE.FREEZE_AT`` says."""
        if freeze_at >= 1:
            self.stem.freeze()
        for number, name in enumerate(self.stage_names, start=2):
            if freeze_at >= number:
                for block in getattr(self, name):
                    block.freeze()


def zero_connection(in_channels: int, out_channels: int, norm: str) -> Conv2d:
    """1x1 convolution without bias and a norm whose affine starts at zero.

    Detectron2's FrozenBN holds its affine in buffers: started at zero it would stay zero for
    ever, and detector2 would never see F1.

    Args:
        in_channels, out_channels: of the convolution.
        norm: ``MODEL.COMPOSITE.NORM``.

    Raises:
        ValueError: if the norm has no affine that trains.
    """
    affine = get_norm(norm, out_channels)
    if not isinstance(getattr(affine, "weight", None), nn.Parameter):
        raise ValueError(
            f"MODEL.COMPOSITE.NORM is '{norm}'; it must be a norm whose affine trains, such as "
            "'BN', 'SyncBN' or 'GN'."
        )
    nn.init.zeros_(affine.weight)
    nn.init.zeros_(affine.bias)
    link = Conv2d(in_channels, out_channels, kernel_size=1, bias=False, norm=affine)
    weight_init.c2_msra_fill(link)
    return link

# SPDX-License-Identifier: Apache-2.0
"""How a detector is run at inference: the keys of ``MODEL.INFERENCE``."""

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode

from dynamicdet_d2.config.ranges import integer
from dynamicdet_d2.utils.words import shown

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class InferenceOptions:
    """What ``optimize_for_inference`` does beyond what is always right.

    Attributes:
        precision: of convolutions and matrix products: "float32", "bfloat16" or "float16".
        compile: compile the parts of fixed shape, once per padded size (``compilation.py``).
        size_multiple: pad images to multiples of this many pixels, >= 0; 0: to the backbone's own.
    """

    precision: str = "float32"
    compile: bool = False
    size_multiple: int = 0

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: an option that there is not, or of another type.
        """
        if not isinstance(self.precision, str) or self.precision not in PRECISIONS:
            raise ValueError(
                f"MODEL.INFERENCE.PRECISION is {shown(self.precision)}; it must be one of "
                f"{', '.join(PRECISIONS)}."
            )
        if not isinstance(self.compile, bool):
            raise ValueError(
                f"MODEL.INFERENCE.COMPILE is {shown(self.compile)}; it must be True or False."
            )
        integer(at_least=0).whole(self.size_multiple, "MODEL.INFERENCE.SIZE_MULTIPLE")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "InferenceOptions | None":
        """The options; None where ``MODEL.INFERENCE.OPTIMIZE`` is False."""
        keys = cfg.MODEL.INFERENCE
        if not keys.OPTIMIZE:
            return None
        return cls(keys.PRECISION, keys.COMPILE, keys.SIZE_MULTIPLE)

    @property
    def dtype(self) -> torch.dtype:
        """``precision`` as torch knows it."""
        return PRECISIONS[self.precision]

    @property
    def reduced(self) -> bool:
        """Whether the precision is less than float32."""
        return self.dtype != torch.float32

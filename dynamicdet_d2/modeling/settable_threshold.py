# SPDX-License-Identifier: Apache-2.0
"""What of a dynamic detector can be set while it runs: its threshold alone."""

from typing import Any

from torch import nn

from dynamicdet_d2.operating_point.point import OperatingPoint

# Keys of MODEL.DYNAMIC that a model is built by; an attribute of their names would change nothing.
_BUILT_BY = frozenset(
    ("calibration", "easy_proposals", "hard_fraction", "merge_exits_iou", "target_latency_ms")
)


class SettableThreshold(nn.Module):
    """A detector with an operating point, whose threshold can be moved at any time."""

    operating_point: OperatingPoint

    @property
    def without_router(self) -> str:
        """File of a single detector that the weights are from: the router is at random values."""
        return str(getattr(getattr(self, "router", None), "left_out_by", ""))

    @without_router.setter
    def without_router(self, path: str) -> None:
        vars(self.router)["left_out_by"] = path

    @property
    def threshold(self) -> float:
        """An image is hard iff difficulty > threshold; in [0, 1], can be set at run time."""
        return self.operating_point.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        moved = self.operating_point.moved(value)
        if self.without_router and 0 < moved.threshold < 1:
            raise ValueError(
                f"{self.without_router} has no weights of the router, and the threshold would be "
                f"{moved.threshold:g}: all images can be hard (0) or easy (1)."
            )
        self.operating_point = moved

    def note_other_weights(self) -> None:
        """Whoever loads weights otherwise than by ``load_state_dict`` says so here."""
        self.operating_point.look_again()

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's; a calibration of other weights is then refused at the next image."""
        self.note_other_weights()
        return super().load_state_dict(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """
        Raises:
            AttributeError: what a model is built by.
        """
        if name in _BUILT_BY:
            raise AttributeError(
                f"A model has no '{name}' to be set: MODEL.DYNAMIC.{name.upper()} is what it is "
                "built by; its threshold alone can be set."
            )
        super().__setattr__(name, value)


def refuse_without_router(model: nn.Module, why: str) -> None:
    """
    Args:
        why: of the refusal, after a comma and "and".

    Raises:
        ValueError: the router is at random values; naming the file that has no weights of it.
    """
    path = getattr(model, "without_router", "")
    if path:
        raise ValueError(
            f"{path} has no weights of the router, and {why}: whoever sets another threshold there "
            "would have images routed at random."
        )

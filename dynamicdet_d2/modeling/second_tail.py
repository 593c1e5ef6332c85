# SPDX-License-Identifier: Apache-2.0
"""A tail that both detectors have, and what of it detector2 may have for itself."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.parts import EASY, HARD, Part


class SharableTail(DynamicDetector):
    """A dynamic detector whose neck and whose heads are each shared, or one per detector.

    The paper's two-stage detector shares both. A neck of detector2's own takes a backbone 2 of
    other widths; heads of its own can learn from F2 where detector1 must stay as it is.

    Attributes:
        tail2: what detector2 has for itself, by the names of detector1's modules.
    """

    neck_name: ClassVar[str]
    """Name of the neck among the modules of the tail."""
    head_names: ClassVar[tuple[str, ...]]
    """Names of the heads among them."""

    tail2: nn.ModuleDict

    def own_parts(self, tail2: Mapping[str, nn.Module] | None) -> nn.ModuleDict:
        """
        Raises:
            ValueError: a name that is none of the tail's, some of the heads without the others, or
                a module of detector1's own.
        """
        given = dict(tail2 or {})
        for name in sorted(given.keys() - {self.neck_name, *self.head_names}):
            raise ValueError(
                f"tail2 has '{name}'; it can have {', '.join((self.neck_name, *self.head_names))}."
            )
        missing = [name for name in self.head_names if name not in given]
        if 0 < len(missing) < len(self.head_names):
            raise ValueError(
                f"tail2 has no '{missing[0]}': detector2 has all of {', '.join(self.head_names)} "
                "for itself, or none."
            )
        for name, module in given.items():
            if module is getattr(self.tail1, name):
                raise ValueError(
                    f"tail2 has detector1's own '{name}'; what detector2 has for itself must be "
                    "another module, such as a copy.deepcopy of it."
                )
        return nn.ModuleDict(given)

    @property
    def shared_neck(self) -> bool:
        return self._is_shared(self.neck_name)

    @property
    def shared_heads(self) -> bool:
        return all(map(self._is_shared, self.head_names))

    def _is_shared(self, name: str) -> bool:
        return self.tail_module(1, name) is self.tail_module(2, name)

    @property
    @abstractmethod
    def tail1(self) -> nn.Module:
        """Whose attributes detector1's modules of the tail are."""

    def tail_module(self, detector: int, name: str) -> Any:
        """The module of the tail that a detector's images pass.

        Args:
            detector: 1 or 2.
            name: ``neck_name`` or one of ``head_names``.
        """
        own = detector == 2 and name in self.tail2
        return self.tail2[name] if own else getattr(self.tail1, name)

    def second_parts(self) -> list[nn.Module]:
        return [*super().second_parts(), self.tail2]

    @abstractmethod
    def neck_parts(self, detector: int) -> tuple[Part, ...]:
        """The parts of a detector's neck, as if there were no other."""

    @abstractmethod
    def head_parts(self, detector: int) -> tuple[Part, ...]:
        """The parts of a detector's heads, as if there were no others."""

    def tail_parts(self) -> tuple[Part, ...]:
        return (
            *_by_route(self.neck_parts, self.shared_neck),
            *_by_route(self.head_parts, self.shared_heads),
        )

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        detectors = (1,) if self.shared_heads else (1, 2)
        return tuple(self.tail_module(d, name) for d in detectors for name in self.head_names)


def _by_route(parts: Callable[[int], tuple[Part, ...]], shared: bool) -> tuple[Part, ...]:
    if shared:
        return parts(1)
    second = (replace(part, name=f"{part.name}2", routes=HARD) for part in parts(2))
    return (*(replace(part, routes=EASY) for part in parts(1)), *second)


def own_tail(
    cfg: CfgNode, neck: Callable[[], dict[str, nn.Module]], heads: Callable[[], dict]
) -> dict[str, nn.Module]:
    """What detector2 has for itself by ``MODEL.COMPOSITE.SHARE_NECK`` and ``SHARE_HEADS``.

    Args:
        neck, heads: build it, by the names of detector1's modules.
    """
    keys = cfg.MODEL.COMPOSITE
    return {
        **({} if keys.SHARE_NECK else neck()),
        **({} if keys.SHARE_HEADS else heads()),
    }

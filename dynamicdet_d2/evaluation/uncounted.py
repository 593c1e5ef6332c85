# SPDX-License-Identifier: Apache-2.0
"""What of a detector its multiply-adds are without, said by name."""

import logging
from collections.abc import Container

from torch import nn

from dynamicdet_d2.parts import Takes, parts_of, undescribed

logger = logging.getLogger(__name__)


def say_uncounted(model: nn.Module, counted: Container[str]) -> None:
    """Warn of modules that no part describes, and of parts that nothing runs on an image.

    Args:
        counted: names of the parts that were run on one.
    """
    _say_undescribed(model)
    _say_not_run(model, counted)


def _say_undescribed(model: nn.Module) -> None:
    missing = undescribed(model)
    if missing:
        logger.warning(
            "Multiply-adds of %s are not counted: no part of %s describes %s "
            "(dynamicdet_d2.parts.parts_of).",
            *(" and ".join(missing), type(model).__name__, "them" if len(missing) > 1 else "it"),
        )


def _say_not_run(model: nn.Module, counted: Container[str]) -> None:
    dense = (part.name for part in parts_of(model).parts if part.takes is Takes.IMAGE)
    missing = [name for name in dict.fromkeys(dense) if name not in counted]
    if missing:
        logger.warning(
            "Multiply-adds of %s are not counted: by the description of %s nothing runs %s on an "
            "image (shared_neck and shared_heads say whether detector1's tail is another one).",
            *(" and ".join(missing), type(model).__name__, "them" if len(missing) > 1 else "it"),
        )

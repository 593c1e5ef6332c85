# SPDX-License-Identifier: Apache-2.0
"""A config's keys, one by one."""

from collections.abc import Iterator

from detectron2.config import CfgNode


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Full name and value of each key.

    Args:
        prefix: of the names, such as ``"SOLVER."`` of that section.
    """
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_lists(value: object) -> object:
    """Sequences as lists: of which kind they are depends on where a config was read."""
    return [as_lists(part) for part in value] if isinstance(value, (list, tuple)) else value

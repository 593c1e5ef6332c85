# SPDX-License-Identifier: Apache-2.0
"""The config that programs give; another type would be met far from where it was given."""

from detectron2.config import CfgNode


def refuse_no_config(cfg: object) -> None:
    """Refuse a path in the place of the config that it names, and the like.

    Raises:
        ValueError: naming the type.
    """
    if not isinstance(cfg, CfgNode):
        raise ValueError(
            f"The config is of type {type(cfg).__name__}; it must be a CfgNode, as "
            "dynamicdet_d2.config.read_config reads it from a file."
        )

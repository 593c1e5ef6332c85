# SPDX-License-Identifier: Apache-2.0
"""How many blocks each stage of the two backbones has: the same keys for every family."""

from collections.abc import Sequence

from detectron2.config import CfgNode


def num_blocks_of(
    cfg: CfgNode,
    of_family: Sequence[int],
    stage_names: Sequence[str],
    num_shareable: int,
    of_family2: Sequence[int] | None = None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks a stage of backbone 1 and of backbone 2, by ``MODEL.COMPOSITE.NUM_BLOCKS1`` and 2.

    Args:
        cfg: config.
        of_family: what the family's own depth says, for backbone 1 without NUM_BLOCKS1.
        stage_names: S names, as users know them.
        num_shareable: leading stages that backbone 2 takes over from backbone 1, unless
            ``MODEL.COMPOSITE.SHARE_STEM`` is False.
        of_family2: what the family says for backbone 2 without NUM_BLOCKS2, where it is another
            member than backbone 1; shared stages are backbone 1's all the same. None: as many
            blocks as backbone 1.

    Returns:
        twice S numbers.

    Raises:
        ValueError: naming the key that does not fit.
    """
    blocks1 = tuple(cfg.MODEL.COMPOSITE.NUM_BLOCKS1) or tuple(of_family)
    num_shared = num_shareable if cfg.MODEL.COMPOSITE.SHARE_STEM else 0
    own2 = blocks1 if of_family2 is None else (*blocks1[:num_shared], *of_family2[num_shared:])
    blocks2 = tuple(cfg.MODEL.COMPOSITE.NUM_BLOCKS2) or own2
    for key, blocks in (("NUM_BLOCKS1", blocks1), ("NUM_BLOCKS2", blocks2)):
        if len(blocks) != len(stage_names) or min(blocks) < 1:
            raise ValueError(
                f"MODEL.COMPOSITE.{key} is {list(blocks)}; it must be empty or have "
                f"{len(stage_names)} positive numbers, one for each of {stage_names[0]}.."
                f"{stage_names[-1]}."
            )
    for name, own, other in zip(stage_names[:num_shared], blocks1, blocks2, strict=False):
        if own != other:
            raise ValueError(
                f"MODEL.COMPOSITE.NUM_BLOCKS2 is {list(blocks2)}; {name} is shared, so its entry "
                f"must be backbone 1's, {own}."
            )
    return blocks1, blocks2

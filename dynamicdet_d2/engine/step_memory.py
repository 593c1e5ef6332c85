# SPDX-License-Identifier: Apache-2.0
"""What a step of training needs in memory, said before the first one.

A process that asks for more than there is is killed without a word. What backward passes need of a
forward pass is counted on two small pictures; it grows with their area, and with their number.
"""

import logging
from collections.abc import Callable, Mapping

import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.optim import Optimizer

from dynamicdet_d2.modeling.modes import buffers_kept, loss_mode, torch_seeded
from dynamicdet_d2.utils.memory import free_memory
from dynamicdet_d2.utils.words import in_words

logger = logging.getLogger(__name__)

Losses = Callable[[list[dict]], Mapping[str, Tensor]]

# Sides in pixels; both fit every stride.
_SIDES = (128, 256)
# Objects in a picture: heads that see positives alone see as many as they ever do.
_OBJECTS = 128
# A backward pass has a layer's gradients beside what was kept, and the memory's gaps. Measured on
# the CPU (benchmarks/step_memory.py): 1.09 and 1.20 times what was kept for configs/own_data.yaml,
# 1.75 for the demo's small detector, 1.84 for R50 at 800 x 1333. It is to be enough for all.
ROOM = 1.85
# Times the free memory that no swapping and no fault of the estimate explains.
_HOPELESS = 10


def log_step_memory(cfg: CfgNode, model: nn.Module, losses: Losses, optimizer: Optimizer) -> None:
    """Log what a step needs and what there is; a warning where it is more.

    Args:
        cfg: the run's.
        model: nothing in it changes, and its norms are in evaluation mode: a picture's smallest
            level may have one value of each channel.
        losses: of a batch, by the model in the modes that it finds.
        optimizer: of what is trained.

    Raises:
        ValueError: there is so much less that no step could end.
    """
    if cfg.MODEL.KEYPOINT_ON:  # their ground truth has a form of its own in every data set
        return
    device = next(model.parameters()).device
    images = -(-cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    height, width = largest_image(cfg)
    try:
        needed = step_bytes(cfg, model, losses, optimizer, images, height * width)
    except Exception as error:  # heads of a user's own may learn from more than the pictures have
        if "router" in cfg.SOLVER.PHASES:  # whose pass over the images reads no more, either
            raise
        logger.info("What a step needs in memory is not known: %s.", in_words(error))
        return
    free = free_memory(device)
    text = (
        f"A step of {images} images of up to {height}x{width} pixels needs about "
        f"{_gigabytes(needed)} on {device}"
    )
    if free is None:
        logger.info("%s.", text)
    elif needed <= free:
        logger.info("%s; %s are free.", text, _gigabytes(free))
    else:
        said = (
            f"{text}, but {_gigabytes(free)} are free: SOLVER.IMS_PER_BATCH, or "
            "INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN, must be smaller."
        )
        # MAX_SIZE_TRAIN may stand for no limit: a square image is as small as one can be.
        square = step_bytes(cfg, model, losses, optimizer, images, height * height)
        if square > _HOPELESS * free:
            raise ValueError(said)
        logger.warning("%s", said)


def largest_image(cfg: CfgNode) -> tuple[int, int]:
    """Height and width in pixels of the largest training image that the config allows."""
    keys = cfg.INPUT
    longest = keys.MAX_SIZE_TRAIN
    shortest = longest if keys.MOSAIC.ENABLED else max(keys.MIN_SIZE_TRAIN)
    return min(shortest, longest), longest


def step_bytes(
    cfg: CfgNode, model: nn.Module, losses: Losses, optimizer: Optimizer, images: int, area: int
) -> int:
    """Bytes that a step has beside the weights: kept results, gradients, the optimizer's state.

    Args:
        images: of a step in this process.
        area: of each, in pixels.
    """
    small, large = (saved_bytes(cfg, model, losses, side) for side in _SIDES)
    per_pixel = (large - small) / (_SIDES[1] ** 2 - _SIDES[0] ** 2)
    of_image = max(small + per_pixel * (area - _SIDES[0] ** 2), small)
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    weights = sum(p.numel() * p.element_size() for p in trained)
    # A gradient each, and one or two running means.
    states = 2 if isinstance(optimizer, torch.optim.AdamW) else 1
    return int(ROOM * images * of_image + (1 + states) * weights)


def saved_bytes(cfg: CfgNode, model: nn.Module, losses: Losses, side: int) -> int:
    """Bytes that autograd keeps of one picture of ``side`` x ``side`` pixels, weights left out."""
    device = next(model.parameters()).device
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    mixed = torch.autocast(device.type, enabled=cfg.SOLVER.AMP.ENABLED and device.type == "cuda")
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with (
        buffers_kept(model),
        loss_mode(model),
        EventStorage(1),  # of an iteration at which nothing is drawn
        torch_seeded(0, device),
        torch.enable_grad(),
        mixed,
        hooks,
    ):
        found = losses([picture(cfg, side)])
        total = sum(kept.values())
    del found  # until here, so that no memory was counted twice
    return total


def picture(cfg: CfgNode, side: int) -> dict:
    """One of Detectron2's input dicts, with many objects of many sizes."""
    index = torch.arange(_OBJECTS)
    size = 8 + index % (side // 4)
    x, y = index * 7 % (side - size), index * 13 % (side - size)
    objects = Instances((side, side))
    objects.gt_boxes = Boxes(torch.stack([x, y, x + size, y + size], dim=1).float())
    objects.gt_classes = torch.zeros(_OBJECTS, dtype=torch.long)
    if cfg.MODEL.MASK_ON:
        objects.gt_masks = BitMasks(torch.ones(_OBJECTS, side, side, dtype=torch.bool))
    image = torch.zeros(len(cfg.MODEL.PIXEL_MEAN), side, side)
    return {"image": image, "instances": objects, "height": side, "width": side, "image_id": 0}


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"

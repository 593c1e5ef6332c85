# SPDX-License-Identifier: Apache-2.0
"""A joint step beside a plain one, and what the router's phase costs an image."""

import itertools
from collections.abc import Callable

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.setting import DYNAMIC, STATIC, Detector, Setting, with_coco_like_proposals
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.engine.phases.router import (
    CachedRouterObjective,
    OnlineRouterObjective,
    loss_by_offset,
)
from dynamicdet_d2.modeling import DynamicDetector
from dynamicdet_d2.parts import parts_of

OBJECTS = 7
"""Objects in an image, as on COCO."""


def time_steps(setting: Setting, rounds: int) -> tuple[Rounds, dict[str, float]]:
    """Training steps of the static detector and of both detectors together.

    Returns:
        times, and multiply-adds of a step, forward and backward, as counted while it runs.
    """
    batch = training_batch(setting, 8 if setting.device == "cuda" else 1)
    steps = {"plain": training_step(setting, STATIC, batch)}
    steps["joint"] = training_step(setting, DYNAMIC, batch)
    if setting.device == "cuda":
        steps["plain AMP"] = training_step(setting, STATIC, batch, amp=True)
        steps["joint AMP"] = training_step(setting, DYNAMIC, batch, amp=True)
    work = {name: _multiply_adds(step) / len(batch) for name, step in steps.items()}
    calls = {name: (len(batch), step) for name, step in steps.items()}
    return interleave("Training", calls, rounds), work


def training_step(
    setting: Setting, file: str, batch: list[dict], *overrides: object, amp: bool = False
) -> Callable[[], None]:
    """A step of Detectron2's trainer on always the same batch."""
    cfg = setting.config(file, *overrides)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    if parts_of(model).regions is not None:
        with_coco_like_proposals(model)
    if isinstance(model, DynamicDetector):
        model.router.requires_grad_(False)
    # A rate of zero: with random weights a real one would diverge in a few steps.
    cfg.SOLVER.BASE_LR = 0.0
    optimizer = build_detectors_optimizer(cfg, model)
    trainer = (AMPTrainer if amp else SimpleTrainer)(model, itertools.repeat(batch), optimizer)

    def step() -> None:
        with EventStorage():
            trainer.run_step()

    return step


def time_router_phase(dynamic: Detector, setting: Setting, rounds: int) -> Rounds:
    """An image in the loss offset's pass, and in a step of each mode of the router's phase."""
    batch = training_batch(setting, 1)
    model = dynamic.eval()
    model.loss_offset.fill_(0.0)
    pooled, losses = model.router_inputs_and_losses(batch)
    loss = loss_by_offset(model)
    cached, online = CachedRouterObjective(model, loss), OnlineRouterObjective(model, loss)
    calls = {
        "loss offset's pass": (1, lambda: model.router_inputs_and_losses(batch)),
        "cached step": (1, lambda: _router_step(cached, (pooled, losses))),
        "online step": (1, lambda: _router_step(online, batch)),
    }
    return interleave("Router", calls, rounds)


def training_batch(setting: Setting, count: int) -> list[dict]:
    """Noise with ``OBJECTS`` boxes an image."""
    images = setting.images(count)
    generator = torch.Generator().manual_seed(1)
    for image in images:
        sides = torch.tensor([setting.width, setting.height], dtype=torch.float32)
        corner = torch.rand(OBJECTS, 2, generator=generator) * sides * 0.6
        size = (0.1 + 0.3 * torch.rand(OBJECTS, 2, generator=generator)) * sides
        instances = Instances((setting.height, setting.width))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + size], dim=1))
        instances.gt_classes = torch.randint(0, 80, (OBJECTS,), generator=generator)
        image["instances"] = instances
    return images


def _router_step(objective: nn.Module, batch: object) -> None:
    losses = objective(batch)
    sum(losses.values()).backward()
    objective.zero_grad()


def _multiply_adds(step: Callable[[], None]) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2

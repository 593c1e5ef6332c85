# SPDX-License-Identifier: Apache-2.0
"""What a step needs in memory: counted by hand, said before it, and nothing changes."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from dynamicdet_d2.engine import step_memory
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.phases.detector2 import Detector2Phase
from dynamicdet_d2.engine.phases.phase import Start, Stream
from dynamicdet_d2.engine.step_memory import largest_image, log_step_memory, saved_bytes, step_bytes
from dynamicdet_d2.utils.memory import free_memory, peak_memory
from tests.support.optimized import MASK
from tests.support.toy import dense_keys, toy_cfg, toy_model


class Square(nn.Module):
    """Keeps its input's product with a weight for the backward pass of the square."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, inputs: list[dict]) -> dict[str, Tensor]:
        self.steps += 1
        return {"loss": (inputs[0]["image"] * self.weight).square().sum()}


@pytest.fixture
def cfg() -> CfgNode:
    keys = ("INPUT.MIN_SIZE_TRAIN", (300, 200), "INPUT.MAX_SIZE_TRAIN", 400)
    return toy_cfg(*keys, "SOLVER.IMS_PER_BATCH", 3)


def test_by_hand(cfg: CfgNode) -> None:
    module = Square()
    # The image, and its product with the weight: 3 channels of 4 bytes each.
    assert saved_bytes(cfg, module, module, 128) == 2 * 3 * 4 * 128**2
    assert float(module.steps) == 0
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    found = step_bytes(cfg, module, module, optimizer, images=3, area=300 * 400)
    # A gradient and a momentum of one weight.
    assert found == pytest.approx(step_memory.ROOM * 3 * 2 * 12 * 300 * 400 + 2 * 4, rel=1e-6)


def test_the_largest_image(cfg: CfgNode) -> None:
    assert largest_image(cfg) == (300, 400)
    cfg.INPUT.MAX_SIZE_TRAIN = 250
    assert largest_image(cfg) == (250, 250)
    cfg.INPUT.MOSAIC.ENABLED, cfg.INPUT.MAX_SIZE_TRAIN = True, 640
    assert largest_image(cfg) == (640, 640)


@pytest.mark.parametrize("kind", [(), MASK, tuple(dense_keys("RetinaNet"))])
def test_nothing_changes(kind: tuple) -> None:
    model = toy_model(*kind).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags, state = [m.training for m in model.modules()], torch.get_rng_state()
    small, large = (saved_bytes(toy_cfg(*kind), model, model, side) for side in (64, 128))
    assert 0 < small < large
    del before["loss_offset"]  # NaN
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("free", "level", "says"),
    [
        (10**12, logging.INFO, "; 1000.0 GB are free."),
        (5 * 10**6, logging.WARNING, ", but 0.0 GB are free: SOLVER.IMS_PER_BATCH, or INPUT."),
        (None, logging.INFO, " on cpu."),
    ],
)
def test_it_is_said(
    cfg: CfgNode,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    free: int | None,
    level: int,
    says: str,
) -> None:
    monkeypatch.setattr(step_memory, "free_memory", lambda device: free)
    module = Square()
    with caplog.at_level(logging.INFO):
        log_step_memory(cfg, module, module, torch.optim.AdamW(module.parameters()))
    (line,) = [r for r in caplog.records if "A step of" in r.getMessage()]
    assert line.levelno == level and says in line.getMessage()
    assert "A step of 3 images of up to 300x400 pixels needs about 0.0 GB" in line.getMessage()


class Named(Square):
    """Learns from more than boxes and classes."""

    def forward(self, inputs: list[dict]) -> dict[str, Tensor]:
        return {"loss": inputs[0]["instances"].gt_names}


@pytest.mark.parametrize("phases", [["detectors"], ["detectors", "router"]])
def test_heads_that_learn_from_more_than_the_pictures_have(
    phases: list[str], cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    cfg.SOLVER.PHASES = phases
    module = Named()
    optimizer = torch.optim.AdamW(module.parameters())
    if "router" in phases:  # it would fail in the router's pass, after all steps
        with pytest.raises(AttributeError, match="gt_names"):
            log_step_memory(cfg, module, module, optimizer)
        return
    with caplog.at_level(logging.INFO):
        log_step_memory(cfg, module, module, optimizer)
    assert "What a step needs in memory is not known: AttributeError: Cannot find" in caplog.text


def test_a_step_that_no_memory_could_hold_is_refused(
    cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_memory, "free_memory", lambda device: 10**4)
    module = Square()
    with pytest.raises(ValueError, match="needs about .* GB are free: SOLVER.IMS_PER_BATCH, or"):
        log_step_memory(cfg, module, module, torch.optim.AdamW(module.parameters()))


def test_free_memory_is_the_least_that_anyone_says(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert free_memory(cpu, str(tmp_path)) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:     5 kB\n")
    assert free_memory(cpu, str(tmp_path)) == 5 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert free_memory(cpu, str(tmp_path)) == 5 * 1024
    (group / "memory.max").write_text("4000\n")
    assert free_memory(cpu, str(tmp_path)) == 3000
    # Of the 1000 bytes in use 600 are caches of files.
    (group / "memory.stat").write_text("anon 400\ninactive_file 500\nactive_file 100\n")
    assert free_memory(cpu, str(tmp_path)) == 3600
    assert peak_memory() > 10**7


@pytest.mark.parametrize("head", ["RetinaNet", "FCOS"])
def test_norms_of_heads_that_train_alone_see_no_picture_of_it(head: str) -> None:
    """Whose smallest level has one value of each channel, of which there is no variance."""
    norm = (f"MODEL.{head.upper()}.NORM", "BN", "MODEL.COMPOSITE.SHARE_HEADS", False)
    cfg = toy_cfg(*dense_keys(head), *norm, "SOLVER.PHASES", ["detector2", "router"])
    model = toy_model(*dense_keys(head), *norm)
    optimizer = torch.optim.SGD(model.tail2.parameters(), lr=0.1)
    stream = Stream(images=[], seed=0, step=0)
    builders = SimpleNamespace(
        __name__="Own",
        build_optimizer=lambda cfg, model: optimizer,
        build_train_loader=lambda cfg: [],
        build_lr_scheduler=lambda cfg, optimizer: None,
    )
    training = Detector2Phase(cfg).build(Start(model, stream, builders, LossTable({})))
    assert training.optimizer is optimizer

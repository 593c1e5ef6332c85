# SPDX-License-Identifier: Apache-2.0
"""A step that was not finite, once more, from the file that the run has left of it."""

import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from dynamicdet_d2.checkpoint.files import read_checkpoint
from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.engine.batch_file import decoded
from dynamicdet_d2.engine.phases import PHASES
from dynamicdet_d2.engine.running import KEPT, set_normalizer
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.step import check_gradients, losses_of, total_of
from dynamicdet_d2.engine.step_seed import seed_step
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.modes import freeze
from dynamicdet_d2.utils.words import in_words, shown

_PARTS: dict[str, type] = {
    "config": str,
    "seed": int,
    "rank": int,
    "iteration": int,
    "phase": str,
    "kept": dict,
    "mixed_precision": bool,
    "losses": dict,
    "learning_rates": list,
    "images": list,
    "batch": object,
}
_MUST = "replay needs a file diverged_*.pth, which a run writes of a step that was not finite."
# What a step raises that is not the one of its model, config and batch.
_COMPLAINTS = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Replayed:
    """A step and its repetition.

    Attributes:
        iteration, phase, images: of the step; phase "" of a static detector.
        learning_rate: of the optimizer's first group.
        before: losses by name as the run had them; {} where the step did not come so far.
        again: the same, repeated.
        fault: the error that ended the repetition; "" where none did.
        first: name of the first module whose output was not finite; "" where none was.
        weights: names of weights that were not finite before the step.
    """

    iteration: int
    phase: str
    images: tuple[object, ...]
    learning_rate: float
    before: Mapping[str, float]
    again: Mapping[str, float]
    fault: str
    first: str
    weights: tuple[str, ...]

    @property
    def is_finite(self) -> bool:
        """Whether the repetition went well, unlike the step."""
        return not self.fault and bool(torch.tensor(list(self.again.values())).isfinite().all())


def replay(path: str) -> Replayed:
    """Repeat a step: its model, its batch, its random numbers.

    Args:
        path: of a file ``diverged_*.pth``; nothing in it is run.

    Raises:
        ValueError: the file cannot be read, or is no such file.
    """
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; {_MUST}") from None
    _check(content, path)
    cfg = _config(content["config"], path)
    check(cfg, Use.MODEL)
    try:
        model, module = _module(cfg, content)
        # Statistics of norms have seen the step.
        weights = tuple(n for n, value in model.named_parameters() if not value.isfinite().all())
        again, fault, first = _step(cfg, module, content)
    except _COMPLAINTS as error:
        raise ValueError(
            f"{path} holds no step that can be repeated; its model, config and batch do not belong "
            f"together: {textwrap.shorten(in_words(error), 300)}."
        ) from error
    return Replayed(
        iteration=content["iteration"],
        phase=content["phase"],
        images=tuple(content["images"]),
        learning_rate=content["learning_rates"][0],
        before=content["losses"],
        again=again,
        fault=fault,
        first=first,
        weights=weights,
    )


def _check(content: Mapping[str, Any], path: str) -> None:
    for name, kind in _PARTS.items():
        if name not in content or not _is_part(name, content[name], kind):
            found = f"has {shown(content[name])} for" if name in content else "has no"
            raise ValueError(f"{path} {found} '{name}'; {_MUST}")


def _is_part(name: str, value: Any, kind: type) -> bool:
    if name == "phase":
        return value in ("", *PHASES)
    is_kind: bool = isinstance(value, kind)
    if not is_kind:
        return False
    if name in ("losses", "learning_rates"):
        numbers = value.values() if isinstance(value, dict) else value
        return (bool(value) or name == "losses") and all(
            isinstance(x, int | float) for x in numbers
        )
    return True


def _config(text: str, path: str) -> CfgNode:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            return read_config(file.name, alone=True)
        except ValueError as error:
            named = str(error).replace(f"--config-file {file.name}", f"The config in {path}")
            raise ValueError(named.replace(file.name, path)) from None


def _module(cfg: CfgNode, content: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The model as it was before the step, and what maps the batch to losses, in training mode."""
    if not content["phase"]:
        model: nn.Module = StaticTrainer.build_model(cfg)
        model.load_state_dict(content["model"])
        set_normalizer(model, content["kept"].get(KEPT))
        return model, model.train()
    dynamic = DynamicTrainer.build_model(cfg)
    dynamic.load_state_dict(content["model"])
    trainable = {id(p) for p in dynamic.parameters() if p.requires_grad}  # FREEZE_AT's stay
    freeze(dynamic)
    phase = PHASES[content["phase"]](cfg)
    for parameter in (p for part in phase.trained(dynamic) for p in part.parameters()):
        parameter.requires_grad_(id(parameter) in trainable)
    return dynamic, phase.module(dynamic, content["kept"]).train()


def _step(
    cfg: CfgNode, module: nn.Module, content: Mapping[str, Any]
) -> tuple[dict[str, float], str, str]:
    precision: AbstractContextManager = nullcontext()
    if content["mixed_precision"] and cfg.MODEL.DEVICE.startswith("cuda"):
        precision = torch.autocast("cuda")
    seed_step(content["seed"], content["iteration"], content["rank"])
    losses: dict[str, Tensor] = {}
    fault = ""
    with EventStorage(content["iteration"]), _first_not_finite(module) as found, precision:
        try:
            losses = losses_of(module, decoded(content["batch"]))
            _learn(losses, module, content)
        except FloatingPointError as error:
            fault = str(error).partition("\n")[0]
    return {name: loss.item() for name, loss in losses.items()}, fault, next(iter(found), "")


def _learn(losses: Mapping[str, Tensor], module: nn.Module, content: Mapping[str, Any]) -> None:
    """The backward pass, whose gradients can be what was not finite.

    Raises:
        FloatingPointError: naming one that is not.
    """
    finite = all(bool(loss.isfinite()) for loss in losses.values())
    if finite and not content["mixed_precision"]:  # which has scales of its own
        total_of(losses).backward()
        check_gradients(module)


@contextmanager
def _first_not_finite(module: nn.Module) -> Iterator[list[str]]:
    """Collects inside the names of the modules whose output was not finite, in their order."""
    found: list[str] = []

    def looked_at(name: str) -> Any:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            if any(x.is_floating_point() and not x.isfinite().all() for x in _tensors(output)):
                found.append(name)

        return look

    hooks = [
        part.register_forward_hook(looked_at(name)) for name, part in module.named_modules() if name
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)

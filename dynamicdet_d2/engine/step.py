# SPDX-License-Identifier: Apache-2.0
"""One step of training, which stops at what is not finite and keeps what it was made of."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dynamicdet_d2.checkpoint.report import summarise
from dynamicdet_d2.engine.optimizer import check_rates
from dynamicdet_d2.engine.running import normalizer_of, running_quantities
from dynamicdet_d2.modeling.modes import unfused
from dynamicdet_d2.modeling.tail_results import checked_losses, finite_boxes

logger = logging.getLogger(__name__)

# Gradients that overflow float16 below this scale would overflow unscaled, too.
_LEAST_SCALE = 1.0
# torch's words where a batch norm in training cannot have a variance.
_ONE_VALUE = "Expected more than 1 value per channel"
# Groups of weights that a sentence names.
_FEW = 6


class TrainingStep(SimpleTrainer):
    """Detectron2's step in one or mixed precision.

    Every process looks at its own losses before they are trained on, so that the one that has the
    fault can say what it consists of; Detectron2 looks at their mean, in the main process, and
    calls a run diverged whose scaled gradients alone have overflowed.

    Attributes:
        batch, losses: of the step, as far as it has come; None and {} before.
        buffers: what the model's ``running_quantities`` were when the step began, by the identity
            of the tensor.
        normalizer: ``normalizer_of`` the model when the step began.
        scaler: of mixed precision, or None.
        taken: batches that the steps have asked for, with those that the loader was begun behind.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: Optimizer,
        *,
        mixed_precision: bool = False,
        begun_at: int = 0,
    ) -> None:
        self.taken = begun_at
        self._batches: Iterator[Any] | None = None
        super().__init__(model, data_loader, optimizer)
        device = next(model.parameters()).device.type
        self.scaler = _scaler(device) if mixed_precision else None
        self._device_type = device
        self.batch: Any = None
        self.losses: dict[str, Tensor] = {}
        self.buffers: dict[int, Tensor] = {}
        self.normalizer: float | None = None
        self._running = list(running_quantities(model))

    def run_step(self) -> None:
        """As Detectron2's.

        Raises:
            ValueError: the loader has come to an end, the model gives no losses, or as
                ``check_reached``.
            FloatingPointError: naming a loss of this process or a gradient that is not finite, or
                saying that predicted boxes are not, that gradients overflow, or as ``check_rates``.
        """
        start = time.perf_counter()
        self.batch, self.losses = self._next_batch(), {}
        data_time = time.perf_counter() - start
        self.buffers = {id(buffer): buffer.clone() for buffer in self._running}
        model: Any = self.model
        self.normalizer = normalizer_of(getattr(model, "module", model))
        with self.precision():
            self.losses = losses_of(self.model, self.batch)
        check_finite(self.losses)
        check_rates(self.optimizer)
        total = total_of(self.losses)
        self.optimizer.zero_grad()
        if self.scaler is None:
            total.backward()
            self._write_metrics(self.losses, data_time)
            check_reached(self.model)
            check_gradients(self.model)
            self.optimizer.step()
            return
        self.scaler.scale(total).backward()
        self._write_metrics(self.losses, data_time)
        check_reached(self.model)
        self.scaler.step(self.optimizer)
        self._update_scale()

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        """What a step of a user's own takes its batches from as well, by Detectron2's name; some of
        its versions set it, and others ask for it."""
        if self._batches is None:
            self._batches = self._counted(iter(self.data_loader))
        return self._batches

    @_data_loader_iter.setter
    def _data_loader_iter(self, batches: Iterator[Any]) -> None:
        self._batches = self._counted(batches)

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.taken += 1
            yield batch

    def _next_batch(self) -> Any:
        try:
            return next(self._data_loader_iter)
        except StopIteration:
            raise ValueError(
                "The training loader has no more batches; what build_train_loader gives must not "
                "end."
            ) from None

    def precision(self) -> AbstractContextManager:
        """What the losses are computed in."""
        if self.scaler is None:
            return nullcontext()
        return torch.autocast(self._device_type)

    def state_dict(self) -> dict:
        """With the scale of mixed precision, named as in Detectron2's checkpoints."""
        state = super().state_dict()
        if self.scaler is not None:
            state["grad_scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """A run that had no mixed precision until now begins with its own scale."""
        super().load_state_dict(state_dict)
        if self.scaler is not None and "grad_scaler" in state_dict:
            self.scaler.load_state_dict(state_dict["grad_scaler"])

    def _update_scale(self) -> None:
        assert self.scaler is not None
        before = self.scaler.get_scale()
        self.scaler.update()
        scale = self.scaler.get_scale()
        storage = get_event_storage()
        storage.put_scalar("amp/scale", scale, smoothing_hint=False)
        if scale < before:
            logger.info(
                "Gradients overflowed float16 at scale %g: iteration %d changes nothing, and the "
                "next one has scale %g. That is no divergence.",
                *(before, storage.iter, scale),
            )
        if scale < _LEAST_SCALE:
            raise FloatingPointError(
                f"gradients overflow float16 at every scale down to {before:g}"
            )


def losses_of(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """Losses of a batch by name, as the model in training mode gives them.

    Raises:
        ValueError: as ``as_dict``, or a batch norm has a single value of each channel.
        FloatingPointError: a loss of boxes met predictions that are not finite.
    """
    with finite_boxes(), _values_to_normalise(), unfused():
        return as_dict(model(batch))


@contextmanager
def _values_to_normalise() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE):
            raise
        raise ValueError(
            "A norm of the model learns statistics of batches ('BN' or 'SyncBN'), and the smallest "
            "level of this batch has one value of each channel: larger images "
            "(INPUT.MIN_SIZE_TRAIN), more of them at a time (SOLVER.IMS_PER_BATCH) or another norm "
            "('FrozenBN', 'GN') would do."
        ) from error


def as_dict(losses: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses by name; one that has none is the total.

    Raises:
        ValueError: a model in evaluation mode gives detections; or as ``checked_losses``.
    """
    if isinstance(losses, list):
        raise ValueError(
            "The model gave detections in the place of losses: something, a hook for one, has left "
            "it in evaluation mode; after model.eval() belongs model.train()."
        )
    by_name = {"total_loss": losses} if isinstance(losses, Tensor) else losses
    return checked_losses(by_name, "The model")


def total_of(losses: Mapping[str, Tensor]) -> Tensor:
    """The objective of a step.

    Raises:
        ValueError: nothing would be learnt from it.
    """
    total: Any = sum(losses.values())
    if not total.requires_grad:
        raise ValueError(
            f"The losses {', '.join(losses)} have no gradient, by which weights would learn: none "
            "of them may be detached, or computed under torch.no_grad()."
        )
    return total


def check_finite(losses: Mapping[str, Tensor]) -> None:
    """Refuse losses that are NaN or infinite.

    Args:
        losses: scalars, by name.

    Raises:
        FloatingPointError: naming the first.
    """
    if (
        not losses
        or torch.cat([x.detach().float().flatten() for x in losses.values()]).isfinite().all()
    ):
        return
    name = next(name for name, loss in losses.items() if not loss.isfinite())
    raise FloatingPointError(f"{name} is {losses[name].item()}")


def check_reached(model: nn.Module) -> None:
    """Refuse weights that several processes would wait for: no loss of this one depends on them.

    In the next step DistributedDataParallel says so by numbers of parameters.

    Args:
        model: behind its backward pass, wrapped for several processes or not.

    Raises:
        ValueError: naming some of them.
    """
    if not isinstance(model, DistributedDataParallel) or model.find_unused_parameters:
        return
    weights = dict(model.module.named_parameters())
    missed = [
        name for name, weight in weights.items() if weight.requires_grad and weight.grad is None
    ]
    if missed:
        raise ValueError(
            f"No loss depends on {summarise(missed, list(weights), most=_FEW)}: in several "
            "processes a part that is not used must not be in the model, or needs "
            "requires_grad_(False)."
        )


def check_gradients(model: nn.Module) -> None:
    """Refuse gradients that are NaN or infinite: of a finite loss, as of a root at 0, as well.

    Args:
        model: behind its backward pass, wrapped for several processes or not.

    Raises:
        FloatingPointError: naming the first.
    """
    plain: Any = getattr(model, "module", model)
    found = {
        name: weight.grad
        for name, weight in plain.named_parameters()
        if weight.grad is not None and weight.grad.numel() and not weight.grad.is_sparse
    }
    # One look at all of them, as a GPU is waited for at each.
    largest = [torch.linalg.vector_norm(gradient, math.inf) for gradient in found.values()]
    if not largest or torch.stack(largest).isfinite().all():
        return
    name = next(name for name, gradient in found.items() if not gradient.isfinite().all())
    raise FloatingPointError(f"the gradient of {name} is not finite")


def _scaler(device: str) -> Any:
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device)
    return torch.cuda.amp.GradScaler()  # before PyTorch 2.3

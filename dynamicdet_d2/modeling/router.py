# SPDX-License-Identifier: Apache-2.0
"""The adaptive router: from what detector1 has seen of an image to its difficulty (section 3.2)."""

import logging
from collections.abc import Mapping
from typing import Any, cast
from weakref import WeakSet

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.modeling.modes import evaluating
from dynamicdet_d2.modeling.router_inputs import RouterInput, build_router_inputs
from dynamicdet_d2.modeling.tails import Tails
from dynamicdet_d2.utils.precision import without_autocast
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

# Routers that a warning was of.
_SAID: WeakSet[nn.Module] = WeakSet()

MIN_HIDDEN = 8
# Of training images, once the router is trained: float32 has no further difficulty below 1 behind a
# logit of 16, and new images may be harder.
LARGEST_LOGIT = 8.0
# Of numbers in float32, relative.
ROUNDING = torch.finfo(torch.float32).eps


class AdaptiveRouter(nn.Module):
    """Difficulty of each image by two small layers (eq. 8), from numbers that inputs give.

    The paper's input is the pooled features of every level (eq. 7).

    N: images, d: numbers of all inputs together.

    Attributes:
        inputs: by name, in the order in which their numbers are put side by side.
        reads: the steps of detector1's pass that inputs are called with, each once.
    """

    inputs: Mapping[str, RouterInput]
    mean: Tensor
    spread: Tensor

    left_out_by: str = ""
    """File that the detector's weights are from and that has none of the router."""

    @configurable
    def __init__(
        self, *, inputs: Mapping[str, RouterInput], reduction: int = 4, standardize: bool = False
    ) -> None:
        """
        Args:
            inputs: by name, at least one.
            reduction: the hidden layer has floor(d / reduction) units; without pooled features,
                which are many, at least ``MIN_HIDDEN``, since a handful of numbers divided by 4
                would leave the layer nothing to combine.
            standardize: whether numbers are taken less their mean and by their standard deviation
                (``set_standard``). Counts, sums and logarithms of sizes have no common scale.

        Raises:
            ValueError: if there is no input, the hidden layer would be empty, or an argument is of
                another type.
        """
        _check_arguments(inputs, reduction, standardize)
        super().__init__()
        self.inputs = cast(Mapping[str, RouterInput], nn.ModuleDict(inputs))
        self.reads = tuple(dict.fromkeys(own.reads for own in inputs.values()))
        hidden = _hidden_units(inputs, reduction)
        self.hidden = nn.Linear(self.count, hidden)
        self.score = nn.Linear(hidden, 1)
        self.standardize = standardize
        if standardize:
            self.register_buffer("mean", torch.zeros(self.count))
            self.register_buffer("spread", torch.ones(self.count))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """As torch's, by whatever module is loaded; weights of its own end ``left_out_by``."""
        if f"{prefix}score.weight" in state_dict:
            self.left_out_by = ""
        super()._load_from_state_dict(state_dict, prefix, *args)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec], kind: type[Tails]
    ) -> dict:
        """``input_shape``: of backbone 1's outputs; ``kind``: of the detector."""
        keys = cfg.MODEL.ROUTER
        paper = list(keys.INPUTS) == ["features"]
        return {
            "inputs": build_router_inputs(cfg, input_shape, kind),
            "reduction": keys.REDUCTION,
            "standardize": not paper if keys.STANDARDIZE is None else keys.STANDARDIZE,
        }

    @property
    def count(self) -> int:
        """d."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of each input."""
        return {name: own.count for name, own in self.inputs.items()}

    def numbers(self, *results: Any) -> Tensor:
        """What the router sees.

        Args:
            results: of the steps that ``reads`` names, of N images.

        Returns:
            (N, d), float32 whatever the precision of the results; not standardised.
        """
        by_step = dict(zip(self.reads, results, strict=True))
        images = _images_of(results[0])
        given = [(own, own(by_step[own.reads])) for own in self.inputs.values()]
        checked = [_checked_numbers(*pair, images) for pair in given]
        return torch.cat([numbers.to(self._number_type) for numbers in checked], dim=1)

    @property
    def _number_type(self) -> torch.dtype:
        """float32, or that of a router in float64."""
        types = [x.dtype for x in self.parameters() if x.is_floating_point()]
        return torch.promote_types(types[0], torch.float32) if types else torch.float32

    def difficulty(self, numbers: Tensor) -> Tensor:
        """Two fully connected layers and a sigmoid (eq. 8), under autocast in float32 too.

        The open interval is kept where float32 would round the sigmoid to 0 or 1, so that
        threshold 0 sends every image to detector2 and threshold 1 every image to detector1.

        Args:
            numbers: (N, d), as ``numbers`` gives them.

        Returns:
            (N,), in (0, 1), 1 = hard.
        """
        return open_sigmoid(self.logit(numbers))

    def logit(self, numbers: Tensor) -> Tensor:
        """(N, d) -> (N,), what the sigmoid of ``difficulty`` is of."""
        with without_autocast(numbers):
            return self.score(torch.relu(self.hidden(self.standardized(numbers)))).squeeze(1)

    def standardized(self, numbers: Tensor) -> Tensor:
        """(N, d) -> (N, d), what the layers see."""
        return (numbers - self.mean) / self.spread if self.standardize else numbers

    def forward(self, *results: Any) -> Tensor:
        """Difficulty of N images, (N,); arguments as ``numbers``."""
        return self.difficulty(self.numbers(*results))

    @torch.no_grad()
    def set_standard(self, numbers: Tensor) -> None:
        """Measure mean and standard deviation of each number, where they are used.

        A number that never varies has the standard deviation 1.

        Args:
            numbers: (N, d) of a whole data set.
        """
        if self.standardize:
            spread, mean = torch.std_mean(numbers.double(), dim=0, correction=0)
            self.mean.copy_(mean)
            # What rounding makes of a constant is no variation: divided by it, a difficulty would
            # be that of the rounding, and another one in a batch or in an export.
            varies = spread > ROUNDING * mean.abs()
            self.spread.copy_(torch.where(varies, spread, torch.ones_like(spread)))

    @torch.no_grad()
    def tell_apart(self, numbers: Tensor) -> None:
        """Give images that are hard beyond doubt difficulties of their own again.

        Objectives such as eq. 12 are linear in the difficulty, so that training drives logits
        apart without end; behind some 16 their sigmoids are one number in float32, and no
        threshold parts them. The last layer is scaled down until no logit is larger than
        ``LARGEST_LOGIT``, where one is: the order of images, and the side of 0.5 that each is on,
        stay.

        Args:
            numbers: (N, d) of the training images.
        """
        with evaluating(self):
            largest = self.logit(numbers.to(self.score.weight.device)).abs().max()
        if largest > LARGEST_LOGIT:
            for parameter in self.score.parameters():
                parameter.mul_(LARGEST_LOGIT / largest)


def say_if_left_out(router: nn.Module) -> None:
    """Warn, once for a router, that the losses of joint training do not reach it.

    Whoever has frozen it knows, as our trainer does; another one, such as Detectron2's, would end
    with a router at random values, and without what else it does not read, and say nothing.
    """
    if router in _SAID or not any(weight.requires_grad for weight in router.parameters()):
        return
    _SAID.add(router)
    logger.warning(
        "The router learns nothing from the losses of joint training: "
        "dynamicdet_d2.engine.trainer.DynamicTrainer trains it behind the detectors, as "
        "SOLVER.PHASES says; model.router.requires_grad_(False) says that it is not to learn, "
        "which DistributedDataParallel needs. Nor do Detectron2's trainers read SOLVER.OPTIMIZER "
        "(they take SGD), SOLVER.EMA, SOLVER.BEST and INPUT.MOSAIC."
    )


def open_sigmoid(logit: Tensor) -> Tensor:
    """The sigmoid, kept above 0 and below 1 where the number type would round it to them."""
    limits = torch.finfo(logit.dtype)
    return logit.sigmoid().clamp(limits.tiny, 1 - limits.eps)


def _images_of(result: Any) -> int | None:
    """As many as a step's result is of: levels by name, or a list; of others nobody knows."""
    first = next(iter(result.values()), None) if isinstance(result, Mapping) else result
    return len(first) if isinstance(first, Tensor | list | tuple) else None


def _checked_numbers(own: RouterInput, numbers: Any, images: int | None) -> Tensor:
    """
    Args:
        images: whose numbers they are; None: nobody knows.

    Raises:
        ValueError: an input of a program's own gives other numbers than it says, or not those of
            each image.
    """
    if not isinstance(numbers, Tensor) or numbers.ndim != 2 or numbers.shape[1] != own.count:
        given = f"shape {tuple(numbers.shape)}" if isinstance(numbers, Tensor) else shown(numbers)
        raise ValueError(
            f"{type(own).__name__}, an input of the router, gives {given}; it must give a tensor "
            f"(N, {own.count}), as its count says."
        )
    if images not in (None, len(numbers)):
        raise ValueError(
            f"{type(own).__name__}, an input of the router, gives shape {tuple(numbers.shape)} for "
            f"{images} images; it must give a row for each of them."
        )
    return numbers


def _check_names(inputs: Mapping[str, RouterInput]) -> None:
    taken = nn.ModuleDict()
    for name in inputs:
        if not isinstance(name, str) or not name or "." in name or hasattr(taken, name):
            raise ValueError(
                f"An input of the router is registered as {shown(name)}; its name must be text "
                "without dots, and no attribute of torch.nn.ModuleDict's, which holds it."
            )


def _check_arguments(inputs: Any, reduction: Any, standardize: Any) -> None:
    of_inputs = isinstance(inputs, Mapping) and all(
        isinstance(own, RouterInput) for own in inputs.values()
    )
    reduces = type(reduction) is int and reduction > 0
    for name, value, holds, must in (
        ("inputs", inputs, of_inputs and bool(inputs), "RouterInputs by name, at least one"),
        ("reduction", reduction, reduces, "a whole number from 1 on"),
        ("standardize", standardize, isinstance(standardize, bool), "True or False"),
    ):
        if not holds:
            raise ValueError(f"{name} of the router is {shown(value)}; it must be {must}.")
    _check_names(inputs)


def _hidden_units(inputs: Mapping[str, RouterInput], reduction: int) -> int:
    count = sum(own.count for own in inputs.values())
    if "features" not in inputs:
        return max(count // reduction, MIN_HIDDEN)
    if not 1 <= reduction <= count:
        raise ValueError(
            f"MODEL.ROUTER.REDUCTION is {reduction}; it must lie in 1..{count}, the number of "
            "the router's inputs."
        )
    return count // reduction

# SPDX-License-Identifier: Apache-2.0
"""The optimised copy that a model keeps of itself, up to date with its weights."""

import functools
import inspect
import logging
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sized
from itertools import chain
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _of_all

from dynamicdet_d2.acceleration.as_written import has_hooks
from dynamicdet_d2.acceleration.in_common import in_common
from dynamicdet_d2.acceleration.optimize import optimize_for_inference
from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.acceleration.settings import HandedSettings, LayerSettings
from dynamicdet_d2.utils.own_code import is_own, is_own_class, is_own_value

logger = logging.getLogger(__name__)

_VERSION = operator.attrgetter("_version")
_TRAINING = operator.attrgetter("training")
_BEFORE_THE_COPY = ("forward", "inference")
_OF_A_PROGRAM = "of a program's own that does not say optimizable = True"


class OptimizedCopy:
    """Makes a model's optimised copy at its first inference, and again when weights change.

    Weights are loaded, and trained, after a model was built, so nothing can be prepared then. It
    is not part of the model's state: copies and pickles of the model begin without one. What
    modules hold beside weights and layers the copy has in common with the model; what is set of the
    model itself, of its router and of its heads, such as a score threshold, is followed; after
    settings of other layers, such as ``eps``, it is made anew. Threads may call the model at the
    same time. A model with hooks inside, with functions in the place of methods, or with modules in
    training mode, is run as it is: the copy lacks them. So is one with a class of a program's own,
    which may keep what it sees, or look into other layers, but where the class says ``optimizable =
    True``. Of changes through ``.data``, which are not counted, the first value in each row of each
    weight and buffer is looked at, so that filters that were zeroed and statistics that were
    averaged are seen; ``drop`` it after smaller ones.
    """

    def __init__(self, options: InferenceOptions | None, whole: bool = False) -> None:
        """
        Args:
            options: None: the model is run as it is.
            whole: the copy is called in the place of the model, whose own hooks it would lack, and
                not by a method of it.
        """
        self.options, self._whole = options, whole
        self._copy: nn.Module | None = None
        self._made_from: _Moment | None = None
        self._alone = Lock()  # a copy is made, or brought up to date, by one thread

    def of(self, model: nn.Module) -> nn.Module:
        """The copy of the model as it is now; the model itself without options, where it cannot be
        copied, or where a caller has ``torch.compile`` read the model as a whole."""
        if self.options is None or _is_compiling() or _has_hooks_of_all():
            return model
        with self._alone:
            return self._up_to_date(model, self.options)

    def _up_to_date(self, model: nn.Module, options: InferenceOptions) -> nn.Module:
        fast = self._copy
        if fast is None or self._made_from is None or not self._made_from.is_now(model):
            self._forget()
            if reason := _watched(model, self._whole):
                _say_it_runs_as_it_is(reason)
                return model
            fast = optimize_for_inference(model, options, in_common(model))
            self._copy, self._made_from = fast, _Moment(model, fast, self._whole)
        self._made_from.settings.hand_on()
        return fast

    def drop(self) -> None:
        """Free the copy's memory; the next inference makes another one."""
        with self._alone:
            self._forget()

    def _forget(self) -> None:
        self._copy, self._made_from = None, None

    def __deepcopy__(self, memo: dict) -> "OptimizedCopy":
        return OptimizedCopy(self.options, self._whole)

    def __reduce__(self) -> tuple:
        return OptimizedCopy, (self.options, self._whole)


def on_optimized_copy(method: Callable) -> Callable:
    """A method of a model with an ``optimized_copy`` and an operating point, run on that copy."""

    @functools.wraps(method)
    def call(self: Any, *args: object, **kwargs: object) -> Any:
        fast = self.optimized_copy.of(self)
        if fast is self:
            return method(self, *args, **kwargs)
        fast.operating_point = self.operating_point  # that another thread may set at this moment
        return method(fast, *args, **kwargs)

    return call


def _watched(model: nn.Module, whole: bool) -> str:
    """What the copy would lack, in words; '' if nothing.

    That is hooks, another ``forward`` than its class's or the one that its class was written with,
    and training mode of a module inside, such as dropout that samples at inference; weights of
    ``torch.func.functional_call``, which last for a call; another function in the place of a
    method; and classes of a program's own that do not say what they are (``_is_optimizable``).
    Hooks of the model itself are called whatever is run, and ``forward`` and ``inference`` before
    the copy is, but where the copy is called as a ``whole``.
    """
    if is_own(model) and not _is_optimizable(model):
        return f"{type(model).__name__} is a class {_OF_A_PROGRAM}"
    inside = [(name, x) for name, x in model.named_modules() if name]
    own_kinds = {kind for kind in {type(x) for _, x in inside} if is_own_class(kind)}
    for name, x in (*inside, *([(type(model).__name__, model)] if whole else [])):
        if has_hooks(x) or "forward" in vars(x):
            return f"{name} of the model has a hook or a forward of its own"
        if type(x) in own_kinds and not _is_optimizable(x):
            return f"{name} of the model is of the class {type(x).__name__}, {_OF_A_PROGRAM}"
        if replaced := _replaced_in(x):
            return f"{replaced[0]} of {name} of the model is another function than its class's"
    training = [name for name, x in inside if x.training]
    if training and not model.training:
        return f"{training[0]} of the model is in training mode, and the model is not"
    lent = [name for name, x in model.named_parameters() if not isinstance(x, nn.Parameter)]
    if lent:
        return f"{lent[0]} of the model is a tensor that is no parameter"
    own = [name for name in _replaced_in(model) if name not in _BEFORE_THE_COPY]
    if own:
        return f"{own[0]} of the model is another function than its class's"
    kinds = {type(x): name for name, x in reversed(inside)}
    patched = ((_patched_in(kind), kind.__name__, name) for kind, name in kinds.items())
    found = next((x for x in patched if x[0]), None)  # last, as it takes the longest
    return "{} of {}, as {} of the model, was replaced".format(*found) if found else ""


def _is_optimizable(module: nn.Module) -> bool:
    """Whether a class of a program's own says that its methods read weights, buffers and settings
    alone, set none of them, and ask no other layer for more than what it makes of its input."""
    return vars(type(module)).get("optimizable", False) is True  # of a base, others said it


def _replaced_in(module: nn.Module) -> list[str]:
    """Names of functions that a module has in the place of its class's methods."""
    kind = type(module)
    found = [name for name, value in vars(module).items() if callable(value)]
    return [name for name in found if inspect.isroutine(getattr(kind, name, None))]


def _has_hooks_of_all() -> bool:
    """Whether there are hooks on every module of the process."""
    return bool(_of_all._global_forward_hooks or _of_all._global_forward_pre_hooks)


def _is_compiling() -> bool:
    return getattr(torch.compiler, "is_compiling", lambda: False)()  # newer than torch 2.1


def _patched_in(kind: type[nn.Module]) -> str:
    """Name of a method that a program has replaced in a class; '' where there is none."""
    written = getattr(_forward_of(kind), "__module__", None)
    if written not in {None, *(base.__module__ for base in kind.__mro__)}:
        return "forward"
    known = [base for base in kind.__mro__ if not is_own_class(base)]
    methods = (item for base in known for item in vars(base).items())
    return next((name for name, value in methods if is_own_value(value)), "")


def _forward_of(kind: type[nn.Module]) -> object:
    return getattr(kind, "forward", None)  # that of a traced module's class cannot be read


@functools.cache  # a reason is said once
def _say_it_runs_as_it_is(reason: str) -> None:
    logger.warning(
        "%s: the model is run as it is, without what MODEL.INFERENCE says, which is slower.",
        reason,
    )


class _Moment:
    """A model as it was when its copy was made, and the settings that the copy takes over later."""

    def __init__(self, model: nn.Module, fast: nn.Module, whole: bool) -> None:
        self._model = model
        self.settings = HandedSettings(model, fast)
        self._weights = _Weights(model, whole)
        self._layers = LayerSettings(model, self.settings)

    def is_now(self, model: nn.Module) -> bool:
        if model is not self._model or self.settings.gone():
            return False
        return not (self._weights.changed() or self._layers.changed())


class _Weights:
    """A model's weights and buffers at one moment.

    They are looked at before every inference, of a thousand tensors and more: the walk through the
    modules is made once, and what is left is done by functions that loop in C.
    """

    def __init__(self, model: nn.Module, whole: bool) -> None:
        """
        Args:
            whole: as of ``OptimizedCopy``: the model's own hooks count.
        """
        modules = list(model.modules())
        contents: list[dict[str, Any]] = [
            own for x in modules for own in (x._modules, x._parameters, x._buffers)
        ]
        # Hooks, and attributes in the place of methods, are seen by their number.
        hooked = modules if whole else modules[1:]
        hooks = [own for x in hooked for own in (x._forward_hooks, x._forward_pre_hooks)]
        self._contents: list[Sized] = [*contents, *hooks, *map(vars, modules)]
        self._counts = list(map(len, self._contents))
        self._modules, self._modes = modules, list(map(_TRAINING, modules))
        self._types = list(map(type, modules))
        self._kinds = list(set(self._types))
        self._forwards = list(map(_forward_of, self._kinds))
        # Most modules have nothing inside and no tensors of their own; traced ones no dict of them.
        self._filled = [own for own in contents if isinstance(own, dict) and own]
        self._inside = self._look()
        self._tensors = [x for x in self._inside if isinstance(x, Tensor)]
        # Tensors made in inference mode count no changes.
        self._counted = [x for x in self._tensors if not x.is_inference()]
        self._values = _values_of(chain(model.parameters(), model.buffers()))
        self._state = self._read()

    def changed(self) -> bool:
        """Whether a module, a weight or a buffer was replaced since, or changed in place; whether
        hooks or attributes came or went, or modes, classes or the ``forward`` of one changed."""
        return (
            list(map(len, self._contents)) != self._counts
            or list(map(_TRAINING, self._modules)) != self._modes
            or list(map(type, self._modules)) != self._types
            or list(map(_forward_of, self._kinds)) != self._forwards
            or not all(map(operator.is_, self._look(), self._inside))
            or self._read() != self._state
        )

    def _look(self) -> list[Any]:
        return list(chain.from_iterable(map(dict.values, self._filled)))

    def _read(self) -> tuple[list[int], list[int], list[bytes]]:
        """Where each tensor lies, how often it was changed in place, and what the weights have."""
        return (
            list(map(Tensor.data_ptr, self._tensors)),
            list(map(_VERSION, self._counted)),
            [
                torch.cat(values).view(torch.uint8).cpu().numpy().tobytes()
                for values in self._values
            ],
        )


def _values_of(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """The first value in each row of each, as views; lists that can be joined.

    Of vectors, such as biases and statistics, that is all values. What lies in one piece is apart,
    since ``torch.cat`` is several times slower on a list of both.
    """
    found: defaultdict[Any, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        if tensor.numel() and tensor.is_floating_point():
            rows = tensor.detach() if tensor.dim() else tensor.detach().unsqueeze(0)
            place: tuple[slice | int, ...] = (slice(None), *(0,) * (rows.dim() - 1))
            firsts = rows[place]
            found[tensor.dtype, tensor.device, firsts.is_contiguous()].append(firsts)
    return list(found.values())

# SPDX-License-Identifier: Apache-2.0
"""What a model's modules hold beside weights and layers: the copy has it in common with the model.

So what a program changes within it is the same for both. Lists, dicts, bound methods and partial
functions that lead to layers or weights of the model's lead to the copy's own in the copy, and are
no longer the same.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain
from types import MethodType
from typing import Any

import torch
from torch import nn

from dynamicdet_d2.utils.own_code import is_own_value

# What torch itself keeps in each module; modes and hooks are looked at elsewhere.
_OF_TORCH = frozenset(vars(nn.Module()))
_COPIED = {"_parameters", "_buffers", "_modules"}
# Of a detector, what is set for each call, and what the copy is kept by.
_ITS_OWN = frozenset({"operating_point", "optimized_copy"})


def attributes(module: nn.Module, model: nn.Module) -> dict[str, Any]:
    """Those of a module inside a model, or of the model, that are not torch's; name -> value.

    None of a traced one, which is one object of torch's.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return {}
    left_out = _OF_TORCH | _ITS_OWN if module is model else _OF_TORCH
    return {name: value for name, value in vars(module).items() if name not in left_out}


def in_common(model: nn.Module) -> dict[int, Any]:
    """What ``copy.deepcopy`` is to leave as it is, as its ``memo``: id -> object."""
    ids, shared = _ids(model), dict[int, Any]()
    for module in model.modules():
        hooks = [x for name in _OF_TORCH - _COPIED for x in entries(vars(module).get(name))]
        for value in chain(attributes(module, model).values(), hooks):
            _share(value, ids, shared)
    return shared


def copied(model: nn.Module) -> list[Any]:
    """The lists, dicts, methods and partial functions that modules hold and the copy has anew."""
    ids = _ids(model)
    held = [v for module in model.modules() for v in attributes(module, model).values()]
    inside = [x for value in held if id(value) not in ids for x in _within(value)]
    return [x for x in inside if id(x) not in ids and _leads(x, ids)]


def entries(value: Any) -> list[Any]:
    """What a list, a dict, a bound method or a partial function holds; of other objects nothing.

    Functions of a program's own stay bound to what they are: they may write into it.
    """
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, MethodType) and not is_own_value(value):
        return [value.__self__]
    if isinstance(value, partial) and not is_own_value(value.func):
        return [value.func, value.args, value.keywords]
    return []


def _ids(model: nn.Module) -> set[int]:
    """Of all that the copy has for itself."""
    return {id(x) for x in chain(model.modules(), model.parameters(), model.buffers())}


def _share(value: Any, ids: set[int], shared: dict[int, Any]) -> None:
    seen, waiting = set[int](), [value]
    while waiting:
        each = waiting.pop()
        if id(each) in ids or id(each) in seen:
            continue
        seen.add(id(each))
        if _leads(each, ids):
            waiting += entries(each)
        else:
            shared[id(each)] = each


def _leads(value: Any, ids: set[int]) -> bool:
    return any(id(each) in ids for each in _within(value))


def _within(value: Any) -> Iterator[Any]:
    """It, and what it holds at any depth, each once: a list may hold itself."""
    seen, waiting = set[int](), [value]
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += entries(each)

# SPDX-License-Identifier: Apache-2.0
"""Whether a module does what its class is known to do, so that something else can do it instead."""

from torch import nn
from torch.nn.utils.parametrize import is_parametrized


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module calls functions of a program's as well."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def runs_as(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module has the ``forward`` of one of some kinds, no hooks, and weights of its own.

    A subclass may inherit it. One with another ``forward``, such as a convolution that standardises
    its weights, computes something else; hooks and parametrisations, as pruning has, make weights
    anew at every call.
    """
    if "forward" in vars(module) or has_hooks(module) or is_parametrized(module):
        return False
    return type(module).forward in {kind.forward for kind in kinds}

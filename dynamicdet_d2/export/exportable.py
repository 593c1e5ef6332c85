# SPDX-License-Identifier: Apache-2.0
"""What of a model cannot be exported, whatever kind of detector it is."""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention

from dynamicdet_d2.acceleration.optimize import is_copy
from dynamicdet_d2.checkpoint.complete import not_finite
from dynamicdet_d2.modeling.settable_threshold import refuse_without_router


def check_weights(model: nn.Module, cfg: CfgNode) -> None:
    """
    Raises:
        ValueError: weights are not finite, of another type than float32, elsewhere than on the CPU
            or made of others, the router has none, a layer is in TorchScript, the model is an
            optimised copy, or it normalises images otherwise than its config says.
    """
    refuse_without_router(model, "an export holds whole models")
    if is_copy(model):
        raise ValueError(
            "The model is a copy that optimize_for_inference has made; the model that the copy is "
            "of can be exported."
        )
    scripted = [n for n, x in model.named_modules() if isinstance(x, torch.jit.ScriptModule)]
    if scripted:
        raise ValueError(
            f"{scripted[0]} of the model is in TorchScript, and cannot be exported; the layer that "
            "it was made of can."
        )
    elsewhere = [x.device for x in model.parameters() if x.device.type != "cpu"]
    if elsewhere:
        raise ValueError(
            f"The model is on {elsewhere[0]}, and is exported from the CPU: model.to('cpu') comes "
            "first."
        )
    made = [
        f"{name}.{own}".lstrip(".")
        for name, module in model.named_modules()
        for own, x in vars(module).items()
        if isinstance(x, Tensor) and x.grad_fn is not None
    ]
    if made:
        raise ValueError(
            f"{made[0]} of the model is computed from other weights, as pruning and weight norms "
            "do; what makes it a weight, such as torch.nn.utils.prune.remove, comes first."
        )
    other = [x.dtype for x in model.parameters() if x.dtype != torch.float32]
    if other:
        raise ValueError(
            f"The model has weights of {other[0]}; what is exported is float32, as it was built."
        )
    bad = not_finite(model)
    if bad:
        raise ValueError(f"The model has values in {bad[0]} that are not finite.")
    for name in ("pixel_mean", "pixel_std"):
        said: Sequence[float] = cfg.MODEL[name.upper()]
        own = getattr(model, name, None)
        if own is not None and not torch.equal(own.flatten().cpu(), torch.tensor(said).float()):
            raise ValueError(
                f"MODEL.{name.upper()} of the config is {list(said)}, and {name} of the model "
                f"{own.flatten().tolist()}: the config must be the one that it was built from."
            )


def check_any_size(model: nn.Module) -> None:
    """
    Raises:
        ValueError: what the model does depends on the size of the image, and a trace is of one.
    """
    if any(isinstance(module, ShiftedWindowAttention) for module in model.modules()):
        raise ValueError(
            "A Swin shifts its windows by the size of the image, and a trace is of one size: "
            "--sizes says which ones, padded, such as 512x672,672x512."
        )

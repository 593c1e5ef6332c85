# SPDX-License-Identifier: Apache-2.0
"""Weights of any known format into a model."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import names
from dynamicdet_d2.checkpoint.names import swin as swin_names
from dynamicdet_d2.checkpoint.report import LoadReport, ShapeMismatch
from dynamicdet_d2.modeling.settable_threshold import SettableThreshold

_EXAMPLES = 3


@torch.no_grad()
def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    path: str,
    *,
    place: Callable[[str], bool] | None = None,
    exact: bool = False,
) -> LoadReport:
    """Load a state dict of any of the formats in :mod:`~dynamicdet_d2.checkpoint.names`.

    Weights without a source keep their value. Nothing is changed if an error is raised.

    Args:
        model: a dynamic detector, or a plain Detectron2 model.
        weights: name -> tensor.
        path: where they are from, for messages.
        place: says of a name in the model whether it is to be loaded at all; None: every one is.
        exact: refuse weights that the model has in another shape, instead of reporting them.

    Raises:
        ValueError: if no tensor fits the model, or with ``exact``, if one does not.
    """
    targets = {name: t for name, t in model.state_dict().items() if place is None or place(name)}
    match = names.match(targets, weights)
    found = {name: weights[source] for name, source in match.sources.items()}
    interpolated = _fitted_tables(found, targets)
    state = {n: w for n, w in {**found, **interpolated}.items() if w.shape == targets[n].shape}
    _check_types(state, targets, path)
    mismatched = tuple(
        ShapeMismatch(name, tuple(found[name].shape), tuple(targets[name].shape))
        for name in found
        if name not in state and names.is_weight(name)
    )
    if mismatched and exact:
        raise ValueError(
            f"{path} does not fit the model, {len(mismatched)} of whose tensors have other shapes: "
            f"{mismatched[0]}."
        )
    differing = {mismatch.name for mismatch in mismatched}
    uses = Counter(match.sources[name] for name in state)
    if not any(names.is_weight(name) for name in state):
        raise _nothing_fits(path, weights, targets, mismatched)
    missing = _fill(model, state)
    left = [name for name in targets if name not in state]
    if match.file_format == names.CAFFE2:  # whose statistics are folded into the affine
        left = [name for name in left if name in missing]
    return LoadReport(
        path=path,
        file_format=match.file_format,
        loaded=tuple(state),
        duplicated=tuple(name for name, count in uses.items() if count > 1),
        interpolated=tuple(interpolated),
        initial=tuple(n for n in left if n not in differing and names.is_weight(n)),
        unmatched=match.unmatched,
        mismatched=mismatched,
        model_names=tuple(filter(names.is_weight, targets)),
        file_names=tuple(filter(names.is_weight, weights)),
    )


def _check_types(state: Mapping[str, Tensor], targets: Mapping[str, Tensor], path: str) -> None:
    for name, weight in state.items():
        if targets[name].is_floating_point() and not weight.is_floating_point():
            raise ValueError(
                f"{path} has values of type {weight.dtype} for {name}, where the model has "
                "floating point numbers."
            )


def _fill(model: nn.Module, state: Mapping[str, Tensor]) -> set[str]:
    """Load some weights; names of the others, but for the statistics that a FrozenBN resets."""
    # FrozenBN takes statistics that a file lacks for folded into the affine, and resets its own:
    # right where the affine was loaded, but a module without any source must stay as it is.
    filled = {_module(name) for name in state}
    everything = model.state_dict()
    kept = {name: value for name, value in everything.items() if _module(name) not in filled}
    left_out = getattr(model, "without_router", "")
    # Torch's own, since a dynamic detector's would ask here what other names stand for.
    missing = nn.Module.load_state_dict(model, {**kept, **state}, strict=False).missing_keys
    if isinstance(model, SettableThreshold):
        model.note_other_weights()
        if left_out and not any(name.startswith("router.") for name in state):
            model.without_router = left_out  # which its own weights, put back, have ended
    return {*kept, *missing}


def _fitted_tables(found: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tables of relative positions of another window size than the model's, fitted to it."""
    fitted = {}
    for name, table in found.items():
        if name.endswith(swin_names.TABLE) and table.shape[1:] == targets[name].shape[1:]:
            new = swin_names.fitted_table(table, len(targets[name]))
            if new is not None and len(table) != len(new):
                fitted[name] = new
    return fitted


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _nothing_fits(
    path: str,
    weights: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    mismatched: Sequence[ShapeMismatch],
) -> ValueError:
    if mismatched:
        return ValueError(f"No tensor of {path} has the model's shape: {mismatched[0]}.")
    found, expected = (", ".join(list(keys)[:_EXAMPLES]) for keys in (weights, targets))
    return ValueError(
        f"No tensor of {path} fits the model: the file has {found}, ...; the model has "
        f"{expected}, ... ."
    )

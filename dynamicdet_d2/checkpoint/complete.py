# SPDX-License-Identifier: Apache-2.0
"""Refuse to measure a detector whose weights are not all there: its figures would mean nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor, nn

from dynamicdet_d2.checkpoint.checkpointer import DynamicCheckpointer
from dynamicdet_d2.checkpoint.conventions import say_other_boxes
from dynamicdet_d2.checkpoint.learnt import say_untrained_router
from dynamicdet_d2.checkpoint.names import DYNAMICDET
from dynamicdet_d2.checkpoint.report import LoadReport, summarise

# No result of inference depends on them; the offset is NaN until it is measured.
_WITHOUT_EFFECT = ("loss_offset", "loss_normalizers")
# At their start they change nothing, so a router from before there were any is whole without them;
# a router that was trained with them is another one without them.
_STANDARD = ("router.mean", "router.spread")
# What a file of a single detector cannot have.
_ROUTER, _CONNECTIONS = "router.", "backbone.connections."
# Groups of weights that a sentence names.
_FEW = 6
# What detector2 has for itself.
_SECOND = (_CONNECTIONS, "backbone.bottom_up2.", "tail2.", "neck2.", "head2.")


def check_complete(
    checkpointer: DynamicCheckpointer,
    *,
    one_exit: bool = False,
    without_router: bool = False,
    without_second: bool = False,
) -> None:
    """Refuse weights that leave parts of the model at random values or are not finite.

    A model that nothing was loaded into is random as a whole, and its user knows. A router that has
    learnt nothing yet, where one decides, is said.

    Args:
        checkpointer: after loading.
        one_exit: all images take the same exit, so that no router decides; then the weights of a
            single detector are complete.
        without_router: the router, whatever it is, is not looked at.
        without_second: nor is what detector2 has for itself.

    Raises:
        ValueError: one sentence that names the file and the parts.
    """
    if checkpointer.report is None:
        return
    for report in (checkpointer.report, checkpointer.report2):
        if report is not None:
            check_filled(
                report,
                checkpointer.model,
                one_exit=one_exit,
                without_router=without_router,
                without_second=without_second,
            )
    check_finite(checkpointer)
    routed = any(name.startswith(_ROUTER) for name in checkpointer.report.model_names)
    if routed and not (one_exit or without_router):
        say_untrained_router(checkpointer.report.path, _has_no_offset(checkpointer))


def _has_no_offset(checkpointer: DynamicCheckpointer) -> bool:
    """Whether the file says that its loss offset was not measured yet; some have none at all."""
    loaded = checkpointer.report is not None and "loss_offset" in checkpointer.report.loaded
    return loaded and math.isnan(float(checkpointer.model.loss_offset))


def unfilled(report: LoadReport) -> list[str]:
    """Names of weights that a load left at random values and that results depend on."""
    differing = (mismatch.name for mismatch in report.mismatched)
    apart = (*_WITHOUT_EFFECT, *_STANDARD)
    return [name for name in (*report.initial, *differing) if name not in apart]


def unused(report: LoadReport) -> list[str]:
    """Names of weights of the file that the model has no part for, and results depended on."""
    return [name for name in report.unmatched if name not in (*_WITHOUT_EFFECT, *_STANDARD)]


def _add_nothing(model: nn.Module) -> bool:
    """Whether the connections are at a start at zero, by a layer of each that has no other value.

    Those of YOLOs begin at random values, unless a key says otherwise. Swin's within a stage have
    no values.
    """
    connections: Any = getattr(getattr(model, "backbone", None), "connections", None)
    links = getattr(connections, "links", nn.ModuleDict()).values()
    with_values = (link for link in links if any(True for _ in link.parameters()))
    return all(any(map(_is_zero, link.modules())) for link in with_values)


def _is_zero(layer: nn.Module) -> bool:
    own = list(layer.parameters(recurse=False))
    return bool(own) and not any(bool(parameter.any()) for parameter in own)


def check_filled(
    report: LoadReport,
    model: nn.Module,
    *,
    one_exit: bool,
    without_router: bool = False,
    without_second: bool = False,
) -> None:
    """As ``check_complete``, of one load.

    A model whose router has no weights is told so (``without_router``), as it cannot be given a
    threshold by which one decides.

    Args:
        model: that was loaded into.

    Raises:
        ValueError: naming the file and the parts that it leaves at random values.
    """
    optional: tuple[str, ...] = ()
    if one_exit and report.file_format != DYNAMICDET:
        optional = (_ROUTER, _CONNECTIONS) if _add_nothing(model) else (_ROUTER,)
    optional += (_ROUTER,) if without_router else ()
    optional += _SECOND if without_second else ()
    missing = [name for name in unfilled(report) if not name.startswith(optional)]
    if missing:
        parts = summarise(missing, report.model_names, most=_FEW)
        shapes = f" (first difference: {report.mismatched[0]})" if report.mismatched else ""
        raise ValueError(
            f"{report.path} leaves parts of the model at random values, so there is nothing to "
            f"measure: {parts}{shapes}."
        )
    if not without_router and set(_STANDARD).intersection(report.unmatched):
        raise ValueError(
            f"{report.path} has a router whose inputs are standardised; MODEL.ROUTER.STANDARDIZE "
            "must be True, or MODEL.ROUTER.INPUTS what it was trained with."
        )
    if one_exit and any(name.startswith(_ROUTER) for name in unfilled(report)):
        told: Any = model
        told.without_router = report.path


def load_complete(model: nn.Module, cfg: CfgNode, path: str, *, one_exit: bool = False) -> None:
    """Give a model all of its weights, into both backbones where they are of a single detector.

    It is said where boxes are made otherwise by the config than the weights have learnt.

    Args:
        cfg: that the model was built from.
        path: file, address, or name of a package's weights.
        one_exit: as for ``check_complete``.

    Raises:
        ValueError: the file cannot be read, or ``check_complete`` refuses what it has.
    """
    checkpointer = DynamicCheckpointer(model, weights2=cfg.MODEL.COMPOSITE.WEIGHTS2)
    checkpointer.load(path)
    check_complete(checkpointer, one_exit=one_exit)
    say_other_boxes(path, cfg)


def not_finite(model: nn.Module, apart: Sequence[str] = _WITHOUT_EFFECT) -> list[str]:
    """Names of weights and statistics that are NaN or infinite.

    Args:
        apart: what is not looked at; else whatever results of inference depend on is.
    """
    return _not_finite(model.state_dict(), apart)


def _not_finite(weights: Mapping[str, Tensor], apart: Sequence[str]) -> list[str]:
    return [
        name for name, value in weights.items() if name not in apart and not value.isfinite().all()
    ]


def _negative_variances(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of a norm's variances of which there is no root."""
    return [
        name
        for name, value in weights.items()
        if name.endswith(".running_var") and (value < 0).any()
    ]


def without_use(weights: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """The first of a state's tensors by which nothing can be computed, and what its values are:
    "that are not finite", or "that are negative, and no variances". None: there is no such tensor.
    """
    for bad, what in (
        (_not_finite(weights, _WITHOUT_EFFECT), "that are not finite"),
        (_negative_variances(weights), "that are negative, and no variances"),
    ):
        if bad:
            return bad[0], what
    return None


def check_finite(checkpointer: DynamicCheckpointer) -> None:
    """Refuse weights of which nothing can be learnt, and by which nothing can be measured.

    Args:
        checkpointer: after loading.

    Raises:
        ValueError: naming the file and the first weights that are NaN or infinite, or variances
            that are negative.
    """
    reports = [x for x in (checkpointer.report2, checkpointer.report) if x is not None]
    if not reports:
        return
    found = without_use(checkpointer.model.state_dict())
    if found is not None:
        name, what = found
        # A name that no file has filled is of what was there before: any file is to look at.
        source = next((x for x in reports if name in x.loaded), reports[-1])
        raise ValueError(f"{source.path} has values in {name} {what}.")

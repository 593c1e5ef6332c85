# SPDX-License-Identifier: Apache-2.0
"""Detectron2's checkpointer for a detector with two backbones."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import conventions, names
from dynamicdet_d2.checkpoint.files import plain, read_checkpoint
from dynamicdet_d2.checkpoint.names import swin as swin_names
from dynamicdet_d2.checkpoint.packaged import is_packaged, packaged_file
from dynamicdet_d2.checkpoint.report import LoadReport, ShapeMismatch
from dynamicdet_d2.utils.files import refuse_pipes, whole_file
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

_EXAMPLES = 3
# Bytes of a file's name.
_LONGEST_NAME = 255
_BACKBONE2 = "backbone.bottom_up2."


class DynamicCheckpointer(DetectionCheckpointer):
    """Loads and saves a dynamic detector; for plain Detectron2 models it works as well.

    Beside the project's own checkpoints it loads ImageNet ResNets (Detectron2's ``.pkl`` with
    Caffe2 or Detectron2 names, torchvision's ``.pth``), ImageNet Swin Transformers (their
    authors', timm's, torchvision's), ImageNet EfficientNet-Lites (installed packages) and complete
    single-backbone Detectron2 detectors, and places their backbone into **both** backbones, which
    Detectron2's matching of names refuses. Files are read without running anything in them, and
    are written whole or not at all, so that a kill leaves the last complete checkpoint to resume
    from. The save folder must be local.

    ``load`` replaces Detectron2's, because upstream has changed it more than once and its parts
    are private; ``resume_or_load``, ``has_checkpoint`` and the files in the folder
    (``model_final.pth``, ``last_checkpoint``) are Detectron2's own.

    Attributes:
        report: what the last ``load`` did with the weights that it was given; None before.
        report2: what it did with backbone 2's own weights; None where there are none.
    """

    report: LoadReport | None = None
    report2: LoadReport | None = None

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        weights2: str = "",
        trained_by: str = "",
        as_saved: Callable[[], AbstractContextManager] = nullcontext,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model: what is loaded into and saved.
            save_dir: a local folder.
            weights2: ``MODEL.COMPOSITE.WEIGHTS2``: where backbone 2 has weights of its own from,
                unless those that are loaded are a whole dynamic detector's. Without a backbone 2
                it is not read.
            trained_by: config file that says under which conventions a complete single detector was
                trained; "": it is looked for beside the weights.
            as_saved: a context in which the model has the weights that are saved.
            kwargs: as Detectron2's, checkpointables among them.
        """
        super().__init__(model, save_dir, **kwargs)
        has_second = any(name.startswith(_BACKBONE2) for name, _ in self.model.named_parameters())
        self.weights2 = weights2 if has_second else ""
        self._as_saved, self._trained_by = as_saved, trained_by

    def load(
        self, path: str | os.PathLike, checkpointables: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Load weights, and the states of checkpointables that the file has.

        Args:
            path: file, ``detectron2://`` or ``http(s)://`` address, or name of a package's weights
                ("efficientnet-lite0"); empty: nothing is loaded but backbone 2's own weights.
            checkpointables: names of those to load; None: all.

        Returns:
            what else the file has, such as ``"iteration"``.

        Raises:
            ValueError: if the file cannot be had or read, or nothing in it fits the model.
        """
        self.report = self.report2 = None
        path = os.fspath(path or "")
        content = self._read(path) if path else {"model": {}}
        weights = content.pop("model")
        # A whole dynamic detector, such as a checkpoint to resume from, has a backbone 2 itself.
        second = "" if names.recognise(weights) == names.DYNAMICDET else self.weights2
        if path:
            place = _beside_backbone2 if second else None
            self.report = self._place(weights, path, place)
        else:
            logger.info("No weights are given: the model keeps its initial values.")
        if second:
            self.report2 = self._place(self._read(second)["model"], second, _in_backbone2)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in content:
                self.checkpointables[key].load_state_dict(content.pop(key))
        return content

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<name>.pth``, then point ``last_checkpoint`` at it.

        Args:
            name: file name without folder and ending.
            kwargs: what to keep beside model and checkpointables; tensors and plain types.

        Raises:
            ValueError: if the name has a folder, or a state could not be read again.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if os.path.basename(name) != name:
            raise ValueError(f"A checkpoint is saved as '{name}'; the name must have no folder.")
        states = {key: item.state_dict() for key, item in self.checkpointables.items()}
        content = {key: plain(value, key) for key, value in {**states, **kwargs}.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        with self._as_saved(), whole_file(path) as file:
            torch.save({"model": self.model.state_dict(), **content}, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def get_checkpoint_file(self) -> str:
        """The checkpoint to resume from, which ``last_checkpoint`` in the folder names.

        Raises:
            ValueError: it names none.
        """
        tag = os.path.join(self.save_dir, "last_checkpoint")
        refuse_pipes(tag, tag)
        with open(tag, "rb") as file:
            name = file.read(_LONGEST_NAME + 1).strip()
        if not re.fullmatch(rb"[^/\\\0\r\n]+", name) or len(name) > _LONGEST_NAME:
            raise ValueError(
                f"{tag} holds {shown(name)}; it must hold the name of a checkpoint in its folder."
            )
        return os.path.join(self.save_dir, os.fsdecode(name))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write ``last_checkpoint``, which names the file to resume from."""
        with whole_file(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def _read(self, path: str) -> dict[str, Any]:
        logger.info("Loading %s ...", path)
        return read_checkpoint(self._local_path(path))

    def _place(
        self, weights: Mapping[str, Tensor], path: str, place: Callable[[str], bool] | None
    ) -> LoadReport:
        # A member of a family that is asked for by its name is meant to fit.
        report = load_weights(self.model, weights, path, place=place, exact=is_packaged(path))
        said = []
        if place is not _in_backbone2:
            said = conventions.messages(self.model, report, self._trained_by)
        for level, text in [*report.messages(), *said]:
            logger.log(level, text)
        return report

    def _local_path(self, path: str) -> str:
        if is_packaged(path):
            return packaged_file(path)
        if os.path.exists(path):
            return path
        try:
            return self.path_manager.get_local_path(path)
        except (OSError, RuntimeError) as error:  # RuntimeError: of a name in Detectron2's catalog
            raise ValueError(f"The checkpoint {path} cannot be fetched: {error}.") from None


def _in_backbone2(name: str) -> bool:
    return name.startswith(_BACKBONE2)


def _beside_backbone2(name: str) -> bool:
    return not _in_backbone2(name)


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
    left = [name for name in _fill(model, state) if name in targets]
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


def _fill(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Load some weights; names of the others, which stay as they are."""
    # FrozenBN takes statistics that a file lacks for folded into the affine, and resets its own:
    # right where the affine was loaded, but a module without any source must stay as it is.
    filled = {_module(name) for name in state}
    everything = model.state_dict()
    kept = {name: value for name, value in everything.items() if _module(name) not in filled}
    # Torch's own, since a dynamic detector's would ask here what other names stand for.
    missing = nn.Module.load_state_dict(model, {**kept, **state}, strict=False).missing_keys
    return [*kept, *missing]


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

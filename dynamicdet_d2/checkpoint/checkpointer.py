# SPDX-License-Identifier: Apache-2.0
"""Detectron2's checkpointer for a detector with two backbones."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import conventions, names
from dynamicdet_d2.checkpoint.files import plain, read_checkpoint, unreadable_weights
from dynamicdet_d2.checkpoint.filling import load_weights
from dynamicdet_d2.checkpoint.packaged import is_packaged, packaged_file
from dynamicdet_d2.checkpoint.report import LoadReport
from dynamicdet_d2.utils.files import refuse_pipes, whole_file
from dynamicdet_d2.utils.run_files import LAST
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

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

        Raises:
            ValueError: there is a folder to save in, and the model has a state that could not be
                read again, such as a sparse buffer.
        """
        super().__init__(model, save_dir, **kwargs)
        has_second = any(name.startswith(_BACKBONE2) for name, _ in self.model.named_parameters())
        self.weights2 = weights2 if has_second else ""
        self._as_saved, self._trained_by = as_saved, trained_by
        if save_dir:  # at the end of a training it would be too late
            self._refuse_unreadable()

    def _refuse_unreadable(self) -> None:
        bad = unreadable_weights(self.model.state_dict())
        if bad:
            raise ValueError(
                f"The model's state has '{bad[0]}', which is no plain tensor: a checkpoint with it "
                "could not be read again. A buffer can be kept out by persistent=False."
            )

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
        if self.weights2 and not second:
            logger.info(
                "MODEL.COMPOSITE.WEIGHTS2 %s is not read: %s is a whole dynamic detector, with a "
                "backbone 2 of its own.",
                *(self.weights2, path),
            )
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
            ValueError: it names none, or one that is not there.
        """
        tag = os.path.join(self.save_dir, LAST)
        refuse_pipes(tag, tag)
        with open(tag, "rb") as file:
            name = file.read(_LONGEST_NAME + 1).strip()
        if not re.fullmatch(rb"[^/\\\0\r\n]+", name) or len(name) > _LONGEST_NAME:
            raise ValueError(
                f"{tag} holds {shown(name)}; it must hold the name of a checkpoint in its folder."
            )
        path = os.path.join(self.save_dir, os.fsdecode(name))
        if not os.path.exists(path):
            raise ValueError(f"{tag} names {shown(os.fsdecode(name))}, which is not there.")
        return path

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write ``last_checkpoint``, which names the file to resume from."""
        with whole_file(os.path.join(self.save_dir, LAST)) as file:
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
        except LookupError:
            raise ValueError(f"The checkpoint {path} is not in Detectron2's catalog.") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: of a name in Detectron2's catalog
            raise ValueError(f"The checkpoint {path} cannot be fetched: {error}.") from None


def _in_backbone2(name: str) -> bool:
    return name.startswith(_BACKBONE2)


def _beside_backbone2(name: str) -> bool:
    return not _in_backbone2(name)

# SPDX-License-Identifier: Apache-2.0
"""The loss table's file beside the checkpoints, for a run that resumes."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor

from dynamicdet_d2.checkpoint.files import read_torch
from dynamicdet_d2.engine.loss_table.columns import NOT_BY_IMAGE
from dynamicdet_d2.engine.loss_table.table import LossTable
from dynamicdet_d2.utils.files import whole_file

logger = logging.getLogger(__name__)

NAME = "loss_table.pth"


class LossTableFile:
    """Keeps a table together with what it belongs to; one that belongs elsewhere is not used."""

    def __init__(self, directory: str, fingerprint: Mapping[str, str]) -> None:
        """
        Args:
            directory: ``OUTPUT_DIR``.
            fingerprint: of the run as it is now (``table_fingerprint``).
        """
        self.path = os.path.join(directory, NAME)
        self.fingerprint = dict(fingerprint)

    def save(self, table: LossTable) -> None:
        """Write from the main process; a kill leaves the old file or the new one."""
        if comm.is_main_process():
            with whole_file(self.path) as file:
                torch.save({"columns": dict(table.columns), "of": self.fingerprint}, file)

    def load(self, columns: Sequence[str]) -> LossTable | None:
        """The table, where it is of this very run and has the columns; in all processes or none.

        The log says why a table that is there is not used.
        """
        table = None
        if os.path.isfile(self.path):
            content = _read(self.path)
            fault = self._fault(content, columns)
            if fault:
                logger.warning("%s %s: it is measured anew.", self.path, fault)
            else:
                table = LossTable({name: content["columns"][name] for name in columns})
        # Where the folder is not shared, processes without a file must not measure alone.
        return table if all(comm.all_gather(table is not None)) else None

    def _fault(self, content: Any, columns: Sequence[str]) -> str:
        """Why the file's content cannot be used; empty where it can."""
        if not isinstance(content, dict) or content.keys() != {"columns", "of"}:
            return "is damaged or of another version"
        theirs, ours = content["of"], self.fingerprint
        if not isinstance(theirs, dict) or not _are_columns(content["columns"]):
            return "is damaged or of another version"
        differing = [k for k in {**ours, **theirs} if theirs.get(k) != ours.get(k)]
        if differing:
            return "differs in " + ", ".join(differing[:3])
        missing = [name for name in columns if name not in content["columns"]]
        return f"has no column '{missing[0]}'" if missing else ""


def _are_columns(columns: Any) -> bool:
    """Whether they are tensors by name, finite losses of images among them, as many of all."""
    if not isinstance(columns, dict) or not all(isinstance(c, Tensor) for c in columns.values()):
        return False
    losses = columns.get("losses")
    if losses is None or losses.shape[1:] != (2,) or not len(losses):
        return False
    if not losses.is_floating_point() or not losses.isfinite().all():
        return False
    return all(len(c) == len(losses) for name, c in columns.items() if name not in NOT_BY_IMAGE)


def _read(path: str) -> Any:
    """The file's content, of plain types and tensors; None where it cannot be read."""
    try:
        return read_torch(path)
    except ValueError:
        return None

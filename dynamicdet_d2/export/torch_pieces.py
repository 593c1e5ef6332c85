# SPDX-License-Identifier: Apache-2.0
"""Traced pieces: written, and run with torch."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynamicdet_d2.export.piece import Piece
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.folder import Folder
from dynamicdet_d2.runner.runtimes import Arrays
from dynamicdet_d2.runner.runtimes import Piece as Opened
from dynamicdet_d2.utils.files import whole_file


def save_traced(piece: Piece, path: Path) -> None:
    """Trace a piece and write it."""
    with torch.no_grad():
        traced = torch.jit.trace(piece.module, tuple(piece.example.values()), check_trace=False)
    content = io.BytesIO()
    torch.jit.save(traced, content)  # to a full disk it would abort the process
    with whole_file(path, durable=False) as file:
        file.write(content.getbuffer())


class TorchPieces:
    """Opens traced pieces of a folder."""

    def __init__(self, folder: Folder) -> None:
        """``folder``: whose manifest says in which order a piece takes its inputs."""
        self._pieces = {
            next(iter(piece["files"])): piece for piece in folder.manifest["pieces"].values()
        }

    def __call__(self, path: Path) -> Opened:
        about: dict[str, Any] = self._pieces[path.name]
        module = torch.jit.load(str(path), map_location="cpu").eval()

        def run(inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> Arrays:
            given = [torch.from_numpy(np.ascontiguousarray(inputs[n])) for n in about["inputs"]]
            with torch.no_grad():
                found = module(*given)
            by_name = dict(zip(about["outputs"], found, strict=True))
            return {name: by_name[name].numpy() for name in wanted}

        return run


def open_exported(
    folder: str | Path,
    *,
    threshold: float | None = None,
    hard_fraction: float | None = None,
    threads: int | None = None,
) -> Runner:
    """A runner of a folder that was exported for torch.

    Args:
        folder: from a source that you trust: TorchScript can do more than compute.
        threshold, hard_fraction: as ``Runner`` takes them.
        threads: of ROIAlign; None: as it likes. Those of torch are ``torch.set_num_threads``'s.

    Raises:
        ValueError: as ``Runner``, or the folder was exported for another runtime.
    """
    own = Folder.read(folder)
    if own.manifest["runtime"] != "torch":
        raise ValueError(
            f"{folder} was exported for '{own.manifest['runtime']}', not for 'torch'; "
            "dynamicdet_d2.runner.Runner opens it."
        )
    return Runner(
        own.path,
        threshold=threshold,
        hard_fraction=hard_fraction,
        threads=threads,
        opener=TorchPieces(own),
    )

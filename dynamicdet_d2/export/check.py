# SPDX-License-Identifier: Apache-2.0
"""Whether written pieces say what the model says, at a size and a batch that they were not traced
with."""

from collections.abc import Sequence

import numpy as np
import torch

from dynamicdet_d2.export.piece import Piece, Tensors
from dynamicdet_d2.export.pieces import Pieces
from dynamicdet_d2.runner.runtimes import Piece as Opened

# Of the largest value of an output.
TOLERANCE = 1e-3
# Pixels: on less a backbone that needs no multiples of a stride may have nothing left to look at.
_UNIT = 32


def sides_of(multiple: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width to trace with, and others to try what was traced.

    Both sides differ and so do their products, so that none of them can have become a constant.

    Args:
        multiple: what sides must be multiples of, in pixels.
    """
    unit = multiple * -(-_UNIT // multiple)
    return (3 * unit, 4 * unit), (5 * unit, 3 * unit)


def check_pieces(pieces: Pieces, opened: dict[str, Opened], images: torch.Tensor) -> None:
    """Run every piece on images, and what follows from them, with both.

    Args:
        pieces: for images of any size, or of this one.
        opened: the files, by the pieces' names.
        images: (N, 3, H, W), normalised and padded.

    Raises:
        ValueError: naming the first output that differs.
    """
    known: Tensors = {"images": images}
    for piece in pieces.pieces:
        inputs = {name: known[name] for name in piece.example}
        known.update(_checked(piece, opened[piece.name], inputs))
        if piece.name == "tail1":  # what detector2's tail reads under the names of the first
            known.update({f"f1_{n[3:]}": x for n, x in known.items() if n.startswith("f2_")})


def check_piece(piece: Piece, opened: Opened) -> None:
    """As above, on four times the rows of its own example.

    Raises:
        ValueError: naming the first output that differs.
    """
    _checked(piece, opened, {name: torch.cat([rows] * 4) for name, rows in piece.example.items()})


def _checked(piece: Piece, opened: Opened, inputs: Tensors) -> Tensors:
    expected = piece(inputs)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    try:
        found = opened(arrays, piece.outputs)
    except Exception as error:  # whatever the runtime raises
        first = str(error).strip().partition("\n")[0]
        raise ValueError(_sentence(piece, inputs, f"cannot be run: {first}")) from error
    for name, tensor in expected.items():
        _compare(piece, inputs, name, found[name], tensor.numpy())
    return expected


def _compare(
    piece: Piece, inputs: Tensors, name: str, found: np.ndarray, expected: np.ndarray
) -> None:
    if found.shape != expected.shape:
        says = f"gives {name} of shape {_shown(found.shape)}, not {_shown(expected.shape)}"
        raise ValueError(_sentence(piece, inputs, says))
    difference = float(np.abs(found - expected).max(initial=0))
    if not difference <= TOLERANCE * max(float(np.abs(expected).max(initial=0)), 1.0):
        says = f"gives '{name}', which differs from PyTorch's by {difference:.2g}"
        raise ValueError(_sentence(piece, inputs, says))


def _sentence(piece: Piece, inputs: Tensors, says: str) -> str:
    name, tensor = next(iter(inputs.items()))
    hint = ""
    if "height" in str(piece.axes[name]):
        hint = "; a backbone that cannot be exported for all sizes may be for given ones (--sizes)"
    return f"The exported piece '{piece.name}' {says} for an input of {_shown(tensor.shape)}{hint}."


def _shown(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))

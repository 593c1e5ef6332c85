# SPDX-License-Identifier: Apache-2.0
"""One thread for each process of the tests, as there are as many of them as processors."""

import onnxruntime
import torch

_AsItLikes = onnxruntime.SessionOptions


class _OneThread(_AsItLikes):
    """ONNX Runtime's own threads wait for work in a loop, which takes the other tests' time."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = 1


def on_one_thread() -> None:
    """What asks for another number of threads still has it."""
    torch.set_num_threads(1)
    onnxruntime.SessionOptions = _OneThread

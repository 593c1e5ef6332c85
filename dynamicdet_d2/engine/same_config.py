# SPDX-License-Identifier: Apache-2.0
"""The processes of a run have one config: machines are started by hand, each by its own command."""

import os

from detectron2.config import CfgNode
from detectron2.utils import comm

from dynamicdet_d2.config.leaves import as_lists, leaves
from dynamicdet_d2.engine.run_data import said_once
from dynamicdet_d2.utils.words import shown

# Of no consequence for the other processes.
_OF_A_MACHINE = (
    *("OUTPUT_DIR", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "RUN.TIMEOUT", "VIS_PERIOD"),
    "VERSION",
)


def check_same_config(cfg: CfgNode) -> None:
    """Refuse keys that differ between processes: each would train or measure something else, and
    what is saved would be rank 0's alone. Folders may differ by machine, and what has no
    consequence for the others.

    Raises:
        ValueError: naming the key, in the first process.
        SystemExit: in the others.
    """
    if comm.get_world_size() == 1:
        return
    own = {name: value for name, value in leaves(cfg) if name not in _OF_A_MACHINE}
    everywhere = comm.all_gather({name: _without_folders(as_lists(own[name])) for name in own})
    with said_once():
        for rank, other in enumerate(everywhere):
            for name, value in everywhere[0].items():
                if other.get(name, value) != value:
                    raise ValueError(
                        f"{name} is {shown(value)} for rank 0 and {shown(other[name])} for rank "
                        f"{rank}: all processes of a run need the same config."
                    )


def _without_folders(value: object) -> object:
    if isinstance(value, list):
        return [_without_folders(part) for part in value]
    return os.path.basename(value.rstrip("/")) if isinstance(value, str) else value

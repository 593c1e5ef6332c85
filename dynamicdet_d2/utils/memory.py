# SPDX-License-Identifier: Apache-2.0
"""Memory: what there is, and the CPU's kept by the process as torch keeps that of a GPU."""

import ctypes
import platform
import resource
import sys
from pathlib import Path

import torch

# Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1

# Limit and use of a container, and what the use consists of, of control groups version 2 and 1.
_CGROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
# Caches of files count as used, and go where memory is asked for: after hours of reading images
# they fill a container. Version 1 has the sums over groups below under names of their own.
_CACHES = ("inactive_file", "active_file")


def keep_memory() -> bool:
    """Let the C library keep for this process what large tensors leave behind.

    By default every tensor above 32 MB at the latest is new memory from the kernel, which clears
    it page by page, and goes back when it dies. A detector has dozens of them an image: with
    batches of eight, a quarter of the time went into that. The process's memory stays at its
    peak instead.

    Returns:
        whether it is so from now on; other C libraries than glibc stay as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))


def peak_memory() -> int:
    """The most that this process has had of the machine's memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory(device: torch.device, root: str = "/") -> int | None:
    """Bytes that tensors on a device can still have; None where the machine does not say.

    Args:
        device: a GPU, or the CPU, where a container's limit counts as well.
        root: folder that ``proc`` and ``sys`` are in.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [_available(Path(root) / "proc/meminfo"), *map(_left_in, _cgroups(Path(root)))]
    return min((free for free in found if free is not None), default=None)


def _available(meminfo: Path) -> int | None:
    if not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), None)


def _cgroups(root: Path) -> list[tuple[Path, Path, Path]]:
    folder = root / "sys/fs/cgroup"
    return [(folder / limit, folder / used, folder / stat) for limit, used, stat in _CGROUPS]


def _left_in(cgroup: tuple[Path, Path, Path]) -> int | None:
    """Of a container with a limit."""
    try:
        limit, used = (path.read_text().strip() for path in cgroup[:2])
    except OSError:
        return None
    if not (limit.isdigit() and used.isdigit()):
        return None
    return int(limit) - max(int(used) - _cached(cgroup[2]), 0)


def _cached(stat: Path) -> int:
    """Bytes of file caches; 0 where the system does not say."""
    try:
        lines = [line.split() for line in stat.read_text().splitlines()]
    except OSError:
        return 0
    known = {name: int(count) for name, count in (x for x in lines if len(x) == 2)}
    return sum(known.get(f"total_{name}", known.get(name, 0)) for name in _CACHES)

# SPDX-License-Identifier: Apache-2.0
"""Memory of the CPU kept by the process, as torch keeps that of a GPU."""

import ctypes
import platform

# Of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


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

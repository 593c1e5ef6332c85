# SPDX-License-Identifier: Apache-2.0
"""Memory that the process keeps, seen from a process of its own."""

import platform
import subprocess
import sys

import pytest

# Pages that the kernel handed out anew while a tensor of 64 MB was made and freed ten times.
COUNT = """
import resource, sys, torch
from dynamicdet_d2.utils.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
for _ in range(3):
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(mode: str) -> int:
    command = [sys.executable, "-W", "ignore", "-c", COUNT, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc")
def test_a_large_tensor_gets_the_memory_of_the_last_one() -> None:
    assert 20 * pages("keep") < pages("default")

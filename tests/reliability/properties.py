# SPDX-License-Identifier: Apache-2.0
"""What every property that is fuzzed is made of."""

import functools
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SENTENCE = re.compile(r"(?s).{10,3000}\.\)?$")


@dataclass(frozen=True)
class Target:
    """A property: ``holds`` raises where an input does not have it."""

    inputs: st.SearchStrategy
    holds: Callable[[Any], None]


@functools.cache
def folder() -> Path:
    """Files of this process."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def sentence(error: ValueError, *names: str) -> None:
    """Assert that an error is one, and says one of some names where there are any."""
    said = str(error)
    assert SENTENCE.match(said), said
    assert not names or any(name in said for name in names), said

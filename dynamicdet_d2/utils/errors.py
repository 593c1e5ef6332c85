# SPDX-License-Identifier: Apache-2.0
"""How every command ends when something is wrong: one sentence, and an exit status.

Standard library alone, so that a command can say that a library is missing.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

logger = logging.getLogger(__name__)

# Exit statuses: what failed, what the user typed, and Ctrl-C as shells count it.
FAILED, TYPED, INTERRUPTED = 1, 2, 130
# Of torch's allocator, and of oneDNN, whose operators need some memory for themselves; that it has
# no descriptor for one says that it does not know it.
_NO_MEMORY = re.compile("can't allocate memory|could not create a primitive(?! descriptor)")
# Of the system's loader, where a library is there and has no room.
_NO_ROOM = "failed to map segment from shared object"


class RunError(Exception):
    """What the machine did to a run, in one sentence."""


@contextmanager
def one_sentence(program: str) -> Iterator[None]:
    """Meet what goes wrong inside with a sentence on stderr; the log keeps the traceback.

    What a user got wrong is a ValueError and ends with status 2; what the machine or the training
    did ends with status 1. Errors of other kinds are the program's own and pass through.

    Args:
        program: how the user called it; stands before the sentence.

    Raises:
        SystemExit: with the status.
    """
    try:
        yield
    except ValueError as error:
        _end(program, _with_notes(error), TYPED)
    except (OSError, FloatingPointError, RunError) as error:
        _end(program, _with_notes(error), FAILED)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0].rstrip(".") or "MemoryError"
        less = "fewer or smaller images at a time, or a smaller model, need less"
        _end(program, f"There is not enough memory; {less} ({reason}).", FAILED)
    except ImportError as error:
        doctor = "'python -m dynamicdet_d2 doctor' says what is missing and what installs it"
        room = "there is not enough memory for it; 'ulimit -v' says how much this process may have"
        _end(program, f"{error}: {room if _NO_ROOM in str(error) else doctor}.", FAILED)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's memory, or a GPU's, was too small; torch says so in several ways."""
    named = type(error).__name__ == "OutOfMemoryError"
    said = _NO_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError) or named or said


def _with_notes(error: Exception) -> str:
    """What the error says, and what was noted on its way, such as the image that it is about."""
    said = str(error)
    if isinstance(error, OSError) and said.startswith("[Errno"):
        said = f"{error.strerror}." if error.filename is None else _named(error)
    return " ".join([said, *getattr(error, "__notes__", ())])


def _named(error: OSError) -> str:
    """The system's complaint after the name that it is about."""
    return f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}."


def _end(program: str, sentence: str, status: int) -> None:
    logger.debug("%s", traceback.format_exc())
    with suppress(OSError):
        sys.stderr.write(f"{program}: error: {sentence}\n")
    sys.exit(status)

# SPDX-License-Identifier: Apache-2.0
"""How much a pickle stands for, from its opcodes, before any of it is built.

A pickle names what it has built before by a number, so that a few bytes can hold a tuple of a
tuple of a tuple ..., each twice the one inside it. To build it costs nothing; to hash it as a
key takes as long as there are paths through it.
"""

import io
import pickletools
import zipfile
from contextlib import suppress
from typing import IO

# Of the sum over all parts, each as often as it is named. Checkpoints name hardly anything twice.
MOST_PARTS = 10**8

# How torch tells an archive from an older file, whatever stands behind that one's end.
_ARCHIVE = b"PK\x03\x04"
# A file of torch.save from before its archives: magic number, protocol, system, content, keys.
_PICKLES_OF_A_FILE = 5

_CHANGES_THE_LOWEST = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}


class TooMuch(Exception):
    """A pickle stands for more parts than any checkpoint has."""


class _Part:
    """Something on the pickle's stack: how many parts it has, each as often as it is named."""

    def __init__(self, size: int) -> None:
        self.size = size


class _Sizes:
    """The stack and the memory of a pickle, of sizes alone."""

    def __init__(self) -> None:
        self._stack: list[_Part | None] = []  # None: a mark
        self._memo: dict[int, _Part | None] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Do what one opcode does.

        Raises:
            TooMuch: something has more parts than it may have.
            IndexError, KeyError, ValueError: it takes what is not there.
        """
        if opcode.name in _PUTS:
            self._memo[int(str(argument))] = self._stack[-1]
        elif opcode.name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif opcode.name in _GETS:
            self._stack.append(self._memo[int(str(argument))])
        elif opcode.name == "MARK":
            self._stack.append(None)
        elif opcode.name == "DUP":
            self._stack.append(self._stack[-1])
        elif opcode.name not in ("PROTO", "FRAME", "STOP"):
            self._replace(opcode)

    def _replace(self, opcode: pickletools.OpcodeInfo) -> None:
        taken = self._taken(opcode)
        size = 1 + sum(part.size for part in taken if part)
        if size > MOST_PARTS:
            raise TooMuch
        if opcode.name in _CHANGES_THE_LOWEST and taken[0]:
            taken[0].size = size
            self._stack.append(taken[0])
        else:
            self._stack.extend(_Part(size) for _ in opcode.stack_after)

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[_Part | None]:
        """What the opcode takes off the stack, the lowest first."""
        taken: list[_Part | None] = []
        lowest = list(opcode.stack_before)
        if pickletools.markobject in lowest:
            while (part := self._stack.pop()) is not None:
                taken.append(part)
            lowest = lowest[: lowest.index(pickletools.markobject)]
        taken.extend(self._stack.pop() for _ in lowest)
        return taken[::-1]


def check_size(file: IO[bytes]) -> None:
    """Read one pickle's opcodes, up to its end.

    Raises:
        TooMuch: it stands for more than 10^8 parts.
        IndexError, KeyError, ValueError: it is no pickle.
    """
    sizes = _Sizes()
    for opcode, argument, _ in pickletools.genops(file):
        sizes.step(opcode, argument)


def check_sizes(path: str) -> None:
    """The same for every pickle in a file of ``torch.save``, an archive or an older one.

    What is no pickle is left to whoever reads it.

    Raises:
        TooMuch: a pickle in it stands for more than 10^8 parts.
        zipfile.BadZipFile: it begins as an archive and is none, or one as ``stored_records`` says.
    """
    with open(path, "rb") as file:
        if file.read(len(_ARCHIVE)) != _ARCHIVE:
            file.seek(0)
            _check_pickles(file, _PICKLES_OF_A_FILE)
            return
    with zipfile.ZipFile(path) as archive:
        for record in stored_records(archive):
            if record.filename.endswith(".pkl"):
                del record.CRC  # of torch.save's without checksums it is another number
                _check_pickles(io.BytesIO(archive.read(record)), 1)


def stored_records(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """What is in an archive of ``torch.save``.

    Raises:
        zipfile.BadZipFile: a record is compressed, as ``torch.save`` leaves none: it may be a
            thousand times as large in memory as in the file.
    """
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise zipfile.BadZipFile("compressed")
    return records


def _check_pickles(file: IO[bytes], most: int) -> None:
    with suppress(IndexError, KeyError, ValueError):
        for _ in range(most):
            check_size(file)

# SPDX-License-Identifier: Apache-2.0
"""Pickles of arrays and plain types, read without running anything in them; archives' checksums."""

import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import numpy as np

from dynamicdet_d2.utils.pickle_size import stored_records


class ForbiddenName(Exception):
    """A file refers to a function or class that is not loaded; says which."""


def load(file: IO[bytes], **_: Any) -> Any:
    """In the place of ``pickle.load``: numpy arrays, builtin types and containers.

    Args:
        file: open for reading.
        _: what ``pickle.load`` takes beside; text of Python 2 is read as latin1 in any case.

    Raises:
        ForbiddenName: the file refers to anything else.
    """
    return _ArrayUnpickler(file, encoding="latin1").load()


def damaged_record(path: str) -> str | None:
    """The first record of a zip archive whose bytes are not those of its checksum; None: all are.

    What ``torch.save`` writes is such an archive, and ``torch.load`` does not look at checksums.
    Files that are no archives have none.

    Raises:
        zipfile.BadZipFile: the archive is cut short, its list of records is damaged, or one of
            them is compressed.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        records = stored_records(archive)
        # torch.serialization.set_crc32_options(False) leaves one number for all of them.
        if len(records) > 1 and len({record.CRC for record in records}) == 1:
            return None
        try:
            return archive.testzip()
        # Flipped bits in headers, and in names.
        except (NotImplementedError, RuntimeError, UnicodeDecodeError, zlib.error) as error:
            raise zipfile.BadZipFile(str(error)) from None


def newer_protocol(path: str) -> str | None:
    """What keeps torch from reading an archive of ``torch.save`` without running what it names: a
    pickle of protocol 4 or above, which ``pickle_protocol`` asks for; None: that is not it.

    Args:
        path: of a file that could not be read.
    """
    with suppress(Exception):  # a damaged file raises anything at all
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    with archive.open(name) as record:
                        start = record.read(2)
                    if start[:1] == pickle.PROTO and start[1:] > b"\x03":
                        return (
                            f"{path} was saved with pickle_protocol {start[1]}, which torch does "
                            "not read without running what such a file names: save it again "
                            "without pickle_protocol."
                        )
    return None


def _latin1(text: str, encoding: str) -> bytes:
    """How pickle's protocol 2 spells bytes: ``codecs.encode`` for this one encoding."""
    if encoding != "latin1":
        raise ForbiddenName(f"codecs.encode to {encoding}")
    return text.encode("latin1")


def _filled(kind: type) -> Callable:
    """A container's or text's type, made of what stands in the file: a few bytes can ask for a
    length, or for the elements of an array, that fill the memory."""

    def made(*content: object) -> object:
        if not all(
            isinstance(part, bytes | dict | frozenset | list | set | str | tuple)
            for part in content
        ):
            raise ForbiddenName(f"{kind.__name__} of a number or an array")
        return kind(*content)

    return made


class _Array:
    """Stands for numpy's array in a file, where it names what is made and is not called."""


def _made_array(_: object, shape: tuple, kind: bytes) -> np.ndarray:
    """An empty array, which is filled after it; pickles of arrays have no other one."""
    if tuple(shape) != (0,):
        raise ForbiddenName("numpy's _reconstruct of a size")
    made: np.ndarray = _RECONSTRUCT(np.ndarray, (0,), kind)
    return made


def _made_number(kind: np.dtype, content: bytes | str = b"") -> np.generic:
    """One number, of the bytes that stand in the file: without any it is as long as its type says,
    which may be gigabytes."""
    if not content:
        raise ForbiddenName("numpy's scalar of no bytes")
    made: np.generic = _SCALAR(kind, content)
    return made


_SCALAR: Callable = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
_RECONSTRUCT: Callable = np.zeros(1).__reduce_ex__(2)[0]  # type: ignore[assignment]


def _allowed_globals() -> dict[tuple[str, str], object]:
    numbers = {kind.__name__: kind for kind in (bool, complex, float, int)}
    others = (bytearray, bytes, dict, frozenset, list, set, str, tuple)
    builtin = numbers | {kind.__name__: _filled(kind) for kind in others}
    allowed: dict[tuple[str, str], object] = {
        (module, name): kind
        for name, kind in builtin.items()
        for module in ("builtins", "__builtin__")
    }
    # numpy moved its internals from numpy.core to numpy._core; files have either name.
    array = np.zeros(1)
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _made_array
        allowed[f"{core}.numeric", "_frombuffer"] = array.__reduce_ex__(5)[0]
        allowed[f"{core}.multiarray", "scalar"] = _made_number
    allowed["numpy", "ndarray"] = _Array
    allowed["numpy", "dtype"] = np.dtype
    allowed["collections", "OrderedDict"] = OrderedDict
    allowed["_codecs", "encode"] = _latin1
    return allowed


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and builtin containers and refuses every other global."""

    _allowed = _allowed_globals()

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._allowed:
            raise ForbiddenName(f"{module}.{name}")
        return self._allowed[module, name]

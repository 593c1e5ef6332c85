# SPDX-License-Identifier: Apache-2.0
"""Dataclasses from and to the plain types of JSON, by their annotations.

Numbers (null only where an annotation allows it), true and false, strings, a choice of strings,
tuples of one type, mappings with string keys, and dataclasses of these. A field with a default may
be missing, and a key that no field has is passed over, so that files of other versions are read.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeGuard

from dynamicdet_d2.utils.words import shown

_NUMBERS = {float: "a number", int: "a whole number"}


def to_plain(value: Any) -> Any:
    """Dicts, lists, strings and numbers, of numpy's too; keys in the order of the fields."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value  # of arrays and single numbers


def from_plain(kind: Any, content: Any, name: str) -> Any:
    """A value of ``kind``, an annotation, from content of a JSON file.

    Args:
        content: plain types; a dataclass that it has already is left as it is.
        name: of the value in messages, such as ``points[0].gflops``.

    Raises:
        ValueError: naming the value that is missing, of another type, or not finite.
    """
    if kind is Any:
        return content
    if isinstance(kind, types.UnionType):
        some, _ = typing.get_args(kind)  # of "float | None" and its like
        return None if content is None else from_plain(some, content, name)
    if kind is bool:
        return checked(bool, content, name, "true or false")
    if kind in _NUMBERS:
        return _number(kind, content, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record(kind, content, name)
    if typing.get_origin(kind) is Literal:
        return _choice(typing.get_args(kind), content, name)
    return _collection(kind, content, name)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that a float can hold; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def finite(value: float) -> float | None:
    """A plain float; None for what is not a number."""
    return float(value) if math.isfinite(value) else None


def checked(kind: type, content: Any, name: str, says: str) -> Any:
    """The content, if it is of a kind that the words in ``says`` describe.

    Raises:
        ValueError: it is of another.
    """
    if not isinstance(content, kind):
        raise ValueError(f"{name or 'the content'} is {shown(content):.40}; it must be {says}")
    return content


def _number(kind: type, content: Any, name: str) -> float:
    if not is_finite(content) or not isinstance(content, int | kind):
        raise ValueError(f"{name} is {shown(content):.40}; it must be {_NUMBERS[kind]}")
    return content


def _record(kind: type, content: Any, name: str) -> Any:
    if isinstance(content, kind):
        return content
    content = checked(dict, content, name, "an object")
    annotations = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        where = f"{name}.{field.name}" if name else field.name
        if field.name in content:
            values[field.name] = from_plain(annotations[field.name], content[field.name], where)
        elif not _has_default(field):
            raise ValueError(f"{where} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from None


def _choice(allowed: tuple[Any, ...], content: Any, name: str) -> Any:
    if content not in allowed:
        choices = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} is {shown(content):.40}; it must be {choices}")
    return content


def _has_default(field: dataclasses.Field) -> bool:
    return (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)


def _collection(kind: Any, content: Any, name: str) -> Any:
    if kind is str:
        return checked(str, content, name, "a string")
    if typing.get_origin(kind) is Mapping:
        _, item = typing.get_args(kind)
        content = checked(dict, content, name, "an object")
        return {key: from_plain(item, value, f"{name}.{key}") for key, value in content.items()}
    item, _ = typing.get_args(kind)  # of "tuple[float, ...]" and its like
    content = checked(list, content, name, "a list")
    return tuple(from_plain(item, value, f"{name}[{i}]") for i, value in enumerate(content))

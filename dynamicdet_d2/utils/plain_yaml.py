# SPDX-License-Identifier: Apache-2.0
"""YAML files of unknown worth: plain values, every key once, and no more than is written there."""

import copy
import re
from collections import Counter
from enum import Enum, auto
from typing import IO, Any

import yaml

from dynamicdet_d2.utils.words import shown

# Detectron2's RetinaNets have their anchors as a line of Python, which is known by its text: this
# is what it stands for, and nothing is evaluated.
_EVALUATED = "tag:yaml.org,2002:python/object/apply:eval"
_KNOWN = {
    "[[x,x*2**(1.0/3),x*2**(2.0/3)]forxin[32,64,128,256,512]]": [
        [side, side * 2 ** (1.0 / 3), side * 2 ** (2.0 / 3)] for side in (32, 64, 128, 256, 512)
    ]
}

# Values of a file with its aliases written out: ten lines can stand for more than any memory holds.
MOST_VALUES = 100_000
# 010 and 12:30, and not 0, 0x1F or 0b1.
_OLD_NUMBER = re.compile(r"[+-]?(0_*[0-7]|[^x]*:)")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# As folders are called: 2026-11-29.
_DATE = "tag:yaml.org,2002:timestamp"


class PlainYamlError(Exception):
    """What is wrong with the text, as the end of a sentence that begins with the file's name."""


class Numbers(Enum):
    """What becomes of what YAML takes for a number; to it 010 is 8, and 12:30 is 750."""

    AS_YAML = auto()
    NEW = auto()
    """Those two kinds, which nobody else reads so, are refused."""
    WORDS = auto()
    """They are text, as they are written."""


def read_yaml(text: str | IO[str], numbers: Numbers = Numbers.AS_YAML) -> Any:
    """Content of a YAML text.

    Args:
        numbers: what becomes of them.

    Raises:
        PlainYamlError: it is none, or holds more than plain values, a key twice, or aliases without
            end.
    """
    try:
        return yaml.load(text, _LOADERS[numbers])
    except yaml.constructor.ConstructorError as error:
        raise PlainYamlError(
            f"holds more than plain values, and no code runs from it: {_one_line(error)}."
        ) from None
    except UnicodeDecodeError as error:
        raise PlainYamlError(f"is no text in UTF-8: {_one_line(error)}.") from None
    except (yaml.YAMLError, ValueError) as error:  # dates and numbers too
        raise PlainYamlError(f"is not YAML: {_one_line(error)}.") from None
    except RecursionError:
        raise PlainYamlError("is nested too deeply.") from None


def _resolvers(loader: type[yaml.SafeLoader], *without: str) -> dict:
    """What a loader takes words without quotes for, but for some tags."""
    return {
        first: [(tag, form) for tag, form in found if tag not in without]
        for first, found in loader.yaml_implicit_resolvers.items()
    }


class _PlainLoader(yaml.SafeLoader):
    """Plain values alone, every key of a mapping once, and aliases that end; a date is text."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeLoader, _DATE)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _values(node, {}) > MOST_VALUES:
            raise PlainYamlError(f"has more than {MOST_VALUES} values, with its aliases.")
        return node

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        if isinstance(node, yaml.MappingNode):
            lists = [key for key, _ in node.value if isinstance(key, yaml.CollectionNode)]
            if lists:  # as {{ x }} has, of templates
                line = lists[0].start_mark.line + 1
                raise PlainYamlError(f"has a list or mapping in the place of a key at line {line}.")
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                line = node.start_mark.line + 1
                raise PlainYamlError(f"has {shown(twice[0])} twice in the mapping at line {line}.")
        return super().construct_mapping(node, deep)


def _known_value(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    parts = node.value if isinstance(node, yaml.SequenceNode) else []
    texts = ["".join(part.value.split()) for part in parts if isinstance(part, yaml.ScalarNode)]
    if len(parts) == 1 and texts and texts[0] in _KNOWN:
        return copy.deepcopy(_KNOWN[texts[0]])
    return loader.construct_undefined(node)


_PlainLoader.add_constructor(_EVALUATED, _known_value)


class _NewNumbersLoader(_PlainLoader):
    """Without numbers of base 8 that begin with a 0, and of base 60."""


def _new_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    value = loader.construct_yaml_int(node)
    if _OLD_NUMBER.match(node.value):
        written = shown(node.value).strip("'")
        raise PlainYamlError(
            f"has {written} at line {node.start_mark.line + 1}, which YAML reads as "
            f"{shown(value)}: write that, or {written} in quotes where it is text."
        )
    return value


_NewNumbersLoader.add_constructor(_NUMBERS[0], _new_number)


class _WordsLoader(_PlainLoader):
    """Numbers are text."""

    yaml_implicit_resolvers = _resolvers(_PlainLoader, *_NUMBERS)


_LOADERS = {
    Numbers.AS_YAML: _PlainLoader,
    Numbers.NEW: _NewNumbersLoader,
    Numbers.WORDS: _WordsLoader,
}


def _values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node stands for, with its aliases written out.

    Args:
        known: of the nodes that were counted; None: of one that is being counted.

    Raises:
        PlainYamlError: it holds itself.
    """
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            line = node.start_mark.line + 1
            raise PlainYamlError(f"has a value at line {line} that holds itself.")
        return count
    known[id(node)] = None
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in parts for part in pair]
    known[id(node)] = count = 1 + sum(_values(part, known) for part in parts)
    return count


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")

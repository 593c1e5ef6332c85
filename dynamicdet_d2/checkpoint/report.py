# SPDX-License-Identifier: Apache-2.0
"""What a load did: counts and groups short enough to be read."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynamicdet_d2.checkpoint.names import DYNAMICDET, detector_name

_MAX_GROUPS = 20
_MAX_MISMATCHES = 10
# By the names that a single detector has.
_HEADS = re.compile(r"(roi_heads|head|proposal_generator)\.")


@dataclass(frozen=True)
class ShapeMismatch:
    """A weight that has one shape in the file and another in the model."""

    name: str
    file_shape: tuple[int, ...]
    model_shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.file_shape} in the file, {self.model_shape} in the model"


@dataclass(frozen=True)
class LoadReport:
    """What came of loading a file into a model.

    Attributes:
        path: the file, as it was named.
        file_format: whose names it has, one of the formats of ``names``.
        loaded: names in the model that were filled.
        duplicated: names in the file that went into both detectors.
        interpolated: names in the model of tables that the file has for another window size.
        initial: names in the model that kept their initial value, for want of a source.
        unmatched: names in the file that the model has no use for.
        mismatched: weights that kept their initial value because the shapes differ.
        model_names, file_names: all names, which the groups are told by.
    """

    path: str
    file_format: str
    loaded: tuple[str, ...]
    duplicated: tuple[str, ...]
    interpolated: tuple[str, ...]
    initial: tuple[str, ...]
    unmatched: tuple[str, ...]
    mismatched: tuple[ShapeMismatch, ...]
    model_names: tuple[str, ...]
    file_names: tuple[str, ...]

    @property
    def has_heads(self) -> bool:
        """Whether heads were filled, as by a complete detector and by no backbone alone."""
        return any(_HEADS.match(detector_name(name)) for name in self.loaded)

    def messages(self) -> list[tuple[int, str]]:
        """Log level and text of each line.

        A file of the model's own kind is expected to fit it, so what does not is a warning
        there; a backbone or a single detector never fills a whole dynamic detector, but all that a
        detector has is expected to have a place in one.
        """
        level = logging.WARNING if self.file_format == DYNAMICDET else logging.INFO
        lines = [(logging.INFO, self._summary())]
        if self.interpolated:
            count = len(self.interpolated)
            text = f"Interpolated {count} tables of relative positions to the model's window size."
            lines.append((level, text))
        if self.initial:
            groups = summarise(self.initial, self.model_names)
            lines.append((level, f"Left at initial value ({len(self.initial)}): {groups}."))
        if self.unmatched:
            groups = summarise(self.unmatched, self.file_names)
            text = f"Not used from the file ({len(self.unmatched)}): {groups}."
            if self.has_heads:
                text += (
                    " The model has no part for them: where they are of the detector, it will not "
                    "detect what it did."
                )
            lines.append((logging.WARNING if self.has_heads else level, text))
        lines += [(logging.WARNING, text) for text in self._other_shapes()]
        return lines

    def _other_shapes(self) -> list[str]:
        """A line each of the first ones: of another depth there are hundreds."""
        said = "Left at initial value, because the shapes differ: "
        lines = [f"{said}{mismatch}." for mismatch in self.mismatched[:_MAX_MISMATCHES]]
        more = len(self.mismatched) - len(lines)
        return [*lines, f"{said}{more} more."] if more else lines

    def _summary(self) -> str:
        text = f"Loaded {len(self.loaded)} tensors from {self.path} ({self.file_format} names)"
        if self.duplicated:
            text += f"; {len(self.duplicated)} of the file's went into both detectors"
        return text + "."


def summarise(names: Sequence[str], universe: Iterable[str], *, most: int = _MAX_GROUPS) -> str:
    """Names in groups: each the largest module all of whose weights are among the names.

    Modules beside each other are put together: ``res4.{6, 7} (18), router (4)``.

    Args:
        names: some of ``universe``.
        universe: all names there are.
        most: groups that are named; of more their number is said.
    """
    siblings: dict[str, dict[str, int]] = defaultdict(dict)
    for module, count in whole_modules(names, universe).items():
        parent, _, child = module.rpartition(".")
        siblings[parent][child] = count
    groups = []
    for parent, children in siblings.items():
        if parent and len(children) > 1:
            total = sum(children.values())
            groups.append(_counted(f"{parent}.{{{', '.join(children)}}}", total))
        else:
            prefix = f"{parent}." if parent else ""
            groups += [_counted(prefix + child, n) for child, n in children.items()]
    groups.sort()
    if len(groups) > most:
        groups = [*groups[:most], f"and {len(groups) - most} groups more"]
    return ", ".join(groups)


def whole_modules(names: Sequence[str], universe: Iterable[str]) -> Counter:
    """How many names each of the largest modules has that lie wholly among the names."""
    inside = Counter(prefix for name in names for prefix in _prefixes(name))
    total = Counter(prefix for name in universe for prefix in _prefixes(name))
    whole = (
        next(prefix for prefix in _prefixes(name) if inside[prefix] == total[prefix])
        for name in names
    )
    return Counter(whole)


def _prefixes(name: str) -> list[str]:
    """``a.b.c`` -> ``a``, ``a.b``, ``a.b.c``."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _counted(name: str, count: int) -> str:
    return name if count == 1 else f"{name} ({count})"

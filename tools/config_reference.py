#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/config.md, every config key with default, range and meaning, from their declarations.

python tools/config_reference.py
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dynamicdet_d2.config.declare import KEYS, Key  # noqa: E402
from dynamicdet_d2.config.ranges import Each  # noqa: E402

PAGE = ROOT / "docs" / "config.md"
# The general keys first; those of one kind of detector or recipe after them.
FIRST = "keys.py"

INTRODUCTION = """# Config reference

Every key that the project adds to Detectron2's config: default, what it may be, what it does. This
page is written by `python tools/config_reference.py` from `dynamicdet_d2/config/*keys.py`; change
it there. What several keys must agree in is in `dynamicdet_d2/config/rules.py`, and is said, all of
it at once, before anything is built.

Detectron2's own keys are as in [its reference](
https://detectron2.readthedocs.io/en/latest/modules/config.html), with the limits at the end.

Keys that stand in one row belong together.
""".replace("(\nhttps", "(https")


@dataclass(frozen=True)
class Entry:
    """Keys that share a comment: their declarations, and what the comment says."""

    keys: tuple[Key, ...]
    meaning: str

    @property
    def section(self) -> str:
        """What the first key's name begins with, up to its last dot."""
        return self.keys[0].name.rpartition(".")[0]


def entries(source: str) -> Iterator[Entry]:
    """The keys of a file by their comments, in the order of the file.

    Raises:
        ValueError: naming a key that has no comment.
    """
    lines = source.splitlines()
    group: list[Key] = []
    meaning, end = "", -1
    for name, first, last in _declared(source):
        above = _comment(lines, first)
        if above or first != end + 1:
            if group:
                yield Entry(tuple(group), meaning)
            group, meaning = [], above
        if not meaning:
            raise ValueError(f"{name} has no comment above it.")
        group.append(KEYS[name])
        end = last
    if group:
        yield Entry(tuple(group), meaning)


def _declared(source: str) -> Iterator[tuple[str, int, int]]:
    """Name, first and last line (from 1) of each key that a file declares."""
    for node in ast.parse(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "key":
            yield ast.literal_eval(call.args[0]), node.lineno, node.end_lineno or node.lineno


def _comment(lines: list[str], first: int) -> str:
    """The comment that ends in the line above."""
    found: list[str] = []
    for line in reversed(lines[: first - 1]):
        if not line.startswith("#"):
            break
        found.insert(0, line.lstrip("# "))
    return " ".join(found)


def reference() -> str:
    """The whole page.

    Raises:
        ValueError: a key has no comment, or none of the files that were read declares it.
    """
    folder = ROOT / "dynamicdet_d2" / "config"
    files = sorted(folder.glob("*keys.py"), key=lambda path: (path.name != FIRST, path.name))
    found = [entry for path in files for entry in entries(path.read_text(encoding="utf-8"))]
    shown = {key.name for entry in found for key in entry.keys}
    if hidden := sorted(key.name for key in KEYS.values() if key.ours and key.name not in shown):
        raise ValueError(f"{hidden[0]} is declared in no config/*keys.py.")
    by_section: dict[str, list[Entry]] = {}
    for section, part in groupby(found, key=lambda entry: entry.section):
        by_section.setdefault(section, []).extend(part)
    parts = [INTRODUCTION]
    parts += [f"## {section}\n\n{_table(part)}" for section, part in by_section.items()]
    return "\n".join([*parts, _limits()])


def _table(part: list[Entry]) -> str:
    rows = ["| key | default | it must | meaning |", "|---|---|---|---|"]
    for entry in part:
        columns = (
            [f"`{key.name.removeprefix(entry.section + '.')}`" for key in entry.keys],
            [f"`{key.default!r}`" for key in entry.keys],
            [_must(key) for key in entry.keys],
        )
        cells = ["<br>".join(map(_cell, column)) for column in columns]
        rows.append(f"| {' | '.join(cells)} | {_cell(entry.meaning)} |")
    return "\n".join(rows) + "\n"


def _must(key: Key) -> str:
    said = key.range.must
    return f"{said}; each must {key.range.entry.must}" if isinstance(key.range, Each) else said


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _limits() -> str:
    rows = ["| key | it must |", "|---|---|"]
    rows += [f"| `{k.name}` | {_cell(_must(k))} |" for k in KEYS.values() if not k.ours]
    return "\n".join(["## Limits of Detectron2's own keys", "", *rows, ""])


def main() -> None:
    PAGE.write_text(reference(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()

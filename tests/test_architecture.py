# SPDX-License-Identifier: Apache-2.0
"""ARCHITECTURE.md holds: who may import whom, and how long files and functions are."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "dynamicdet_d2"

# A room may import those before it.
ROOMS = (
    "utils",
    "runner",
    "parts",
    "data",
    "config",
    "operating_point",
    "budget",
    "acceleration",
    "modeling",
    "checkpoint",
    "evaluation",
    "engine",
    "calibration",
    "prediction",
    "model_folder",
    "export",
    "commands",
)
# What an exported detector runs with.
RUNNER_NEEDS = {"numpy", "PIL", PACKAGE} | sys.stdlib_module_names
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60

MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
INSIDE = [path for path in MODULES if path.parent != ROOT / PACKAGE or path.stem == "parts"]


def everything_imported(path: Path) -> Iterator[str]:
    """Dotted names of the modules that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imported(path: Path) -> Iterator[str]:
    """Dotted names of the package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (f"{PACKAGE}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: a relative import says no room"
            yield node.module


def room(dotted: str) -> str:
    return dotted.split(".")[1]


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_those_below_them(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    allowed = {*ROOMS[: ROOMS.index(own) + 1], "__version__"}
    others = {room(name) for name in imported(path) if name.startswith(f"{PACKAGE}.")}
    assert others <= allowed


def test_the_runner_and_what_it_imports_need_no_torch() -> None:
    waiting, seen = list((ROOT / PACKAGE / "runner").rglob("*.py")), set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        names = set(everything_imported(path))
        assert {name.split(".")[0] for name in names} <= RUNNER_NEEDS, path
        files = [ROOT / f"{name.replace('.', '/')}.py" for name in names]
        waiting += [file for file in files if file.exists() and file not in seen]
    assert ROOT / PACKAGE / "utils" / "files.py" in seen


def test_every_room_has_its_place() -> None:
    rooms = {path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert rooms - {"__init__", "__main__"} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f.name for f in functions if f.end_lineno - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert long == []


def test_the_page_names_files_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = {word for word in text.split("`")[1::2] if "/" in word and " " not in word}
    assert named
    missing = [
        word
        for word in named
        if not (ROOT / word).exists() and not (ROOT / PACKAGE / word).exists()
    ]
    assert missing == []

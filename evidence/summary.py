# SPDX-License-Identifier: Apache-2.0
"""The pages of all results, and a plot for each data set, from the JSON files.

``evidence.md`` compares the set-ups; of each dynamic one there is a page in ``evidence/``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dynamicdet_d2.utils.files import whole_file
from evidence import tables
from evidence.costs import costs_of
from evidence.group import groups
from evidence.plot import cost_chart, near
from evidence.records import Result, read_all
from evidence.setups import SHOWN, title
from evidence.timing import Times, read_times

PAGE = "evidence.md"
# Folder beside it, of the pages of single set-ups.
DETAILS = "evidence"
# What was chosen on val is judged by test; where test was not read, val is all there is.
CHOICE = "val"
SPLITS = ("test", CHOICE)


def write(results: Path, times: Path, folder: Path) -> list[Path]:
    """Write pages and plots into a folder, and say where they are.

    Args:
        results, times: folders of JSON files.

    Raises:
        ValueError: naming a file that is none.
    """
    found = read_all(results)
    contents = {name: text.encode() for name, text in pages(found, read_times(times)).items()}
    for data in _data_sets(found):
        contents |= _plots(data, _of(found, data))
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(content)
    return [folder / name for name in contents]


def _plots(data: str, results: Sequence[Result]) -> dict[str, bytes]:
    """Name -> PNG, of all set-ups, and of the one that the README shows, if it is there."""
    every = groups(results, _splits(results)[0])
    shown = {
        plot_name(f"{data}_shown"): cost_chart(near(group, every))
        for group in every
        if group.setup == SHOWN
    }
    return {plot_name(data): cost_chart(every), **shown}


def pages(results: Sequence[Result], times: Sequence[Times]) -> dict[str, str]:
    """Name -> Markdown, the comparison first; the same files give the same pages."""
    sections = [_section(data, _of(results, data), times) for data in _data_sets(results)]
    details = [page for section in sections for page in section["pages"]]
    return {
        PAGE: _render("evidence.md.j2", {"sections": sections}),
        **{page["name"]: _render("setup.md.j2", page) for page in details},
    }


def _render(template: str, values: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values, tables=tables)


def plot_name(data: str) -> str:
    return f"evidence_{data}.png"


def _section(data: str, results: Sequence[Result], times: Sequence[Times]) -> dict[str, Any]:
    """What the comparison says of a data set."""
    timed = [found for found in times if found.data == data]
    parts = [_part(results, split) for split in _splits(results)]
    found = [group for part in parts for group in part["groups"] if group.dynamic]
    return {
        "data": data,
        "plot": plot_name(data),
        "parts": parts,
        "choice": {group.setup: group.best_inputs() for group in groups(results, CHOICE)},
        "times": timed,
        "steps": sorted({(r.steps, r.images_per_step) for r in results}),
        "origins": _origins(results),
        "pages": [
            _details(data, setup, parts, timed)
            | {"files": [result.file_name for result in results if result.setup == setup]}
            for setup in dict.fromkeys(group.setup for group in found)
        ],
        "files": [result.file_name for result in results],
    }


def _part(results: Sequence[Result], split: str) -> dict[str, Any]:
    every = groups(results, split)
    images = max(found.images for group in every for found in group.splits)
    return {"split": split, "images": images, "groups": every}


def _details(
    data: str, setup: str, parts: Sequence[Mapping[str, Any]], times: Sequence[Times]
) -> dict[str, Any]:
    """The page of one dynamic set-up, but for its files."""
    own = [
        {**part, "group": group, "costs": costs_of(group, times)}
        for part in parts
        for group in part["groups"]
        if group.setup == setup
    ]
    name = f"{DETAILS}/{data}_{setup}.md"
    return {"name": name, "title": title(setup), "data": data, "parts": own}


def _origins(results: Sequence[Result]) -> list[str]:
    """By versions and device, the commits."""
    found: dict[str, set[str]] = {}
    for own in (result.origin for result in results):
        where = f"torch {own.versions.get('torch', '?')}, {own.device}"
        found.setdefault(where, set()).add(own.commit[:10])
    return [f"{where}, commit {', '.join(sorted(found[where]))}" for where in sorted(found)]


def _splits(results: Sequence[Result]) -> list[str]:
    return [s for s in SPLITS if any(s in r.dynamic or s in r.static for r in results)]


def _data_sets(results: Sequence[Result]) -> list[str]:
    return sorted({result.data for result in results})


def _of(results: Sequence[Result], data: str) -> list[Result]:
    return [result for result in results if result.data == data]

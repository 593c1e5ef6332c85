# SPDX-License-Identifier: Apache-2.0
"""The page of all results, ``evidence.md``, and a plot for each data set, from the JSON files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dynamicdet_d2.utils.files import whole_file
from evidence import tables
from evidence.costs import costs_of
from evidence.group import groups
from evidence.plot import cost_chart, near
from evidence.results import Result, read_all
from evidence.setups import SHOWN
from evidence.times import Times, read_times

PAGE = "evidence.md"
# What was chosen on val is judged by test; where test was not read, val is all there is.
SPLITS = ("test", "val")


def write(results: Path, times: Path, folder: Path) -> list[Path]:
    """Write page and plots into a folder, and say where they are.

    Args:
        results, times: folders of JSON files.

    Raises:
        ValueError: naming a file that is none.
    """
    found = read_all(results)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {folder / PAGE: page(found, read_times(times)).encode()}
    for data in _data_sets(found):
        contents |= {folder / name: png for name, png in _plots(data, _of(found, data)).items()}
    for path, content in contents.items():
        with whole_file(path) as file:
            file.write(content)
    return list(contents)


def _plots(data: str, results: Sequence[Result]) -> dict[str, bytes]:
    """Name -> PNG, of all set-ups, and of the one that the README shows, if it is there."""
    every = groups(results, _splits(results)[0])
    shown = {
        plot_name(f"{data}_shown"): cost_chart(near(group, every))
        for group in every
        if group.setup == SHOWN
    }
    return {plot_name(data): cost_chart(every), **shown}


def page(results: Sequence[Result], times: Sequence[Times]) -> str:
    """The page as Markdown; the same files give the same page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    sections = [_section(data, _of(results, data), times) for data in _data_sets(results)]
    return environment.get_template("evidence.md.j2").render(sections=sections, tables=tables)


def plot_name(data: str) -> str:
    return f"evidence_{data}.png"


def _section(data: str, results: Sequence[Result], times: Sequence[Times]) -> dict[str, Any]:
    timed = [found for found in times if found.data == data]
    parts = []
    for split in _splits(results):
        every = groups(results, split)
        dynamic = [group for group in every if group.dynamic]
        images = max(found.images for group in every for found in group.splits)
        costs = {group.setup: costs_of(group, timed) for group in dynamic}
        part = {"split": split, "images": images, "groups": every, "dynamic": dynamic}
        parts.append(part | {"costs": costs})
    return {
        "data": data,
        "plot": plot_name(data),
        "parts": parts,
        "times": timed,
        "steps": sorted({(r.steps, r.images_per_step) for r in results}),
        "origins": sorted({_origin(r) for r in results}),
        "files": [result.file_name for result in results],
    }


def _origin(result: Result) -> str:
    own = result.origin
    return f"commit {own.commit[:10]}, torch {own.versions.get('torch', '?')}, {own.device}"


def _splits(results: Sequence[Result]) -> list[str]:
    return [s for s in SPLITS if any(s in r.dynamic or s in r.static for r in results)]


def _data_sets(results: Sequence[Result]) -> list[str]:
    return sorted({result.data for result in results})


def _of(results: Sequence[Result], data: str) -> list[Result]:
    return [result for result in results if result.data == data]

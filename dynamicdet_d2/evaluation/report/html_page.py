# SPDX-License-Identifier: Apache-2.0
"""The frame of an HTML report: one file without scripts or links, light or dark as the reader's.

Tables and figures are strings of HTML; whatever comes from data is escaped here.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2430; --soft: #5b6675;
  --rule: #dfe3e8; --router: #1f5fbf; --random: #7c8794; --oracle: #c2570c; --end: #1b2430;
  --warn: #fff4db; --warn-ink: #6b4700; --o0: #1d7a4a; --o1: #7b3fa0; --o2: #a0522d;
  --o3: #00788a; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1a2028; --ink: #e4e9f0;
  --soft: #9aa6b5; --rule: #323b47; --router: #74aaff; --random: #9aa6b5; --oracle: #ff9f5a;
  --end: #e4e9f0; --warn: #3a2f12; --warn-ink: #ffd98a; --o0: #5fd39a; --o1: #c79bf0;
  --o2: #e0a07a; --o3: #5cc8d8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 4px; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.verdict { font-size: 17px; }
.warning { background: var(--warn); color: var(--warn-ink); border-radius: 8px; padding: 8px 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin-top: 14px; }
.tile { border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 10px 22px; }
figure { margin: 10px 0 0; } svg { width: 100%; height: auto; display: block; }
figcaption { font-size: 13px; color: var(--soft); }
img { max-width: 100%; display: block; border-radius: 6px; background: #fff; margin-top: 10px; }
.scroll { overflow-x: auto; margin-top: 10px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums;
  min-width: 100%; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } tbody tr:last-child td { border-bottom: 0; }
tr.own td { font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft);
  margin-top: 6px; } .legend svg { width: 30px; height: 12px; display: inline-block;
  vertical-align: -1px; margin-right: 6px; }
svg text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
svg .tick { fill: var(--soft); font-size: 11px; } svg .title { fill: var(--soft); }
svg .label { font-size: 11px; paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.grid { stroke: var(--rule); stroke-width: 1; } polyline { fill: none; stroke-width: 2; }
polyline.router { stroke: var(--router); stroke-width: 2.5; } circle.router { fill: var(--router); }
polyline.random { stroke: var(--random); stroke-dasharray: 7 4; }
polygon.random { fill: var(--random); opacity: .22; }
polyline.oracle { stroke: var(--oracle); stroke-dasharray: 2 4; stroke-linecap: round; }
circle.end { fill: var(--end); } circle.own { fill: none; stroke: var(--router); stroke-width: 2; }
rect.bar { fill: var(--router); opacity: .65; }
line.mark { stroke: var(--ink); stroke-dasharray: 4 3; }
circle.easy { fill: var(--router); opacity: .55; }
circle.hard { fill: var(--oracle); opacity: .55; }
line.zero { stroke: var(--soft); }
.o0 { --c: var(--o0); } .o1 { --c: var(--o1); } .o2 { --c: var(--o2); } .o3 { --c: var(--o3); }
polyline[class^="o"]:not(.oracle) { stroke: var(--c); stroke-dasharray: 9 3 2 3; }
circle[class^="o"]:not(.own) { fill: var(--c); }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document of HTML parts."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A card; empty parts are left out, and a card without any is "".

    Args:
        note: plain text under the title.
    """
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f"<section>{heading}{paragraph(note, 'soft') if note else ''}{content}</section>"


def paragraph(text: str, css: str = "") -> str:
    """Plain text."""
    return f'<p class="{css}">{escape(text)}</p>' if css else f"<p>{escape(text)}</p>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], own: int | None = None) -> str:
    """Cells of plain text; the first column names the row. ``own``: a row to stand out."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f'<tr class="own">{cells}</tr>' if i == own else f"<tr>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Large figures: what it is, the figure, and a line below it."""
    parts = [
        f'<div class="tile"><span class="soft">{escape(name)}</span><b>{escape(figure)}</b>'
        f'<span class="soft">{escape(below)}</span></div>'
        for name, figure, below in items
    ]
    return f'<div class="tiles">{"".join(parts)}</div>'


def figures(charts: Iterable[tuple[str, str]]) -> str:
    """Charts side by side where there is room: SVG and a caption."""
    parts = [
        f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        for svg, caption in charts
    ]
    return f'<div class="charts">{"".join(parts)}</div>'


def legend(items: Iterable[tuple[str, str, str]]) -> str:
    """What lines and markers mean: kind ("line", "dot" or "bar"), css class, text."""
    shapes = {
        "line": '<polyline class="{}" points="0,6 30,6"/>',
        "dot": '<circle class="{}" cx="15" cy="6" r="4.5"/>',
        "bar": '<rect class="{}" x="4" y="0" width="22" height="12"/>',
    }
    parts = [
        f'<span><svg viewBox="0 0 30 12">{shapes[kind].format(css)}</svg>{escape(text)}</span>'
        for kind, css, text in items
    ]
    return f'<div class="legend">{"".join(parts)}</div>'


def picture(path: Path, alt: str) -> str:
    """A JPEG file as a part of the page; "" where there is none."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{data}">'

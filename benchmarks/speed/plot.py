# SPDX-License-Identifier: Apache-2.0
"""The routes beside stock Detectron2 as bars.

python -m benchmarks.speed.plot benchmarks/results/speed_cpu.json speed.png
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLORS = {"static": "#9aa5b1", "easy": "#2a9d8f", "hard": "#e76f51"}


def draw(content: Mapping[str, Any]) -> Figure:
    """Milliseconds an image: stock, then static, easy and hard by precision."""
    figures = content["milliseconds"]["detector"]
    stock = figures["stock"]
    names = [name.removeprefix("static ") for name in figures if name.startswith("static ")]
    chart = Figure(figsize=(8, 1.2 + 0.75 * (len(names) + 1)), layout="constrained")
    axes = chart.add_subplot()
    axes.barh([0], [stock], height=0.26, color="#4a5568", label="stock Detectron2")
    axes.annotate(
        f"{stock:.0f} ms", (stock, 0), va="center", xytext=(4, 0), textcoords="offset points"
    )
    for row, name in enumerate(names, start=1):
        for i, (route, color) in enumerate(COLORS.items()):
            value, y = figures[f"{route} {name}"], row + 0.27 * (i - 1)
            axes.barh([y], [value], height=0.25, color=color, label=route if row == 1 else None)
            text = f"{value:.0f} ms, {stock / value:.2f}x"
            axes.annotate(
                text, (value, y), va="center", fontsize=8, xytext=(4, 0), textcoords="offset points"
            )
    axes.set_yticks(range(len(names) + 1), ["as built", *names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * stock)
    axes.set_xlabel("milliseconds an image")
    of = content["machine"]
    axes.set_title(f"Faster R-CNN R50-FPN, {of['image']}, {of['device']}", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return chart


def main() -> None:
    """JSON file and PNG file from the command line."""
    source, target = map(Path, sys.argv[1:3])
    draw(json.loads(source.read_text(encoding="utf-8"))).savefig(target, dpi=110)


if __name__ == "__main__":
    main()

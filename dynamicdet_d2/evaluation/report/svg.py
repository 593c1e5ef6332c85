# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG, coloured by the page's own style sheet, so light and dark both work.

Only what a trade-off's report needs: lines with a band, markers with labels, bars, a grid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

WIDTH, HEIGHT = 560, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 16, 46
# Share of the data's range that stays free around it, across (for labels) and up.
_ACROSS, _UP = 0.16, 0.08
_LABEL_HEIGHT, _LETTER_WIDTH, _MOST_MOVES = 13, 6.2, 3

Pair = tuple[float, float]


@dataclass
class Chart:
    """A chart in data coordinates; what is added later lies on top.

    ``css`` of every item is the class of a style sheet, which gives it stroke, fill and dashes.

    Attributes:
        x, y: the data's range on each axis.
        x_title, y_title: what the axes are, with the unit.
    """

    x: Pair
    y: Pair
    x_title: str
    y_title: str
    _items: list[str] = field(default_factory=list)
    _taken: list[tuple[float, float, float]] = field(default_factory=list)

    @classmethod
    def around(
        cls, xs: Iterable[float], ys: Iterable[float], x_title: str, y_title: str
    ) -> "Chart":
        """Large enough for all points given, with a margin; NaN are left out."""
        return cls(_widened(xs, _ACROSS), _widened(ys, _UP), x_title, y_title)

    def line(self, xs: Sequence[float], ys: Sequence[float], css: str) -> None:
        """A line through the points; broken nowhere, points with NaN are left out."""
        self._items.append(f'<polyline class="{css}" points="{self._points(xs, ys)}"/>')

    def band(
        self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], css: str
    ) -> None:
        """The area between two lines."""
        outline = f"{self._points(xs, low)} {self._points(xs[::-1], high[::-1])}"
        self._items.append(f'<polygon class="{css}" points="{outline}"/>')

    def dot(self, x: float, y: float, css: str, told: str, radius: float = 4.5) -> None:
        """A marker; ``told`` is shown when the pointer is over it."""
        if not np.isfinite([x, y]).all():
            return
        px, py = self._place(x, y)
        self._items.append(
            f'<circle class="{css}" cx="{px:.1f}" cy="{py:.1f}" r="{radius:g}">'
            f"<title>{escape(told)}</title></circle>"
        )

    def label(self, x: float, y: float, text: str, left: bool, below: bool) -> None:
        """A label beside a point, moved up or down from other labels.

        Where it would be too far from its point it is left out: the marker tells it too.
        """
        if not np.isfinite([x, y]).all():
            return
        px, py = self._place(x, y)
        width = _LETTER_WIDTH * len(text)
        start = px - width - 8 if left else px + 8
        py += 15 if below else -6
        step = _LABEL_HEIGHT if below else -_LABEL_HEIGHT
        for _ in range(_MOST_MOVES):
            if not any(
                abs(py - y0) < _LABEL_HEIGHT and start < x1 and start + width > x0
                for x0, x1, y0 in self._taken
            ):
                break
            py += step
        else:
            return
        self._taken.append((start, start + width, py))
        anchor, at = ("end", px - 8) if left else ("start", px + 8)
        self._items.append(
            f'<text class="label" x="{at:.1f}" y="{py:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def bar(self, x0: float, x1: float, height: float, css: str, told: str) -> None:
        """A bar from 0 up; ``told`` is shown when the pointer is over it."""
        left, top = self._place(x0, height)
        right, bottom = self._place(x1, 0)
        self._items.append(
            f'<rect class="{css}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 1, 1):.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(told)}</title></rect>"
        )

    def vertical(self, x: float, text: str, css: str) -> None:
        """A line over the whole height, named at its top."""
        px, _ = self._place(x, 0)
        self._items.append(
            f'<line class="{css}" x1="{px:.1f}" x2="{px:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        )
        self._items.append(
            f'<text class="label" transform="translate({px - 4:.1f} {_TOP + 2}) rotate(-90)" '
            f'text-anchor="end">{escape(text)}</text>'
        )

    def svg(self, name: str) -> str:
        """The chart; ``name`` is read out to who cannot see it."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
            f"{self._grid()}{''.join(self._items)}</svg>"
        )

    def _place(self, x: float, y: float) -> Pair:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            _LEFT + across * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM),
        )

    def _points(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        finite = [p for p in zip(xs, ys, strict=True) if np.isfinite(p).all()]
        return " ".join("{:.1f},{:.1f}".format(*self._place(*point)) for point in finite)

    def _grid(self) -> str:
        parts = []
        for x in ticks(*self.x):
            px, _ = self._place(x, self.y[0])
            parts.append(
                f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{_TOP}" '
                f'y2="{HEIGHT - _BOTTOM}"/><text class="tick" x="{px:.1f}" '
                f'y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{x:g}</text>'
            )
        for y in ticks(*self.y):
            _, py = self._place(self.x[0], y)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{py:.1f}" '
                f'y2="{py:.1f}"/><text class="tick" x="{_LEFT - 8}" y="{py + 4:.1f}" '
                f'text-anchor="end">{y:g}</text>'
            )
        middle = (HEIGHT - _BOTTOM + _TOP) / 2
        parts.append(
            f'<text class="title" x="{(WIDTH + _LEFT - _RIGHT) / 2}" y="{HEIGHT - 8}" '
            f'text-anchor="middle">{escape(self.x_title)}</text><text class="title" '
            f'transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_title)}</text>"
        )
        return "".join(parts)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within [low, high], low < high."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    # Adding 0 makes 0 of -0.
    return [float(f"{k * step:.10g}") + 0.0 for k in np.arange(first, last + 1)]


def _widened(values: Iterable[float], share: float) -> Pair:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    # All alike: a range must not be empty, and not be lost in the number's last digits.
    margin = share * (high - low) or max(abs(high) * share, 0.5)
    return low - margin, high + margin

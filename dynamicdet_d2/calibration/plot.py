# SPDX-License-Identifier: Apache-2.0
"""The plot of a calibration: how far thresholds move with the number of images (Fig. 9)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from dynamicdet_d2.operating_point.record import Calibration
from dynamicdet_d2.operating_point.thresholds import ENOUGH_IMAGES, GRID
from dynamicdet_d2.utils import charts
from dynamicdet_d2.utils.files import whole_file

# Hard fractions shown, with colours told apart by colour-blind readers.
SHOWN = {0.1: charts.ORANGE, 0.5: charts.BLUE, 0.9: charts.GREEN}
DRAWS = 4000
_FEWEST, _MOST = 50, 5000
# Bytes of a PNG within which Matplotlib names itself.
_HEADER = 512


def threshold_spread(
    grid: Sequence[float], hard_fraction: float, sizes: Sequence[int], confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where thresholds from ``sizes`` images lie that are drawn like those of a calibration.

    The grid is the difficulties' quantile function, so no difficulty is needed: the threshold of
    n images is about the quantile at the place of their k n-th hardest, and of n uniform numbers
    that one follows Beta(k n + 1/2, (1 - k) n + 1/2).

    Args:
        grid: thresholds of the hard fractions 0, 0.001, ..., 1, as ``Calibration.grid``.
        hard_fraction: k, in (0, 1).
        sizes: (S,) numbers of images, >= 1.
        confidence: share of the thresholds between the two bounds, in (0, 1).

    Returns:
        lower and upper bounds, (S,) each.
    """
    random = np.random.default_rng(0)
    tail = (1 - confidence) / 2
    bounds = []
    for n in sizes:
        places = random.beta(hard_fraction * n + 0.5, (1 - hard_fraction) * n + 0.5, DRAWS)
        # Thresholds fall as the hard fraction grows.
        bounds.append(np.interp(np.quantile(places, [1 - tail, tail]), GRID, grid))
    low, high = np.array(bounds).T
    return low, high


def plot_path(path: Path) -> Path:
    """Where the plot of a calibration is: beside its file, with ``.png`` for ``.json``.

    Behind any other ending, or v1.2 and v1.3 would have one plot.

    Raises:
        ValueError: that is the file itself.
    """
    if path.suffix.lower() == ".png":
        raise ValueError(
            f"{path} has the name of a picture; a calibration is a JSON file, and its plot is "
            "written beside it."
        )
    return path.with_name(f"{path.name.removesuffix('.json')}.png")


def write_plot(record: Calibration, path: Path) -> Path:
    """Draw a calibration beside its file.

    Args:
        path: of the calibration file.

    Returns:
        where the plot is.
    """
    plot = plot_path(path)
    with whole_file(plot) as file:
        file.write(calibration_png(record))
    return plot


def refuse_other_picture(path: Path, plot: Path) -> None:
    """
    Args:
        path: of a calibration file.
        plot: that is to be drawn for it.

    Raises:
        ValueError: there is a picture in its place that is no plot.
    """
    if plot.is_file():
        with open(plot, "rb") as file:
            drawn = b"Matplotlib" in file.read(_HEADER)
        if not drawn:
            raise ValueError(
                f"The plot of {path} would replace {plot}, which was not drawn here; move it away."
            )


def calibration_png(record: Calibration) -> bytes:
    """A PNG of two panels: spread of the thresholds by number of images, and the histogram."""
    with charts.chart_style():
        figure = charts.new_figure(11, 4.4)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        _draw_spread(left, record)
        _draw_histogram(right, record)
        title = f"{record.measured.get('dataset', 'calibration')}, {record.num_images} images"
        figure.suptitle(title, fontsize=11)
        return charts.png(figure)


def _draw_spread(axes: Axes, record: Calibration) -> None:
    sizes = np.geomspace(_FEWEST, max(_MOST, record.num_images), 40).round().astype(int).tolist()
    for k, color in SHOWN.items():
        low, high = threshold_spread(record.grid, k, sizes)
        axes.fill_between(sizes, low, high, color=color, alpha=0.25, linewidth=0)
        label = f"hard fraction {k:g} (band: 95 %)"
        axes.axhline(record.threshold(k), color=color, linewidth=1.5, label=label)
    axes.axvline(record.num_images, color=charts.INK, linewidth=1.2, label="images used")
    enough = f"{ENOUGH_IMAGES} images: enough in the paper"
    axes.axvline(ENOUGH_IMAGES, color=charts.GREY, linewidth=1.2, linestyle="--", label=enough)
    axes.set_xscale("log")
    axes.set_xticks([50, 100, 200, 500, 1000, 2000, 5000])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("images calibrated on")
    axes.set_ylabel("threshold")
    axes.grid()
    axes.legend(fontsize=8)


def _draw_histogram(axes: Axes, record: Calibration) -> None:
    edges, counts = (np.array(record.histogram[name]) for name in ("edges", "counts"))
    # Empty bins on both sides would make the others narrow.
    seen = np.flatnonzero(counts)
    edges, counts = edges[seen[0] : seen[-1] + 2], counts[seen[0] : seen[-1] + 1]
    charts.bars(axes, edges, counts, "images")
    for k, color in SHOWN.items():
        axes.axvline(record.threshold(k), color=color, linewidth=1.5)
    if record.operating_point is not None:
        threshold = record.operating_point["threshold"]
        axes.axvline(threshold, color=charts.INK, linestyle=":", label="operating point")
        axes.legend(fontsize=8)
    axes.set_xlabel("difficulty (lines: thresholds)")
    axes.set_ylabel("images")

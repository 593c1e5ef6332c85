# SPDX-License-Identifier: Apache-2.0
"""Pure: a calibration in words, for the one who made it."""

import ast
import os
import shlex

from dynamicdet_d2.operating_point.knobs import as_pairs
from dynamicdet_d2.operating_point.record import Calibration, refuse_no_calibration
from dynamicdet_d2.operating_point.thresholds import ENOUGH_IMAGES, realised_interval


def summary(record: Calibration, path: str | os.PathLike[str]) -> str:
    """The table of a calibration, its operating point, and how to use its file.

    Args:
        record: the calibration.
        path: the file that it was written to.

    Returns:
        Lines, the last one ended.

    Raises:
        ValueError: it is no calibration.
    """
    refuse_no_calibration(record)
    lines = [f"{record.num_images} images of {record.measured['dataset']} on {record.device}"]
    for route, ms in record.latency_ms.items():
        lines.append(
            f"{route} route: mean {ms['mean']:.2f} ms, p50 {ms['p50']:.2f}, p95 {ms['p95']:.2f}"
        )
    lines += ["", "hard fraction   threshold   95 % interval          expected ms"]
    lines += [_line(record, row) for row in record.thresholds]
    fraction = 0.5
    point = record.operating_point
    if point:
        fraction = point["hard_fraction"]
        target = ", ".join(f"{kind} {value:g}" for kind, value in point["target"].items())
        lines += ["", f"operating point for {target}:", _line(record, point)]
        lines += _guaranteed(point.get("guarantee"))
    lines += ["", _promise(record)]
    file = shlex.quote(_as_value(os.fspath(path)))
    keys = f"MODEL.DYNAMIC.CALIBRATION {file} MODEL.DYNAMIC.HARD_FRACTION {fraction:.6g}"
    if point and "keys" in point:
        keys = f"{as_pairs(point['keys'])} {keys}"
    return "\n".join([*lines, "", "to use it, add to the command line:", keys, ""])


def latency_interval(
    record: Calibration, hard_fraction: float, num_images: int
) -> tuple[float, float]:
    """Where the mean latency of new images is expected, in ms: ``realised_interval`` by eq. 14.

    Args:
        hard_fraction: realised on the images calibrated on, in [0, 1].
        num_images: new images, >= 1.

    Raises:
        ValueError: they are not, or it is no calibration.
    """
    refuse_no_calibration(record)
    easy, hard = (record.latency_ms[route]["mean"] for route in ("easy", "hard"))
    shares = realised_interval(hard_fraction, record.num_images, num_images)
    low, high = sorted(easy + share * (hard - easy) for share in shares)
    return low, high


def remarks(record: Calibration) -> list[str]:
    """What the user should know before relying on the thresholds; one sentence each."""
    return [*_few_images(record), *_ties(record), *_no_gain(record)]


def _as_value(path: str) -> str:
    """As a command line has to name it, where ``2026`` is a number and ``'q'`` the string q."""
    try:
        ast.literal_eval(path)
    except (ValueError, SyntaxError):
        return path
    return os.path.join(os.curdir, path)


def _line(record: Calibration, row: dict) -> str:
    easy, hard = (record.latency_ms[route]["mean"] for route in ("easy", "hard"))
    low, high = row["interval"]
    # Few images and equal difficulties take the share that there is from the one asked for.
    expected = easy + row["realised_hard_fraction"] * (hard - easy)
    return (
        f"{row['hard_fraction']:13.3f}   {row['threshold']:9.6f}   {low:.6f} to {high:.6f}   "
        f"{expected:11.2f}"
    )


def _guaranteed(guarantee: dict | None) -> list[str]:
    if guarantee is None:
        return []
    without = f"{guarantee['hard_fraction_without']:.3f}"
    return [guarantee["says"], f"hard fraction that meets the target on these images: {without}"]


def _main_row(record: Calibration) -> dict:
    """The operating point, or half hard where there is none."""
    return record.operating_point or record.thresholds[5]


def _promise(record: Calibration) -> str:
    row = _main_row(record)
    # Not the share asked for: of equal difficulties there is none between two.
    share = row["realised_hard_fraction"]
    low, high = realised_interval(share, record.num_images, record.num_images)
    ms = latency_interval(record, share, record.num_images)
    return (
        f"{record.num_images} new images at hard fraction {row['hard_fraction']:.3f} (95 %): "
        f"{low:.3f} to {high:.3f} hard, {ms[0]:.2f} to {ms[1]:.2f} ms on average"
    )


def _few_images(record: Calibration) -> list[str]:
    if record.num_images >= ENOUGH_IMAGES:
        return []
    row = _main_row(record)
    low, high = row["interval"]
    # As many new images as were calibrated on.
    share = realised_interval(row["realised_hard_fraction"], record.num_images, record.num_images)
    return [
        f"{record.num_images} images are few to calibrate on (thresholds settle from "
        f"{ENOUGH_IMAGES} on): at hard fraction {row['hard_fraction']:.3f} the 95 % interval of "
        f"the threshold is {low:.6f} to {high:.6f}, and {share[0]:.3f} to {share[1]:.3f} of as "
        "many new images are expected to be hard."
    ]


def _ties(record: Calibration) -> list[str]:
    """Half an image is rounding; more comes from equal difficulties."""
    # The operating point's threshold is the grid's, of a hard fraction that is up to 0.0005 off.
    rounding = 0.5 / record.num_images + 0.0005 + 1e-6
    point = record.operating_point
    missed = dict.fromkeys(
        f"{row['hard_fraction']:g} ({row['realised_hard_fraction']:.3f})"
        for row in [*record.thresholds, *([point] if point else [])]
        if abs(row["realised_hard_fraction"] - row["hard_fraction"]) > rounding
    )
    if not missed:
        return []
    return [
        "Images of equal difficulty cannot be split, so these hard fractions (realised ones in "
        f"brackets) are out of reach: {', '.join(missed)}. The router may have collapsed."
    ]


def _no_gain(record: Calibration) -> list[str]:
    easy, hard = (record.latency_ms[route]["mean"] for route in ("easy", "hard"))
    if hard > easy:
        return []
    return [
        f"The easy route ({easy:.2f} ms) is not faster than the hard one ({hard:.2f} ms) on "
        f"{record.device}, so routing gains nothing there."
    ]

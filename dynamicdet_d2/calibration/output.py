# SPDX-License-Identifier: Apache-2.0
"""The files of a calibration: the JSON file that the model reads, and its plot beside it."""

import os
from pathlib import Path

from dynamicdet_d2.calibration.plot import plot_path, refuse_other_picture, write_plot
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.utils.files import names_a_file, too_long
from dynamicdet_d2.utils.own_files import refuse_others
from dynamicdet_d2.utils.words import shown

_COMMAND = "dynamicdet calibrate"
# Fields that every calibration and every plan has had.
_CALIBRATION = frozenset({"num_images", "thresholds"})
_PLAN = frozenset({"points", "front"})


def check_output(output: str | os.PathLike[str], *others: Path) -> str:
    """Refuse, before the measurement and not after it, a place that cannot take the files.

    Args:
        output: of the calibration.
        others: further files that are written in the same folder.

    Returns:
        the place, as text.

    Raises:
        ValueError: one sentence that names the path.
    """
    output = os.fspath(output) if isinstance(output, os.PathLike) else output
    if not names_a_file(output):
        reason = too_long(output) if isinstance(output, str) else ""
        raise ValueError(f"--output {shown(output)} names no file{reason}.")
    path = Path(output).absolute()
    if not path.parent.is_dir():
        raise ValueError(f"--output {output} is in {path.parent}, which is no folder.")
    # With "/.", which a file has not: it would be found out after the measurement.
    if path.is_dir() or not os.access(f"{path.parent}/.", os.W_OK):
        raise ValueError(f"--output {path} must be a file in a folder that can be written to.")
    # Files are written whole under another name first, which then takes the place of what is there.
    for written in (path, plot_path(path), *others):
        if written.is_symlink() or (written.exists() and not written.is_file()):
            kind = "a link" if written.is_symlink() else "no ordinary file"
            raise ValueError(
                f"--output {output} would replace {written}, which is {kind}; it must be an "
                "ordinary file."
            )
    refuse_others(path, _CALIBRATION, _COMMAND, [plot_path(path)])
    for plan in [other for other in others if other.suffix == ".json"]:
        refuse_others(plan, _PLAN, _COMMAND, [other for other in others if other != plan])
    for picture in (plot_path(path), *(other for other in others if other.suffix == ".png")):
        refuse_other_picture(path, picture)
    return output


def write(record: Calibration, output: str) -> None:
    """The file and its plot; an interrupted write leaves those that were there."""
    record.to_json(output)
    write_plot(record, Path(output))

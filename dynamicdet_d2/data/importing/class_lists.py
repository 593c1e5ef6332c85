# SPDX-License-Identifier: Apache-2.0
"""Names of the classes of a data set in YOLO's form, which several places may say."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dynamicdet_d2.data.importing.dataset import check_classes
from dynamicdet_d2.utils.files import read_lines
from dynamicdet_d2.utils.words import shown

FILES = ("classes.txt", "obj.names")


def classes_of(
    places: Iterable[Path], named: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that hold, which are the first; () where there are none.

    Args:
        places: folders that may have lists of them; a tool writes its own beside the labels.
        named: who comes before these lists -> the names, () where there are none.

    Returns:
        the names, and a sentence on each that has others: they would call labels otherwise.

    Raises:
        ValueError: the list that holds cannot be read, or has what is no name.
    """
    found = {who: tuple(names) for who, names in named.items() if names}
    for file in (place / name for place in places for name in FILES):
        try:
            names = _listed(file) if file.is_file() else ()
        except ValueError:
            if not found:
                raise
            continue
        found.update({str(file): names} if names else {})
    if not found:
        return (), ()
    (first, names), *others = found.items()
    said = (
        f"The classes are those of {first}; {who} has others: {', '.join(other)}."
        for who, other in others
        if other != names
    )
    return names, tuple(said)


def _listed(file: Path) -> tuple[str, ...]:
    text = "\n".join(line.strip() for line in read_lines(file, str(file)))
    # An empty line before the last one counts: the classes behind it have its number.
    names = text.rstrip("\n").split("\n") if text.strip() else []
    comment = next((name for name in names if name.startswith("#")), None)
    if comment is not None:  # the classes behind it would have other numbers
        raise ValueError(f"{file} has {shown(comment)}; each line is a class, and none a comment.")
    return check_classes(names, f"{file} has")

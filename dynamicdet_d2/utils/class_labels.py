# SPDX-License-Identifier: Apache-2.0
"""What classes are called in pictures and files, and the colours that they are drawn in."""

from collections import Counter
from collections.abc import Mapping, Sequence

# RGB, of classes in turns; bright on photographs, and told apart by colour-blind readers.
CLASS_COLORS = (
    (255, 212, 0),
    (0, 183, 255),
    (255, 109, 182),
    (53, 224, 122),
    (255, 140, 26),
    (180, 151, 255),
    (242, 242, 242),
)


def color_of(number: int) -> tuple[int, int, int]:
    """RGB of a class."""
    return CLASS_COLORS[number % len(CLASS_COLORS)]


def name_of(class_names: Sequence[str], number: int) -> str:
    """A class's name, or its number where it has none."""
    return class_names[number] if number < len(class_names) else str(number)


def told_apart(names: Mapping[int, str]) -> dict[int, str]:
    """Category id -> name, with the id behind a name that several have: "disc (id 2)"."""
    times = Counter(names.values())
    return {
        category: name if times[name] == 1 else f"{name} (id {category})"
        for category, name in names.items()
    }

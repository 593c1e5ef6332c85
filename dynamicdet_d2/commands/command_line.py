# SPDX-License-Identifier: Apache-2.0
"""The words of a command line, and what argparse would make of them against their meaning.

Nothing is imported here that imports more than the standard library, as in ``main.py``.
"""

import argparse
import difflib
import itertools
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dynamicdet_d2.utils.folder_names import refuse_file_name
from dynamicdet_d2.utils.paths import refuse_address, unreplaced_variable

# Hyphen, en dash, em dash, minus.
_DASHES = "-\u2013\u2014\u2212"
# A key of a config; an image may have the name of one.
_KEY = re.compile(
    r"(DATALOADER|DATASETS|INPUT|MODEL|RUN|SOLVER|TEST)(\.[A-Z0-9_]+)+$"
    r"|(CUDNN_BENCHMARK|OUTPUT_DIR|SEED|VERSION|VIS_PERIOD)$"
)
# Options of other commands, and what says the same where keys do.
_KEYS_OF = {
    "--weights": "MODEL.WEIGHTS",
    "--device": "MODEL.DEVICE",
    "--threshold": "MODEL.DYNAMIC.THRESHOLD",
    "--hard-fraction": "MODEL.DYNAMIC.HARD_FRACTION",
    "--target-latency-ms": "MODEL.DYNAMIC.TARGET_LATENCY_MS",
}
# Of commands that train, by keys alone.
_KEYS_OF_RUNS = {
    "--output": "OUTPUT_DIR",
    "--seed": "SEED",
    "--batch-size": "SOLVER.IMS_PER_BATCH",
    "--lr": "SOLVER.BASE_LR",
}
# An argument, or an option's value, that lies in the home folder.
_HOME = re.compile(r"^((?:--[\w-]+=)?)~(?=/|$)")


def read_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """What the words say to a command.

    Args:
        parser: the command's own; how it reads numbers and paths is changed.
        words: what follows the command's name.

    Raises:
        ValueError: a word is read as something else than is meant.
        SystemExit: from the parser.
    """
    _adjust(parser)
    _refuse_line_ends(words)
    words = _with_homes(words)
    options = parser._option_string_actions
    _refuse_other_dashes(words, options)
    _refuse_behind_keys(words, parser)
    _refuse_dashed_values(words, parser)
    _refuse_unknown(words, parser)
    args = parser.parse_args(words)
    _refuse_empty(args, parser)
    _refuse_no_place(args, parser)
    _refuse_plan(args)
    return args


def _adjust(parser: argparse.ArgumentParser) -> None:
    """What argparse cannot be told: -1e-3 is a number, nothing is no path, how numbers look."""
    parser._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")
    readers: dict[object, Callable[[str], object]] = {Path: _path, float: _number, int: _whole}
    for action in parser._actions:
        action.type = readers.get(action.type, action.type)


def _path(word: str) -> Path | str:
    """Of nothing pathlib makes the working folder, which nobody has named."""
    return Path(word) if word else word


def _number(word: str) -> float:
    """
    Raises:
        ArgumentTypeError: 40ms, 50% or 0,5, for instance; with the right form.
    """
    try:
        return float(word)
    except ValueError:
        form = "a number such as 40 or 0.5, with a point and without a unit or %, is needed"
        raise argparse.ArgumentTypeError(f"invalid float value: {word!r}; {form}.") from None


def _whole(word: str) -> int:
    """
    Raises:
        ArgumentTypeError: 1,000 or 5k, for instance; with the right form.
    """
    try:
        return int(word)
    except ValueError:
        form = "a whole number such as 40, in digits alone, is needed"
        raise argparse.ArgumentTypeError(f"invalid int value: {word!r}; {form}.") from None


def _refuse_line_ends(words: Sequence[str]) -> None:
    """
    Raises:
        ValueError: a word ends as a line of Windows does, which a shell takes for a part of it: of
            a script that was written there. It would be part of a file's name, and not be seen.
    """
    for word in words:
        if word.endswith(("\r", "\n")):
            raise ValueError(
                f"{word!r} ends with the end of a line: where it is from a script that was written "
                "on Windows, dos2unix mends that."
            )


def _with_homes(words: Sequence[str]) -> list[str]:
    """The home folder in the place of a "~" that a shell has left: in ``--output=~/x``, for one."""
    home = os.path.expanduser("~")
    return [_HOME.sub(lambda found: found[1] + home, word) for word in words]


def _refuse_other_dashes(words: Sequence[str], options: Collection[str]) -> None:
    """
    Raises:
        ValueError: -hard-fraction, for one, which argparse takes for -h, or the dashes of a text
            processor, by which it takes an option for something else; or an option and its value in
            one pair of quotes.
    """
    for word in words:
        name = word.partition("=")[0]
        option, blank, value = name.partition(" ")
        if blank and value and option in options:
            raise ValueError(f"{word!r} is one word; an option and its value are two: {word}.")
        option = f"--{name.lstrip(_DASHES)}"
        if name != option and name.startswith(tuple(_DASHES)) and option in options:
            wrong = "has one dash" if f"-{name}" == option else "begins with other dashes"
            raise ValueError(f"{name} {wrong}; the option is {option}.")


def _refuse_behind_keys(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """
    Raises:
        ValueError: an option stands behind ``--opts`` or the keys, which take it for a key; if it
            is a required one, argparse would say that it is missing.
    """
    keys_follow = _keys_follow(parser)
    begin = (x for x in words if x == "--opts" or (keys_follow and _KEY.match(x)))
    first = next(begin, None)
    behind = () if first is None else words[words.index(first) + 1 :]
    for name in (word.partition("=")[0] for word in behind):
        if name in {"--", *parser._option_string_actions}:
            from dynamicdet_d2.config.pairs import option_behind

            raise ValueError(option_behind(name, str(first)))


def _refuse_dashed_values(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """
    Raises:
        ValueError: an option's value, such as a file's name, begins with a dash, so that argparse
            would say that there is none.
    """
    options = parser._option_string_actions
    valued = {name for name, x in options.items() if x.nargs != 0} - {"--opts"}
    for option, value in itertools.pairwise(words):
        dashed = re.match("-[^-]", value) and value not in options
        if option in valued and dashed and not parser._negative_number_matcher.match(value):
            raise ValueError(
                f"{option}: {value!r} begins with a dash, as options do; {option}={value} gives it."
            )


def _refuse_unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """
    Raises:
        ValueError: an option that the command has not, whose value argparse would take for the
            first key, and what stands behind it for more of them, or that is nearly one that it
            has; a key before ``--opts``, or ``--opts`` where keys stand without it.
    """
    options = parser._option_string_actions
    keys_follow = _keys_follow(parser)
    for word, following in itertools.pairwise([*words, "--"]):
        if word == "--opts" and keys_follow:
            raise ValueError("There is no option --opts: keys stand behind the options, alone.")
        if word == "--opts" or (keys_follow and _KEY.match(word)):
            return
        if "--opts" in options and _KEY.match(word) and not os.path.exists(word):
            raise ValueError(f"{word} is a key, and here keys stand behind --opts.")
        name = word.partition("=")[0]
        if not name.startswith("--") or any(option.startswith(name) for option in options):
            continue
        trains = "--resume" in options
        key = _KEYS_OF.get(name) or (_KEYS_OF_RUNS.get(name) if trains else None)
        said = f" The key {key} says it." if key and keys_follow else _nearest(name, options)
        valued = keys_follow and name == word and not following.startswith("-")
        if said or valued:
            raise ValueError(f"There is no option {name}.{said}")


def _keys_follow(parser: argparse.ArgumentParser) -> bool:
    """Whether keys stand behind the options, without ``--opts``."""
    return any(x.dest == "opts" and not x.option_strings for x in parser._actions)


def _nearest(word: str, options: Collection[str]) -> str:
    names = [option.removeprefix("--") for option in options]  # all have the dashes in common
    typed = word.removeprefix("--")
    # --target-ms is --target-latency-ms with a word left out, however long the word.
    with_more = [name for name in names if set(typed.split("-")) <= set(name.split("-"))]
    near = sorted(with_more, key=len)[:1] or difflib.get_close_matches(typed, names, n=1)
    return f" The nearest is --{near[0]}." if near else ""


def _refuse_empty(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """
    Raises:
        ValueError: an option was given nothing, as by a shell's variable that is not set.
    """
    options = parser.format_help()
    for name, value in vars(args).items():
        option = f"--{name.replace('_', '-')}"
        option = option if option in options else name.upper()
        if value == "" and parser.get_default(name) != "":
            raise ValueError(f"{option} is empty.")
        if isinstance(value, list) and "" in value and name != "opts":  # a key may have no value
            raise ValueError(f"{option} has a word that is empty.")


def _refuse_no_place(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """
    Raises:
        ValueError: what is to be written would be in a folder called "s3:" or "$HOME", or a folder
            would have the name of a file.
    """
    output = getattr(args, "output", None)
    if output is None:
        return
    refuse_address(output, "--output")
    variable = unreplaced_variable(str(output), "--output")
    if variable:
        raise ValueError(variable)
    if any(x.dest == "output" and x.metavar == "FOLDER" for x in parser._actions):
        refuse_file_name(output, "--output")


def _refuse_plan(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: a key of a plan was typed where nothing is planned.
    """
    for name in (getattr(args, "opts", None) or [])[::2]:
        if name.startswith("TEST.DYNAMIC.PLAN.") and not getattr(args, "plan", False):
            raise ValueError(f"{name} would not be read: it is for 'dynamicdet calibrate --plan'.")

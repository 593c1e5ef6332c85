# SPDX-License-Identifier: Apache-2.0
"""The entry point: ``dynamicdet COMMAND`` and ``python -m dynamicdet_d2 COMMAND``.

A command is a file of this folder with the command's name and two functions: ``parser()`` gives
its options, ``run(args)`` does the work and gives the exit status, or None for 0. ``args.program``
is how the user called it. A line in ``COMMANDS`` makes it known.

Nothing outside the standard library is imported before the command is known, because ``doctor``
must run where libraries are missing.
"""

import difflib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

import dynamicdet_d2
from dynamicdet_d2.commands.command_line import read_words
from dynamicdet_d2.utils.errors import INTERRUPTED, TYPED, one_sentence
from dynamicdet_d2.utils.stopping import killed_in_order
from dynamicdet_d2.utils.streams import heard, open_closed

PROGRAM = "dynamicdet"
COMMANDS = {
    "train": "train a detector through all its phases, resume, or evaluate",
    "calibrate": "thresholds for hard fractions and for a target on this machine",
    "eval": "evaluate at every operating point, and write the report",
    "predict": "detect objects in images, videos and cameras, within a budget if wanted",
    "package": "write a model as one folder that works anywhere",
    "export": "write a detector for onnxruntime, OpenVINO or torch, to be run without this library",
    "check-export": "AP, difficulties and hard fractions of an exported detector beside its model",
    "report": "draw the report of an evaluation, or the plot of a calibration, again",
    "cost": "multiply-adds of a config's model by part and route",
    "upgrade": "a hard route for a trained Detectron2 detector, which stays as it is",
    "convert": "published weights of YOLOv7 and Dy-YOLOv7 into a checkpoint and a config",
    "import-data": "annotations in YOLO's or Pascal VOC's form into COCO's, or one COCO file split",
    "check-data": "say what is wrong with a data set in COCO's format",
    "replay": "repeat a training step that was not finite",
    "doctor": "say what is installed, what is missing, and what installs it",
    "demo": "train, calibrate, evaluate and predict on drawn images",
    "demo-photos": "the same on own photographs, from the pretrained EfficientNet-Lite0",
    "draw-shapes": "draw a data set of known difficulty",
}
# What torchrun's processes do together, or refuse; every other command each of them does by itself.
TOGETHER = ("train", "eval", "upgrade")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command that the arguments name; without one, list them."""
    open_closed()
    name, *others = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        with one_sentence(PROGRAM), heard():
            sys.stdout.write(overview())
        return 0
    if name == "--version":
        with one_sentence(PROGRAM), heard():
            sys.stdout.write(f"{PROGRAM} {dynamicdet_d2.__version__}\n")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
        hint = f" The nearest is '{near[0]}'." if near else ""
        if name.startswith("-"):
            hint = " Options stand behind the command."
        sys.stderr.write(f"{PROGRAM}: error: there is no command {name!r}.{hint}\n")
        return TYPED
    return run(f"{PROGRAM} {name}", name, others)


def run(program: str, name: str, arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command.

    Args:
        program: how the user called it.
        name: of the command.
        arguments: what follows it; None: those of the process.

    Raises:
        SystemExit: from the parser, and where something is wrong.
    """
    open_closed()
    os.environ["MPLBACKEND"] = "agg"  # no command shows a window, and the user's may not be there
    for stream in (sys.stdout, sys.stderr):
        # A file's name may have characters that the terminal has not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Such images are read: Pillow's limit, which refuses by name, is twice as high.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    # Of Detectron2's anchors, which nobody who trains can do anything about.
    warnings.filterwarnings("ignore", r"torch\.meshgrid")
    try:
        with killed_in_order(), one_sentence(program), heard():
            _check_python()
            command = _imported(name)
            parser = command.parser()
            parser.prog = program
            args = read_words(parser, sys.argv[1:] if arguments is None else arguments)
            args.program = program
            _say_torchrun(program, name)
            return command.run(args) or 0
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: stopped\n")
        return INTERRUPTED


def _imported(name: str) -> ModuleType:
    """
    Raises:
        ImportError: of the libraries, too, where they do not fit each other.
    """
    missing = dynamicdet_d2._missing
    if missing is not None and name != "doctor":
        # A second try finds libraries that are there in part, and fails anywhere behind it.
        raise missing
    return importlib.import_module(f"dynamicdet_d2.commands.{name.replace('-', '_')}")


def _say_torchrun(program: str, name: str) -> None:
    """Once on a machine: milliseconds and files of its processes get into each other's way."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if name not in TOGETHER and processes != "1" and os.environ.get("LOCAL_RANK") == "0":
        sys.stderr.write(
            f"{program}: warning: torchrun has started {processes:.20} processes, and each of them "
            f"does the whole of '{name}' at the same time: start it without torchrun.\n"
        )


def _check_python() -> None:
    """
    Raises:
        ValueError: Python runs without docstrings, of which Detectron2 makes others.
    """
    if sys.flags.optimize > 1:
        raise ValueError("Detectron2 needs docstrings: use neither -OO nor PYTHONOPTIMIZE=2.")


def overview() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{does}" for name, does in COMMANDS.items()]
    usage = f"usage: {PROGRAM} COMMAND [options]   (or python -m dynamicdet_d2 COMMAND ...)"
    more = f"{PROGRAM} COMMAND --help lists the options of one."
    return "\n".join([usage, "", *lines, "", more, ""])

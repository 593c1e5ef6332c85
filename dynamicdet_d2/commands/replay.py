# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet replay``: repeat a training step that was not finite."""

import argparse
import logging
import sys

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.engine.replay import Replayed, replay


def parser() -> argparse.ArgumentParser:
    """The file."""
    options = argparse.ArgumentParser(
        description="Repeat a training step that was not finite, from the file diverged_*.pth that "
        "the run left in OUTPUT_DIR. Exit status 1: this time it is finite."
    )
    options.add_argument("file", metavar="FILE")
    return options


def run(args: argparse.Namespace) -> int:
    """Print both, and where it went wrong."""
    setup_logger().setLevel(logging.WARNING)
    found = replay(args.file)
    sys.stdout.write(described(found))
    return int(found.is_finite)


def described(step: Replayed) -> str:
    """The step and its repetition, as lines."""
    phase = f", phase {step.phase}" if step.phase else ""
    lines = [
        f"Iteration {step.iteration}{phase}, learning rate {step.learning_rate:g}",
        f"Images: {', '.join(map(str, step.images)) or 'not known'}",
    ]
    for name in {**step.before, **step.again}:
        pair = (
            f"{losses[name]:.9g}" if name in losses else "-" for losses in (step.before, step.again)
        )
        lines.append(f"{name}: {next(pair)} in the run, {next(pair)} now")
    if step.fault:
        lines.append(f"The step ends with: {step.fault}")
    if step.weights:
        more = f" and {len(step.weights) - 1} more" if len(step.weights) > 1 else ""
        lines.append(f"Not finite before the step already: {step.weights[0]}{more}")
    if step.first:
        lines.append(f"First module whose output is not finite: {step.first}")
    if step.is_finite:
        lines.append("This time the step is finite.")
    return "\n".join([*lines, ""])

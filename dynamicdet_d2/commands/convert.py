# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet convert``: published weights of YOLOs into a checkpoint and a config."""

import argparse
import sys

from dynamicdet_d2.checkpoint.convert import Converted, convert


def parser() -> argparse.ArgumentParser:
    """The file as it was published, and what to write."""
    options = argparse.ArgumentParser(
        description="Convert published weights of YOLOv7 or Dy-YOLOv7. Nothing in the file is run; "
        "what is written stays under the file's license."
    )
    options.add_argument("--weights", required=True, metavar="FILE", help="as published")
    options.add_argument(
        "--output", required=True, metavar="NAME.pth", help="a config is written beside: NAME.yaml"
    )
    return options


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was found and written."""
    sys.stdout.write(_text(convert(args.weights, args.output)))


def _text(result: Converted) -> str:
    layout = result.layout
    parts = ["two detectors and a router" if layout.dynamic else "one detector"]
    if layout.auxiliary:
        parts.append("an auxiliary head")
    if not layout.implicit:
        parts.append("folded implicit vectors")
    text = (
        f"Found {layout.variant} with {', '.join(parts)}, {result.num_classes} classes.\n"
        f"Wrote {result.weights} and {result.config}.\n"
    )
    if layout.dynamic:
        text += "A published threshold t is MODEL.DYNAMIC.THRESHOLD 1 - t here.\n"
    return text

# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet draw-shapes``: a data set of any size and of known difficulty."""

import argparse
import sys
from pathlib import Path

from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset, refuse_other


def parser() -> argparse.ArgumentParser:
    """The recipe of the pictures, and where to put them."""
    options = argparse.ArgumentParser(
        description="Draw a data set in COCO's format, each image at a known difficulty."
    )
    options.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    options.add_argument("--num-images", type=int, default=1000, metavar="N")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--width", type=int, default=Recipe.width, help="pixels")
    options.add_argument("--height", type=int, default=Recipe.height, help="pixels")
    return options


def run(args: argparse.Namespace) -> None:
    """Draw, and print where the annotations are."""
    recipe = Recipe(args.num_images, args.seed, args.width, args.height)
    refuse_other(args.output, recipe)
    draw_dataset(args.output, recipe)
    sys.stdout.write(f"{args.output / 'instances.json'}\n")

# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet import-data``: annotations in YOLO's or Pascal VOC's form into COCO's."""

import argparse
import os
import sys
from pathlib import Path

from dynamicdet_d2.data.importing import Found, read_voc, read_yolo, write_json
from dynamicdet_d2.utils.files import make_folder


def parser() -> argparse.ArgumentParser:
    """The data set, and where its annotations are to go."""
    options = argparse.ArgumentParser(
        description="Write COCO annotations of a data set in another form. Images stay where and "
        "as they are."
    )
    form = options.add_mutually_exclusive_group(required=True)
    form.add_argument(
        "--yolo", type=Path, metavar="PATH", help="data.yaml, or a folder of images and labels"
    )
    form.add_argument(
        "--voc", type=Path, metavar="FOLDER", help="with Annotations/, or XML files beside images"
    )
    options.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    options.add_argument("--classes", nargs="+", default=[], metavar="NAME", help="in their order")
    options.add_argument(
        "--val-share",
        type=float,
        default=0.2,
        metavar="X",
        help="of the images, kept for validation where there is no such split (default: 0.2)",
    )
    return options


def run(args: argparse.Namespace) -> None:
    """Write a JSON per split, and print what a config needs.

    Raises:
        ValueError: naming the file that is wrong.
    """
    if not 0 < args.val_share < 1:
        raise ValueError(f"--val-share is {args.val_share}; it must lie between 0 and 1.")
    found = read_yolo(args.yolo, args.classes) if args.yolo else read_voc(args.voc, args.classes)
    found = found.with_validation(args.val_share)
    make_folder(args.output)
    sys.stdout.write(written(found, args.output))


def written(found: Found, output: Path) -> str:
    """Write the files; what a config says of them, and how much there is of each."""
    lines = [f"# {len(found.classes)} classes: {', '.join(found.classes)}"]
    entries = []
    for split, images in found.splits.items():
        path = output / f"{split}.json"
        count = write_json(path, images, found.root, found.classes)
        lines.append(f"# {split}: {len(images)} images, {count} objects")
        if split != "train":
            learnt = {image.file for image in found.splits.get("train", ())}
            shared = sum(image.file in learnt for image in images)
            if shared:
                lines.append(
                    f"# WARNING: {shared} of these are in train as well, so that their figures say "
                    "nothing of new images."
                )
        entries.append(f'    - ["own_{split}", "{_shown(path)}", "{_shown(found.root)}"]')
    return "\n".join([*lines, "DATASETS:", "  COCO_JSON:", *entries, ""])


def _shown(path: Path) -> str:
    """Relative to the working folder where it is below it, as configs are read from there."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else relative

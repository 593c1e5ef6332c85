# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet import-data``: annotations of YOLO or Pascal VOC into COCO's form; splits."""

import argparse
import json
import os
import sys
from collections.abc import Sequence, Set
from pathlib import Path

from dynamicdet_d2.data.importing import Found, read_voc, read_yolo, write_json
from dynamicdet_d2.data.importing.copies import count_copies
from dynamicdet_d2.data.importing.mark import refuse_own_annotations
from dynamicdet_d2.data.register import class_names, read_json
from dynamicdet_d2.data.split import split_coco
from dynamicdet_d2.utils.files import make_folder
from dynamicdet_d2.utils.words import spelt_alike

VAL_SHARE = 0.2


def parser() -> argparse.ArgumentParser:
    """The data set, and where its annotations are to go."""
    options = argparse.ArgumentParser(
        description="Write COCO annotations of a data set in another form, or split one COCO file "
        "into images to train on and to validate on. Images stay where and as they are."
    )
    form = options.add_mutually_exclusive_group(required=True)
    form.add_argument(
        "--yolo",
        type=Path,
        metavar="PATH",
        help="data.yaml, or a folder of images and labels; boxes are centre and sides, as shares "
        "of the image",
    )
    form.add_argument(
        "--voc",
        type=Path,
        metavar="FOLDER",
        help="with Annotations/, or XML files beside images; boxes are corners, in pixels",
    )
    form.add_argument("--coco", metavar="JSON", help="one file for all images; with --images")
    options.add_argument(
        "--images", type=Path, metavar="FOLDER", help="that file names of --coco start at"
    )
    options.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    options.add_argument(
        "--classes",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="in their order",
    )
    options.add_argument(
        "--val-share",
        type=float,
        metavar="X",
        help="of the images, kept for validation where there is no such split "
        f"(default: {VAL_SHARE})",
    )
    return options


def run(args: argparse.Namespace) -> None:
    """Write a JSON per split, and print what a config needs.

    Raises:
        ValueError: naming the file that is wrong.
    """
    share = VAL_SHARE if args.val_share is None else args.val_share
    if not 0 < share < 1:
        raise ValueError(f"--val-share is {share}; it must lie between 0 and 1.")
    if (args.coco is None) != (args.images is None):
        raise ValueError("--coco and --images are given together, or neither of them.")
    if args.coco is not None:
        if args.classes:
            raise ValueError("--classes is for --yolo and --voc; a COCO file names its own.")
        if not args.images.is_dir():
            raise ValueError(f"--images {args.images} is no folder.")
        sys.stdout.write(split(args.coco, args.images, args.output, share))
        return
    _refuse_no_classes(args.classes)
    found = read_yolo(args.yolo, args.classes) if args.yolo else read_voc(args.voc, args.classes)
    if args.val_share is not None and "val" in found.splits:
        raise ValueError(
            f"--val-share {share:g} would not be read: {args.yolo or args.voc} has a split 'val'."
        )
    sys.stdout.write(written(found.with_validation(share), args.output))


def _refuse_no_classes(names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the names of classes are in a file, or in one word.
    """
    for name in names:
        if os.path.isfile(name):
            raise ValueError(f"--classes {name} is a file; the names themselves are needed.")
    if len(names) == 1 and not {*",;"}.isdisjoint(names[0]):
        raise ValueError(
            f"--classes {names[0]} is the name of one class; several are given as words: A B C."
        )


def split(json_file: str, images: Path, output: Path, val_share: float) -> str:
    """Split a COCO file; what a config says of the parts, and how much there is of each."""
    val = 100 * val_share
    shares = {"train": 100 - val, "val": val}
    files = split_coco(json_file, output, shares=shares, at_least=len(shares))
    parts = {name: (path, read_json(str(path))) for name, path in files.items()}
    # In the model's order, which is by id, whatever the file's.
    classes = class_names(parts["train"][1].get("categories"), json_file)
    lines = _named([*classes.values()])
    entries, there = [], dict[str, set[Path]]()
    for name, (path, content) in parts.items():
        # Text is left to the check of the parts: "0" would count as a crowd.
        crowds = [entry.get("iscrowd") in (1, True) for entry in content["annotations"]]
        lines += _counted(name, len(content["images"]), crowds)
        named = [Path(images, image["file_name"]) for image in content["images"]]
        missing = [file for file in named if not file.is_file()]
        if missing:
            lines.append(f"# WARNING: {len(missing)} of these images do not exist: {missing[0]}.")
        there[name] = {*named}.difference(missing)
        lines += _learnt(there[name], there["train"]) if name != "train" else []
        entries.append(_entry(name, path, images))
    return "\n".join([*lines, "DATASETS:", "  COCO_JSON:", *entries, ""])


def written(found: Found, output: Path) -> str:
    """Write the files; what a config says of them, and how much there is of each."""
    for name in found.splits:
        refuse_own_annotations(output / f"{name}.json")
    make_folder(output)
    lines = _named(found.classes)
    lines += [f"# WARNING: {remark}" for remark in found.remarks]
    entries = []
    for name, images in found.splits.items():
        path = output / f"{name}.json"
        write_json(path, images, found.root, found.classes)
        objects = [entry for image in images for entry in image.objects]
        lines += _counted(name, len(images), [entry.crowd for entry in objects])
        cut = sum(entry.cut for entry in objects)
        if cut:
            lines.append(
                f"# WARNING: {cut} of these objects stick out of their images and were cut at the "
                "border: are their boxes what --help says?"
            )
        if name != "train":
            lines += _learnt(
                {image.file for image in images},
                {image.file for image in found.splits.get("train", ())},
            )
        entries.append(_entry(name, path, found.root))
    return "\n".join([*lines, "DATASETS:", "  COCO_JSON:", *entries, ""])


def _learnt(files: Set[Path], train: Set[Path]) -> list[str]:
    """On images to judge on that are learnt: the files themselves, or copies of them."""
    counts = {
        "in train as well": len(files & train),
        "copies of images in train": count_copies(files - train, train),
    }
    return [
        f"# WARNING: {count} of these are {what}, so that their figures say nothing of new images."
        for what, count in counts.items()
        if count
    ]


def _named(classes: Sequence[str]) -> list[str]:
    said = [f"# WARNING: {sentence}" for sentence in spelt_alike(classes)]
    return [f"# {len(classes)} classes: {', '.join(classes)}", *said]


def _counted(split: str, images: int, crowds: Sequence[bool]) -> list[str]:
    """Of each object whether it is a crowd, or difficult, which is neither learnt nor missed."""
    hidden = f", {sum(crowds)} of them difficult or crowds" if any(crowds) else ""
    lines = [f"# {split}: {images} images, {len(crowds)} objects{hidden}"]
    if all(crowds):
        lines.append("# WARNING: without objects there is nothing to learn, and no AP.")
    return lines


def _entry(split: str, path: Path, root: Path) -> str:
    words = (f"own_{split}", _shown(path), _shown(root))
    return f"    - {json.dumps(words, ensure_ascii=False)}"


def _shown(path: Path) -> str:
    """Relative to the working folder where it is below it, as configs are read from there."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else relative

# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet demo-photos``: from labelled photographs and the pretrained Lite0 to routes.

The photographs are the user's own. Without any, drawn shapes are laid over parts of the photograph
that matplotlib brings with it (grace_hopper.jpg, in the public domain): no package that is needed
anyway has labelled photographs, and a clone has none either. That shows the steps, and says nothing
about accuracy on photographs.
"""

import argparse
import time
from pathlib import Path

from dynamicdet_d2.checkpoint.packaged import packaged_file
from dynamicdet_d2.commands.demo import PREDICTED, check_call, say, say_results, step, steps
from dynamicdet_d2.data.register import read_json
from dynamicdet_d2.data.shapes.dataset import Recipe
from dynamicdet_d2.data.shapes.over_photograph import draw_over_photograph
from dynamicdet_d2.data.split import MIN_IMAGES, split_coco
from dynamicdet_d2.utils.files import write_json
from dynamicdet_d2.utils.own_files import refuse_others

CONFIG = "configs/demo_photos.yaml"
OUTPUT = Path("output/demo_photos")
NUM_IMAGES = 400


def parser() -> argparse.ArgumentParser:
    """Data, how much of it, and config overrides."""
    options = argparse.ArgumentParser(
        description="Train, calibrate, evaluate and predict on labelled photographs, in minutes, "
        "from the pretrained EfficientNet-Lite0. Without --json: on shapes drawn over parts of a "
        "photograph."
    )
    options.add_argument("--json", metavar="FILE", help="annotations in COCO's format")
    options.add_argument("--images", metavar="FOLDER", help="the images that it names")
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    options.add_argument(
        "--num-images",
        type=int,
        default=NUM_IMAGES,
        metavar="N",
        help=f"at most so many, drawn at random (default: {NUM_IMAGES})",
    )
    options.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    return options


def run(args: argparse.Namespace) -> None:
    """The chain, from the root of the repository.

    Raises:
        ValueError: as ``check_call``, and where the photographs or the weights cannot be read.
        SystemExit: with the status of the step that failed.
    """
    check_call(CONFIG, args.opts)
    if (args.json is None) != (args.images is None):
        raise ValueError("--json and --images are given together, or neither of them.")
    if args.num_images < MIN_IMAGES:
        raise ValueError(
            f"--num-images is {args.num_images}; it must be at least {MIN_IMAGES}, to train, to "
            "choose and to test."
        )
    packaged_file("efficientnet-lite0")  # says what to install where it is missing
    start = time.monotonic()
    config, images = prepare(args.json, args.images, args.output, args.num_images)
    for title, command in steps(
        args.output, args.opts, config=config, validation="photos_val", images=images
    ):
        step(title, command)
    say_results(args.output, time.monotonic() - start)


def prepare(
    json_file: str | None, image_root: str | None, output: Path, num_images: int
) -> tuple[str, list[str]]:
    """Split the data, and write the config of the run.

    Returns:
        the config, and some of the test images.
    """
    if json_file is None or image_root is None:
        json_file, image_root = _drawn(output / "shapes_on_a_photograph", num_images)
    config = output / "photos.yaml"
    refuse_others(config, {"_BASE_", "MODEL", "DATASETS"}, "dynamicdet demo-photos")
    files = split_coco(json_file, output / "data", num_images)
    content = read_json(str(files["test"]))
    sets = [[f"photos_{name}", str(path), str(image_root)] for name, path in files.items()]
    keys = {
        "_BASE_": str(Path(CONFIG).resolve()),
        "MODEL": {"ROI_HEADS": {"NUM_CLASSES": len(content.get("categories", []))}},
        "DATASETS": {"COCO_JSON": sets, "TRAIN": ["photos_train"], "TEST": ["photos_test"]},
    }
    write_json(config, keys)  # JSON is YAML, too
    counts = ", ".join(f"{len(read_json(str(path))['images'])} {n}" for n, path in files.items())
    say(f"Images: {counts}\n")
    names: dict[str, str] = {}  # what is drawn is called as the image is, whatever its folder
    for image in content["images"]:
        names.setdefault(Path(image["file_name"]).name, image["file_name"])
    shown = list(names.values())[:PREDICTED]
    return str(config), [str(Path(image_root) / name) for name in shown]


def _drawn(folder: Path, num_images: int) -> tuple[str, str]:
    """A set of shapes over a photograph: its annotations and images."""
    import matplotlib  # the one that lies there is looked at; nothing is plotted

    photograph = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    say(
        "No photographs are given (--json, --images): shapes are drawn over parts of "
        f"{photograph.name}, which comes with matplotlib.\n"
    )
    recipe = Recipe(num_images, seed=5)
    return str(draw_over_photograph(folder, recipe, photograph)), str(folder / "images")

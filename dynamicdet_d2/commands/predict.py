# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet predict``: detections in images, drawn and as lines of JSON."""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.data.detection_utils import read_image
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger
from detectron2.utils.visualizer import Visualizer

from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.loading.corrupt import CorruptImageError, NamedErrors
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.dataset import SPLITS
from dynamicdet_d2.data.shapes.drawing import CLASSES
from dynamicdet_d2.engine.predictor import Predictor
from dynamicdet_d2.utils.charts import chart_style
from dynamicdet_d2.utils.pictures import write_image
from dynamicdet_d2.utils.progress import Progress

logger = logging.getLogger(__name__)

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
LINES = "predictions.jsonl"
# Labels are legible from about this many pixels on, so small images are drawn larger.
DRAWN_SIDE = 480


def parser() -> argparse.ArgumentParser:
    """The options of Detectron2's demo, and weights as ``calibrate`` takes them."""
    options = argparse.ArgumentParser(
        description="Detect objects in images. Writes each image with its detections, route and "
        f"difficulty drawn in, and {LINES} with a line per image."
    )
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    options.add_argument(
        "--input", nargs="+", required=True, metavar="PATH", help="images, or folders of images"
    )
    options.add_argument("--output", type=Path, default=Path("predictions"), metavar="FOLDER")
    options.add_argument(
        "--confidence-threshold",
        type=float,
        default=0.5,
        metavar="X",
        help="leave out detections with a lower score (default: 0.5)",
    )
    options.add_argument("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE")
    return options


def run(args: argparse.Namespace) -> None:
    """Predict every image, and print where the results are."""
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    if not 0 <= args.confidence_threshold <= 1:
        raise ValueError(
            f"--confidence-threshold is {args.confidence_threshold}; it must lie in [0, 1]."
        )
    images = images_of(args.input, args.output)
    predictor = build_predictor(args.config_file, args.weights, args.opts)
    args.output.mkdir(parents=True, exist_ok=True)
    routes = predict(predictor, images, args.output, args.confidence_threshold)
    taken = "".join(f", {count} {route}" for route, count in sorted(routes.items()))
    sys.stdout.write(
        f"{routes.total()} images{taken}: drawn in {args.output}, detections in "
        f"{args.output / LINES}\n"
    )


def images_of(inputs: Sequence[str], output: Path) -> list[Path]:
    """The image files that are meant, each of which gets a file of its name in ``output``.

    Raises:
        ValueError: one is missing, a folder has none, or two results would be one file.
    """
    images: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in ENDINGS]
            if not found:
                raise ValueError(f"--input {path} has no images ({', '.join(ENDINGS)}).")
            images += found
        elif path.is_file():
            images.append(path)
        else:
            raise ValueError(f"--input {path} does not exist.")
    twice = [name for name, count in Counter(image.name for image in images).items() if count > 1]
    if twice:
        raise ValueError(f"--input has several images named {twice[0]}; names must differ.")
    if any(image.parent.resolve() == output.resolve() for image in images):
        raise ValueError(f"--output {output} holds images of --input, which would be replaced.")
    return images


def build_predictor(config_file: str, weights: str | None, overrides: Sequence[str]) -> Predictor:
    """The predictor of a config."""
    cfg = read_config(config_file, overrides)
    weights = weights if weights is not None else cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("There are no weights: name a file with --weights or MODEL.WEIGHTS.")
    cfg.MODEL.WEIGHTS = weights
    return Predictor(cfg)


def predict(
    predictor: Predictor, images: Sequence[Path], output: Path, min_score: float
) -> Counter[str]:
    """Write the results of every image; how many images took which route.

    Args:
        min_score: leave out detections with a lower score.

    Raises:
        CorruptImageError: unless ``DATALOADER.SKIP_CORRUPT_IMAGES`` leaves such images out.
    """
    routes: Counter[str] = Counter()
    classes = class_names(predictor.cfg)
    read = NamedErrors(lambda entry: {"image": read_image(entry["file_name"], format="BGR")})
    progress = Progress(len(images), "Images")
    with open(output / LINES, "w", encoding="utf-8") as lines:
        for path in images:
            try:
                image = read({"file_name": str(path)})["image"]
            except CorruptImageError as error:
                if not predictor.cfg.DATALOADER.SKIP_CORRUPT_IMAGES:
                    raise
                logger.warning("%s Left out.", error.sentence)
                continue
            prediction = predictor(image)
            found = prediction["instances"].to("cpu")
            prediction["instances"] = found[found.scores >= min_score]
            lines.write(json.dumps(described(path, prediction, classes)) + "\n")
            lines.flush()
            write_image(output / path.name, drawn(image, prediction, classes))
            routes[prediction.get("route", "without routes")] += 1
            progress.step()
    return routes


def class_names(cfg: CfgNode) -> list[str]:
    """Names of the classes, of the first data set of ``DATASETS.TEST``; empty: not known here."""
    for name in SPLITS:
        MetadataCatalog.get(name).set(thing_classes=list(CLASSES))
    try:
        register_coco_json(cfg.DATASETS.COCO_JSON)
    except ValueError as error:
        logger.warning("Classes have numbers in the place of names: %s", error)
    known = [MetadataCatalog.get(name) for name in cfg.DATASETS.TEST[:1]]
    return known[0].get("thing_classes", []) if known else []


def described(path: Path, prediction: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """A line of JSON: boxes are x, y, width, height in pixels, ``category_id`` counts from 0."""
    line = {"file_name": str(path)}
    line.update({key: prediction[key] for key in ("difficulty", "route") if key in prediction})
    detections = instances_to_coco_json(prediction["instances"], str(path))
    for detection in detections:
        del detection["image_id"]
        if detection["category_id"] < len(classes):
            detection["category"] = classes[detection["category_id"]]
    return {**line, "detections": detections}


def drawn(image: np.ndarray, prediction: dict[str, Any], classes: Sequence[str]) -> np.ndarray:
    """The image (BGR) with boxes, masks, names and scores, and the route taken."""
    instances: Instances = prediction["instances"]
    metadata = Metadata()
    if len(instances) == 0 or int(instances.pred_classes.max()) < len(classes):
        metadata.set(thing_classes=list(classes))
    scale = max(1.0, DRAWN_SIDE / min(image.shape[:2]))
    with chart_style():  # names of classes may hold a $
        canvas = Visualizer(image[:, :, ::-1], metadata, scale=scale)
        canvas.draw_instance_predictions(instances)
        if "route" in prediction:
            label = f"{prediction['route']} ({prediction['difficulty']:.2f})"
            canvas.draw_text(label, (2, 2), horizontal_alignment="left", color="white")
        return canvas.get_output().get_image()[:, :, ::-1]

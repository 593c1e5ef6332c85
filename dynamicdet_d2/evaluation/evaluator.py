# SPDX-License-Identifier: Apache-2.0
"""The evaluator: both exits of every image once, then the trade-off at every operating point.

``inference_on_dataset(BothExits(model), loader, TradeoffEvaluator(name, cfg))``
"""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from dynamicdet_d2.config import Use, check
from dynamicdet_d2.evaluation.exit_records import (
    EXITS,
    ExitRecord,
    mean_losses,
    routed_results,
)
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from dynamicdet_d2.evaluation.observe import Observer, unwrapped
from dynamicdet_d2.evaluation.report.comparisons import input_size_series
from dynamicdet_d2.evaluation.report.files import write_report
from dynamicdet_d2.evaluation.report.pictures import Album
from dynamicdet_d2.evaluation.report.tables import markdown_table, points_table
from dynamicdet_d2.evaluation.tradeoff.build import build_tradeoff
from dynamicdet_d2.evaluation.tradeoff.record import Series, Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.evaluation.tradeoff.summary import summary
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.files import whole_file
from dynamicdet_d2.utils.paths import refuse_no_path
from dynamicdet_d2.utils.words import named_image

logger = logging.getLogger(__name__)

RESULTS = "coco_instances_results.json"


class TradeoffEvaluator(Observer):
    """AP, cost and latency at every operating point, from one pass over both exits.

    Writes tradeoff.json, .csv, .md, .png, routes.jsonl, pictures and report.html to
    ``output_dir/dynamic``, and the detections at the model's own threshold beside that folder;
    within a training, TensorBoard also shows what both exits see. Works on several processes; the
    main one evaluates. It holds up to twice ``TEST.DYNAMIC.LATENCY_IMAGES`` images.

    Attributes:
        output_dir: Detectron2's ``OUTPUT_DIR/inference``.
        other_sizes: input size -> the trade-off found there, to be shown beside this one.
        tradeoff: what was found, after ``evaluate`` on the main process; else None.
    """

    def __init__(
        self,
        dataset_name: str,
        cfg: CfgNode,
        model: nn.Module | None = None,
        output_dir: str | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a data set in Detectron2's catalogs, with annotations.
            cfg: ``TEST.DYNAMIC`` is read; the config that the model was built from.
            model: the dynamic detector that is evaluated, or the same wrapped for distributed
                training; FLOPs and latency are taken from it. None: the one that the outputs of
                ``BothExits`` name.
            output_dir: None: ``OUTPUT_DIR/inference`` of the config.

        Raises:
            ValueError: without annotations, or where a key is out of range; ``dataset_name`` is
                not that of one data set, or ``output_dir`` no path.
        """
        check(cfg, Use.EVALUATE)
        super().__init__(cfg.TEST.DYNAMIC.LATENCY_IMAGES)
        self._dataset, self._cfg = dataset_name, cfg
        self.output_dir = output_dir or os.path.join(cfg.OUTPUT_DIR, "inference")
        refuse_no_path(self.output_dir, "a folder")
        self.other_sizes: Mapping[int, Tradeoff] = {}
        self.tradeoff: Tradeoff | None = None
        self._given_model = None if model is None else unwrapped(model)
        self._model: DynamicDetector | None = None
        self._other_images = self._training_mapper = False
        self._ground_truth = read_ground_truth(dataset_name) if comm.is_main_process() else None

    def reset(self) -> None:
        """Forget what was seen.

        Raises:
            ValueError: the model's threshold comes from a calibration of another model.
        """
        super().reset()
        self._model = None
        if self._given_model is not None:
            self._take(self._given_model)

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep what is needed of a batch: Detectron2's input dicts and ``BothExits`` of them.

        Raises:
            ValueError: the outputs are not those of both exits, or of another model, or of another
                size than the data set's image, which must be one of it; or as in ``reset``.
        """
        if any(name not in output for output in outputs for name in EXITS):
            raise ValueError(
                "TradeoffEvaluator needs the detections of both exits: "
                "inference_on_dataset(BothExits(model), loader, evaluator)."
            )
        if self._model is None and outputs:
            self._take(self._given_model or outputs[0]["model"])
        if any(output.get("model", self._model) is not self._model for output in outputs):
            raise ValueError(
                "TradeoffEvaluator measures the cost of one model and is given detections of "
                "another: BothExits must be of its own, or it of no model."
            )
        self._say_other_images(inputs)
        self._say_training_mapper(inputs, outputs)
        self._refuse_other_images(inputs, outputs)
        super().process(inputs, outputs)

    def _say_other_images(self, inputs: Sequence[dict]) -> None:
        """Once. Ids alone do not tell data sets apart: most count their images from 1."""
        if self._ground_truth is None or self._other_images:
            return
        root = MetadataCatalog.get(self._dataset).get("image_root", "")
        for image in inputs:
            known = self._ground_truth.coco.imgs.get(image.get("image_id"), {}).get("file_name")
            if not known or not image.get("file_name"):
                continue
            if not names_file(root, known, image["file_name"]):
                self._other_images = True
                logger.warning(
                    "Image %s of data set %s is %s, and the loader gives %s: where it is a loader "
                    "of another data set, the figures are wrong.",
                    *(image["image_id"], self._dataset, os.path.join(root, known)),
                    image["file_name"],
                )
                return

    def _say_training_mapper(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Once. Losses need the ground truth as the network sees it; without them nothing does."""
        pairs = zip(inputs, outputs, strict=True)
        if not self._training_mapper and any(
            "instances" in x and "losses" not in y for x, y in pairs
        ):
            self._training_mapper = True
            logger.warning(
                "Images of data set %s come with 'instances', as by a mapper of training: where it "
                "flips or crops them, the figures are wrong. DatasetMapper(cfg, is_train=False) "
                "leaves them as they are.",
                self._dataset,
            )

    def _refuse_other_images(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """
        Raises:
            ValueError: one that the data set does not have, or of another size, as without
                "height" and "width": its boxes are in pixels of the network's input then, and not
                in those of the ground truth.
        """
        if self._ground_truth is None:
            return
        for image, output in zip(inputs, outputs, strict=True):
            if "image_id" not in image:
                continue  # the observer names it
            known = self._ground_truth.coco.imgs.get(image["image_id"])
            called = named_image(image, "An image")
            if known is None:
                raise ValueError(
                    f"{called} is none of data set {self._dataset}: is the "
                    "loader that of another one?"
                )
            size, found = (known.get("height"), known.get("width")), output[EXITS[0]].image_size
            if None not in size and size != tuple(found):
                raise ValueError(
                    f"{called} of data set {self._dataset} has {size[0]} x {size[1]} pixels, and "
                    f"its detections are of {found[0]} x {found[1]}: the loader must give its "
                    "'height' and 'width'."
                )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Build the trade-off and write its files.

        Returns:
            "bbox" and, with masks, "segm": COCO figures at the model's own threshold, as
            ``COCOEvaluator`` names them; "dynamic": the trade-off in short; with
            ``TEST.EVAL_LOSS`` "losses": means over the images. Floats, NaN where undefined. Empty
            on all processes but the main one.

        Raises:
            ValueError: there are more processes than images.
        """
        observation = self.observation()
        if self._ground_truth is None:  # not the main process
            return {}
        if not observation.records:
            logger.warning("No image of %s was seen: there is nothing to evaluate.", self._dataset)
            return {}
        if self._model is None:
            raise ValueError(
                f"The main process saw none of the {len(observation.records)} images of "
                f"{self._dataset}: evaluate them in fewer processes."
            )
        tradeoff, routes = build_tradeoff(
            self._model,
            self._cfg,
            self._dataset,
            observation.records,
            self._ground_truth.coco,
            self._ground_truth.category_ids,
            observation.sample,
        )
        self.tradeoff = dataclasses.replace(tradeoff, comparisons=self._comparisons(tradeoff))
        self._write(self.tradeoff, routes, observation.records)
        self._write_results(observation.records, self._model.threshold)
        losses = mean_losses(observation.records) if self._cfg.TEST.EVAL_LOSS else {}
        return {**summary(self.tradeoff), **({"losses": losses} if losses else {})}

    def _write_results(self, records: Sequence[ExitRecord], threshold: float) -> None:
        """The detections at the model's own threshold, as and where ``COCOEvaluator`` has them."""
        if self._ground_truth is None:
            return
        results = routed_results(records, threshold, self._ground_truth.category_ids)
        os.makedirs(self.output_dir, exist_ok=True)
        with whole_file(os.path.join(self.output_dir, RESULTS)) as file:
            file.write(json.dumps(results).encode())

    def _take(self, model: DynamicDetector) -> None:
        model.operating_point.check(model)
        self._model = model

    def _comparisons(self, tradeoff: Tradeoff) -> tuple[Series, ...]:
        if not self.other_sizes:
            return ()
        return input_size_series({**self.other_sizes, self._cfg.INPUT.MIN_SIZE_TEST: tradeoff})

    def _write(
        self, tradeoff: Tradeoff, routes: Sequence[ImageRoute], records: Sequence[ExitRecord]
    ) -> None:
        names = MetadataCatalog.get(self._dataset).get("thing_classes", ())
        truth = self._ground_truth
        album = Album(
            {record.image_id: record.results for record in records},
            truth.objects if truth else lambda _: [],
            names,
            "mask" in tradeoff.tasks,
            self._cfg.TEST.DYNAMIC.GALLERY,
            self._cfg.TEST.DYNAMIC.MIN_SCORE,
        )
        page = write_report(Path(self.output_dir) / "dynamic", tradeoff, routes, album)
        _log(tradeoff, page)
        _show(f"{self._dataset}/both_exits", album, routes)


def _show(name: str, album: Album, routes: Sequence[ImageRoute]) -> None:
    """In TensorBoard, while there is a training that writes to it; else nothing is drawn for it."""
    try:
        storage = get_event_storage()
    except (AssertionError, IndexError):  # there is none; under python -O nothing is asserted
        return
    picture = album.both_exits(routes)
    if picture is not None:
        storage.put_image(name, picture.transpose(2, 0, 1))


def _log(tradeoff: Tradeoff, page: Path) -> None:
    for task in tradeoff.tasks:
        table = markdown_table(points_table(tradeoff, task))
        logger.info("Trade-off, %s AP:\n%s", task, table)
    logger.info("%s", tradeoff.verdict)
    for warning in tradeoff.warnings:
        logger.warning("%s", warning)
    logger.info("Report: %s", page)


def names_file(root: str, known: str, given: str) -> bool:
    """Whether a loader's path is that of a data set's image, through links too.

    Args:
        root: the folder of the data set's images; "" where its metadata do not say.
        known: the image's name in the data set.
    """
    if not root:
        return Path(given).parts[-len(Path(known).parts) :] == Path(known).parts
    paths = os.path.join(root, known), given
    return len({*map(os.path.abspath, paths)}) == 1 or len({*map(os.path.realpath, paths)}) == 1

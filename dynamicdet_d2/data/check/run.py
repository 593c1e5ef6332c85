# SPDX-License-Identifier: Apache-2.0
"""Checks COCO data sets before training, so that a mistake costs seconds and not a night."""

import logging
import os
from collections.abc import Sequence
from functools import reduce

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from dynamicdet_d2.data.check.annotations import AnnotationCheck
from dynamicdet_d2.data.check.by_code import report_of
from dynamicdet_d2.data.check.findings import DatasetReport
from dynamicdet_d2.data.check.images import check_images
from dynamicdet_d2.data.check.keypoint_names import warn_of_other_names
from dynamicdet_d2.data.check.keypoints import num_keypoints
from dynamicdet_d2.data.check.records import Needs
from dynamicdet_d2.data.register import class_names, in_metadata, read_json
from dynamicdet_d2.utils.remarks import remark, remarks_on
from dynamicdet_d2.utils.words import spelt_alike

logger = logging.getLogger(__name__)


def check_dataset(
    name: str,
    json_file: str,
    image_root: str,
    num_classes: int | None = None,
    *,
    num_classes_key: str = "MODEL.ROI_HEADS.NUM_CLASSES",
    training: bool = True,
    testing: bool = False,
    mask_format: str | None = None,
    num_keypoints: int = 0,
    skip_corrupt: bool = False,
) -> DatasetReport:
    """Reads a COCO json and the names in its image folder, and reports what is wrong.

    Crowds, several polygons an object, images without objects, grey images and EXIF rotation are
    fine. Images themselves are not decoded; sizes are compared for a few file headers only.

    Args:
        num_classes: of the model; None leaves the comparison out.
        num_classes_key: where the config says so.
        training: losses are computed of it, as where it is learnt.
        testing: figures are, for which COCO's evaluation needs more keys.
        mask_format: ``INPUT.MASK_FORMAT`` where masks are trained, else None.
        num_keypoints: of an object, where keypoints are trained, else 0.
        skip_corrupt: missing or unreadable images are warnings, since the loaders skip them.

    Never raises for what it finds: see ``DatasetReport.raise_errors``.
    """
    report = DatasetReport(name, json_file)
    try:
        content = read_json(json_file)
    except ValueError as error:
        report.errors.add("unreadable files", str(error))
        return report
    categories = content.get("categories")
    category_ids = _check_categories(categories, num_classes, num_classes_key, report)
    sizes = check_images(content.get("images"), image_root, report, skip_corrupt=skip_corrupt)
    annotations = content.get("annotations")
    if not category_ids or not sizes:
        return report
    if isinstance(annotations, list):
        AnnotationCheck(
            report,
            sizes,
            category_ids,
            training=training,
            testing=testing,
            mask_format=mask_format,
            num_keypoints=num_keypoints,
        ).run(annotations)
    else:
        report.errors.add("missing lists", "There is no list of 'annotations' to learn or measure.")
    return report


def _check_categories(
    categories: object, num_classes: int | None, num_classes_key: str, report: DatasetReport
) -> set[int]:
    try:
        names = class_names(categories, report.json_file)
    except ValueError as error:
        report.errors.add("categories", str(error))
        return set()
    report.class_names = list(names.values())
    if num_classes is not None and len(names) != num_classes:
        said = f"The json defines {len(names)} categories ({listed(report.class_names)}), but "
        report.errors.add("class counts", f"{said}{num_classes_key} is {num_classes}.")
    repeated = sorted({name for name in names.values() if report.class_names.count(name) > 1})
    if repeated:
        report.warnings.add(
            "class names", f"Several categories have the same name: {listed(repeated)}."
        )
    for sentence in spelt_alike(report.class_names):
        report.warnings.add("class names", sentence)
    return set(names)


def check_datasets(
    cfg: CfgNode, num_classes_key: str, *, eval_only: bool = False
) -> list[DatasetReport]:
    """Checks every COCO data set that a run reads and logs warnings.

    These are ``DATASETS.TEST`` and, unless ``eval_only``, ``DATASETS.TRAIN`` and
    ``SOLVER.ROUTER.VALIDATION``; all must list the same classes in the same order. Of data sets
    that code registers, the files and the order of classes are compared alone.

    Args:
        num_classes_key: dotted name of the key that holds the model's number of classes.

    Raises:
        ValueError: one for all that is wrong, with the first findings of each data set.
    """
    train, test = list(cfg.DATASETS.TRAIN), list(cfg.DATASETS.TEST)
    judged = list(filter(None, [*test, cfg.SOLVER.ROUTER.VALIDATION]))
    if eval_only:
        warn_of_other_classes(train, test)
        for name in test:
            warn_of_learnt_set(train, name)
        train, judged = [], test
    num_classes = reduce(getattr, num_classes_key.split("."), cfg)
    by_losses = {*train, cfg.SOLVER.ROUTER.VALIDATION}
    by_losses |= {*test} if cfg.TEST.EVAL_LOSS or cfg.TEST.DYNAMIC.LOSS_GAP else set()
    masks, keypoints = cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else None, num_keypoints(cfg)
    reports = []
    names = list(dict.fromkeys([*train, *judged]))
    for name in filter(is_of_coco_files, names):
        metadata = MetadataCatalog.get(name)
        report = check_dataset(
            name,
            metadata.json_file,
            metadata.image_root,
            num_classes,
            num_classes_key=num_classes_key,
            training=name in by_losses,
            testing=name in judged,
            mask_format=masks,
            num_keypoints=keypoints,
            skip_corrupt=cfg.DATALOADER.SKIP_CORRUPT_IMAGES,
        )
        reports.append(report)
    _compare_classes(reports)
    others = [name for name in names if not is_of_coco_files(name)] if judged else []
    for name in others:  # some name their classes when they are read
        learnt = name in by_losses
        later = Needs(learnt, True, masks if learnt else None, keypoints)
        reports += report_of(name, later if train and name in judged else None)
    if others and train:
        warn_of_other_classes(train, judged)
    _warn_of_learnt_images(reports, train, judged)
    _log(reports)
    wrong = [report.error_text() for report in reports if report.errors]
    if wrong:
        wrong.append("DATASETS.CHECK False goes on without this check.")
        raise ValueError("\n".join(wrong))
    return reports


def is_of_coco_files(name: str) -> bool:
    """Unlike one that is registered by code, and evaluated by COCO's figures."""
    if name not in DatasetCatalog:
        return False
    metadata = MetadataCatalog.get(name)
    files = (metadata.get("json_file"), metadata.get("image_root"))
    return metadata.get("evaluator_type") == "coco" and None not in files


def warn_of_other_classes(train: Sequence[str], test: Sequence[str]) -> None:
    """Say where a detector is measured on other classes than it has learnt.

    Args:
        train, test: names of data sets; those that are not registered are left alone.
    """
    known = in_metadata("thing_classes", (*train, *test))
    learnt = next((name for name in train if known.get(name)), None)
    if learnt is not None:
        warn_of_classes(known[learnt], f"'{learnt}', by DATASETS.TRAIN,", test)
    warn_of_other_names(train, test)


def warn_of_learnt_set(train: Sequence[str], name: str) -> None:
    """Say where what is measured on is what is learnt from, as one file under two names is.

    Args:
        train, name: of data sets.
    """
    for other in train:
        if _source(other) == _source(name):
            said = f"Data set '{name}' is what DATASETS.TRAIN has as '{other}'"
            logger.warning(remark(name, f"{said}: figures on it say nothing of new images."))


def _source(name: str) -> str:
    """A data set's file, where it is known; else the name itself."""
    file = MetadataCatalog.get(name).get("json_file") if name in MetadataCatalog else None
    return os.path.realpath(file) if file else name


def warn_of_classes(learnt: Sequence[str], whose: str, test: Sequence[str]) -> None:
    """Say where others are measured.

    Args:
        learnt: names of classes; empty: they are not known, and nothing is said.
        whose: they are, for the sentence.
        test: names of data sets; those that are not registered are left alone.
    """
    for name in test:
        measured = MetadataCatalog.get(name).get("thing_classes") if name in MetadataCatalog else []
        if learnt and measured and list(measured) != list(learnt):
            said = f"The classes of '{name}' are {listed(measured)}, but those of {whose} are"
            mixed = "where these were learnt, classes are mixed up."
            sentence = f"{said} {listed(learnt)}: {mixed}"
            if sentence not in remarks_on(name):  # once in a run, which looks several times
                logger.warning(remark(name, sentence))


def _compare_classes(reports: list[DatasetReport]) -> None:
    """Detectron2 numbers classes by place: lists that differ would mix classes up."""
    known = [report for report in reports if report.class_names]
    for report in known[1:]:
        if report.class_names != known[0].class_names:
            report.errors.add(
                "class lists",
                f"Its classes are {listed(report.class_names)}, but those of '{known[0].name}' "
                f"are {listed(known[0].class_names)}; they must be the same in the same order.",
            )


def _warn_of_learnt_images(
    reports: list[DatasetReport], train: Sequence[str], judged: Sequence[str]
) -> None:
    """Say where a detector is measured on what it learns from, as by one file under two names, and
    where two data sets that it learns from have the same images."""
    learnt: set[str] = set()
    for report in (report for report in reports if report.name in train):
        if (count := [*train].count(report.name)) > 1:  # objective "auto" keeps images aside
            said = f"DATASETS.TRAIN names it {count} times: parts that are kept aside are learnt"
            report.warnings.add("shared images", f"{said} as well.")
        twice = len(report.files & learnt)
        if twice:
            report.warnings.add(
                "shared images",
                f"{twice} of its {len(report.files)} images are in another data set of "
                "DATASETS.TRAIN as well: what is annotated in one of both alone is learnt as "
                "background too.",
            )
        learnt |= report.files
    for report in reports:
        shared = len(report.files & learnt) if report.name in judged else 0
        if shared:
            said = remark(
                report.name,
                f"{shared} of its {len(report.files)} images are in DATASETS.TRAIN as well, so "
                "that their figures say nothing of new images.",
            )
            report.warnings.add("learnt images", said)


def _log(reports: list[DatasetReport]) -> None:
    for report in reports:
        logger.info(report.summary())
        for line in report.warnings.lines(limit=20):
            logger.warning("Data set '%s': %s", report.name, line)


def listed(names: Sequence[str], limit: int = 10) -> str:
    """The first names of classes, and how many there are where these are not all."""
    rest = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest

# SPDX-License-Identifier: Apache-2.0
"""The number of classes, from the annotations where a config leaves it to them."""

from detectron2.config import CfgNode

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.declare import limit
from dynamicdet_d2.config.ranges import Range, integer
from dynamicdet_d2.data.register import checked_entry, class_names, read_categories

CLASS_KEYS = (
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.FCOS.NUM_CLASSES",
    "MODEL.YOLO.NUM_CLASSES",
)

FROM_JSON = 0
"""In a file or an override: as many as the JSON of the first training set has."""

# More fill any memory before a model is built.
MOST_CLASSES = 100_000
number_of_classes = Range(
    f"be a whole number in [1, {MOST_CLASSES}], or 0 for as many as the JSON of DATASETS.TRAIN "
    "has, which must then be there and stand in DATASETS.COCO_JSON",
    integer(at_least=FROM_JSON, at_most=MOST_CLASSES).holds,  # of 0, ``start_rules`` says what
)

# Detectron2's own; the others are declared beside the keys of their detectors.
limit("MODEL.ROI_HEADS.NUM_CLASSES", number_of_classes)
limit("MODEL.RETINANET.NUM_CLASSES", number_of_classes)


def fill_num_classes(cfg: CfgNode) -> None:
    """Put the number of the JSON's categories where a key says ``FROM_JSON``, in place.

    Where the JSON is not known the key stays as it is, and ``check`` says so.

    Raises:
        ValueError: naming the JSON whose categories cannot be read, or the entry of
            ``DATASETS.COCO_JSON`` that is wrong.
    """
    asked = [key for key in CLASS_KEYS if value_of(cfg, key) == FROM_JSON]
    json_file = training_json(cfg) if asked else None
    if json_file is None:
        return
    count = len(class_names(read_categories(json_file), json_file))
    cfg.merge_from_list([word for key in asked for word in (key, count)])


def training_json(cfg: CfgNode) -> str | None:
    """The JSON file of the first training set that ``DATASETS.COCO_JSON`` names."""
    known = {name: json_file for name, json_file, _ in map(checked_entry, _entries(cfg))}
    names = cfg.DATASETS.TRAIN if isinstance(cfg.DATASETS.TRAIN, (list, tuple)) else ()
    return next((known[name] for name in names if isinstance(name, str) and name in known), None)


def _entries(cfg: CfgNode) -> list:
    entries = cfg.DATASETS.COCO_JSON
    return list(entries) if isinstance(entries, (list, tuple)) else []

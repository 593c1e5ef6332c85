# SPDX-License-Identifier: Apache-2.0
"""What several keys must agree in.

Ranges of single keys stand in ``keys.py`` and ``limits.py``. A rule is a function from the
values of the keys that it names to one sentence, or None where all is well.
"""

import os
from collections.abc import Sequence

import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY

from dynamicdet_d2.config.declare import Use, rule
from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.data.register import checked_entry
from dynamicdet_d2.data.shapes.dataset import SPLITS
from dynamicdet_d2.utils.words import shown

# Backbones of one detector; those that others have registered are theirs to know.
_STATIC = (
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
    "build_resnet_dense_fpn_backbone",
    "build_swin_fpn_backbone",
    "build_efficientnet_lite_fpn_backbone",
    "build_elan_backbone",
)

# The model


@rule("MODEL.DEVICE")
def device_exists(device: str) -> str | None:
    found = torch.cuda.device_count()
    try:
        wanted = torch.device(device)
        if wanted.type != "cuda":
            torch.empty(0, device=wanted)
        elif (wanted.index or 0) >= found:
            return f"MODEL.DEVICE is '{device}'; this machine has {found} GPUs that torch can use."
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        form = "it must be 'cpu', 'cuda' or one of several GPUs, such as 'cuda:1'"
        return f"MODEL.DEVICE is '{device}', which torch refuses: {form} ({reason})."
    return None


@rule("MODEL.DEVICE", when=Use.EVALUATE)
def device_has_values(device: str) -> str | None:
    """A model may be built without them, to count what it would cost."""
    if not device.startswith("meta"):
        return None
    return f"MODEL.DEVICE is '{device}', whose tensors have no values; it must be 'cpu' or 'cuda'."


@rule("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "INPUT.FORMAT")
def every_channel_has_its_mean(
    mean: Sequence[float], std: Sequence[float], image_format: str
) -> str | None:
    channels = 1 if image_format == "L" else 3
    if len(mean) == len(std) == channels:
        return None
    return (
        f"MODEL.PIXEL_MEAN has {len(mean)} numbers and MODEL.PIXEL_STD has {len(std)}; with "
        f"INPUT.FORMAT '{image_format}' each must have {channels}, one a channel."
    )


@rule("MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME")
def backbones_are_as_many_as_detectors(architecture: str, backbone: str) -> str | None:
    composite, elan = backbone.startswith("build_composite_"), "elan" in backbone
    own = f"MODEL.META_ARCHITECTURE is '{architecture}' and MODEL.BACKBONE.NAME '{backbone}'"
    if composite and not is_a("DynamicDetector", architecture):
        return f"{own}: two backbones are of dynamic detectors, and this one is static."
    if not composite and backbone in _STATIC and is_a("DynamicDetector", architecture):
        return f"{own}: a dynamic detector needs two, which 'build_composite_...' builds."
    is_yolo = architecture in ("YOLOv7", "DynamicYOLO")
    if is_yolo and not elan and (composite or backbone in _STATIC):
        return f"{own}; of a {architecture} it must be build_elan_backbone or its composite."
    return None


@rule(
    "MODEL.DYNAMIC.CALIBRATION",
    "MODEL.DYNAMIC.HARD_FRACTION",
    "MODEL.DYNAMIC.TARGET_LATENCY_MS",
)
def calibration_and_one_target(
    calibration: str, hard_fraction: float | None, latency: float | None
) -> str | None:
    given = {"HARD_FRACTION": hard_fraction, "TARGET_LATENCY_MS": latency}
    targets = [f"MODEL.DYNAMIC.{name}" for name, value in given.items() if value is not None]
    if targets and not calibration:
        return (
            f"{targets[0]} needs MODEL.DYNAMIC.CALIBRATION, the file that calibrate.py writes; it "
            "is empty."
        )
    if calibration and len(targets) != 1:
        return (
            "MODEL.DYNAMIC.CALIBRATION needs exactly one of MODEL.DYNAMIC.HARD_FRACTION and "
            f"MODEL.DYNAMIC.TARGET_LATENCY_MS; found {len(targets)}."
        )
    return None


@rule(
    "MODEL.INFERENCE.OPTIMIZE",
    "MODEL.INFERENCE.PRECISION",
    "MODEL.INFERENCE.COMPILE",
    "MODEL.INFERENCE.SIZE_MULTIPLE",
)
def options_need_optimize(
    optimize: bool, precision: str, compiled: bool, size_multiple: int
) -> str | None:
    if optimize or (precision, compiled, size_multiple) == ("float32", False, 0):
        return None
    return (
        "MODEL.INFERENCE.PRECISION, COMPILE and SIZE_MULTIPLE need MODEL.INFERENCE.OPTIMIZE True; "
        f"found {precision}, {compiled} and {size_multiple} with False."
    )


@rule("MODEL.INFERENCE.PRECISION", "MODEL.DEVICE")
def float16_needs_a_gpu(precision: str, device: str) -> str | None:
    if precision != "float16" or device != "cpu":
        return None
    return (
        "MODEL.INFERENCE.PRECISION is 'float16', which is for GPUs; with MODEL.DEVICE 'cpu' it "
        "must be 'float32' or 'bfloat16'."
    )


# Evaluation and training


@rule("MODEL.META_ARCHITECTURE", "TEST.AUG.ENABLED", when=Use.EVALUATE)
def augmented_inference_is_of_two_stages(architecture: str, enabled: bool) -> str | None:
    if not enabled or is_a("DynamicRCNN", architecture):
        return None
    return (
        f"TEST.AUG.ENABLED is True, but MODEL.META_ARCHITECTURE is '{architecture}'; augmented "
        "inference is of DynamicRCNN alone: it must be False."
    )


@rule("MODEL.META_ARCHITECTURE", "TEST.EVAL_LOSS", "SOLVER.BEST.METRIC", when=Use.TRAIN)
def two_detectors_are_judged(architecture: str, losses: bool, metric: str) -> str | None:
    if not (losses or metric) or is_a("DynamicDetector", architecture):
        return None
    found = "TEST.EVAL_LOSS is True" if losses else f"SOLVER.BEST.METRIC is '{metric}'"
    return (
        f"{found}, but MODEL.META_ARCHITECTURE is '{architecture}'; it is of dynamic detectors "
        "alone."
    )


@rule("MODEL.META_ARCHITECTURE", "MODEL.KEYPOINT_ON", when=Use.EVALUATE)
def keypoints_have_no_figures(architecture: str, enabled: bool) -> str | None:
    if not enabled or not is_a("DynamicDetector", architecture):
        return None
    return (
        "MODEL.KEYPOINT_ON is True, but dynamic detectors are evaluated by boxes and masks alone; "
        "it must be False."
    )


@rule(
    "INPUT.MIN_SIZE_TEST",
    "TEST.DYNAMIC.INPUT_SIZES",
    "TEST.DYNAMIC.PLAN.INPUT_SIZES",
    when=Use.EVALUATE,
)
def other_sizes_are_in_proportion(
    own: int, sizes: Sequence[int], planned: Sequence[int]
) -> str | None:
    if own or not (sizes or planned):
        return None
    key = f"TEST.DYNAMIC.{'' if sizes else 'PLAN.'}INPUT_SIZES"
    return (
        f"{key} is {shown(list(sizes or planned))}, but INPUT.MIN_SIZE_TEST is 0, which resizes no "
        "image: there is no INPUT.MAX_SIZE_TEST in proportion."
    )


@rule("OUTPUT_DIR", when=Use.EVALUATE)
def output_is_a_folder(folder: str) -> str | None:
    if os.path.isdir(folder) or not os.path.lexists(folder):
        return None
    target = "" if os.path.exists(folder) else os.path.realpath(folder)
    kind = "a file" if os.path.isfile(folder) else "a pipe or a device"
    kind = f"a link to '{target}', which is not there" if target else kind
    return f"OUTPUT_DIR is '{folder}', which is {kind}; it must be a folder, there or not yet."


@rule("DATASETS.COCO_JSON", when=Use.EVALUATE)
def own_data_sets_are_there(entries: Sequence[Sequence[str]]) -> str | None:
    for entry in entries:
        try:
            checked_entry(entry)
        except ValueError as error:
            return str(error)
    return None


@rule("DATASETS.TEST", "DATASETS.COCO_JSON", when=Use.EVALUATE)
def test_sets_are_known(names: Sequence[str], own: Sequence[Sequence[str]]) -> str | None:
    return unregistered("DATASETS.TEST", names, own)


@rule("DATASETS.TRAIN", "DATASETS.COCO_JSON", when=Use.TRAIN)
def training_sets_are_known(names: Sequence[str], own: Sequence[Sequence[str]]) -> str | None:
    if not names:
        return "DATASETS.TRAIN names no data set."
    return unregistered("DATASETS.TRAIN", names, own)


def unregistered(key: str, names: Sequence[str], own: Sequence[Sequence[str]]) -> str | None:
    known = {*DatasetCatalog.list(), *SPLITS, *(entry[0] for entry in own)}
    unknown = [name for name in names if name not in known]
    if not unknown:
        return None
    return (
        f"{key} names '{unknown[0]}', which is not registered: DATASETS.COCO_JSON registers "
        f"[name, json file, image folder].{nearest(unknown[0], known)}"
    )


@rule("DATASETS.TEST", when=Use.CALIBRATE)
def calibration_has_a_data_set(names: Sequence[str]) -> str | None:
    return None if names else "DATASETS.TEST names no data set to calibrate on."


@rule("TEST.DYNAMIC.LATENCY_IMAGES", when=Use.CALIBRATE)
def calibration_measures_latency(images: int) -> str | None:
    if images:
        return None
    return "TEST.DYNAMIC.LATENCY_IMAGES is 0; a calibration measures latency and needs at least 1."


@rule("SOLVER.AMP.ENABLED", "MODEL.DEVICE", when=Use.TRAIN)
def mixed_precision_needs_a_gpu(enabled: bool, device: str) -> str | None:
    if not enabled or device.startswith("cuda"):
        return None
    return f"SOLVER.AMP.ENABLED is True, but MODEL.DEVICE is '{device}'; it needs a GPU."


@rule("MODEL.DYNAMIC.CALIBRATION", when=Use.TRAIN)
def calibration_comes_after_training(calibration: str) -> str | None:
    if not calibration:
        return None
    return (
        f"MODEL.DYNAMIC.CALIBRATION is '{calibration}', but training changes the weights that a "
        "calibration belongs to; it must be empty."
    )


@rule("MODEL.META_ARCHITECTURE", "TEST.PRECISE_BN.ENABLED", when=Use.TRAIN)
def statistics_stay_in_phase_router(architecture: str, enabled: bool) -> str | None:
    if not enabled or not is_a("DynamicDetector", architecture):
        return None
    return (
        "TEST.PRECISE_BN.ENABLED is True, but precise statistics would move in phases that leave "
        "detectors as they are, such as router; it must be False."
    )


@rule("MODEL.META_ARCHITECTURE", "VIS_PERIOD", when=Use.TRAIN)
def only_proposals_are_drawn(architecture: str, period: int) -> str | None:
    without = ("DynamicDenseDetector", "DynamicYOLO", "YOLOv7")
    if not period or not any(is_a(kind, architecture) for kind in without):
        return None
    return f"VIS_PERIOD is {period}, but a {architecture} has no proposals to draw; it must be 0."


def is_a(base: str, architecture: str) -> bool:
    """Whether an architecture is derived from a class of this project.

    By name: a model asks for its config's check and cannot stand below it as well.
    """
    detector = META_ARCH_REGISTRY.get(architecture)
    return isinstance(detector, type) and base in {kind.__name__ for kind in detector.__mro__}


@rule("SOLVER.PHASES", when=Use.TRAIN)
def phases_are_a_plan(names: Sequence[str]) -> str | None:
    if not names:
        return "SOLVER.PHASES is empty; a run has at least one phase."
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        return f"SOLVER.PHASES has '{twice[0]}' more than once: {shown(list(names))}."
    if "router" in names[:-1]:
        return (
            f"SOLVER.PHASES is {shown(list(names))}; 'router' must be the last, since it learns "
            "from detectors that the others change."
        )
    return None

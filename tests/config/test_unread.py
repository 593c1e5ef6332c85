# SPDX-License-Identifier: Apache-2.0
"""Keys that are typed although nothing reads them."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from dynamicdet_d2.config import get_cfg, read_config
from dynamicdet_d2.config.checking import MISSING, check, value_of
from dynamicdet_d2.config.unread import OWNERS, unread

# One of each kind.
CONFIGS = (
    "dy_faster_rcnn_R_50_FPN_1x",
    "dy_cascade_mask_rcnn_R_50_FPN_3x",
    "dy_mask_rcnn_swin_T_FPN_3x",
    "dy_faster_rcnn_lite0",
    "dy_retinanet_R_50_FPN_1x",
    "dy_fcos_R_50_FPN_1x",
    "quickstart_yolo",
    "faster_rcnn_R_50_FPN_1x",
    "mask_rcnn_swin_T_FPN_3x",
    "retinanet_R_50_FPN_1x",
    "fcos_R_50_FPN_1x",
    "yolov7",
)


@pytest.mark.parametrize(
    ("config", "typed", "said"),
    [
        (
            "dy_faster_rcnn_lite0.yaml",
            ["MODEL.RESNETS.DEPTH", "101"],
            "MODEL.RESNETS.DEPTH would not be read: it is for ResNets; found MODEL.BACKBONE.NAME "
            "'build_composite_efficientnet_lite_backbone'.",
        ),
        (
            "fcos_R_50_FPN_1x.yaml",
            ["MODEL.RETINANET.NUM_CLASSES", "4"],
            "MODEL.RETINANET.NUM_CLASSES would not be read: it is for RetinaNet's head; found "
            "MODEL.META_ARCHITECTURE 'FCOS'.",
        ),
        (
            "dy_retinanet_R_50_FPN_1x.yaml",
            ["MODEL.FCOS.NUM_CLASSES", "4"],
            "MODEL.FCOS.NUM_CLASSES would not be read: it is for FCOS's head; found "
            "MODEL.DENSE.HEAD 'RetinaNet'.",
        ),
        (
            "faster_rcnn_R_50_FPN_1x.yaml",
            ["MODEL.DYNAMIC.THRESHOLD", "0.3"],
            "MODEL.DYNAMIC.THRESHOLD would not be read: it is for dynamic detectors; found "
            "MODEL.META_ARCHITECTURE 'GeneralizedRCNN'.",
        ),
        (
            "faster_rcnn_R_50_FPN_1x.yaml",
            ["SOLVER.OPTIMIZER", "ADAMW", "SOLVER.MOMENTUM", "0.8"],
            "SOLVER.MOMENTUM would not be read: it is for SOLVER.OPTIMIZER 'SGD'; found "
            "SOLVER.OPTIMIZER 'ADAMW'.",
        ),
        (
            "dy_faster_rcnn_R_50_FPN_1x.yaml",
            ["MODEL.RESNETS.OUT_FEATURES", "['res4']"],
            "MODEL.RESNETS.OUT_FEATURES would not be read: it is for ResNets that are no pair; "
            "found MODEL.BACKBONE.NAME 'build_composite_resnet_backbone'.",
        ),
        (
            "faster_rcnn_R_50_FPN_1x.yaml",
            ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.STRIDE_IN_1X1", "False"],
            "MODEL.RESNETS.STRIDE_IN_1X1 would not be read: it is for ResNets of 50 layers and "
            "more; found MODEL.RESNETS.DEPTH 18.",
        ),
        (
            "bccd_faster_rcnn_R_18.yaml",
            ["MODEL.RESNETS.NUM_GROUPS", "32"],
            "MODEL.RESNETS.NUM_GROUPS would not be read: it is for ResNets of 50 layers and "
            "more; found MODEL.RESNETS.DEPTH 18.",
        ),
        (
            "quickstart.yaml",
            ["MODEL.RESNETS.DEPTH", "34"],
            "MODEL.RESNETS.DEPTH would change no number of blocks: MODEL.COMPOSITE.NUM_BLOCKS1 and "
            "NUM_BLOCKS2 say them, [1, 1, 1, 1] and [1, 4, 6, 3]; type those beside it, or [] for "
            "what the depth says.",
        ),
        (
            "faster_rcnn_R_50_FPN_1x.yaml",
            ["MODEL.ANCHOR_GENERATOR.ANGLES", "[[0]]"],
            "MODEL.ANCHOR_GENERATOR.ANGLES would not be read: it is for RotatedAnchorGenerator; "
            "found MODEL.ANCHOR_GENERATOR.NAME 'DefaultAnchorGenerator'.",
        ),
        (
            "dy_yolov7.yaml",
            ["SOLVER.GAMMA", "0.2"],
            "SOLVER.GAMMA would not be read: it is for WarmupMultiStepLR; found "
            "SOLVER.LR_SCHEDULER_NAME 'WarmupCosineLR'.",
        ),
        (
            "quickstart.yaml",
            ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value"]
            + ["SOLVER.CLIP_GRADIENTS.NORM_TYPE", "1.0"],
            "SOLVER.CLIP_GRADIENTS.NORM_TYPE would not be read: it is for "
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE 'norm'; found SOLVER.CLIP_GRADIENTS.CLIP_TYPE "
            "'value'.",
        ),
        (
            "dy_yolov7.yaml",
            ["INPUT.MOSAIC.PROBABILITY", "0", "INPUT.MIXUP.PROBABILITY", "0.5"],
            "INPUT.MIXUP.PROBABILITY would not be read: it is for mosaics; found "
            "INPUT.MOSAIC.PROBABILITY 0.0.",
        ),
        (
            "quickstart.yaml",
            ["SOLVER.PHASES", "['detectors']", "SOLVER.ROUTER.EPOCHS", "30"],
            "SOLVER.ROUTER.EPOCHS would not be read: it is for phase 'router'; found SOLVER.PHASES "
            "['detectors'].",
        ),
        (
            "quickstart.yaml",
            ["SOLVER.PHASES", "['router']", "SOLVER.MAX_ITER", "500"],
            "SOLVER.MAX_ITER would not be read: it is for phases that train detectors; found "
            "SOLVER.PHASES ['router'].",
        ),
        (
            "faster_rcnn_R_50_FPN_1x.yaml",
            ["MODEL.RPN.BBOX_REG_LOSS_TYPE", "giou", "MODEL.RPN.SMOOTH_L1_BETA", "0.1"],
            "MODEL.RPN.SMOOTH_L1_BETA would not be read: it is for MODEL.RPN.BBOX_REG_LOSS_TYPE "
            "'smooth_l1'; found MODEL.RPN.BBOX_REG_LOSS_TYPE 'giou'.",
        ),
    ],
)
def test_a_key_of_another_kind_is_refused_where_it_is_typed(
    config: str, typed: list[str], said: str
) -> None:
    with pytest.raises(ValueError) as found:
        read_config(f"configs/{config}", typed)
    assert str(found.value) == said


def test_what_decides_may_be_typed_beside_it() -> None:
    typed = ["SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.8"]
    assert read_config("configs/dy_faster_rcnn_lite0.yaml", typed).SOLVER.MOMENTUM == 0.8


def test_a_misspelt_decider_is_what_is_said() -> None:
    typed = ["MODEL.DENSE.HEAD", "fcos", "MODEL.FCOS.NUM_CLASSES", "6"]
    cfg = read_config("configs/dy_fcos_R_50_FPN_1x.yaml", typed)
    with pytest.raises(ValueError, match=r"^MODEL.DENSE.HEAD is 'fcos'; it must be 'RetinaNet' or"):
        check(cfg)


def test_a_depth_may_be_typed_beside_the_numbers_of_its_blocks() -> None:
    typed = ["MODEL.RESNETS.DEPTH", "34", "MODEL.COMPOSITE.NUM_BLOCKS1", "[]"]
    assert read_config("configs/quickstart.yaml", typed).MODEL.RESNETS.DEPTH == 34


def test_masks_are_read_by_mosaics_of_every_detector() -> None:
    typed = ["MODEL.MASK_ON", "True", "INPUT.MASK_FORMAT", "bitmask"]
    assert read_config("configs/dy_yolov7.yaml", typed).MODEL.MASK_ON
    assert not read_config("configs/quickstart_yolo.yaml", ["MODEL.MASK_ON", "False"]).MODEL.MASK_ON


def test_no_steps_of_a_phase_may_be_typed_beside_a_plan_without_it() -> None:
    plans = (["detectors"], "ROUTER.EPOCHS"), (["router"], "MAX_ITER")
    for phases, steps in plans:
        read_config("configs/quickstart.yaml", ["SOLVER.PHASES", phases, f"SOLVER.{steps}", 0])


def test_a_file_may_have_them(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("MODEL: {RETINANET: {NUM_CLASSES: 4}}")
    assert read_config(str(tmp_path / "c.yaml")).MODEL.RETINANET.NUM_CLASSES == 4


def test_those_for_another_config_too_may_have_them() -> None:
    cfg = read_config("", ["MODEL.DYNAMIC.THRESHOLD", "0.3"], shared=True)
    assert cfg.MODEL.DYNAMIC.THRESHOLD == 0.3


@pytest.mark.parametrize("name", ["own", "own_swin", "resnet_adapter", "melanoma"])
def test_of_a_backbone_that_others_have_registered_nothing_is_known(name: str) -> None:
    typed = ["MODEL.BACKBONE.NAME", f"build_{name}_backbone", "MODEL.RESNETS.DEPTH", "101"]
    assert unread(read_config("", typed), ["MODEL.RESNETS.DEPTH", "MODEL.SWIN.SIZE"]) == []


def test_each_is_said_once() -> None:
    assert len(unread(get_cfg(), ["MODEL.YOLO.WIDTH", "MODEL.YOLO.WIDTH"])) == 1


class Watched(CfgNode):
    """A config that notes the full names of the keys that are read as attributes."""

    def __getattr__(self, name: str) -> object:
        value = super().__getattr__(name)
        self.__dict__["seen"].add(f"{self.__dict__['section']}{name}")
        return value


def watched(node: CfgNode, seen: set[str], section: str = "") -> Watched:
    copy = Watched()
    copy.__dict__.update(seen=seen, section=section)
    for name, value in node.items():
        own = isinstance(value, CfgNode)
        dict.__setitem__(copy, name, watched(value, seen, f"{section}{name}.") if own else value)
    return copy


@pytest.mark.parametrize("config", CONFIGS)
def test_no_model_reads_what_is_called_unread(config: str) -> None:
    cfg = read_config(f"configs/{config}.yaml", ["MODEL.DEVICE", "meta"])
    seen: set[str] = set()
    build_model(watched(cfg, seen))
    assert any(name.startswith("MODEL.") for name in seen)
    absent = [owner for owner in OWNERS if owner.absent(cfg)]
    assert absent
    for owner in absent:
        read = {name for name in seen if owner.has(name) and name not in owner.keys}
        assert not read, f"{owner.words}: {read}"


def test_every_owner_has_keys_that_there_are() -> None:
    cfg = get_cfg()
    for owner in OWNERS:
        assert all(value_of(cfg, name) is not MISSING for name in (*owner.keys, owner.decider))

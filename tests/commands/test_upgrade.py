# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet upgrade``: the easy route is the stock detector before and after training."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.checkpoint.learnt import (
    in_checkpoint,
    learnt_by,
    recorded_images,
    recorded_keys,
    recorded_phase,
)
from dynamicdet_d2.commands.main import main
from dynamicdet_d2.commands.upgrade import say_untrained
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset
from dynamicdet_d2.engine.upgrade import dynamic_keys, equal, proof_dicts, stock_file
from dynamicdet_d2.engine.upgrade.conversion import nested
from dynamicdet_d2.utils import folder_lock
from dynamicdet_d2.utils.errors import FAILED
from tests.support.coco_files import clean_catalogs
from tests.support.runs import TOY, run
from tests.support.toy import toy_cfg, toy_inputs

pytestmark = pytest.mark.usefixtures("undrawn_file")

# Detectron2's own keys alone, as a user's file has them.
STOCK = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.POST_NMS_TOPK_TEST": 30,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_HEADS.NUM_CLASSES": 6,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.PIXEL_STD": [58.0, 57.0, 57.0],
    "INPUT.MIN_SIZE_TEST": 64,  # of 96x64 pixels, which would otherwise become 1200x800
}
MASKS = {
    "MODEL.MASK_ON": True,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
}
RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.RETINANET.NUM_CLASSES": 6,
    "MODEL.RETINANET.NUM_CONVS": 1,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
}


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list]:
    folder = tmp_path_factory.mktemp("drawn")
    found = []
    for seed, name in enumerate(("toy_train", "toy_test"), start=1):
        draw_dataset(folder / name, Recipe(6, seed, width=96, height=64))
        found.append([name, str(folder / name / "instances.json"), str(folder / name / "images")])
    with clean_catalogs():
        yield found


def stock(folder: Path, more: dict) -> tuple[CfgNode, nn.Module]:
    """A detector as Detectron2 would have left it: ``stock.yaml`` and ``stock.pth``."""
    (folder / "stock.yaml").write_text(yaml.safe_dump(nested({**STOCK, **more})))
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "stock.yaml"))
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif "predictor" in name and name.endswith("weight"):
            nn.init.normal_(tensor, std=0.3)
    DetectionCheckpointer(model, str(folder)).save("stock")
    return cfg, model


@pytest.mark.parametrize(
    ("more", "own"),
    [({}, ()), (MASKS, ("MODEL.COMPOSITE.SHARE_HEADS", False))],
    ids=["Faster R-CNN", "Mask R-CNN with heads of its own"],
)
def test_the_easy_route_stays_the_stock_detector(
    tmp_path: Path, entries: list, more: dict, own: tuple
) -> None:
    _, detector = stock(tmp_path, more)
    keys = (*own, *TOY, "DATASETS.COCO_JSON", entries, "SOLVER.MAX_ITER", 3)
    files = ("--config-file", tmp_path / "stock.yaml", "--weights", tmp_path / "stock.pth")
    done = run(
        "dynamicdet_d2/__main__.py",
        ["upgrade", *files, "--output", tmp_path / "new", "--num-images", 3, "--opts", *keys]
        + ["SOLVER.ROUTER.EPOCHS", 1, "SOLVER.ROUTER.OBJECTIVE", "gain"],
        tmp_path / "new",
    )
    assert done.status == 0, done.err
    proofs = json.loads((tmp_path / "new" / "upgrade.json").read_text())["easy_route_bit_equal"]
    for when in ("before training", "after training"):
        assert (proofs[when]["images"], proofs[when]["differing"]) == (3, [])
        assert proofs[when]["detections"] > 0
    assert len(re.findall("bit for bit", done.out)) == 2
    assert len(re.findall("Phase detector2", done.out)) == 1  # the training's own log alone

    # On images that the command has not seen, in one batch, against Detectron2's own model.
    cfg = read_config(str(tmp_path / "new" / "upgrade.yaml"))
    assert cfg.MODEL.COMPOSITE.SHARE_HEADS is not bool(own)
    assert cfg.SOLVER.PHASES == ["detector2", "router"]
    model = build_model(cfg).eval()
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(str(tmp_path / "new" / "model_final.pth"))
    inputs = toy_inputs(3)
    with torch.no_grad():
        expected = detector(inputs)
        for threshold, same in ((1.0, True), (0.0, False)):
            model.threshold = threshold
            for ours, theirs in zip(model(inputs), expected, strict=True):
                assert len(theirs["instances"]) > 0
                assert equal(ours["instances"], theirs["instances"]) is same


@pytest.mark.parametrize("kind", [{}, RETINANET], ids=["Faster R-CNN", "RetinaNet"])
def test_without_training_it_writes_a_config_and_the_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture, kind: dict
) -> None:
    stock(tmp_path, kind)
    draw_dataset(tmp_path / "images", Recipe(1, 1, width=96, height=64))
    text = yaml.safe_load((tmp_path / "stock.yaml").read_text())
    arguments = ["upgrade", "--config-file", str(tmp_path / "stock.yaml"), "--output"]
    arguments += [str(tmp_path / "new"), "--weights", str(tmp_path / "stock.pth"), "--prove-only"]
    arguments += ["--images", str(tmp_path / "images" / "images"), "--opts"]
    # How the detector will be run, which is not how the two are compared.
    arguments += ["MODEL.INFERENCE.OPTIMIZE", "True", "MODEL.INFERENCE.PRECISION", "bfloat16"]
    assert main(arguments) == 0
    assert "in 1 images" in capsys.readouterr().out
    own = yaml.safe_load((tmp_path / "new" / "upgrade.yaml").read_text())
    assert own["_BASE_"] == "../stock.yaml"
    assert own["MODEL"]["INFERENCE"] == {"OPTIMIZE": True, "PRECISION": "bfloat16"}  # as typed
    assert "PIXEL_STD" not in own["MODEL"] and "PIXEL_STD" in text["MODEL"]


def test_a_folder_that_another_run_holds_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stock(tmp_path, {})
    draw_dataset(tmp_path / "images", Recipe(1, 1, width=96, height=64))
    arguments = ["upgrade", "--config-file", tmp_path / "stock.yaml", "--prove-only", "--weights"]
    arguments += [tmp_path / "stock.pth", "--output", tmp_path / "new"]
    arguments += ["--images", tmp_path / "images" / "images"]
    with folder_lock.held(tmp_path / "new"), pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments)])
    assert stopped.value.code == FAILED
    assert f"--output {tmp_path / 'new'} is in use by this very process" in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())


def test_processes_of_torchrun_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one of them could hold the folder, and the others would end the run."""
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    stock(tmp_path, {})
    arguments = ["upgrade", "--config-file", tmp_path / "stock.yaml", "--output", tmp_path / "new"]
    with pytest.raises(SystemExit):
        main([*map(str, [*arguments, "--weights", tmp_path / "stock.pth"])])
    says = "itself: give --num-gpus 2 in the place of torchrun.\n"
    assert capsys.readouterr().err.endswith(says) and not (tmp_path / "new").exists()


def test_what_it_starts_from_knows_what_the_detector_has_learnt(tmp_path: Path) -> None:
    stock(tmp_path, {})
    weights = torch.load(tmp_path / "stock.pth", weights_only=True)
    record = recorded_images([{"file_name": "learnt.jpg"}])
    torch.save({"model": weights["model"], **in_checkpoint(record)}, tmp_path / "stock.pth")
    draw_dataset(tmp_path / "images", Recipe(1, 1, width=96, height=64))
    arguments = ["upgrade", "--config-file", tmp_path / "stock.yaml", "--prove-only", "--weights"]
    arguments += [tmp_path / "stock.pth", "--output", tmp_path / "new"]
    assert main([*map(str, arguments), "--images", str(tmp_path / "images" / "images")]) == 0
    start = tmp_path / "new" / "start.pth"
    assert torch.equal(learnt_by(start), record["files"])
    assert recorded_keys(start)["INPUT.FORMAT"] == "BGR"
    assert recorded_phase(start) == "detector2"  # its router is at random values


def test_it_goes_on_with_its_own_weights_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def upgrade(weights: str, image: Path, *more: str, output: str = "new") -> None:
        files = [
            "--config-file",
            str(tmp_path / "stock.yaml"),
            "--weights",
            str(tmp_path / weights),
        ]
        files += ["--output", str(tmp_path / output), "--images", str(image), "--prove-only"]
        main(["upgrade", *files, *more])

    def refused(weights: str, image: Path, *more: str, output: str = "new") -> str:
        with pytest.raises(SystemExit):
            upgrade(weights, image, *more, output=output)
        return capsys.readouterr().err

    stock(tmp_path, {})
    draw_dataset(tmp_path / "images", Recipe(1, 1, width=96, height=64))
    image, broken = tmp_path / "images" / "images" / "000000.jpg", tmp_path / "broken.jpg"
    upgrade("stock.pth", image, "--opts", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0")
    assert "0 detections in 1 images. Without any they show little" in capsys.readouterr().out

    other = torch.load(tmp_path / "stock.pth")["model"]
    other["backbone.fpn_lateral4.bias"] = other["backbone.fpn_lateral4.bias"] + 1
    torch.save({"model": other}, tmp_path / "other.pth")
    record = (tmp_path / "new" / "upgrade.json").read_text()
    said = refused("other.pth", image, "--resume")
    assert "began with other weights than" in said and "those of neck.fpn_lateral4.bias" in said
    assert (tmp_path / "new" / "upgrade.json").read_text() == record
    (tmp_path / "new" / "upgrade.json").write_text("of both proofs")  # until there are new ones
    upgrade("stock.pth", image, "--resume")
    assert (tmp_path / "new" / "upgrade.json").read_text() == "of both proofs"

    says = "so there is no upgrade to go on with"
    assert says in refused("stock.pth", image, "--resume", output="none")
    easy = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.DYNAMIC.EASY_PROPOSALS", "1")
    said = refused("stock.pth", image, "--opts", *easy, output="fewer")
    assert said.endswith(" It is changed by MODEL.DYNAMIC.EASY_PROPOSALS.\n")
    broken.write_text("none")
    said = refused("stock.pth", broken)  # nothing is left out here, whatever a key says
    assert f"Image {broken} cannot be read" in said and "SKIP_CORRUPT_IMAGES" not in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.BACKBONE.NAME", "build_resnet_backbone"),
        ("MODEL.META_ARCHITECTURE", "PanopticFPN"),
        ("MODEL.KEYPOINT_ON", True),
    ],
)
def test_what_has_no_counterpart_is_named(key: str, value: object) -> None:
    cfg = read_config(stock_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=f"^{key} is {value!r}, which has no dynamic counterpart"):
        dynamic_keys(cfg)


def test_static_configs_of_the_project_have_a_counterpart() -> None:
    for static in Path("configs").glob("*.yaml"):
        twin = static.with_name(f"dy_{static.name}")
        if not twin.exists():
            continue
        cfg, expected = read_config(str(static)), read_config(str(twin))
        keys = dynamic_keys(cfg)
        architecture = [key for key in keys if key.startswith(("MODEL.M", "MODEL.B", "MODEL.F"))]
        cfg.merge_from_list([word for key in architecture for word in (key, keys[key])])
        assert cfg.MODEL.META_ARCHITECTURE == expected.MODEL.META_ARCHITECTURE, static
        assert cfg.MODEL.BACKBONE == expected.MODEL.BACKBONE and cfg.MODEL.FPN == expected.MODEL.FPN


def test_a_static_detector_has_all_blocks_of_its_family() -> None:
    key = "MODEL.COMPOSITE.NUM_BLOCKS1"
    cfg = read_config(stock_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    assert key not in dynamic_keys(cfg)
    cfg.merge_from_list([key, [1, 1, 1, 1]])
    assert dynamic_keys(cfg)[key] == []


@pytest.mark.parametrize(
    "name",
    [
        "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
        "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml",
    ],
)
def test_detectors_of_the_zoo_have_a_counterpart(name: str) -> None:
    cfg = read_config(stock_file(name))
    keys = dynamic_keys(cfg)
    cfg.merge_from_list([word for item in keys.items() for word in item])
    with torch.device("meta"):
        cfg.MODEL.DEVICE = "meta"
        assert type(build_model(cfg)).__name__ == keys["MODEL.META_ARCHITECTURE"]


@pytest.mark.parametrize(
    ("phases", "steps", "said"),
    [
        (["detector2", "router"], 1, []),
        (["router"], 1, ["SOLVER.PHASES ['router'] trains no backbone 2"]),
        (
            ["detector2", "router"],
            0,
            ["SOLVER.PHASES ['detector2', 'router'] with SOLVER.MAX_ITER 0 trains no backbone 2"],
        ),
    ],
)
def test_an_upgrade_without_a_trained_backbone_2_is_said(
    phases: list, steps: int, said: list, caplog: pytest.LogCaptureFixture
) -> None:
    say_untrained(toy_cfg("SOLVER.PHASES", phases, "SOLVER.MAX_ITER", steps))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == said


def test_images_to_compare_on(tmp_path: Path) -> None:
    known = [{"file_name": str(i), "annotations": []} for i in range(10)]
    assert proof_dicts([], known, 3) == [{"file_name": x} for x in ("0", "3", "6")]
    assert len(proof_dicts([], known, 20)) == 10
    with pytest.raises(ValueError, match="no image to compare"):
        proof_dicts([str(tmp_path)], known, 3)
    with pytest.raises(ValueError, match="--images nowhere is neither a file"):
        proof_dicts(["nowhere"], known, 3)
    with pytest.raises(ValueError, match="nor the name of one in Detectron2's model zoo"):
        stock_file("nowhere.yaml")


def test_a_second_backbone_of_other_widths_has_a_neck_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Lite2 beside a trained Lite0: its lateral convolutions are new, the heads are not."""
    lite = {
        "MODEL.BACKBONE.NAME": "build_efficientnet_lite_fpn_backbone",
        "MODEL.FPN.IN_FEATURES": ["stage1", "stage2", "stage3", "stage4"],
    }
    (tmp_path / "stock.yaml").write_text(yaml.safe_dump(nested({**STOCK, **lite})))
    cfg = read_config(str(tmp_path / "stock.yaml"))
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "stock.pth")
    draw_dataset(tmp_path / "drawn", Recipe(1, 1, width=96, height=64))
    arguments = ["--config-file", str(tmp_path / "stock.yaml"), "--prove-only", "--images"]
    arguments += [str(tmp_path / "drawn" / "images"), "--output", str(tmp_path / "new")]
    arguments += ["--weights", str(tmp_path / "stock.pth"), "--opts"]
    own = ["MODEL.EFFICIENTNET_LITE.SIZE2", "2", "MODEL.COMPOSITE.SHARE_NECK", "False"]
    assert main(["upgrade", *arguments, *own]) == 0
    assert "bit for bit" in capsys.readouterr().out
    start = torch.load(tmp_path / "new" / "start.pth")["model"]
    assert start["tail2.neck.fpn_lateral5.weight"].shape[1] == 352
    output = "fpn_output5.weight"  # of the neck, equally wide in both
    assert torch.equal(start[f"tail2.neck.{output}"], start[f"neck.{output}"])

# SPDX-License-Identifier: Apache-2.0
"""``demo`` and ``demo-photos``: what is run, and what is refused before the chain begins."""

import json
from pathlib import Path

import pytest

from dynamicdet_d2.commands import demo, demo_photos
from dynamicdet_d2.commands.main import main
from dynamicdet_d2.config import Use, check, read_config
from tests.support.coco_files import CATEGORIES, image_entry, object_entry, write_coco


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Options that name a data set of 24 images and two classes."""
    images = [image_entry(number) for number in range(1, 25)]
    objects = [object_entry(number, number) for number in range(1, 25)]
    json_file, root = write_coco(tmp_path, images, objects, draw=False)
    return ["--json", json_file, "--images", root, "--output", str(tmp_path / "out")]


def test_the_chain_runs_on_own_photographs(
    own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(demo_photos, "step", lambda title, command: ran.append(command))
    monkeypatch.setattr(demo_photos, "say_results", lambda output, seconds: None)
    assert main(["demo-photos", *own, "SOLVER.MAX_ITER", "7"]) == 0
    assert [command[0] for command in ran] == ["train_net.py", "calibrate.py", "train_net.py", "-m"]
    assert all(command[-2:] != ["SOLVER.MAX_ITER", "300"] for command in ran)
    assert "('photos_val',)" in ran[1]
    config = str(tmp_path / "out" / "photos.yaml")
    assert all(command[command.index("--config-file") + 1] == config for command in ran)
    cfg = read_config(config, ["MODEL.DEVICE", "cpu"])
    check(cfg, Use.TRAIN)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("photos_train",), ("photos_test",))
    assert cfg.MODEL.WEIGHTS == "efficientnet-lite0"
    shown = ran[3][ran[3].index("--input") + 1 : ran[3].index("--output")]
    assert len(shown) == 6 and all(path.startswith(own[3]) for path in shown)


def test_without_photographs_shapes_lie_on_one(tmp_path: Path) -> None:
    config, images = demo_photos.prepare(None, None, tmp_path, 24)
    assert read_config(config).MODEL.ROI_HEADS.NUM_CLASSES == 6
    assert all(Path(path).is_file() for path in images) and len(images) == 6


def test_images_of_one_name_are_not_predicted_together(tmp_path: Path) -> None:
    """Their pictures would be one file, which the last step would refuse."""
    images = [image_entry(number) for number in range(1, 31)]
    for image in images:
        image["file_name"] = f"{image['id'] // 2:02}/{image['id'] % 2}.jpg"
    content = {"images": images, "annotations": [], "categories": CATEGORIES}
    (tmp_path / "all.json").write_text(json.dumps(content))
    _, shown = demo_photos.prepare(str(tmp_path / "all.json"), "own", tmp_path / "out", 30)
    assert sorted(Path(path).name for path in shown) == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("name", ["--json", "--images"])
def test_annotations_and_images_belong_together(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["demo-photos", name, "x"])
    assert "--json and --images are given together" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "demo-photos"])
def test_a_folder_among_the_overrides_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = str(tmp_path / "out")
    with pytest.raises(SystemExit):
        main([command, "--output", output, "SOLVER.MAX_ITER", "7", "OUTPUT_DIR", "elsewhere"])
    assert "name the folder with --output" in capsys.readouterr().err
    assert not Path(output).exists()


def test_each_step_takes_the_files_of_the_one_before() -> None:
    train, calibrate, evaluate, predict = (
        command for _, command in demo.steps(Path("own"), ["MODEL.WEIGHTS", "other.pth"])
    )
    assert train[-4:] == ["OUTPUT_DIR", "own", "MODEL.WEIGHTS", "other.pth"]
    assert calibrate[calibrate.index("--weights") + 1] == "own/model_final.pth"
    assert read_config(demo.CONFIG, evaluate[4:]).MODEL.WEIGHTS == "own/model_final.pth"
    assert predict[predict.index("--weights") + 1] == "own/model_final.pth"
    # Calibrating and predicting make no report, and refuse keys of one.
    keys = ["TEST.DYNAMIC.RANDOM_DRAWS", "3", "SEED", "2"]
    train, calibrated, evaluate, shown = (x for _, x in demo.steps(Path("own"), keys))
    for command in (calibrated, shown):
        assert keys[0] not in command and command[command.index("SEED") + 1] == "2"
    assert keys[0] in train and keys[0] in evaluate
    # They refuse two files of weights, and a folder that they would not write to.
    assert {"MODEL.WEIGHTS", "OUTPUT_DIR"}.isdisjoint([*calibrate, *predict])

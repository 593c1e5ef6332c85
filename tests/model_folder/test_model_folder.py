# SPDX-License-Identifier: Apache-2.0
"""A model folder: written, moved, loaded, and what of it is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import dynamicdet_d2
from dynamicdet_d2.checkpoint.conventions import keys_of
from dynamicdet_d2.checkpoint.learnt import (
    in_checkpoint,
    recorded_by,
    recorded_classes,
    recorded_images,
)
from dynamicdet_d2.model_folder import loading, model_config, write_model
from dynamicdet_d2.model_folder.manifest import FileRecord, Manifest, verified
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.prediction import DynamicPredictor
from dynamicdet_d2.utils.versions import versions
from tests.support.optimized import STATIC
from tests.support.predicting import predicting_cfg, write_model_files

NAMES = ["cat", "dog", "cow"]
FILES = {"manifest.json", "model.pth", "config.yaml", "calibration.json", "classes.json"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return write_model_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def written(files: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "parent" / "model"
    keys = ("MODEL.DYNAMIC.CALIBRATION", files.calibration, "MODEL.DYNAMIC.HARD_FRACTION", 0.3)
    cfg = predicting_cfg("MODEL.WEIGHTS", files.weights, *keys)
    cfg.DATASETS.COCO_JSON = [["own", "/home/me/own.json", "/home/me/images"]]
    write_model(cfg, folder, NAMES)
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def signed(folder: Path) -> Path:
    """With a manifest of the files as they are, as whoever changed them would write it."""
    Manifest.of(folder, versions(), "").write(folder)
    return folder


def test_it_works_from_another_place(
    files: SimpleNamespace, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {path.name for path in copy.iterdir()} == FILES
    moved = tmp_path / "moved"
    os.replace(copy, moved)
    expected = DynamicPredictor(predicting_cfg("MODEL.WEIGHTS", files.weights))
    monkeypatch.chdir(tmp_path)
    predictor = dynamicdet_d2.load("moved", device=torch.device("cpu"))
    assert predictor.class_names == NAMES
    assert predictor.model.threshold == pytest.approx(0.7, abs=0.01)
    image = cv2.imread(str(files.images / "1.png"))
    assert predictor(image)["difficulty"] == expected(image)["difficulty"]


def test_a_link_to_an_empty_folder_stays_one(files: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to("disk")
    write_model(predicting_cfg("MODEL.WEIGHTS", files.weights), tmp_path / "model", NAMES)
    assert (tmp_path / "model").is_symlink()
    assert {path.name for path in (tmp_path / "disk").iterdir()} == FILES - {"calibration.json"}


def test_it_keeps_which_images_its_weights_have_learnt(
    files: SimpleNamespace, tmp_path: Path
) -> None:
    images = recorded_images([{"file_name": str(tmp_path / "a.jpg")}], NAMES)
    content = torch.load(files.weights, weights_only=True)
    torch.save({**content, "trainer": {"images": images}}, tmp_path / "run.pth")
    first, second = tmp_path / "first", tmp_path / "second"
    write_model(predicting_cfg("MODEL.WEIGHTS", str(tmp_path / "run.pth")), first, NAMES)
    write_model(predicting_cfg("MODEL.WEIGHTS", str(first / "model.pth")), second, NAMES)
    for folder in (first, second):
        record = recorded_by(folder / "model.pth")
        assert record["files"].tolist() == images["files"].tolist()
        assert recorded_classes(record) == NAMES


def test_nothing_in_it_names_the_machine_that_wrote_it(written: Path) -> None:
    for path in written.iterdir():
        if path.suffix != ".pth":
            text = path.read_text()
            assert str(written.parents[2]) not in text and "/home/me" not in text
    content = torch.load(written / "model.pth", weights_only=True)
    assert (list(content), content["trainer"]) == (
        ["model", "trainer"],
        in_checkpoint({}, keys_of(predicting_cfg()))["trainer"],
    )
    assert list(written.parent.iterdir()) == [written]


def test_milliseconds_become_a_hard_fraction(files: SimpleNamespace, tmp_path: Path) -> None:
    keys = ("MODEL.DYNAMIC.CALIBRATION", files.calibration, "MODEL.DYNAMIC.TARGET_LATENCY_MS", 1.25)
    write_model(predicting_cfg("MODEL.WEIGHTS", files.weights, *keys), tmp_path / "model", NAMES)
    cfg, _ = model_config(tmp_path / "model")
    keys = cfg.MODEL.DYNAMIC
    assert (keys.HARD_FRACTION, keys.TARGET_LATENCY_MS) == (0.25, None)


def test_without_a_calibration_and_names(
    files: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ("MODEL.WEIGHTS", files.weights, "MODEL.DYNAMIC.THRESHOLD", 0.25)
    predictor = write_model(predicting_cfg(*keys), tmp_path / "model")
    assert (predictor.model.threshold, predictor.class_names) == (0.25, [])
    assert "No class names are known" in caplog.text
    assert not (tmp_path / "model" / "calibration.json").exists()


def test_a_folder_in_use_is_left_alone(files: SimpleNamespace, tmp_path: Path) -> None:
    cfg = predicting_cfg("MODEL.WEIGHTS", files.weights)
    (tmp_path / "mine").touch()
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ValueError, match="it must be a new or empty folder"):
            write_model(cfg, folder)


def test_the_predictor_s_config_names_files_that_are_there(
    files: SimpleNamespace, tmp_path: Path
) -> None:
    keys = ("MODEL.DYNAMIC.CALIBRATION", files.calibration, "MODEL.DYNAMIC.HARD_FRACTION", 0.3)
    cfg = predicting_cfg("MODEL.WEIGHTS", files.weights, *keys)
    predictor = write_model(cfg, tmp_path / "model", NAMES)
    again = DynamicPredictor(predictor.cfg, NAMES)
    assert again.model.threshold == predictor.model.threshold


def test_a_router_at_random_values_is_not_packed(tmp_path: Path) -> None:
    width = ("MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.RESNETS.STEM_OUT_CHANNELS", 64)
    keys = (*width, "MODEL.COMPOSITE.NUM_BLOCKS1", [2, 2, 2, 2])
    single = build_model(predicting_cfg(*STATIC, *width))
    torch.save({"model": single.state_dict()}, tmp_path / "single.pth")
    weights = str(tmp_path / "single.pth")
    cfg = predicting_cfg(*keys, "MODEL.WEIGHTS", weights, "MODEL.DYNAMIC.THRESHOLD", 1.0)
    with pytest.raises(ValueError, match="single.pth has no weights of the router, and a model f"):
        write_model(cfg, tmp_path / "model", NAMES)
    model = DynamicPredictor(cfg).model
    model.threshold = 0.0
    with pytest.raises(
        ValueError, match="single.pth has no weights .*, and the threshold would be 0.3"
    ):
        model.threshold = 0.3
    model.load_state_dict(model.state_dict())  # with a router
    model.threshold = 0.3


def test_a_calibration_that_is_typed_and_the_folder_lacks(
    files: SimpleNamespace, tmp_path: Path
) -> None:
    write_model(predicting_cfg("MODEL.WEIGHTS", files.weights), tmp_path / "model", NAMES)
    keys = ["MODEL.DYNAMIC.CALIBRATION", files.calibration]
    with pytest.raises(ValueError, match="^MODEL.DYNAMIC.CALIBRATION names a file beside the mo"):
        model_config(tmp_path / "model", overrides=keys)


@pytest.mark.parametrize("key", ["MODEL.WEIGHTS", "MODEL.DYNAMIC.CALIBRATION", "DATASETS.TEST"])
def test_the_folder_s_files_are_its_own(written: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} is said by the model folder"):
        model_config(written, overrides=["SEED", "1", key, "other"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x" * 5000, "it does not exist."),
        ("gone", "it does not exist."),
        (__file__, "it is no folder."),
    ],
)
def test_a_name_of_no_folder(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"is no model folder: {says}$"):
        dynamicdet_d2.load(name)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        (0, "device is 0; it must be a name such as 'cpu' or 'cuda:1', or a torch.device."),
        (True, "device is True; it must be a name"),
        (["cpu"], "device is ['cpu']; it must be a name"),
        ("gpu", "device is 'gpu', which torch refuses"),
        ("", "device is '', which torch refuses"),
        (torch.device("meta"), "device is 'meta', whose tensors have no values"),
    ],
)
def test_what_is_no_device(written: Path, device: Any, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        dynamicdet_d2.load(written, device)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize("overrides", [None, {"SEED": 1}, 3, "SEED 1"])
def test_what_are_no_overrides(written: Path, overrides: Any) -> None:
    with pytest.raises(ValueError, match=r"^Config overrides are of type .*; they must be a list"):
        model_config(written, overrides=overrides)


def test_another_models_calibration_is_not_packed(files: SimpleNamespace, tmp_path: Path) -> None:
    record = Calibration.from_json(files.calibration)
    record.fingerprint["weights"] = "another"
    record.to_json(tmp_path / "c.json")
    keys = ("MODEL.DYNAMIC.CALIBRATION", str(tmp_path / "c.json"))
    cfg = predicting_cfg("MODEL.WEIGHTS", files.weights, *keys, "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    with pytest.raises(ValueError, match="belongs to another model"):
        write_model(cfg, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


# What is refused, without looking elsewhere


def changed(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def linked(name: str) -> Callable[[Path], object]:
    def link(folder: Path) -> None:
        os.replace(folder / name, folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return link


def in_manifest(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        content = json.loads((folder / "manifest.json").read_text())
        change(content)
        (folder / "manifest.json").write_text(json.dumps(content))

    return rewrite


def renamed(content: dict) -> None:
    content["files"]["../outside.pth"] = content["files"].pop("model.pth")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: shutil.rmtree(folder), "it does not exist"),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            "no model folder: it has no manifest.json",
        ),
        (changed("manifest.json", "{}"), "is no manifest of a model folder: format is missing"),
        (changed("manifest.json", "no"), "is not a JSON file"),
        (in_manifest(lambda x: x.update(format=2)), "of format 2; this version reads format 1"),
        (in_manifest(renamed), "names '../outside.pth', which no model folder has"),
        (in_manifest(lambda x: x["files"].pop("model.pth")), "lacks model.pth"),
        (in_manifest(lambda x: x["files"].update({"model.pth": 3})), "model.pth is 3; it must be"),
        (lambda folder: (folder / "model.pth").unlink(), "model.pth cannot be read: No such file"),
        (changed("model.pth", "other"), "model.pth is not the file that manifest.json"),
        (changed("config.yaml", "SEED: 3"), "config.yaml is not the file that manifest.json"),
        (linked("model.pth"), "model.pth is a link; a model folder has ordinary files alone"),
        (linked("manifest.json"), "manifest.json is a link"),
    ],
)
def test_what_is_no_model_folder(copy: Path, harm: Callable[[Path], object], says: str) -> None:
    harm(copy)
    with pytest.raises(ValueError, match=says):
        dynamicdet_d2.load(copy)


class Runs:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (changed("config.yaml", "_BASE_: ../outside.yaml"), "has a _BASE_"),
        (changed("config.yaml", "_BASE_: https://example.org/x.yaml"), "has a _BASE_"),
        (changed("config.yaml", "A: !!python/object/apply:os.mkdir [ran]"), "no code runs"),
        (changed("config.yaml", "GONE: 1"), "GONE is no key"),
        (changed("classes.json", "[1]"), "has 1 among the names of classes"),
        (changed("calibration.json", "{}"), "calibration.json lacks num_images"),
        (lambda folder: torch.save({"model": Runs()}, folder / "model.pth"), "is not loaded"),
        (lambda folder: (folder / "calibration.json").unlink(), "needs calibration.json"),
    ],
)
def test_contents_that_only_a_villain_would_sign(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable, says: str
) -> None:
    harm(copy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says):
        dynamicdet_d2.load(signed(copy))
    assert not (tmp_path / "ran").exists()


def test_paths_in_its_config_are_not_followed(copy: Path) -> None:
    config = copy / "config.yaml"
    text = config.read_text().replace("WEIGHTS: model.pth", "WEIGHTS: /etc/passwd")
    text = text.replace("CALIBRATION: calibration.json", "CALIBRATION: /etc/passwd")
    text = text.replace("COCO_JSON: []", "COCO_JSON: [[a, /etc/passwd, /etc]]")
    assert text.count("/etc/passwd") == 3
    config.write_text(text)
    cfg, _ = model_config(signed(copy))
    assert cfg.MODEL.WEIGHTS == str(copy / "model.pth")
    assert cfg.MODEL.DYNAMIC.CALIBRATION == str(copy / "calibration.json")
    assert (list(cfg.DATASETS.COCO_JSON), list(cfg.DATASETS.TEST)) == ([], [])
    assert "/etc" not in cfg.dump()


def test_a_large_text_file_is_not_read(copy: Path) -> None:
    with open(copy / "classes.json", "r+b") as file:
        file.truncate(1 << 25)
    with pytest.raises(ValueError, match="classes.json has 33554432 bytes; it must have"):
        dynamicdet_d2.load(signed(copy))


def test_records_of_files(tmp_path: Path) -> None:
    for name in ("model.pth", "config.yaml", "classes.json"):
        (tmp_path / name).write_text("abc")
    signed(tmp_path)
    # SHA-256's published example.
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert verified(tmp_path).files["model.pth"] == FileRecord(known, 3)
    assert set(verified(tmp_path).files) == {"model.pth", "config.yaml", "classes.json"}


def in_between(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], fault: str = ""
) -> None:
    """Something that happens when hashes were compared, and weights are still to be read."""

    def build(cfg: CfgNode, names: list[str]) -> DynamicPredictor:
        happens()
        if fault:
            raise ValueError(fault)
        return DynamicPredictor(cfg, names)

    monkeypatch.setattr(loading, "DynamicPredictor", build)


def test_a_link_that_leads_to_another_model_meanwhile(
    files: SimpleNamespace, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(predicting_cfg("MODEL.WEIGHTS", files.weights), tmp_path / "new", ["a", "b", "c"])
    current = tmp_path / "current"
    current.symlink_to("copy")

    def deploy() -> None:
        (tmp_path / "next").symlink_to("new")
        os.replace(tmp_path / "next", current)

    in_between(monkeypatch, deploy)
    predictor = dynamicdet_d2.load(current)
    assert current.resolve() == tmp_path / "new"
    assert predictor.cfg.MODEL.WEIGHTS == str(copy / "model.pth")
    assert predictor.class_names == NAMES


@pytest.mark.parametrize("fault", ["", "It is half of this one."])
@pytest.mark.parametrize("name", ["model.pth", "manifest.json"])
def test_a_model_that_comes_into_the_place_of_another_one_meanwhile(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    in_between(monkeypatch, lambda: os.utime(copy / name, (1, 1)), fault)
    with pytest.raises(ValueError) as error:
        dynamicdet_d2.load(copy)
    assert (
        str(error.value) == f"{copy / name} was replaced while its folder was read: read it again."
    )


def test_what_else_is_wrong_is_said_as_ever(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_between(monkeypatch, lambda: (copy / "notes.txt").write_text("x"), "It is no model.")
    with pytest.raises(ValueError, match="^It is no model.$"):
        dynamicdet_d2.load(copy)

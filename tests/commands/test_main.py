# SPDX-License-Identifier: Apache-2.0
"""The entry point: the list of commands, help, and how each meets what a user got wrong."""

import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import dynamicdet_d2
from dynamicdet_d2.commands import demo
from dynamicdet_d2.commands import main as entry
from dynamicdet_d2.commands.main import COMMANDS, main
from tests.support.coco_files import image_entry, object_entry, write_coco

ROOT = Path(__file__).parents[2]


def said(capsys: pytest.CaptureFixture, arguments: list[str]) -> tuple[int, str, str]:
    """Exit status of a command, and what it writes to stdout and stderr."""
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, *capsys.readouterr()


def test_every_file_is_a_command_with_options_and_work() -> None:
    files = {path.stem for path in (ROOT / "dynamicdet_d2" / "commands").glob("*.py")}
    names = {name.replace("-", "_") for name in COMMANDS}
    assert files - names == {"__init__", "main", "command_line"} and names < files
    for name in names:
        module = importlib.import_module(f"dynamicdet_d2.commands.{name}")
        assert callable(module.parser) and callable(module.run)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_alone_it_lists_the_commands_a_line_each(
    capsys: pytest.CaptureFixture, arguments: list[str]
) -> None:
    status, out, err = said(capsys, arguments)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == list(COMMANDS)
    assert all(len(line) > 3 for line in lines)


def test_it_says_its_version(capsys: pytest.CaptureFixture) -> None:
    assert said(capsys, ["--version"]) == (0, f"dynamicdet {dynamicdet_d2.__version__}\n", "")


def test_a_large_image_is_no_bomb(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    """Of 90 million pixels, by its header; Pillow warns from 89 million on, and names no file."""
    image, one = image_entry(1, 9_000, 10_000), object_entry(1, 1)
    json_file, folder = write_coco(tmp_path, [image], [one], draw=False)
    (Path(folder) / image["file_name"]).write_bytes(b"P5 9000 10000 255\n")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        options = ["--json", json_file, "--images", folder, "--num-classes", "2"]
        assert said(capsys, ["check-data", *options])[::2] == (0, "")
    assert not warned


def test_as_a_user_types_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dynamicdet_d2"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, entry.overview(), "")


def test_the_installed_command_is_this_one() -> None:
    text = (ROOT / "setup.py").read_text()
    module, function = re.search(r'"dynamicdet = ([\w.]+):(\w+)"', text).groups()
    assert getattr(importlib.import_module(module), function) is main


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tain", " The nearest is 'train'."),
        ("TRAIN", " The nearest is 'train'."),
        ("xyz", ""),
        ("--config-file", " Options stand behind the command."),
    ],
)
def test_a_command_that_is_none_gets_the_nearest(
    capsys: pytest.CaptureFixture, name: str, hint: str
) -> None:
    status, out, err = said(capsys, [name, "--help"])
    assert (status, out) == (2, "")
    assert err == f"dynamicdet: error: there is no command '{name}'.{hint}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help(capsys: pytest.CaptureFixture, name: str) -> None:
    status, out, err = said(capsys, [name, "--help"])
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: dynamicdet {name} ")
    assert "__main__" not in out


def test_examples_of_an_evaluation_train_nothing(capsys: pytest.CaptureFixture) -> None:
    _, out, _ = said(capsys, ["eval", "--help"])
    assert "MODEL.WEIGHTS output/model_final.pth" in out and "SOLVER" not in out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option(capsys: pytest.CaptureFixture, name: str) -> None:
    status, out, err = said(capsys, [name, "--gone"])
    assert (status, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"dynamicdet {name}: error: ") and "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "rank", "times"), [("cost", 0, 1), ("cost", 1, 0), ("eval", 0, 0)]
)
def test_torchrun_is_said_once_where_it_shares_no_work(
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    rank: int,
    times: int,
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    status, _, err = said(capsys, [name, *F])
    assert status == 2
    sentence = (
        f"dynamicdet {name}: warning: torchrun has started 2 processes, and each of them does the "
        f"whole of '{name}' at the same time: start it without torchrun.\n"
    )
    assert err.count(sentence) == err.count("torchrun has started") == times


F = ["--config-file", "gone.yaml"]
CONFIG = ["--config-file", "configs/quickstart.yaml"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["train", *F], 2, "--config-file gone.yaml does not exist."),
        (["eval", *F], 2, "--config-file gone.yaml does not exist."),
        (["cost", *F], 2, "--config-file gone.yaml does not exist."),
        (["calibrate", *F, "--weights", "gone.pth"], 2, "--weights gone.pth does not exist."),
        (["predict", *F, "--input", "gone"], 2, "--input gone does not exist."),
        (
            ["predict", *F, "--input", "docs/speed_cpu.png"],
            2,
            "--config-file gone.yaml does not exist.",
        ),
        (["report", "gone"], 2, "gone/tradeoff.json cannot be read: No such file or directory."),
        (["report", "gone.json"], 2, "gone.json cannot be read: No such file or directory."),
        (["report", "c.json", "--compare", "A,1,2,3"], 2, "c.json is a calibration."),
        (["draw-shapes", "--output", "setup.py"], 2, "setup.py is a file; a drawn set is"),
        (["draw-shapes", "--output", "x", "--width", "3"], 2, "at least one image of 64 pixels"),
        (["train", *CONFIG, "SOLVER.MAX_ITER", "-1"], 2, "SOLVER.MAX_ITER is -1; it must be a"),
        (["eval", *CONFIG, "TEST.DYNAMIC.RANDOM_DRAWS", "0"], 2, "RANDOM_DRAWS is 0; it must be"),
        (["eval", *CONFIG, "TEST.DYNAMIC.LATENCY_WARMUP", "-1"], 2, "LATENCY_WARMUP is -1; it"),
        (["cost", *CONFIG, "MODEL.SWIN.SIZE", "S"], 2, "MODEL.SWIN.SIZE would not be read"),
        (["cost", *CONFIG, "MODEL.RESNETS.NORM", "3"], 2, "MODEL.RESNETS.NORM"),
    ],
)
def test_what_a_user_got_wrong_is_one_sentence(
    capsys: pytest.CaptureFixture, arguments: list[str], status: int, says: str
) -> None:
    found, out, err = said(capsys, arguments)
    assert (found, out) == (status, "")
    assert err.startswith(f"dynamicdet {arguments[0]}: error: ") and says in err
    assert err.count("\n") == 1


def test_a_data_set_with_errors_is_told_by_the_status(capsys: pytest.CaptureFixture) -> None:
    status, out, err = said(capsys, ["check-data", "--json", "gone.json", "--images", "gone"])
    assert (status, err) == (1, "")
    assert "gone.json cannot be read" in out


def test_ctrl_c_ends_without_a_traceback(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dynamicdet_d2.commands.doctor.run", interrupted)
    assert said(capsys, ["doctor"]) == (130, "", "dynamicdet doctor: stopped\n")


# The demo


def test_the_demo_is_for_the_repositorys_root(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = said(capsys, ["demo"])
    assert status == 2 and "run the demo from the root" in err


def test_every_step_of_the_demo_is_a_command_that_exists() -> None:
    steps = demo.steps(Path("out"), ["SEED", "3"])
    commands = []
    for _, (script, *arguments) in steps:
        if script == "-m":
            package, name, *arguments = arguments
            assert package == dynamicdet_d2.__name__
        else:
            assert (ROOT / script).is_file()
            name = {"train_net.py": "train", "calibrate.py": "calibrate"}[script]
        parser = importlib.import_module(f"dynamicdet_d2.commands.{name}").parser()
        args = parser.parse_args(arguments)
        assert args.config_file == demo.CONFIG
        assert args.opts[args.opts.index("SEED") + 1] == "3"
        commands.append(name)
    assert commands == ["train", "calibrate", "train", "predict"]


def test_a_step_that_fails_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def fail(command: list[str]) -> SimpleNamespace:
        called.append(command)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr("dynamicdet_d2.commands.demo.subprocess.run", fail)
    with pytest.raises(SystemExit) as stop:
        main(["demo"])
    assert stop.value.code == 3 and len(called) == 1


@pytest.mark.parametrize("output", [["--output=~/x"], ["--output", "~/x"]])
def test_a_home_folder_that_a_shell_has_left(
    output: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("a file")
    status, _, err = said(capsys, ["draw-shapes", *output, "--num-images", "1"])
    assert status != 0 and str(tmp_path / "x") in err
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_libraries_that_were_imported_in_part_are_not_tried_again(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there of them would do for a while, and fail anywhere behind."""
    monkeypatch.setattr(dynamicdet_d2, "_missing", ImportError("No usable folder: '/nowhere'"))
    assert said(capsys, ["cost", "--help"]) == (
        1,
        "",
        "dynamicdet cost: error: No usable folder: '/nowhere': 'python -m dynamicdet_d2 doctor' "
        "says what is missing and what installs it.\n",
    )

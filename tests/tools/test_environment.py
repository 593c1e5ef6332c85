# SPDX-License-Identifier: Apache-2.0
"""tools/environment.py and the Makefile's first questions, without installing anything."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import environment
import pytest
from environment import EnvironmentProblem, Steps, wheel_source

ROOT = environment.ROOT


def wheelhouse_for(folder: Path, machine: str, requirements: str) -> Path:
    (folder / environment.MADE_FOR).write_text(machine + "\n", encoding="utf-8")
    (folder / environment.MADE_FROM).write_text(requirements, encoding="utf-8")
    return folder


def test_wheels_come_from_the_index_without_a_wheelhouse(tmp_path: Path) -> None:
    assert wheel_source(tmp_path / "absent") == []


def test_wheels_come_from_a_fitting_wheelhouse_alone(tmp_path: Path) -> None:
    requirements = environment.REQUIREMENTS.read_text(encoding="utf-8")
    wheelhouse = wheelhouse_for(tmp_path, environment.platform_line(), requirements)
    assert wheel_source(wheelhouse) == ["--no-index", "--find-links", wheelhouse]


def test_a_wheelhouse_of_another_machine_or_other_pins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="for an unknown machine, and this is Python 3"):
        wheel_source(tmp_path)
    with pytest.raises(EnvironmentProblem, match="for Python 3.1, Plan9 vax, and this is"):
        wheel_source(wheelhouse_for(tmp_path, "Python 3.1, Plan9 vax", ""))
    with pytest.raises(EnvironmentProblem, match="for another requirements.txt"):
        wheel_source(wheelhouse_for(tmp_path, environment.platform_line(), "torch==1.0\n"))


def test_too_little_room_is_said_before_anything_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=84 * 10**8))
    environment.warn_of_little_room(tmp_path, 8.4)
    assert not capsys.readouterr().out
    environment.warn_of_little_room(tmp_path, 8.5)
    assert (
        f"WARNING: {tmp_path} has 8.4 GB free, and .venv may take 8.5 GB:"
        in capsys.readouterr().out
    )


def test_a_step_says_what_it_does_and_how_long_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(total=2, log=tmp_path / "log")
    steps.run("Saying hello", [sys.executable, "-c", "print('hello')"])
    assert re.fullmatch(r"\[1/2\] Saying hello\n +done in \d+ s\n", capsys.readouterr().out)
    assert (tmp_path / "log").read_text() == "hello\n"


def test_a_long_step_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag, said = tmp_path / "flag", []

    def say(line: str) -> None:
        said.append(line)
        if "half way" in line:
            flag.touch()

    # The command ends once the step has spoken of it: no guess about the machine's speed.
    code = "import pathlib, sys, time; print('half way'); flag = pathlib.Path(sys.argv[1])\n"
    code += "for _ in range(3000):\n    time.sleep(0.01)\n    if flag.exists(): break"
    monkeypatch.setattr(environment, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(environment, "say", say)
    Steps(total=1, log=tmp_path / "log").run("Waiting", [sys.executable, "-c", code, flag])
    assert any(re.fullmatch(r" +\.\.\. \d+ s: half way", line) for line in said)


def test_a_failed_step_shows_the_end_of_its_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "print('first'); print('no such version'); raise SystemExit(3)"
    with pytest.raises(EnvironmentProblem, match=r"failed \(exit status 3\): Installing"):
        Steps(total=1, log=tmp_path / "log").run("Installing", [sys.executable, "-c", code])
    said = capsys.readouterr().out
    assert said.endswith("    first\n    no such version\n") and "done in" not in said


def test_pins_are_exact_and_named_once() -> None:
    text = environment.REQUIREMENTS.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    names = [re.fullmatch(r"([a-z0-9-]+)==[0-9][0-9a-z.]*", line).group(1) for line in lines]
    assert len(names) == len(set(names)) > 20


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Only what `make env` reads before it would install anything."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("environment.py", "install_detectron2.py"):
        (tmp_path / "tools" / name).write_text("raise SystemExit('reached')\n", encoding="utf-8")
    return tmp_path


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=clone, capture_output=True, text=True)


def test_make_refuses_an_old_python_in_one_sentence(clone: Path) -> None:
    old = clone / "oldpython"
    pretend = "import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n", encoding="utf-8")
    old.chmod(0o755)
    done = make(clone, "test", f"PYTHON={old}")
    assert done.returncode != 0
    sentence = f'Python 3.11 or newer is needed, and "{old}" is Python 3.9'
    assert done.stderr.splitlines()[0].startswith(sentence)
    assert not (clone / ".venv").exists()


def test_make_names_a_python_that_is_not_there(clone: Path) -> None:
    done = make(clone, "demo", "PYTHON=python3.999")
    assert done.returncode != 0
    assert "'python3.999' was not found" in done.stderr.splitlines()[0]


def test_make_hands_over_to_the_environment_tool(clone: Path) -> None:
    assert "reached" in make(clone, "lint", f"PYTHON={sys.executable}").stderr


def test_make_alone_lists_every_command(clone: Path) -> None:
    listed = re.findall(r"^  make (\w+)", make(clone).stdout, re.MULTILINE)
    assert {"env", "demo", "test", "lint", "doctor", "wheelhouse", "clean"} <= set(listed)

# SPDX-License-Identifier: Apache-2.0
"""The doctor's table, its mending command and its exit status, with packages made to be missing."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dynamicdet_d2 import __version__
from dynamicdet_d2.commands import doctor
from dynamicdet_d2.commands.doctor import Finding

ORIGIN = '{"description": "v0.6 Python sources, mended", "source": "pb1-detectron2==0.6"}'
GIT = (
    '{"url": "https://example.org/detectron2.git",'
    ' "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef0123"}}'
)
EDITABLE = '{"url": "file:///src/detectron2", "dir_info": {"editable": true}}'


def run_doctor(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The doctor in a process of its own, from the clone."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=doctor.ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def broken_module(folder: Path, name: str) -> Path:
    """A folder for PYTHONPATH in which importing `name` fails as if it were not there."""
    message = f"No module named '{name}'"
    code = f'raise ModuleNotFoundError("{message}", name="{name}")\n'
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    return folder


def clone(folder: Path) -> Path:
    """A folder that looks like a clone."""
    (folder / "tools").mkdir()
    for name in ("Makefile", "tools/install_detectron2.py"):
        (folder / name).touch()
    return folder


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    finding = doctor.examine_module("hydra", "hydra-core")
    assert finding == Finding("hydra", "-", "missing", ("hydra-core",))
    command = f"{sys.executable} -m pip install --constraint requirements.txt hydra-core"
    assert doctor.mending_command([Finding("a", "1"), finding]) == command
    lines = doctor.report([Finding("longer_name", "1"), finding]).splitlines()
    assert lines[:2] == ["longer_name  1", "hydra        -  <- missing"]
    assert lines[-2].startswith("Lines marked <- are not in order (1).")
    assert lines[-1].strip() == command


def test_report_without_problems_ends_with_nothing_is_missing() -> None:
    assert doctor.report([Finding("a", "1")]).splitlines() == ["a  1", "", "Nothing is missing."]


def test_a_package_that_lacks_another_names_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_outer.py").write_text("import toy_absent\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.import_problem("toy_outer") == "needs toy_absent, which is missing"


def test_a_package_that_breaks_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = 'raise OSError("libGL.so.1: cannot open\\nmore")\n'
    (tmp_path / "toy_broken.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    problem = doctor.import_problem("toy_broken")
    assert problem == "cannot be imported: OSError: libGL.so.1: cannot open"


def test_another_version_than_the_pinned_one_is_said_and_is_no_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda module, package: "1.0+local")
    monkeypatch.setattr(doctor, "pins", lambda: {"json5": "1.0", "other": "2.0"})
    assert doctor.examine_module("json", "json5") == Finding("json", "1.0+local")
    assert doctor.examine_module("json", "other") == Finding("json", "1.0+local (tried with 2.0)")


def test_an_old_python_is_mended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 18))
    finding = doctor.examine_python()
    assert finding.problem == "3.11 or newer is needed"
    missing = Finding("fvcore", "-", "missing", ("fvcore",))
    assert doctor.mending_command([missing, finding]) == "make env PYTHON=python3.12"


def test_without_torch_and_without_an_environment_make_env_mends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ROOT", clone(tmp_path))
    missing = [Finding(name, "-", "missing", (name,)) for name in ("torch", "fvcore")]
    assert doctor.mending_command(missing) == "make env"
    (tmp_path / ".venv").mkdir()
    assert doctor.mending_command(missing).endswith("torch fvcore")


def test_detectron2_that_is_missing_is_mended_by_the_install_tool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    finding = doctor.examine_detectron2()
    command = f"{sys.executable} tools/install_detectron2.py"
    assert finding == Finding("detectron2", "-", "missing", command=command)
    other = Finding("fvcore", "-", "missing", ("fvcore",))
    pip = f"{sys.executable} -m pip install --constraint requirements.txt fvcore"
    assert doctor.mending_command([finding, other]) == f"{pip} && {command}"


def test_where_it_was_installed_no_file_of_a_clone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setattr(doctor, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setitem(sys.modules, "detectron2", None)
    found = {"setuptools": None}
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: found.get(name, name))
    finding = doctor.examine_detectron2()
    tool = f"{sys.executable} {doctor.PACKAGE / 'tools' / 'install_detectron2.py'}"
    assert finding == Finding("detectron2", "-", "missing", ("'setuptools<82'",), tool)
    missing = Finding("torch", "-", "missing", ("torch",))
    pip = f"{sys.executable} -m pip install torch 'setuptools<82'"
    assert doctor.mending_command([missing, finding]) == f"{pip} && {tool}"
    assert doctor.report([finding]).splitlines()[-2].endswith("(1). To mend that, run:")
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 18))
    old = doctor.mending_command([doctor.examine_python()])
    assert old.startswith("python3.11 -m pip install dynamicdet_d2")
    assert doctor.pins() == {}


def test_detectron2_that_lacks_a_package_is_mended_by_that_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "import_problem", lambda module: "needs hydra, which is missing")
    assert doctor.examine_detectron2().packages == ("hydra-core",)
    monkeypatch.setattr(doctor, "import_problem", lambda module: "needs yacs.config, which is not")
    assert doctor.examine_detectron2().packages == ("yacs",)
    says = "needs detectron2.modeling, which is missing"
    monkeypatch.setattr(doctor, "import_problem", lambda module: says)
    found = doctor.examine_detectron2()
    assert not found.packages and "install_detectron2.py" in found.command


@pytest.mark.parametrize(
    ("origin", "direct_url", "expected"),
    [
        (ORIGIN, None, "v0.6 Python sources, mended (pb1-detectron2==0.6)"),
        (ORIGIN, GIT, "v0.6 Python sources, mended (pb1-detectron2==0.6)"),
        (None, GIT, "git, https://example.org/detectron2.git at 0123456789ab"),
        (None, EDITABLE, "editable file:///src/detectron2"),
        (None, None, "a package index or an installer that leaves no record"),
    ],
)
def test_origin_of_detectron2(origin: str | None, direct_url: str | None, expected: str) -> None:
    assert doctor.origin_from_records(origin, direct_url) == expected


def test_origin_of_sources_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_distribution(name: str) -> None:
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "distribution", no_distribution)
    module = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    expected = f"sources on the Python path, not installed, in {tmp_path}"
    assert doctor.detectron2_origin(module) == expected


def test_every_needed_package_is_pinned() -> None:
    assert set(doctor.NEEDED.values()) <= set(doctor.pins())


def test_version_is_the_one_of_the_package() -> None:
    assert doctor.project_version() == __version__


def test_this_environment_is_in_order() -> None:
    done = run_doctor("-m", "dynamicdet_d2", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("Nothing is missing.")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "how", [("-m", "dynamicdet_d2", "doctor"), ("dynamicdet_d2/commands/doctor.py",)]
)
def test_the_doctor_runs_without_detectron2(how: tuple[str, ...], tmp_path: Path) -> None:
    done = run_doctor(*how, PYTHONPATH=str(broken_module(tmp_path, "detectron2")))
    assert done.returncode == 1, done.stderr
    assert "tools/install_detectron2.py" in done.stdout.splitlines()[-1]
    assert done.stderr == ""


def test_using_the_package_without_detectron2_names_the_doctor(tmp_path: Path) -> None:
    folder = str(broken_module(tmp_path, "detectron2"))
    code = "from dynamicdet_d2 import add_dynamicdet_config"
    done = run_doctor("-c", code, PYTHONPATH=folder)
    assert done.returncode == 1
    assert "No module named 'detectron2'" in done.stderr.splitlines()[-1]
    assert "'python -m dynamicdet_d2 doctor' says" in done.stderr.splitlines()[-1]
    done = run_doctor("-m", "dynamicdet_d2", "cost", "--config-file", "x", PYTHONPATH=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("dynamicdet cost: error: No module named 'detectron2'")
    assert "doctor" in done.stderr and done.stderr.count("\n") == 1


def test_the_doctor_runs_where_torchvision_does_not_fit_torch(tmp_path: Path) -> None:
    fault = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision.py").write_text(f"raise RuntimeError('{fault}')")
    done = run_doctor("-m", "dynamicdet_d2", "doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and done.stderr == ""
    assert f"cannot be imported: RuntimeError: {fault}" in done.stdout
    done = run_doctor("-m", "dynamicdet_d2", "cost", "--config-file", "x", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"dynamicdet cost: error: RuntimeError: {fault}")
    code = "from dynamicdet_d2 import load"
    done = run_doctor("-c", code, PYTHONPATH=str(tmp_path))
    assert fault in done.stderr.splitlines()[-1] and "doctor' says" in done.stderr.splitlines()[-1]

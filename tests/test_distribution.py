# SPDX-License-Identifier: Apache-2.0
"""What an installed package has: a wheel built from a source distribution, without network."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from dynamicdet_d2 import __version__
from dynamicdet_d2.commands.doctor import INSTALL_TOOL
from dynamicdet_d2.utils.shipped import shipped

ROOT = Path(__file__).parents[1]
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "requirements.txt")
FOLDERS = ("dynamicdet_d2", "configs", "tools")


def build(kind: str, source: Path, output: Path) -> Path:
    """An "sdist" or a "wheel" of a source tree, by the backend that pip calls."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(output)!r})"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (path for path in output.iterdir() if path.suffix in (".gz", ".whl"))
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        copy(ROOT / name, folder)
    for name in FOLDERS:
        copytree(ROOT / name, folder / name, ignore=ignore_patterns("__pycache__"))
    with tarfile.open(build("sdist", folder, tmp_path_factory.mktemp("sdist"))) as archive:
        archive.extractall(unpacked := tmp_path_factory.mktemp("unpacked"), filter="data")
    return unpacked / f"dynamicdet_d2-{__version__}"


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", source, tmp_path_factory.mktemp("wheel")))


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    package = ROOT / "dynamicdet_d2"
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "py.typed", "templates/*")
        for path in package.rglob(pattern)
    }
    configs = [
        path
        for path in (ROOT / "configs").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    expected |= {f"dynamicdet_d2/{path.relative_to(ROOT).as_posix()}" for path in configs}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected | {f"dynamicdet_d2/{INSTALL_TOOL}"}


def test_the_source_distribution_can_be_worked_on(source: Path) -> None:
    for name in (*FILES, *FOLDERS, "tools/environment.py", "configs/quickstart.yaml"):
        assert (source / name).exists()


def test_metadata(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)
    assert (found["Version"], found["License"]) == (__version__, "Apache-2.0")
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload().startswith("# dynamicdet_d2")
    assert "Paper, https://arxiv.org/abs/2304.05552" in found.get_all("Project-URL")
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "dynamicdet = dynamicdet_d2.commands.main:main" in wheel.read(name).decode()


def test_the_version_is_written_once() -> None:
    pinned = re.compile(rf"version.*{re.escape(__version__)}")
    for name in ("setup.py", "pyproject.toml", "CITATION.cff"):
        assert not pinned.search((ROOT / name).read_text())
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_shipped_configs_are_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = shipped("configs/quickstart.yaml")
    assert (
        Path(found).is_absolute()
        and Path(found).read_text() == (ROOT / "configs" / "quickstart.yaml").read_text()
    )
    for other in ("configs/gone.yaml", "quickstart.yaml", "/configs/quickstart.yaml", ""):
        assert shipped(other) == other
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").touch()
    assert shipped("configs/quickstart.yaml") == "configs/quickstart.yaml"

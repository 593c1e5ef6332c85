# SPDX-License-Identifier: Apache-2.0
"""What an installed package has: a wheel built from a source distribution, without network."""

import re
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from dynamicdet_d2 import __version__
from dynamicdet_d2.commands.doctor import INSTALL_TOOL
from dynamicdet_d2.utils.shipped import shipped
from tests.reliability.installed import FILES, FOLDERS, build, unpacked_sdist

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, unpacked."""
    return unpacked_sdist(tmp_path_factory.mktemp("source"))


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

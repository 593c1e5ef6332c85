# SPDX-License-Identifier: Apache-2.0
"""tools/install_detectron2.py on a toy source package: hash, safe reading, mends, wheel."""

import base64
import hashlib
import importlib.util
import io
import json
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import install_detectron2 as tool
import pytest

TRANSFORM = b"from PIL import Image\n\ndef f(a, interp=Image.LINEAR, fill=0):\n    return fill\n"
TOY = {
    "detectron2/__init__.py": b'__version__ = "0.6"\n',
    "detectron2/data/transforms/transform.py": TRANSFORM,
    "detectron2/model_zoo/configs/Base.yaml": b"VERSION: 2\n",
    "pb1_detectron2.egg-info/requires.txt": (
        b"Pillow>=7.1\nfuture\nblack==21.4b2\nfvcore<0.1.6,>=0.1.5\n\n[all]\nshapely\n"
    ),
    "setup.py": b"raise SystemExit('never run')\n",
    "LICENSE": b"Apache License, Version 2.0\n",
}


def write_sdist(path: Path, files: dict[str, bytes], prefix: str = "toy-0.6/") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def unpacked(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def placeholder_module() -> ModuleType:
    module = ModuleType("detectron2._C")
    exec(tool.PLACEHOLDER, module.__dict__)
    return module


def test_check_hash_accepts_the_right_bytes_and_names_both_hashes_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "toy.tar.gz"
    file.write_bytes(b"abc")
    # sha256("abc"), the first example of the standard (FIPS 180-2, B.1).
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    tool.check_hash(file, right)
    with pytest.raises(tool.InstallProblem, match=f"toy.tar.gz has sha256 {right}, and 5d2e9e51"):
        tool.check_hash(file)


def test_download_demands_the_hash_of_pip_and_a_tampered_file_builds_no_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def pip_that_checks_nothing(*arguments: str | Path) -> None:
        requirement = Path(arguments[arguments.index("--requirement") + 1])
        calls.append((arguments, requirement.read_text()))
        write_sdist(Path(arguments[arguments.index("--dest") + 1]) / "toy.tar.gz", TOY)

    monkeypatch.setattr(tool, "run_pip", pip_that_checks_nothing)
    with pytest.raises(tool.InstallProblem, match="is required"):
        tool.build_wheel(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (arguments, requirement), *others = calls
    assert not others
    assert requirement == f"pb1-detectron2==0.6 --hash=sha256:{tool.SDIST_SHA256}\n"
    assert {"download", "--require-hashes", "--no-deps"} <= set(arguments)


def test_read_sdist_gives_paths_below_the_top_folder_and_no_links(tmp_path: Path) -> None:
    path = tmp_path / "toy.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("toy-0.6/detectron2/evil.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        member = tarfile.TarInfo("toy-0.6/detectron2/a.py")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"ok"))
    assert tool.read_sdist(path) == {"detectron2/a.py": b"ok"}


@pytest.mark.parametrize("prefix", ["toy/../../", "/toy/"])
def test_read_sdist_refuses_paths_outside_its_folder(tmp_path: Path, prefix: str) -> None:
    path = write_sdist(tmp_path / "toy.tar.gz", {"detectron2/a.py": b""}, prefix)
    with pytest.raises(tool.InstallProblem, match="outside its folder"):
        tool.read_sdist(path)


def test_mend_changes_two_places_and_nothing_else() -> None:
    mended = tool.mend(TOY)
    changed = {name for name in mended if mended[name] != TOY.get(name)}
    assert changed == {"detectron2/_C.py", "detectron2/data/transforms/transform.py"}
    lines = mended["detectron2/data/transforms/transform.py"].decode().splitlines()
    assert lines[0].startswith("# Changed from the original")
    assert lines[1:] == TRANSFORM.decode().replace("Image.LINEAR", "Image.BILINEAR").splitlines()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detectron2/_C.py": b""}, "_C.py is already there"),
        ({tool.MENDED_PATH: b"interp=Image.BILINEAR,"}, "0 times, not once"),
        ({tool.MENDED_PATH: TRANSFORM * 2}, "2 times, not once"),
    ],
)
def test_mend_that_does_not_find_its_place_is_an_error(
    change: dict[str, bytes], message: str
) -> None:
    with pytest.raises(tool.InstallProblem, match=message):
        tool.mend({**TOY, **change})


def test_placeholder_answers_what_diagnostics_ask_and_explains_the_rest() -> None:
    module = placeholder_module()
    assert module.has_cuda() is False
    assert "Python sources" in module.get_compiler_version() + module.get_cuda_version()
    assert not hasattr(module, "InstanceAnnotation")
    with pytest.raises(AttributeError, match=r"_C\.box_iou_rotated is compiled code.*git"):
        module.box_iou_rotated(1, 2)


def test_placeholder_does_not_disturb_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    # pickle asks every loaded module for a function whose __module__ is None.
    monkeypatch.setitem(sys.modules, "detectron2._C", placeholder_module())
    monkeypatch.setattr(unpacked, "__module__", None)
    assert pickle.loads(pickle.dumps(unpacked)) is unpacked


def test_wheel_holds_the_package_its_licence_and_a_correct_record(tmp_path: Path) -> None:
    wheel = tool.pack_wheel(tool.mend(TOY), tmp_path)
    assert wheel.name == f"detectron2-{tool.VERSION}-py3-none-any.whl"
    contents = unpacked(wheel)
    info = f"detectron2-{tool.VERSION}.dist-info/"
    assert set(contents) == {
        "detectron2/__init__.py",
        "detectron2/_C.py",
        "detectron2/data/transforms/transform.py",
        "detectron2/model_zoo/configs/Base.yaml",
        *(info + name for name in ("METADATA", "WHEEL", "RECORD", "LICENSE", "ORIGIN.json")),
    }
    assert contents[info + "LICENSE"] == TOY["LICENSE"]
    assert json.loads(contents[info + "ORIGIN.json"])["sha256"] == tool.SDIST_SHA256
    record = dict(line.split(",", 1) for line in contents[info + "RECORD"].decode().splitlines())
    assert record.pop(info + "RECORD") == ","
    for name, entry in record.items():
        digest = hashlib.sha256(contents[name]).digest()
        expected = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert entry == f"sha256={expected},{len(contents[name])}"
    assert set(record) == set(contents) - {info + "RECORD"}


def test_wheel_keeps_the_requirements_in_use_and_drops_the_unused(tmp_path: Path) -> None:
    contents = unpacked(tool.pack_wheel(tool.mend(TOY), tmp_path))
    metadata = contents[f"detectron2-{tool.VERSION}.dist-info/METADATA"].decode().splitlines()
    required = [line for line in metadata if line.startswith("Requires-Dist")]
    assert required == ["Requires-Dist: Pillow>=7.1", "Requires-Dist: fvcore<0.1.6,>=0.1.5"]


def test_wheel_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    first = tool.pack_wheel(tool.mend(TOY), tmp_path).read_bytes()
    reordered = dict(reversed(TOY.items()))
    assert tool.pack_wheel(tool.mend(reordered), tmp_path).read_bytes() == first


def test_wheel_without_a_licence_is_refused(tmp_path: Path) -> None:
    files = {name: content for name, content in TOY.items() if name != "LICENSE"}
    with pytest.raises(tool.InstallProblem, match="LICENSE"):
        tool.pack_wheel(tool.mend(files), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pip_installs_the_wheel(tmp_path: Path) -> None:
    wheel = tool.pack_wheel(tool.mend(TOY), tmp_path)
    target = tmp_path / "target"
    tool.run_pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    code = "import detectron2; from detectron2 import _C; print(detectron2.__file__)"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(target)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(target / "detectron2" / "__init__.py")


def test_run_pip_passes_on_what_pip_said(tmp_path: Path) -> None:
    with pytest.raises(tool.InstallProblem, match="'pip install' failed, and said:"):
        tool.run_pip("install", "--no-index", tmp_path / "absent-1.0-py3-none-any.whl")


@pytest.mark.parametrize("version", ["0.6", tool.VERSION, "of unknown version"])
def test_install_leaves_a_present_detectron2_alone(
    version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "installed", lambda: (version, Path("/somewhere")))
    monkeypatch.setattr(tool, "run_pip", lambda *arguments: pytest.fail("pip was called"))
    tool.install(None)
    said = f"Detectron2 {version} is already installed in /somewhere: nothing to do\n"
    assert capsys.readouterr().out.lstrip() == said


@pytest.mark.parametrize("present", [None, ("0.6+py0", Path("/somewhere"))])
def test_install_takes_the_wheel_of_the_wheelhouse(
    present: tuple[str, Path] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(tool, "installed", lambda: present)
    monkeypatch.setattr(tool, "run_pip", lambda *arguments: calls.append(arguments))
    with pytest.raises(tool.InstallProblem, match="make wheelhouse"):
        tool.install(tmp_path)
    wheel = tool.pack_wheel(tool.mend(TOY), tmp_path)
    tool.install(tmp_path)
    assert calls == [("install", "--no-deps", "--no-index", wheel)]


def test_installed_knows_a_source_folder_on_the_path_and_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("detectron2", tmp_path / "__init__.py")
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: spec)
    assert tool.installed()[1] == tmp_path
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: None)
    assert tool.installed() is None


def test_a_problem_is_one_sentence_and_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "installed", lambda: None)
    monkeypatch.setattr(sys, "argv", ["install_detectron2.py", "--wheelhouse", str(tmp_path)])
    assert tool.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("Detectron2 is not installed: ") and said.count("\n") == 1

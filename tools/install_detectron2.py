# SPDX-License-Identifier: Apache-2.0
"""Installs Detectron2 v0.6 as a pure-Python wheel, unless a Detectron2 is already there.

    python tools/install_detectron2.py                    install into this environment
    python tools/install_detectron2.py --wheel-only DIR   only build the wheel, for a wheelhouse
    python tools/install_detectron2.py --wheelhouse DIR   install the wheel built before

Detectron2 has no release under its own name. A source package holds the Python files of its tag
v0.6 unchanged, without the C++ ones, so its own setup cannot build. They are fetched with their
hash required, read without being unpacked to disk, mended in two places and packed as a wheel:

1. `detectron2/_C.py` stands in for the compiled code, which three modules import when they are
   imported themselves and which only rotated boxes, deformable convolution and the fast COCO
   evaluation ever call;
2. `Image.LINEAR`, gone from Pillow 10, becomes `Image.BILINEAR`, the same filter's other name.

Both mends fail aloud where they no longer find their place.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

SDIST = "pb1-detectron2==0.6"
SDIST_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
# The number after "py" counts the changes of what is made here: another one is installed anew.
VERSION = "0.6+py1"
DIST_INFO = f"detectron2-{VERSION}.dist-info"
WHEEL_NAME = f"detectron2-{VERSION}-py3-none-any.whl"
ORIGIN_FILE = "ORIGIN.json"

# Requirements of the original that its Python files do not import, or only under Python 3.6.
UNUSED_REQUIREMENTS = {"black", "dataclasses", "future", "pydot"}

PLACEHOLDER_PATH = "detectron2/_C.py"
PLACEHOLDER = '''\
"""Stands in for Detectron2's compiled code, which this installation does not have."""


def get_compiler_version():
    return "none: Python sources only"


def get_cuda_version():
    return "none: Python sources only"


def has_cuda():
    return False


def __getattr__(name):
    # AttributeError, so that hasattr() and pickle's search through modules keep working.
    raise AttributeError(
        f"detectron2._C.{name} is compiled code, and this Detectron2 holds the Python files alone: "
        "rotated boxes and deformable convolution need Detectron2's git installation, "
        "and COCOEvaluator needs use_fast_impl=False"
    )
'''

MENDED_PATH = "detectron2/data/transforms/transform.py"
MEND_FROM, MEND_TO = b"interp=Image.LINEAR,", b"interp=Image.BILINEAR,"
MEND_NOTICE = b"# Changed from the original: Image.LINEAR (not in Pillow 10) is Image.BILINEAR.\n"


class InstallProblem(RuntimeError):
    """What stops the installation, in one sentence for the user."""


def say(line: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(f"      {line}", flush=True)


def run_pip(*arguments: str | Path) -> None:
    """Runs this environment's pip quietly.

    Raises:
        InstallProblem: pip failed; carries the end of what it said.
    """
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise InstallProblem(f"'pip {arguments[0]}' failed, and said:\n{said}")


def download_sdist(folder: Path) -> Path:
    """Fetches the source package into `folder`; pip refuses it if its hash is another."""
    for needed in ("torch", "setuptools", "wheel"):
        if importlib.util.find_spec(needed) is None:
            raise InstallProblem(
                f"{needed} must be installed first; 'dynamicdet doctor' says the command"
            )
    if tuple(map(int, importlib.metadata.version("pip").split(".")[:2])) >= (26, 3):
        raise InstallProblem(
            "pip 26.3 and newer refuse the Detectron2 sources (an extra of theirs names a direct "
            "URL): run 'pip install \"pip<26.3\"' first"
        )
    requirement = folder / "detectron2.txt"
    requirement.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    run_pip("download", *options, "--requirement", requirement, "--dest", folder)
    return next(folder.glob("*.tar.gz"))


def check_hash(path: Path, expected: str = SDIST_SHA256) -> None:
    """Second check, independent of pip.

    Raises:
        InstallProblem: the file's sha256 is not `expected`.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise InstallProblem(f"{path.name} has sha256 {found}, and {expected} is required")


def read_sdist(path: Path) -> dict[str, bytes]:
    """Regular files of the source package, by their path below its single top folder.

    Nothing is written, links are left out, and a path that climbs is refused.
    """
    files = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            parts = PurePosixPath(member.name).parts
            if member.name.startswith("/") or ".." in parts:
                raise InstallProblem(f"{path.name} holds a path outside its folder: {member.name}")
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files["/".join(parts[1:])] = content.read()
    return files


def mend(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with both mends made.

    Raises:
        InstallProblem: a place to mend is missing, or is there more than once.
    """
    if PLACEHOLDER_PATH in files:
        raise InstallProblem(f"{PLACEHOLDER_PATH} is already there: the placeholder has no place")
    source = files.get(MENDED_PATH, b"")
    if source.count(MEND_FROM) != 1:
        raise InstallProblem(
            f"{MENDED_PATH} holds '{MEND_FROM.decode()}' {source.count(MEND_FROM)} times, not once"
        )
    mended = MEND_NOTICE + source.replace(MEND_FROM, MEND_TO)
    return {**files, PLACEHOLDER_PATH: PLACEHOLDER.encode(), MENDED_PATH: mended}


def requirements_of(files: dict[str, bytes]) -> list[str]:
    """The original's own requirements, as its metadata lists them, less the unused ones."""
    listed = next(
        (text.decode() for name, text in files.items() if name.endswith(".egg-info/requires.txt")),
        "",
    )
    always = listed.split("[")[0].split()
    return [line for line in always if re.split("[<>=]", line)[0] not in UNUSED_REQUIREMENTS]


def metadata_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """The wheel's dist-info, less RECORD: METADATA, WHEEL, the origin record, the licence.

    Raises:
        InstallProblem: the source package comes without its licence.
    """
    if "LICENSE" not in files:
        raise InstallProblem("the source package holds no LICENSE, which must go along")
    metadata = ["Metadata-Version: 2.1", "Name: detectron2", f"Version: {VERSION}"]
    metadata += ["Summary: Detectron2 v0.6, its Python files alone, mended in two places"]
    metadata += ["Home-page: https://github.com/facebookresearch/detectron2"]
    metadata += ["License: Apache-2.0", "Requires-Python: >=3.7"]
    metadata += [f"Requires-Dist: {line}" for line in requirements_of(files)]
    wheel = ["Wheel-Version: 1.0", "Generator: dynamicdet_d2", "Root-Is-Purelib: true"]
    wheel += ["Tag: py3-none-any"]
    origin = {
        "description": "v0.6 Python sources, mended",
        "source": SDIST,
        "sha256": SDIST_SHA256,
        "mended": [PLACEHOLDER_PATH, MENDED_PATH],
    }
    return {
        f"{DIST_INFO}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{DIST_INFO}/WHEEL": ("\n".join(wheel) + "\n").encode(),
        f"{DIST_INFO}/{ORIGIN_FILE}": (json.dumps(origin, indent=2) + "\n").encode(),
        f"{DIST_INFO}/LICENSE": files["LICENSE"],
    }


def record_line(name: str, content: bytes) -> str:
    """One line of RECORD: path, sha256 in unpadded urlsafe base64, size in bytes."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def pack_wheel(files: dict[str, bytes], folder: Path) -> Path:
    """Packs `detectron2/**` of `files` with its metadata in `folder`; the same bytes every time."""
    package = {name: text for name, text in files.items() if name.startswith("detectron2/")}
    contents = {**dict(sorted(package.items())), **metadata_files(files)}
    record = "".join(record_line(name, content) for name, content in contents.items())
    contents[f"{DIST_INFO}/RECORD"] = f"{record}{DIST_INFO}/RECORD,,\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, date_time=(2021, 11, 15, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    path = folder / WHEEL_NAME
    path.write_bytes(buffer.getvalue())
    return path


def build_wheel(folder: Path) -> Path:
    """Downloads, checks, mends and packs; returns the wheel's path in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        sdist = download_sdist(Path(scratch))
        check_hash(sdist)
        say(f"fetched {SDIST}, sha256 as required")
        return pack_wheel(mend(read_sdist(sdist)), folder)


def installed() -> tuple[str, Path] | None:
    """Version and folder of the Detectron2 that this environment imports, None without one."""
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return None
    try:
        version = importlib.metadata.version("detectron2")
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return version, Path(spec.origin).parent


def is_outdated(version: str) -> bool:
    """Whether an earlier state of this tool made the installation of that version."""
    return version.startswith("0.6+py") and version != VERSION


def install(wheelhouse: Path | None) -> None:
    """Installs the wheel, built now or found in `wheelhouse`, unless a Detectron2 is there."""
    present = installed()
    if present is not None and not is_outdated(present[0]):
        say(f"Detectron2 {present[0]} is already installed in {present[1]}: nothing to do")
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = wheelhouse / WHEEL_NAME if wheelhouse else build_wheel(Path(scratch))
        if not wheel.is_file():
            raise InstallProblem(f"{wheel} is missing: run 'make wheelhouse' again")
        run_pip("install", "--no-deps", "--no-index", wheel)
    say(f"installed {WHEEL_NAME}")


def main() -> int:
    """Command line; a problem is one sentence on stderr and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--wheel-only", type=Path, metavar="DIR", help="only build the wheel there")
    group.add_argument("--wheelhouse", type=Path, metavar="DIR", help="install the wheel in there")
    arguments = parser.parse_args()
    try:
        if arguments.wheel_only:
            say(f"built {build_wheel(arguments.wheel_only)}")
        else:
            install(arguments.wheelhouse)
    except InstallProblem as problem:
        print(f"Detectron2 is not installed: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The wheel in an environment of its own: what a user types there, from another folder.

    make installed
    make installed INSTALLED_ARGS="--python python3.13"

Builds source distribution and wheel, installs the wheel into a new virtual environment, and runs
the chain from an empty folder with a home that nothing can be written to. The dependencies are
those of this environment, and nothing is downloaded; of another Python, pip chooses and downloads
them (gigabytes), and what it has not found is installed as ``dynamicdet doctor`` says.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from tarfile import open as open_tar

ROOT = Path(__file__).parents[2]
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "requirements.txt")
FOLDERS = ("dynamicdet_d2", "configs", "tools")
# Nobody can make a folder there, the superuser neither.
NO_HOME = "/proc/nobody"
SHAPES = "--num-images 24 --width 96 --height 64"
KEYS = (
    "DATASETS.TRAIN ('own',) DATASETS.TEST ('own',) SOLVER.MAX_ITER 3 SOLVER.WARMUP_ITERS 1 "
    "SOLVER.IMS_PER_BATCH 2 SOLVER.ROUTER.EPOCHS 1 TEST.DYNAMIC.LATENCY_IMAGES 2 "
    "INPUT.MIN_SIZE_TRAIN (64,) INPUT.MIN_SIZE_TEST 64 OUTPUT_DIR output"
)
LOAD = """
import sys, dynamicdet_d2, numpy
assert dynamicdet_d2.__file__.startswith(sys.prefix), dynamicdet_d2.__file__
output = dynamicdet_d2.load("model")(numpy.zeros((64, 96, 3), numpy.uint8))
assert output["route"] in ("easy", "hard")
"""


def commands() -> Iterator[list[str]]:
    """Words after the environment's ``bin/``."""
    model = "--config-file output/config.yaml --weights output/model_final.pth"
    coco = ["DATASETS.COCO_JSON", "[['own', 'shapes/instances.json', 'shapes/images']]"]
    yield ["dynamicdet", "doctor"]
    yield ["dynamicdet", "draw-shapes", "--output", "shapes", *SHAPES.split()]
    train = "train --config-file configs/quickstart_from_scratch.yaml"
    yield ["dynamicdet", *train.split(), *coco, *KEYS.split()]
    yield ["dynamicdet", "calibrate", *model.split(), "--output", "calibration.json"]
    package = f"package {model} --calibration calibration.json --hard-fraction 0.5 --output model"
    yield ["dynamicdet", *package.split()]
    yield ["dynamicdet", *"predict --model model --input shapes/images".split()]
    yield ["python", "-c", LOAD]


def build(kind: str, source: Path, output: Path) -> Path:
    """An "sdist" or a "wheel" of a source tree, by the backend that pip calls."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(output)!r})"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=source, check=True, capture_output=True
    )
    (built,) = (path for path in output.iterdir() if path.suffix in (".gz", ".whl"))
    return built


def unpacked_sdist(folder: Path) -> Path:
    """The tree of a source distribution, built and unpacked below a folder.

    The clone is not written to.
    """
    source, sdist, tree = (folder / name for name in ("source", "sdist", "tree"))
    for path in (source, sdist, tree):
        path.mkdir()
    for name in FILES:
        copy(ROOT / name, source)
    for name in FOLDERS:
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    with open_tar(build("sdist", source, sdist)) as archive:
        archive.extractall(tree, filter="data")
    (found,) = tree.iterdir()
    return found


def downloaded_environment(folder: Path, wheel: Path, python: str) -> Path:
    """A new virtual environment of a Python, with the wheel and what pip finds that it depends on.

    Returns:
        its folder of programs.
    """
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    programs = folder / "bin"
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", str(wheel)], check=True)
    # What the wheel cannot name: Detectron2, and one of the packages of OpenCV.
    said = subprocess.run([programs / "dynamicdet", "doctor"], capture_output=True, text=True)
    advice = said.stdout.splitlines()[-1].strip()
    sys.stdout.write(f"doctor: {advice.replace(str(folder), 'environment')}\n")
    subprocess.run(advice, shell=True, check=True)
    return programs


def borrowed_environment(folder: Path, wheel: Path) -> Path:
    """A new virtual environment with the wheel and, by a path file, what it depends on.

    Returns:
        its folder of programs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    programs = folder / "bin"
    dependencies = sysconfig.get_path("purelib")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([programs / "python", "-c", code], check=True, capture_output=True)
    Path(found.stdout.decode().strip(), "dependencies.pth").write_text(dependencies + "\n")
    pip = [sys.executable, "-m", "pip", "-q", "--python", str(programs / "python")]
    subprocess.run(
        [*pip, "install", "--no-index", "--no-deps", "--ignore-installed", str(wheel)], check=True
    )
    return programs


def clean_variables() -> Mapping[str, str]:
    """Without what would find the clone, and without a home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "HOME": NO_HOME}


def main(arguments: Sequence[str] | None = None) -> int:
    """The chain; 1 where a command fails, with its output."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.installed")
    parser.add_argument("--python", help="another one, whose dependencies pip downloads")
    python = parser.parse_args(arguments).python
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (wheels := folder / "wheel").mkdir()
        wheel = build("wheel", unpacked_sdist(folder), wheels)
        place = folder / "environment"
        programs = (
            downloaded_environment(place, wheel, python)
            if python
            else borrowed_environment(place, wheel)
        )
        (work := folder / "elsewhere").mkdir()
        for program, *words in commands():
            start = time.monotonic()
            done = subprocess.run(
                [programs / program, *words],
                cwd=work,
                env=dict(clean_variables()),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            said = words[0] if program == "dynamicdet" else "dynamicdet_d2.load"
            sys.stdout.write(f"{said:20} {time.monotonic() - start:6.1f} s  {done.returncode}\n")
            sys.stdout.flush()
            if done.returncode != 0:
                sys.stdout.write(done.stdout)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Says what this installation consists of, what is missing, and the command that mends it.

    dynamicdet doctor     (or `make doctor`, or `python -m dynamicdet_d2 doctor`)
    python dynamicdet_d2/commands/doctor.py     (the same, without importing the package)

The first thing to run when something does not import, and the first thing to paste into a bug
report. It must work where PyTorch or Detectron2 do not: nothing outside the standard library is
imported before its import is the thing being examined. Exit status 1 when something is missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
REQUIREMENTS = ROOT / "requirements.txt"
MINIMUM_PYTHON = (3, 11)
# Beside the package in a clone, inside it where it is installed.
INSTALL_TOOL = "tools/install_detectron2.py"
# What the tool needs; without the pins of a clone, with the bounds that they keep.
INSTALLING = {"setuptools": "'setuptools<82'", "wheel": "wheel"}

# Module to import -> package that provides it. Detectron2 is examined apart.
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pycocotools.mask": "pycocotools",
    "fvcore": "fvcore",
    "iopath": "iopath",
    "yacs": "yacs",
    "omegaconf": "omegaconf",
    "hydra": "hydra-core",
    "cloudpickle": "cloudpickle",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "tabulate": "tabulate",
    "tensorboard": "tensorboard",
    "termcolor": "termcolor",
    "tqdm": "tqdm",
}


@dataclass
class Finding:
    """One line of the table: what was looked at, what was found, and what is wrong with it."""

    name: str
    found: str
    problem: str = ""
    packages: tuple[str, ...] = ()  # what pip must install to mend it
    command: str = ""  # what mends it where pip alone does not


def is_clone() -> bool:
    """Whether the package lies in a clone, whose tools can be used, or was installed."""
    return (ROOT / "Makefile").is_file() and (ROOT / INSTALL_TOOL).is_file()


def newer_python() -> str:
    """What mends a Python that is too old."""
    if is_clone():
        return "make env PYTHON=python3.12"
    needed = ".".join(map(str, MINIMUM_PYTHON))
    return f"python{needed} -m pip install dynamicdet_d2   (or a newer Python)"


def install_detectron2() -> str:
    """The command that installs Detectron2."""
    tool = INSTALL_TOOL if is_clone() else str(PACKAGE / INSTALL_TOOL)
    return f"{shlex.quote(sys.executable)} {shlex.quote(tool)}"


def pins() -> dict[str, str]:
    """Versions that the project was tried with, by package; empty without a requirements.txt."""
    if not is_clone():
        return {}
    text = REQUIREMENTS.read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", text, re.MULTILINE))


def project_version() -> str:
    """`__version__` as written in the package's `__init__.py`, which may not be importable."""
    text = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return match.group(1) if match else "unknown"


def examine_python() -> Finding:
    """Whether this Python is new enough."""
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= MINIMUM_PYTHON:
        return Finding("Python", found)
    needed = ".".join(map(str, MINIMUM_PYTHON))
    return Finding("Python", found, f"{needed} or newer is needed", command=newer_python())


def import_problem(module: str) -> str:
    """Empty when `module` imports, else the reason in one line."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.split(".")[0]:
            return "missing"
        return f"needs {error.name}, which is missing"
    # A broken binary wheel raises whatever it likes; the doctor reports it and goes on.
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        return f"cannot be imported: {type(error).__name__}: {reason[0]}"
    return ""


def version_of(module: str, package: str) -> str:
    """pip's record of an importable module, else its own word (OpenCV has several packages)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules[module.split(".")[0]], "__version__", "unknown version"))


def examine_module(module: str, package: str) -> Finding:
    """Whether `module` imports, with its version beside the one that the project was tried with."""
    problem = import_problem(module)
    name = module.split(".")[0]
    if problem:
        return Finding(name, "-", problem, (package,))
    found = version_of(module, package)
    pinned = pins().get(package, found)
    differs = found.split("+")[0] != pinned
    return Finding(name, f"{found} (tried with {pinned})" if differs else found)


def examine_operators() -> Finding | None:
    """Whether torchvision's compiled operators fit this torch; None where either is missing."""
    if import_problem("torch") or import_problem("torchvision"):
        return None
    import torch

    name = "torchvision::nms"
    if hasattr(torch.ops.torchvision, "nms"):
        return Finding(name, "available")
    return Finding(name, "-", "torch and torchvision do not match", ("torch", "torchvision"))


def origin_from_records(origin: str | None, direct_url: str | None) -> str:
    """Where an installed Detectron2 came from.

    Args:
        origin: text of ORIGIN.json, which tools/install_detectron2.py leaves, or None.
        direct_url: text of direct_url.json, which pip leaves (PEP 610), or None.
    """
    if origin is not None:
        record = json.loads(origin)
        return f"{record['description']} ({record['source']})"
    if direct_url is None:
        return "a package index or an installer that leaves no record"
    record = json.loads(direct_url)
    if "vcs_info" in record:
        return f"git, {record['url']} at {record['vcs_info']['commit_id'][:12]}"
    return f"{'editable ' if record.get('dir_info', {}).get('editable') else ''}{record['url']}"


def detectron2_origin(module: ModuleType) -> str:
    """Where the imported Detectron2 came from, and its folder."""
    folder = Path(str(module.__file__)).parent
    try:
        records = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return f"sources on the Python path, not installed, in {folder}"
    read = records.read_text
    try:
        origin = origin_from_records(read("ORIGIN.json"), read("direct_url.json"))
    except (LookupError, TypeError, ValueError):
        origin = "records that cannot be read"
    return f"{origin}, in {folder}"


def examine_detectron2() -> Finding:
    """Whether Detectron2's detectors and engine import, and where it came from."""
    for name in ("detectron2", "detectron2.modeling", "detectron2.engine"):
        problem = import_problem(name)
        if problem.startswith("needs "):
            needed = problem.split()[1].rstrip(",")
            package = needed.partition(".")[0]  # pip knows no modules inside
            if package == "detectron2":
                return Finding("detectron2", "-", problem, command=install_detectron2())
            return Finding("detectron2", "-", problem, (NEEDED.get(package, package),))
        if problem:
            needed_first = [x for x in INSTALLING if importlib.util.find_spec(x) is None]
            packages = tuple(x if is_clone() else INSTALLING[x] for x in needed_first)
            return Finding("detectron2", "-", problem, packages, install_detectron2())
    module = sys.modules["detectron2"]
    version = version_of("detectron2", "detectron2")
    return Finding("detectron2", f"{version}: {detectron2_origin(module)}")


def examine_devices() -> list[Finding]:
    """CPU cores that this process may use, and every GPU that torch can use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [Finding("CPU", f"{usable} cores usable, {platform.machine()}")]
    if import_problem("torch"):
        return findings
    import torch

    build = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU torch"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        memory = f"{device.total_memory / 2**30:.0f} GiB"
        findings.append(Finding(f"cuda:{index}", f"{device.name}, {memory}, {build}"))
    if len(findings) == 1:
        findings.append(Finding("GPU", f"none in use ({build})"))
    return findings


def examine() -> list[Finding]:
    """Everything, in the order of the table."""
    modules = [examine_module(module, package) for module, package in NEEDED.items()]
    operators = examine_operators()
    return [
        Finding("dynamicdet_d2", f"{project_version()} in {PACKAGE}"),
        examine_python(),
        *modules[:2],
        *([operators] if operators else []),
        examine_detectron2(),
        *modules[2:],
        *examine_devices(),
    ]


def mending_command(findings: list[Finding]) -> str:
    """The one command line that puts right what `findings` miss; empty when nothing is missing.

    Where there is no torch and the clone has no environment yet, that is `make env`. Elsewhere the
    environment in use is completed, at the versions of requirements.txt where that file is there.
    """
    packages = list(dict.fromkeys(name for finding in findings for name in finding.packages))
    commands = [finding.command for finding in findings if finding.command]
    if newer_python() in commands:
        return newer_python()
    if "torch" in packages and is_clone() and not (ROOT / ".venv").exists():
        return "make env"
    if packages:
        constraint = ["--constraint", REQUIREMENTS.name] if is_clone() else []
        python = shlex.quote(sys.executable)
        commands.insert(0, " ".join([python, "-m pip install", *constraint, *packages]))
    return " && ".join(commands)


def report(findings: list[Finding]) -> str:
    """The table as text, and below it what is missing with the command that mends it."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        problem = f"  <- {finding.problem}" if finding.problem else ""
        lines.append(f"{finding.name:<{width}}  {finding.found}{problem}")
    command = mending_command(findings)
    if not command:
        return "\n".join([*lines, "", "Nothing is missing."])
    count = sum(bool(finding.problem) for finding in findings)
    where = f" in {ROOT}" if is_clone() else ""
    advice = f"Lines marked <- are not in order ({count}). To mend that, run{where}:"
    return "\n".join([*lines, "", advice, f"  {command}"])


def parser() -> argparse.ArgumentParser:
    """There is nothing to choose."""
    return argparse.ArgumentParser(
        description="Say what this installation consists of, what is missing, and what installs it."
    )


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 when nothing is missing, else 1."""
    findings = examine()
    sys.stdout.write(report(findings) + "\n")
    return int(any(finding.problem for finding in findings))


if __name__ == "__main__":
    # Run as a file, Python looks for modules in this folder first.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    sys.exit(run(parser().parse_args()))

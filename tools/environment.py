# SPDX-License-Identifier: Apache-2.0
"""Creates the project's virtual environment, and collects its wheels for a machine without network.

    python3 tools/environment.py create       (what `make env` runs)
    python3 tools/environment.py wheelhouse   (what `make wheelhouse` runs)

Standard library, `venv` and pip alone. Where the folder `wheelhouse` exists in the clone, `create`
takes every wheel from there and asks no index.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".ready"
WHEELHOUSE = ROOT / "wheelhouse"
REQUIREMENTS = ROOT / "requirements.txt"
MADE_FOR, MADE_FROM = "made_for.txt", "made_from.txt"

HEARTBEAT_SECONDS = 20
# What .venv takes, and what pip keeps beside it while it downloads, in GB.
VENV_GB, DOWNLOADS_GB = 5.5, 3.0
# Settings of a user's pip that would break an installation into a virtual environment.
PIP_SETTINGS = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}

Command = list[str | Path]
"""A program and its arguments."""


class EnvironmentProblem(RuntimeError):
    """What stops the environment from being made, in one sentence for the user."""


def say(line: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(line, flush=True)


def platform_line() -> str:
    """What a wheel depends on: Python's minor version, the system and the processor."""
    version = ".".join(platform.python_version_tuple()[:2])
    return f"Python {version}, {platform.system()} {platform.machine()}"


def read_text(path: Path) -> str:
    """The file's text, empty where there is no such file."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


class Steps:
    """Runs commands one after the other; says what each does, that it lives, and how long it took.

    Args:
        total: number of steps, for the "[2/5]" in front of each line.
        log: file that takes the commands' output; its end is shown when a command fails.
    """

    def __init__(self, total: int, log: Path) -> None:
        self.total = total
        self.log = log
        self.done = 0
        self.start = time.monotonic()

    def run(self, title: str, command: Command, shown: bool = False) -> None:
        """Runs `command` in the clone; with `shown`, its output goes to the terminal.

        Raises:
            EnvironmentProblem: the command failed; names the step and the log.
        """
        self.done += 1
        say(f"[{self.done}/{self.total}] {title}")
        start = time.monotonic()
        words = [str(word) for word in command]
        settings = {**os.environ, **PIP_SETTINGS, "PYTHONUNBUFFERED": "1"}
        if shown:
            code = subprocess.call(words, cwd=ROOT, env=settings)
        else:
            code = self._run_logged(words, settings)
        if code != 0:
            raise EnvironmentProblem(f"this step failed (exit status {code}): {title}")
        say(f"      done in {time.monotonic() - start:.0f} s")

    def finish(self, line: str) -> None:
        """Closing line with the time of all steps."""
        say(f"{line} ({time.monotonic() - self.start:.0f} s in all)")

    def _run_logged(self, command: list[str], settings: dict[str, str]) -> int:
        start = time.monotonic()
        with self.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=settings, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                while (code := self._wait(process)) is None:
                    last = "".join(self._last_lines(1))[:90]
                    say(f"      ... {time.monotonic() - start:.0f} s: {last}")
            except BaseException:
                process.kill()
                raise
        if code != 0:
            say(f"The last lines of {self.log}:")
            say("\n".join(f"    {line[:160]}" for line in self._last_lines(15)))
        return code

    def _wait(self, process: subprocess.Popen) -> int | None:
        try:
            return process.wait(timeout=HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _last_lines(self, count: int) -> list[str]:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()][-count:]


def wheel_source(wheelhouse: Path) -> Command:
    """pip's options for where packages come from: the wheelhouse alone where there is one.

    Raises:
        EnvironmentProblem: the wheelhouse was collected for another Python or machine, or for
            other versions than requirements.txt pins now.
    """
    if not wheelhouse.is_dir():
        return []
    cure = "run 'make wheelhouse' in a clone without it, on a machine like this one, or remove it"
    made_for = read_text(wheelhouse / MADE_FOR).strip() or "an unknown machine"
    if made_for != platform_line():
        raise EnvironmentProblem(
            f"{wheelhouse} was collected for {made_for}, and this is {platform_line()}: {cure}"
        )
    if read_text(wheelhouse / MADE_FROM) != read_text(REQUIREMENTS):
        raise EnvironmentProblem(f"{wheelhouse} was collected for another requirements.txt: {cure}")
    return ["--no-index", "--find-links", wheelhouse]


def venv_is_usable() -> bool:
    """Whether `.venv` holds a Python new enough with a working pip (an interrupted one may not)."""
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    if not VENV_PYTHON.exists():
        return False
    return subprocess.run([VENV_PYTHON, "-c", check], capture_output=True).returncode == 0


def make_venv(steps: Steps) -> None:
    """First step: a virtual environment, or the one that is already there."""
    if venv_is_usable():
        steps.run("Keeping the virtual environment .venv", [VENV_PYTHON, "--version"])
        return
    if importlib.util.find_spec("ensurepip") is None:
        raise EnvironmentProblem(
            f"{sys.executable} cannot make virtual environments with pip: install your system's "
            "package for it (Debian and Ubuntu: python3-venv), then run the same command again"
        )
    title = f"Creating the virtual environment .venv with Python {platform.python_version()}"
    steps.run(title, [sys.executable, "-m", "venv", "--clear", VENV], shown=True)


def warn_of_little_room(folder: Path, needed_gb: float) -> None:
    """Says so where less than `needed_gb` is free for `folder`: pip's own words come at the end.

    Not a refusal, as packages that pip has kept from before are not downloaded again.
    """
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        say(
            f"WARNING: {folder} has {free_gb:.1f} GB free, and .venv may take {needed_gb:.1f} GB: "
            "this may end with 'No space left on device'."
        )


def create() -> None:
    """Makes `.venv` with everything in requirements.txt, Detectron2 and this project."""
    source = wheel_source(WHEELHOUSE)
    origin = "taken from ./wheelhouse" if source else "downloaded"
    say("Setting up the environment in .venv, which happens once and takes a few minutes:")
    say(f"about 3 GB {origin}, 5 GB on disk, most of it PyTorch with its CUDA libraries.")
    if not VENV_PYTHON.exists():
        warn_of_little_room(ROOT, VENV_GB if source else VENV_GB + DOWNLOADS_GB)
    VENV.mkdir(exist_ok=True)
    steps = Steps(total=5, log=VENV / "install.log")
    make_venv(steps)

    install: Command = [VENV_PYTHON, "-m", "pip", "install", *source]
    detectron2: Command = [VENV_PYTHON, ROOT / "tools" / "install_detectron2.py"]
    if source:
        detectron2 += ["--wheelhouse", WHEELHOUSE]
    # First the pinned installer: it then builds the few packages that have no wheel of their own.
    installers: Command = ["--constraint", REQUIREMENTS, "pip", "setuptools", "wheel"]
    steps.run("Installing the pinned pip, setuptools and wheel", [*install, *installers])
    everything: Command = ["--no-build-isolation", "--requirement", REQUIREMENTS]
    steps.run("Installing PyTorch and the rest of requirements.txt", [*install, *everything])
    steps.run("Installing Detectron2", detectron2, shown=True)
    project: Command = ["--no-build-isolation", "--no-deps", "--editable", ROOT]
    steps.run("Installing this project, as a link to the clone", [*install, *project])
    STAMP.touch()
    steps.finish("The environment is ready in .venv")


def collect_wheelhouse() -> None:
    """Collects the wheels of requirements.txt and Detectron2's in `wheelhouse`, replacing it.

    They are gathered beside it and moved at the end: `create` never meets half a wheelhouse.
    """
    part = WHEELHOUSE.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    say("Collecting every wheel that the environment needs: about 3 GB, a few minutes.")
    steps = Steps(total=2, log=VENV / "wheelhouse.log")
    wheels: Command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation"]
    wheels += ["--requirement", REQUIREMENTS, "--wheel-dir", part]
    steps.run("Collecting the wheels of requirements.txt", wheels)
    detectron2: Command = [sys.executable, ROOT / "tools" / "install_detectron2.py"]
    detectron2 += ["--wheel-only", part]
    steps.run("Building Detectron2's wheel", detectron2, shown=True)
    (part / MADE_FOR).write_text(platform_line() + "\n", encoding="utf-8")
    shutil.copyfile(REQUIREMENTS, part / MADE_FROM)
    shutil.rmtree(WHEELHOUSE, ignore_errors=True)
    part.rename(WHEELHOUSE)
    steps.finish(f"Copy wheelhouse/ into a clone on another machine ({platform_line()})")


def main() -> int:
    """Runs one of the two jobs; a problem is one line on stderr and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=["create", "wheelhouse"])
    try:
        {"create": create, "wheelhouse": collect_wheelhouse}[parser.parse_args().job]()
    except EnvironmentProblem as problem:
        print(f"The environment is not ready: {problem}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

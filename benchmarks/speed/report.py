# SPDX-License-Identifier: Apache-2.0
"""Goals and figures as a table and as JSON."""

import operator
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch
import torchvision

from benchmarks.speed.inference import LOAD, SHARES, load_name, variant_name, variants
from benchmarks.speed.setting import Setting
from benchmarks.speed.timing import Rounds
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.versions import versions


@dataclass(frozen=True)
class Goal:
    """A figure and what it should be.

    Attributes:
        what: is measured; a ratio unless it says otherwise.
        figure: measured.
        sense: ">=" or "<=".
        limit: the goal.
    """

    what: str
    figure: float
    sense: str
    limit: float

    @property
    def met(self) -> bool:
        """Whether the figure, as printed, keeps to the limit."""
        compare = {">=": operator.ge, "<=": operator.le}[self.sense]
        return compare(round(self.figure, 2), self.limit)


def detector_goals(rounds: Rounds, setting: Setting) -> list[Goal]:
    """Whole detectors with one exit, and the two routes."""
    gpu = setting.device == "cuda"
    faster = {"float32": 1.5 if gpu else 1.45, "float32 compiled": 1.6}
    goals = []
    for precision, compile in variants(setting):
        name = variant_name(precision, compile)
        limit = faster.get(name, 2.5 if gpu else 2.2)
        gain = rounds.ratio("stock", f"static {name}")
        goals.append(Goal(f"stock / static, {name}", gain, ">=", limit))
        if gpu and precision != "float32":
            gain = rounds.ratio("stock autocast", f"static {name}")
            goals.append(Goal(f"stock autocast / static, {name}", gain, ">=", 1.6))
    for precision, compile in variants(setting):
        name = variant_name(precision, compile)
        cost = rounds.ratio(f"easy {name}", f"static {name}")
        goals.append(Goal(f"easy / static, {name}", cost, "<=", 1.03 if gpu else 1.02))
        cost = rounds.ratio(f"hard {name}", f"easy {name}")
        goals.append(Goal(f"hard / easy, {name}", cost, "<=", 1.4))
    cost = rounds.ratio("easy as built", "stock")
    return [*goals, Goal("easy / stock, both as built", cost, "<=", 1.03 if gpu else 1.02)]


def load_goals(rounds: Rounds, setting: Setting) -> list[Goal]:
    """Mixed loads, and frames per second beside the static detector."""
    limit = 1.05 if setting.device == "cuda" else 1.02
    goals = _mixed_goals(rounds, "", limit)
    for share, fps, aim in ((0.5, 0.87, 1.3), (0.9, 0.74, 1.1)):
        name = load_name(share)
        goals.append(Goal(f"FPS, {name} / static", rounds.ratio("static", name), ">=", fps))
        goals.append(Goal(f"FPS, {name} / stock", rounds.ratio("stock", name), ">=", aim))
    return goals


def yolo_goals(rounds: Rounds, work: float) -> list[Goal]:
    """The two routes of a YOLO beside the static one, and mixed loads.

    Args:
        rounds: of ``yolo.time_yolos``.
        work: multiply-adds of the hard route over those of the easy one.
    """
    easy, hard = load_name(0.0), load_name(1.0)
    longer = rounds.ratio(hard, easy) / work
    goals = [
        Goal("YOLOv7: easy / static", rounds.ratio(easy, "static"), "<=", 1.02),
        Goal("YOLOv7: hard / easy, time over multiply-adds", longer, "<=", 1.05),
    ]
    return goals + _mixed_goals(rounds, "YOLOv7: ", 1.02)


def _mixed_goals(rounds: Rounds, prefix: str, limit: float) -> list[Goal]:
    goals = []
    for share in SHARES:
        parts = {load_name(0.0): 1 - share, load_name(1.0): share}
        cost = rounds.ratio_to_sum(load_name(share), parts)
        what = f"{prefix}{load_name(share)} / weighted sum of the routes"
        goals.append(Goal(what, cost, "<=", limit))
    return goals


def batch_goals(rounds: Rounds, setting: Setting) -> list[Goal]:
    """A batch of half hard images beside the same images one by one."""
    if setting.device == "cuda":
        gain = rounds.ratio("one by one", "one batch")
        return [Goal("throughput, batch 8 / batch 1", gain, ">=", 2.0)]
    cost = rounds.ratio("one batch", "one by one")
    return [Goal("an image, batch 8 / batch 1", cost, "<=", 1.03)]


def rate_goals(rounds: Rounds, work: Mapping[str, float], setting: Setting) -> list[Goal]:
    """Backbone and FPN: share of the rate of one convolution, in multiply-adds a second."""
    gpu = setting.device == "cuda"
    limits = {"eager": 0.5 if gpu else 0.72, "compiled": 0.5 if gpu else 0.88}
    goals = []
    for name, limit in limits.items():
        share = rounds.ratio("convolution", name) * work[name] / work["convolution"]
        goals.append(
            Goal(f"backbone + FPN, share of a convolution's rate, {name}", share, ">=", limit)
        )
    return goals


def export_goals(rounds: Rounds) -> list[Goal]:
    """What was exported beside ours in eager float32 and beside stock; and fewer proposals.

    Runtimes that were not there are left out.
    """
    fewer = "300 proposals"
    cost = rounds.ratio(f"easy float32, {fewer}", "static float32")
    goals = [Goal(f"easy, {fewer} / static, float32", cost, "<=", 0.82)]
    gain = rounds.ratio("hard float32", f"easy bfloat16, {fewer}")
    goals.append(Goal(f"hard float32 / easy bfloat16, {fewer}", gain, ">=", 1.8))
    for runtime in ("onnxruntime", "openvino"):
        if f"hard, {runtime} int8" not in rounds.seconds:
            continue
        for route in ("static", "easy", "hard"):
            name = f"{route}, {runtime} float32"
            gain = rounds.ratio(f"{route} float32", name)
            goals.append(Goal(f"{route} float32 / {name}", gain, ">=", 1.05))
        for route in ("easy", "hard"):
            name = f"{route}, {runtime} int8"
            goals.append(Goal(f"stock / {name}", rounds.ratio("stock", name), ">=", 4.0))
        slowest, fastest = f"hard, {runtime} float32", f"easy, {runtime} int8, {fewer}"
        gain = rounds.ratio(slowest, fastest)
        goals.append(Goal(f"{slowest} / {fastest}", gain, ">=", 1.8))
    return goals


def training_goals(rounds: Rounds, work: Mapping[str, float]) -> list[Goal]:
    """A joint step beside a plain one, relative to their multiply-adds."""
    goals = []
    for suffix in ("", " AMP"):
        joint, plain = f"joint{suffix}", f"plain{suffix}"
        if joint in work:
            ratio = rounds.ratio(joint, plain) / (work[joint] / work[plain])
            what = f"joint / plain step{suffix}, time over multiply-adds"
            goals.append(Goal(what, ratio, "<=", 1.05))
    return goals


def accuracy_goals(precision: Mapping[str, Mapping[str, float]]) -> list[Goal]:
    """How far AP moves by precision; in AP."""
    built = precision["as built"]
    goals = []
    for name, ends in precision.items():
        if name != "as built":
            moved = max(abs(ends[end] - built[end]) for end in built)
            goals.append(Goal(f"AP moved at either end, {name}", moved, "<=", 0.1))
    return goals


def times(rounds: Mapping[str, Rounds]) -> dict[str, dict[str, float]]:
    """Section -> name -> milliseconds an image."""
    return {
        section: {name: round(r.milliseconds(name), 2) for name in r.seconds}
        for section, r in rounds.items()
    }


def machine(setting: Setting) -> dict[str, Any]:
    """What was measured on, with what, when, and at which commit."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        "device": device_name(torch.device(setting.device)),
        "processor": _processor(),
        "image": f"3x{setting.height}x{setting.width}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "versions": {
            **versions(),
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
    }


def markdown(content: Mapping[str, Any], goals: Sequence[Goal]) -> str:
    """The whole report."""
    of = content["machine"]
    lines = [
        f"{of['device']}, {of['processor']}, {of['image']}, torch {of['versions']['torch']}, "
        f"{of['date'][:10]}, commit {of['commit']}; medians of {content['rounds']} rounds in turns",
        "",
        f"A 3x3 convolution of 256 channels makes {content['convolution_rate']:.0f} G "
        "multiply-adds per second here: ratios between detectors differ where this does.",
        "",
        "| what | measured | goal | met |",
        "|---|---|---|---|",
        *(_row(goal) for goal in goals),
        "",
        f"Milliseconds an image (loads: {LOAD} images one by one):",
        "",
        "| | ms |",
        "|---|---|",
    ]
    for section, figures in content["milliseconds"].items():
        lines += [f"| {section}: {name} | {figure:.1f} |" for name, figure in figures.items()]
    if content["peak_memory_mb"]:
        lines += ["", "| peak memory | MB |", "|---|---|"]
        lines += [f"| {name} | {mb:.0f} |" for name, mb in content["peak_memory_mb"].items()]
    return "\n".join(lines) + "\n"


def goals_as_json(goals: Sequence[Goal]) -> list[dict[str, Any]]:
    """Goals with their verdicts."""
    return [{**asdict(goal), "figure": round(goal.figure, 4), "met": goal.met} for goal in goals]


def _row(goal: Goal) -> str:
    verdict = "yes" if goal.met else "**no**"
    return f"| {goal.what} | {goal.figure:.2f} | {goal.sense} {goal.limit:g} | {verdict} |"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()

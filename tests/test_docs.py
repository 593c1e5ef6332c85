# SPDX-License-Identifier: Apache-2.0
"""What the documentation says to type works: links, keys, commands, code."""

import argparse
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.calibration import targets
from dynamicdet_d2.commands.main import COMMANDS
from dynamicdet_d2.config import read_config
from dynamicdet_d2.evaluation.cost import count_flops
from tests.support.predicting import write_video
from tests.support.runs import run, write_toy
from tests.support.toy import toy_inputs

pytestmark = pytest.mark.usefixtures("undrawn_file")

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = {"train_net.py": "train", "calibrate.py": "calibrate"}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language; "": in none."""
    # All of them, since the end of one looks like the beginning of another.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for its_own, text in found if its_own == language]


def commands(page: Path, *languages: str) -> Iterator[list[str]]:
    """The words of each command line in the fenced blocks."""
    for language in languages:
        for block in blocks(page, language):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(python|make|dynamicdet) ", line):
                    yield shlex.split(line, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub("^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in map(_anchor, re.findall("^#+ (.*)$", target.read_text(), re.M)), link


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_exist(page: Path) -> None:
    cfg = read_config(str(ROOT / "configs" / "quickstart.yaml"))
    quoted = " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))
    typed = " ".join(word for line in commands(page, "", "sh") for word in line)
    names = r"\b(?:MODEL|SOLVER|INPUT|TEST|DATASETS|DATALOADER)(?:\.[A-Z][A-Z0-9_]*[A-Z0-9])+\b"
    for name in re.findall(names, f"{quoted} {typed}"):
        node: Any = cfg
        for part in name.split("."):
            assert isinstance(node, CfgNode) and part in node, name
            node = node[part]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    for words in commands(page, "", "sh"):
        if "..." in words:
            continue
        if words[0] == "make":
            assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), words
        elif words[:2] == ["python", "-m"] and words[2] != "dynamicdet_d2":
            assert importlib.util.find_spec(words[2]), words
        elif words[0] == "python" and words[1].startswith("tools/"):
            assert (ROOT / words[1]).is_file(), words
        else:
            _parse(words)


def _parse(words: list[str]) -> None:
    """By the parser of the command itself, which stops at what it does not know."""
    if words[1] in SCRIPTS:
        name, *arguments = SCRIPTS[words[1]], *words[2:]
    else:
        _, name, *arguments = words[words.index("dynamicdet_d2") if words[0] == "python" else 0 :]
    assert name in COMMANDS, words
    parser = importlib.import_module(f"dynamicdet_d2.commands.{name.replace('-', '_')}").parser()
    numbers = {"N": "8", "S": "1", "W": "96", "H": "64"}
    args = parser.parse_args([numbers.get(word, word) for word in arguments])
    config = getattr(args, "config_file", None)
    if config and config.startswith("configs/"):
        assert (ROOT / config).is_file(), words
    _check_overrides(args)


def _check_overrides(args: argparse.Namespace) -> None:
    overrides = getattr(args, "opts", None) or []
    assert len(overrides) % 2 == 0 and all(re.match("[A-Z]", key) for key in overrides[::2])


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands in the pages -> what there is here, at toy size."""
    folder = tmp_path_factory.mktemp("docs")
    config = Path(write_toy(folder))
    keys = yaml.safe_load(config.read_text())
    keys["OUTPUT_DIR"] = str(folder / "output")
    keys["SOLVER"] |= {"MAX_ITER": 3, "WARMUP_ITERS": 1}
    keys["TEST"]["DYNAMIC"] |= {"GALLERY": 1, "RANDOM_DRAWS": 2, "LATENCY_IMAGES": 1}
    config.write_text(yaml.safe_dump(keys))
    data = str(folder / "toy_train")
    film = write_video(folder / "film.mp4")
    return {
        " own.yaml": f" {config}",
        "datasets/own/all.json": f"{data}/instances.json",
        "datasets/own/instances_train.json": f"{folder}/own/instances_train.json",
        "--output datasets/own": f"--output {folder}/own",
        " film.mp4": f" {film}",
        "--target-latency-ms 40": "--target-latency-ms 4000",
        " output/own_data/": f" {folder}/output/",
        "datasets/own/train.json": f"{data}/instances.json",
        "datasets/own/images": f"{data}/images",
        "--num-classes 3": "--num-classes 6",
        " output/": f" {folder}/output/",
    }


def test_the_commands_of_the_pages_run(toy: dict[str, str], tmp_path: Path) -> None:
    """Those in blocks of the shell, page by page: training comes first."""
    first = [ROOT / "docs" / name for name in ("training.md", "operating.md", "tutorial.md")]
    pages = [*first, *(page for page in PAGES if page not in first)]
    found = [shlex.join(words) for page in pages for words in commands(page, "sh")]
    lines = list(dict.fromkeys(found))
    assert len(lines) > 7
    for number, typed in enumerate(lines):
        line = typed
        for there, here in toy.items():
            line = line.replace(there, here)
        _, *rest = shlex.split(line)
        script = rest.pop(0)
        if script == "-m":
            assert rest.pop(0) == "dynamicdet_d2"
            script = "dynamicdet_d2/__main__.py"
        done = run(script, rest, tmp_path / str(number))
        assert done.status == 0, f"{typed}\n{done.err[-2000:]}"


def test_the_tutorial_needs_ten_commands_at_most() -> None:
    """All that is typed, the clone among it."""
    page = ROOT / "docs" / "tutorial.md"
    lines = [
        line
        for language in ("", "sh")
        for block in blocks(page, language)
        for line in block.splitlines()
    ]
    typed = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[0] for line in typed[:2]] == ["git", "make"]
    assert [*commands(page, "sh")][-1][3] == "predict"
    assert 5 < len(typed) <= 10


@pytest.fixture(scope="module")
def extended() -> Iterator[dict[str, Any]]:
    """The names that docs/extending.md leaves."""
    page = ROOT / "docs" / "extending.md"
    names: dict[str, Any] = {}
    before = targets.TARGETS
    exec(compile("\n".join(blocks(page, "python")), str(page), "exec"), names)
    yield names
    targets.TARGETS = before


@pytest.mark.parametrize("name", ["patches", "points"])
def test_what_is_added_trains_routes_and_is_counted(extended: dict[str, Any], name: str) -> None:
    model: nn.Module = extended[name]
    with EventStorage():
        losses = model.train()(toy_inputs(2))
    sum(losses.values()).backward()
    assert {key.partition("/")[0] for key in losses} == {"detector1", "detector2"}
    second = model.backbone.bottom_up2 if name == "points" else model.backbone.connections
    assert all(weight.grad is not None for weight in second.parameters())
    model.eval()
    inputs = toy_inputs(3)
    model.threshold = sorted(model.difficulties(inputs))[1]
    with torch.no_grad():
        routes = [output["route"] for output in model(inputs)]
    assert sorted(routes) == ["easy", "easy", "hard"]
    cost = count_flops(model, 64, 96)
    assert cost["hard"] > cost["easy"] > cost["router"] > 0
    assert torch.isfinite(model.detector_losses_per_image(inputs)).all()


def test_the_target_added_is_an_option(extended: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    targets.add_options(parser)
    target = targets.target_of(parser.parse_args(["--target-fps", "100"]))
    assert type(target) is extended["Fps"] and target.value == 100

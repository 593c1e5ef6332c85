# SPDX-License-Identifier: Apache-2.0
"""What an earlier run left in OUTPUT_DIR."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.engine import run_folder
from dynamicdet_d2.engine.run_folder import (
    folder_of_run,
    forget_metrics_from,
    keep_earlier_run,
)
from tests.support.toy import toy_cfg


def lines(*iterations: int) -> str:
    return "".join(f"{json.dumps({'iteration': i, 'x': 1})}\n" for i in iterations)


def test_an_empty_folder_has_no_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").touch()
    assert keep_earlier_run(tmp_path) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_an_earlier_run_is_kept_under_the_next_number(tmp_path: Path) -> None:
    metrics, config = tmp_path / "metrics.json", tmp_path / "config.yaml"
    for number in (1, 2):
        metrics.write_text(lines(number))
        config.write_text(f"SEED: {number}")
        (tmp_path / "last_checkpoint").write_text("model_final.pth")
        said = keep_earlier_run(tmp_path)
        assert "holds an earlier run (model_final.pth). This one begins anew" in said
        assert said.endswith(f"Kept of it: metrics_{number}.json and config_{number}.yaml.")
        assert metrics.read_text() == ""
        assert (tmp_path / f"metrics_{number}.json").read_text() == lines(number)
        assert (tmp_path / f"config_{number}.yaml").read_text() == f"SEED: {number}"


def test_the_figures_of_an_earlier_run_are_said_to_be_its(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(lines(3))
    results = tmp_path / "inference"
    results.mkdir()
    assert keep_earlier_run(tmp_path).endswith("Kept of it: metrics_1.json.")
    (results / "coco_instances_results.json").touch()
    (tmp_path / "metrics.json").write_text(lines(3))
    said = keep_earlier_run(tmp_path)
    assert said.endswith(f" Until this run is evaluated, {results} is of the earlier one.")


def test_empty_metrics_are_not_kept(tmp_path: Path) -> None:
    """As a trainer has opened them, in a folder with weights alone."""
    (tmp_path / "last_checkpoint").write_text("weights.pth")
    (tmp_path / "metrics.json").touch()
    assert keep_earlier_run(tmp_path).endswith("until this run has a checkpoint.")
    assert not (tmp_path / "metrics_1.json").exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_is_one(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(lines(3))
    assert "(no checkpoint)" in keep_earlier_run(tmp_path)


HOW = [{"begins": True}, {"begins": False}, {"begins": False, "resumes": True}]


@pytest.mark.parametrize("how", HOW, ids=["begins", "evaluates", "resumes nothing"])
def test_a_config_of_the_users_own_is_kept(tmp_path: Path, how: dict[str, bool]) -> None:
    config = tmp_path / "config.yaml"
    for number, text in ((1, "# mine\nSEED: 1\n"), (2, "CUDNN_BENCHMARK: true\n")):
        config.write_text(text)
        with folder_of_run(str(tmp_path), **how) as said:
            assert (
                "has a config.yaml that no run has written; this one writes its own. Ke" in said[0]
            )
        assert (tmp_path / f"config_{number}.yaml").read_text() == text
    config.write_text(toy_cfg().dump())  # as an evaluation leaves it
    with folder_of_run(str(tmp_path), **how) as said:
        assert not any("config.yaml" in sentence for sentence in said)


@pytest.mark.parametrize(
    "name", ["model_final.pth", "model_0000499.pth", "model_detectors.pth", "best.json"]
)
def test_files_of_no_run_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "model_zoo.pth").write_bytes(b"mine")
    says = f"has {name}, but neither last_checkpoint nor metrics.json of the run"
    with pytest.raises(ValueError, match=says), folder_of_run(str(tmp_path), begins=True):
        pass
    with folder_of_run(str(tmp_path), begins=False):
        pass
    (tmp_path / name).unlink()
    with folder_of_run(str(tmp_path), begins=True):
        pass


@given(st.lists(st.integers(0, 30)), st.integers(0, 31), st.sampled_from(["", '{"iter', "7\n"]))
def test_metrics_from_an_iteration_on_are_forgotten(
    tmp_path_factory: object, iterations: list[int], start: int, cut: str
) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    path = folder / "metrics.json"
    path.write_text(lines(*iterations) + cut)
    with open(path, "a") as writer:  # as one that the trainer has opened already
        forget_metrics_from(str(folder), start)
        writer.write(lines(start))
    assert path.read_text() == lines(*(i for i in iterations if i < start), start)


@pytest.mark.parametrize(
    "text", [f"my own notes\n{lines(1, 5)}", f'{lines(1, 5)}{{"note": "the rate was too high"}}\n']
)
def test_lines_that_are_no_runs_are_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    forget_metrics_from(str(tmp_path), 3)
    assert (tmp_path / "metrics.json").read_text() == lines(1)
    assert (tmp_path / "metrics_1.json").read_text() == text


@pytest.mark.parametrize(
    ("kept", "iterations", "start", "name"),
    [
        ([1], (), 60, "metrics_1.json"),
        ([9, 10], (19,), 90000, "metrics_10.json"),
        ([1], (19, 39), 60, ""),  # its own checkpoint, before the next line of metrics
        ([], (), 60, ""),
    ],
)
def test_a_checkpoint_that_an_earlier_run_has_left_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: list[int],
    iterations: tuple[int, ...],
    start: int,
    name: str,
) -> None:
    """A run that begins over another and is killed before it saves leaves the other's to resume."""
    said: list[str] = []
    monkeypatch.setattr(run_folder.logger, "warning", lambda text, *of: said.append(text % of))
    for number in kept:
        (tmp_path / f"metrics_{number}.json").touch()
    (tmp_path / "metrics.json").write_text(lines(*iterations))
    forget_metrics_from(str(tmp_path), start)
    expected = (
        f"{tmp_path}/last_checkpoint names a checkpoint of an earlier run, whose metrics are "
        f"{name}: the run that began anew after it has saved none. The earlier one is gone on with."
    )
    assert said == ([expected] if name else [])


def test_no_metrics_are_no_matter(tmp_path: Path) -> None:
    forget_metrics_from(str(tmp_path), 3)
    assert list(tmp_path.iterdir()) == []


def test_only_a_run_that_begins_keeps_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    for begins, count in ((False, 0), (True, 1)):
        with folder_of_run(str(tmp_path), begins=begins) as said:
            assert len(said) == count
    with folder_of_run("", begins=True) as said:
        assert said == []


@pytest.mark.parametrize(("resumes", "last"), [(True, False), (True, True), (False, False)])
def test_a_run_without_its_last_checkpoint_is_said_and_its_metrics_kept(
    tmp_path: Path, resumes: bool, last: bool
) -> None:
    """A resumption began anew in silence; an evaluation needs no such file."""
    (tmp_path / "model_0000003.pth").touch()
    (tmp_path / "metrics.json").write_text(lines(3))
    if last:
        (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    with folder_of_run(str(tmp_path), begins=False, resumes=resumes) as said:
        pass
    lost = resumes and not last
    assert (tmp_path / "metrics.json").read_text() == ("" if lost else lines(3))
    assert len(said) == lost
    if lost:
        assert "has model_0000003.pth, but no last_checkpoint" in said[0]
        assert said[0].endswith("Kept of it: metrics_1.json.")
        assert (tmp_path / "metrics_1.json").read_text() == lines(3)


def test_a_resumption_of_no_run_is_said(tmp_path: Path) -> None:
    """As where the folder's name was mistyped; a user's own config there is kept all the same."""
    (tmp_path / "config.yaml").write_text("SEED: 1")
    with folder_of_run(str(tmp_path), begins=False, resumes=True) as said:
        pass
    assert len(said) == 2 and "Kept of it: config_1.yaml." in said[0]
    assert said[1].endswith(
        "has no last_checkpoint for --resume to go on from: the run begins anew."
    )
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    with folder_of_run(str(tmp_path), begins=False, resumes=True) as said:
        assert said == []


@pytest.mark.parametrize("name", ["$HOME", "${USER}_1", "%TEMP%", "50%", "a$"])
def test_a_variable_that_no_shell_has_replaced_is_said(tmp_path: Path, name: str) -> None:
    with folder_of_run(str(tmp_path / name), begins=True) as said:
        found = [
            sentence for sentence in said if "is part of its name, as no shell has" in sentence
        ]
    assert len(found) == (name not in ("50%", "a$"))


@pytest.mark.parametrize("line", ['{"iteration": 1e999}', "[" * 100_000, '{"iteration": NaN}', "x"])
def test_lines_that_are_no_metrics_are_said(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(run_folder.logger, "warning", lambda text, *of: said.append(text % of))
    (tmp_path / "metrics.json").write_text(f"{line}\n{lines(1)}")
    forget_metrics_from(str(tmp_path), 3)
    assert (tmp_path / "metrics.json").read_text() == lines(1)
    assert len(said) == 1
    assert "metrics.json has 1 lines that are no run's, which are left out. Kept" in said[0]

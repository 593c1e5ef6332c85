# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet report``: what was measured, drawn again as a user would type it."""

from pathlib import Path

import pytest

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.evaluation.report.files import write_report
from dynamicdet_d2.evaluation.report.pictures import Album
from tests.reliability.test_cases_calibration import RECORD
from tests.support.tradeoffs import EASY, GOOD, HARD, ROUTES, a_point, a_tradeoff


def test_command_draws_again_with_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_report(tmp_path, GOOD, ROUTES, Album({}, lambda _: [], [], masks=False, count=0))
    other = tmp_path / "other.json"
    a_tradeoff(EASY, a_point(0.5, 33.0, 31.0), HARD).to_json(other)
    wanted = ["R101,39.4,283,-", f"another={other}"]
    assert main(["report", str(tmp_path), "--compare", *wanted]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "R101" in page and "another, 0.5 hard" in page and "33.00" in page
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    assert main(["report", str(tmp_path / "tradeoff.json")]) == 0
    assert "another, 0.5 hard" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("given", ["run", "run/inference"])
def test_the_folder_of_a_run_is_refused_with_that_of_its_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture, given: str
) -> None:
    evaluated = tmp_path / "run" / "inference" / "dynamic"
    evaluated.mkdir(parents=True)
    a_tradeoff(EASY, HARD).to_json(evaluated / "tradeoff.json")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / given)])
    assert ended.value.code == 2
    says = f"{tmp_path / given} has no tradeoff.json; {evaluated} has one.\n"
    assert capsys.readouterr().err.endswith(f"error: {says}")


@pytest.mark.parametrize("given", ["run", "run/inference"])
def test_of_several_data_sets_all_folders_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture, given: str
) -> None:
    evaluated = [tmp_path / "run" / "inference" / name / "dynamic" for name in ("a", "b")]
    for folder in evaluated:
        folder.mkdir(parents=True)
        a_tradeoff(EASY, HARD).to_json(folder / "tradeoff.json")
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / given)])
    says = (
        f"{tmp_path / given} has no tradeoff.json; {evaluated[0]}, {evaluated[1]} have one each.\n"
    )
    assert capsys.readouterr().err.endswith(f"error: {says}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone"], "gone/tradeoff.json cannot be read: No such file or directory."),
        ([".", "--compare", "R101"], "--compare R101 must be NAME,AP,GFLOPS,MS"),
        ([".", "--compare", "gone.json"], "gone.json cannot be read"),
    ],
)
def test_command_refuses_by_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
    says: str,
) -> None:
    GOOD.to_json(tmp_path / "tradeoff.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["report", *arguments])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_a_picture_that_is_no_plot_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    RECORD.to_json(tmp_path / "c.json")
    (tmp_path / "c.png").write_bytes(b"holiday")
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "c.json")])
    says = f"would replace {tmp_path / 'c.png'}, which was not drawn here; move it away."
    assert says in capsys.readouterr().err
    assert (tmp_path / "c.png").read_bytes() == b"holiday"
    (tmp_path / "c.png").unlink()
    for _ in range(2):  # the second one replaces the first one's
        assert main(["report", str(tmp_path / "c.json")]) == 0

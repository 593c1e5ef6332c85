# SPDX-License-Identifier: Apache-2.0
"""A run's own config, read by a command that is given no weights."""

from pathlib import Path

import pytest

from dynamicdet_d2.config import read_config, read_with_weights
from dynamicdet_d2.config.start_weights import say_start_weights


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as a training leaves it."""
    (tmp_path / "config.yaml").write_text("MODEL: {WEIGHTS: /somewhere/start.pth}")
    (tmp_path / "last_checkpoint").write_text("model_final.pth\n")
    return tmp_path


def test_the_weights_that_a_run_began_with_are_said(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_with_weights(run / "config.yaml", None)
    assert caplog.messages == [
        f"The weights are those of MODEL.WEIGHTS in {run}/config.yaml, /somewhere/start.pth, which "
        f"the run there began with; what the run there has learnt is {run}/model_final.pth."
    ]
    (run / "config.yaml").write_text("SEED: 1")
    say_start_weights(run / "config.yaml", read_config(run / "config.yaml"))
    assert f"MODEL.WEIGHTS in {run}/config.yaml, none, which the run there" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("weights", "keys", "content"),
    [
        ("/x.pth", [], ""),
        (None, ["MODEL.WEIGHTS", "/x.pth"], ""),
        (None, [], "MODEL: {WEIGHTS: %s/model_final.pth}"),
    ],
)
def test_named_weights_and_learnt_ones_are_as_they_should_be(
    run: Path, caplog: pytest.LogCaptureFixture, weights: str | None, keys: list[str], content: str
) -> None:
    if content:
        (run / "config.yaml").write_text(content % run)
    read_with_weights(run / "config.yaml", weights, keys)
    assert not caplog.text


def test_a_config_of_no_run_has_what_it_says(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "last_checkpoint").unlink()
    read_with_weights(run / "config.yaml", None)
    assert not caplog.text


def test_the_config_that_was_trained_by_names_the_weights_that_the_run_began_with(
    run: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path_factory.mktemp("own") / "own.yaml"
    own.write_text(f"MODEL: {{WEIGHTS: /somewhere/start.pth}}\nOUTPUT_DIR: {run}")
    read_with_weights(own, None)
    assert caplog.messages == [
        f"The weights are those of MODEL.WEIGHTS in {own}, /somewhere/start.pth; what the run in "
        f"OUTPUT_DIR {run} has learnt is {run}/model_final.pth."
    ]
    caplog.clear()
    own.write_text(f"MODEL: {{WEIGHTS: {run}/model_final.pth}}\nOUTPUT_DIR: {run}")
    read_with_weights(own, None)
    (run / "last_checkpoint").unlink()
    own.write_text(f"MODEL: {{WEIGHTS: /somewhere/start.pth}}\nOUTPUT_DIR: {run}")
    read_with_weights(own, None)
    assert not caplog.messages

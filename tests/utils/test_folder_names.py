# SPDX-License-Identifier: Apache-2.0
"""Names of folders that commands write."""

import logging
from pathlib import Path

import pytest

from dynamicdet_d2.utils.folder_names import refuse_file_name


@pytest.mark.parametrize("name", ["s3://bucket/x", Path("s3://bucket/x"), "file:///tmp/x"])
def test_an_address_is_no_folder(name: str | Path) -> None:
    with pytest.raises(ValueError, match="^--output is .*, an address; it must be a place on this"):
        refuse_file_name(name, "--output")


@pytest.mark.parametrize(
    ("name", "variable"),
    [("$OUT/x", "$OUT"), ("a/${OUT}", "${OUT}"), ("C:/x", None), ("5$", None), ("a:b/c", None)],
)
def test_a_variable_that_no_shell_has_replaced_is_said(
    name: str, variable: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        refuse_file_name(name, "--output")
    says = f"--output is '{name}': {variable} is part of its name, as no shell has replaced it."
    assert caplog.messages == ([] if variable is None else [says])

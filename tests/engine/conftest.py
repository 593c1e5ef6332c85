# SPDX-License-Identifier: Apache-2.0
"""The toy data sets, which whole trainings of a file share."""

from collections.abc import Iterator

import pytest

from tests.support.coco_files import clean_catalogs
from tests.support.runs import write_toy


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A config over data sets that are drawn for each file and registered while it runs."""
    with clean_catalogs():
        yield write_toy(tmp_path_factory.mktemp("toy"))

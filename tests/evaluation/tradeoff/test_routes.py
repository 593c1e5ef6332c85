# SPDX-License-Identifier: Apache-2.0
"""routes.jsonl: what is written is read, and what is damaged is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from dynamicdet_d2.evaluation.tradeoff.routes import (
    ImageCounts,
    ImageRoute,
    read_routes,
    write_routes,
)
from tests.support.tradeoffs import ROUTES


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "routes.jsonl"
    counts = ImageCounts(3, (1, 2), (0, 4))
    routes = [*ROUTES, ImageRoute("a", "b.png", 0.5, "easy", 0.25, -0.5, counts)]
    write_routes(routes, path)
    assert read_routes(path) == routes
    assert json.loads(path.read_text().splitlines()[-1]) == {
        **{"image_id": "a", "file_name": "b.png", "difficulty": 0.5, "route": "easy"},
        **{"gain": 0.25, "loss_gap": -0.5},
        "counts": {"objects": 3, "found": [1, 2], "false": [0, 4]},
    }
    write_routes([], path)
    assert read_routes(path) == []
    write_routes([ImageRoute(np.int64(3), "", 0.5, "easy", 0.0)], path)
    assert read_routes(path)[0].image_id == 3


def test_the_lines_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "routes.jsonl"
    path.write_text(
        '{"image_id": 1, "file_name": "", "difficulty": 0.5, "route": "easy", "gain": 0}\n'
    )
    assert read_routes(path) == [ImageRoute(1, "", 0.5, "easy", 0)]


def test_what_went_the_wrong_way() -> None:
    assert [route.misrouted for route in ROUTES] == [False, True, False, True]
    # Where both exits are alike, either way is right.
    assert not any(ImageRoute(0, "", 0.5, route, 0.0).misrouted for route in ("easy", "hard"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not a file of JSON lines: line 1 is '{'."),
        ("7", "is not a valid routes.jsonl: line 1 is 7; it must be an object."),
        (
            '{"image_id": [1], "file_name": "", "difficulty": 0.5, "route": "easy", "gain": 0}',
            "is not a valid routes.jsonl: line 1: image_id is [1]; it must be a number or text.",
        ),
        (
            '{"image_id": 1, "file_name": "", "difficulty": 0.5, "route": "<b>", "gain": 0}',
            "line 1.route is '<b>'; it must be 'easy' or 'hard'.",
        ),
        ('{"image_id": 1}', "line 1.file_name is missing."),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "routes.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ValueError) as error:
        read_routes(path)
    assert str(error.value).startswith(str(path)) and says in str(error.value)
    with pytest.raises(ValueError, match="gone cannot be read"):
        read_routes(tmp_path / "gone")

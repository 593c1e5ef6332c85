# SPDX-License-Identifier: Apache-2.0
"""docs/config.md is what the declarations say."""

import config_reference
import pytest
from config_reference import PAGE, entries, reference

from dynamicdet_d2.config.declare import KEYS


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == reference(), "run: python tools/config_reference.py"


def test_every_key_stands_in_it_once() -> None:
    rows = [line.split(" | ")[0] for line in reference().splitlines() if line.startswith("| `")]
    listed = [cell for row in rows for cell in row.removeprefix("| ").split("<br>")]
    assert len(listed) == len(KEYS)
    assert "| `THRESHOLD` | `0.5` | lie in [0, 1] | An image is hard, and" in reference()


def test_keys_that_share_a_comment_share_a_row() -> None:
    source = """
# Convolutions
# of either branch.
key("MODEL.FCOS.NUM_CONVS", 4, anything)
key(
    "MODEL.FCOS.NORM",
    "GN",
)

# Alone.
key("MODEL.FCOS.PRIOR_PROB", 0.01, anything)
"""
    first, second = entries(source)
    assert [key.name for key in first.keys] == ["MODEL.FCOS.NUM_CONVS", "MODEL.FCOS.NORM"]
    assert first.meaning == "Convolutions of either branch." and second.meaning == "Alone."
    assert first.section == "MODEL.FCOS"


def test_a_key_without_a_comment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = '# One.\nkey("MODEL.FCOS.NORM")\n\nkey("MODEL.FCOS.PRIOR_PROB")\n'
    with pytest.raises(ValueError, match="MODEL.FCOS.PRIOR_PROB has no comment"):
        list(entries(source))
    monkeypatch.setattr(config_reference, "ROOT", PAGE.parent)  # where no declarations are
    with pytest.raises(ValueError, match="is declared in no config"):
        reference()

# SPDX-License-Identifier: Apache-2.0
"""Annotations that were written here, told from somebody's own, which are not replaced."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynamicdet_d2.utils.files import read_json, whole_file
from dynamicdet_d2.utils.own_files import refuse_others

logger = logging.getLogger(__name__)

COMMAND = "dynamicdet import-data"
# Keys on the highest level of the JSON, which COCO's readers leave alone: who, and what.
_WRITTEN_BY = "written_by"
_HASH = "written_sha256"


def marked(content: Mapping[str, Any]) -> bytes:
    """JSON of COCO's format that says who has written it, and a hash of all else that is in it."""
    plain = {key: value for key, value in content.items() if key not in (_WRITTEN_BY, _HASH)}
    return json.dumps({_WRITTEN_BY: COMMAND, _HASH: _hash(plain), **plain}).encode()


def write_marked(file: Path, content: Mapping[str, Any]) -> None:
    """Write annotations, whole or not at all. Of ones that an earlier import has written, such as
    another split that a run has learnt from, it is said that they are replaced.

    Args:
        file: that ``refuse_own_annotations`` has let pass.
        content: of COCO's format.
    """
    new = marked(content)
    if file.exists() and file.read_bytes() != new:
        logger.warning(
            "%s of an earlier import is replaced: its images or their objects are others now.", file
        )
    with whole_file(file) as opened:
        opened.write(new)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def refuse_own_annotations(file: Path, read_from: Path | None = None) -> None:
    """Refuse to replace annotations that the command has not written, or as it has not written
    them: boxes may have been corrected since. Or ones that it reads.

    Args:
        file: that will be written.
        read_from: what is imported.

    Raises:
        ValueError: naming the file.
    """
    refuse_others(file, {_WRITTEN_BY}, COMMAND)
    if read_from is not None and file.exists() and file.samefile(read_from):
        raise ValueError(
            f"--output would replace {file}, which is imported; choose another folder."
        )
    if file.exists():
        content = read_json(file, str(file))
        written = content.pop(_HASH, None)
        content.pop(_WRITTEN_BY)
        if written is not None and written != _hash(content):
            raise ValueError(
                f"--output would replace {file}, which was changed since '{COMMAND}' has written "
                "it; choose another folder, or remove it."
            )

# SPDX-License-Identifier: Apache-2.0
"""The files of an upgrade's folder: told from those of others, and written."""

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import yaml

from dynamicdet_d2.config.pairs import BASE
from dynamicdet_d2.engine.upgrade.conversion import nested
from dynamicdet_d2.engine.upgrade.proof import Proof
from dynamicdet_d2.utils.files import whole_file, write_json
from dynamicdet_d2.utils.own_files import kept_by_number
from dynamicdet_d2.utils.run_files import LAST

logger = logging.getLogger(__name__)

CONFIG, START, RECORD = "upgrade.yaml", "start.pth", "upgrade.json"
HEAD = "# The stock detector's config with a hard route: dynamicdet upgrade.\n"


def check_output(output: Path) -> None:
    """Refuse the folder of another run, such as the stock detector's, whose weights the training
    would replace.

    Raises:
        ValueError: naming the file that it is told by.
    """
    theirs = [output / name for name in (LAST, "model_final.pth")]
    there = [file for file in theirs if os.path.lexists(file)]
    if there and not (output / RECORD).is_file():
        raise ValueError(
            f"--output {output} has {there[0].name} of another run, which would be replaced; "
            "choose another folder."
        )
    ours = _begins_with(output / CONFIG, HEAD)
    for name in () if ours else (CONFIG, START, RECORD):
        if os.path.lexists(output / name):
            raise ValueError(
                f"--output {output} has {name}, which 'dynamicdet upgrade' has not written and "
                "would replace; choose another folder."
            )


def _begins_with(path: Path, text: str) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(text.encode())) == text.encode()


def write_config(output: Path, stock: str, keys: dict) -> str:
    """Write the dynamic config, which is the stock file with a few keys changed.

    Args:
        output: the folder, which is there.
        stock: the stock file.
        keys: by their full names.

    Returns:
        its path.
    """
    base = os.path.relpath(stock, output)
    own = nested({**keys, "MODEL.WEIGHTS": str(output / START), "OUTPUT_DIR": str(output)})
    path = output / CONFIG
    text = HEAD + yaml.safe_dump({BASE: base, **own}, sort_keys=False)
    _keep_edited(path, text.encode())
    with whole_file(path) as file:
        file.write(text.encode())
    return str(path)


def _keep_edited(path: Path, content: bytes) -> None:
    """Keep a config that is not what will be written in its place, and say so: somebody may have
    edited it."""
    if not path.is_file() or path.read_bytes() == content:
        return
    logger.warning(
        "%s is written anew, and its keys are not read: type them behind --opts. Kept of it: %s.",
        *(path, kept_by_number([path])),
    )


def write_record(output: Path, config_file: str, weights: str, proofs: Mapping[str, Proof]) -> None:
    """Write what was proved on which weights, as JSON.

    Args:
        config_file, weights: of the stock detector, as they were named.
        proofs: by when they were made.
    """
    content = {
        "config_file": config_file,
        "weights": weights,
        "easy_route_bit_equal": {when: asdict(proof) for when, proof in proofs.items()},
    }
    write_json(output / RECORD, content)

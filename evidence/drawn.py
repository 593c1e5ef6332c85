# SPDX-License-Identifier: Apache-2.0
"""A small drawn data set laid out as those of photographs, for ``--fast``."""

import json
from pathlib import Path

from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset
from dynamicdet_d2.utils.files import read_json, whole_file
from evidence.setups import SPLITS, Data

SIZES = {"train": 160, "val": 60, "test": 60}


def drawn_data(folder: Path) -> Data:
    """The set in a folder, drawn where it is not there yet."""
    for seed, split in enumerate(SPLITS, start=11):
        own = folder / "images" / split
        draw_dataset(own, Recipe(SIZES[split], seed))
        content = read_json(own / "instances.json", split)
        for image in content["images"]:
            image["file_name"] = f"{split}/images/{image['file_name']}"
        with whole_file(folder / f"instances_{split}.json") as file:
            file.write(json.dumps(content).encode())
    return Data(folder)

# SPDX-License-Identifier: Apache-2.0
"""The set-ups that are compared, their data, and the folders of their trainings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.register import read_json
from dynamicdet_d2.evaluation.passes import at_input_size
from dynamicdet_d2.utils.files import whole_file

CONFIGS = Path(__file__).parent / "configs"
SPLITS = ("train", "val", "test")
# Set-up -> what it is, in a few words for the page; its config is of the same name.
SETUPS = {
    "same": "Lite0 + Lite0",
    "short": "shortened Lite0 + Lite0",
    "short_own": "shortened Lite0 + Lite0, own necks and heads",
    "short_weighted": "shortened Lite0 + Lite0, losses weighted 0.5 and 1",
    "lite01": "Lite0 + Lite1",
    "lite02": "Lite0 + Lite2, own necks",
    "upgraded": "static Lite0, upgraded by Lite0",
    "static0": "static Lite0",
    "static1": "static Lite1",
    "static2": "static Lite2",
    "static0_256": "static Lite0, trained at 256 pixels",
    "same_256": "Lite0 + Lite0, trained at 256 pixels",
    "same_256_own": "Lite0 + Lite0, trained at 256 pixels, own necks and heads",
    "short_256_own": "shortened Lite0 + Lite0, trained at 256 pixels, own necks and heads",
    "static1_256": "static Lite1, trained at 256 pixels",
    "static0_288": "static Lite0, trained at 288 pixels",
    "static0_320": "static Lite0, trained at 320 pixels",
    "same_6000": "Lite0 + Lite0, 6000 steps",
    "static0_6000": "static Lite0, 6000 steps",
}
# Set-up -> the one whose trained weights of the same seed it begins with.
BEGINS_WITH = {"upgraded": "static0"}
# Set-up -> the other input sizes that its trained detectors are tested at: shorter side in pixels.
SIZES = {
    "static0": (160, 192, 256, 288),
    "same": (192, 256),
    "static0_6000": (192, 256),
    "static0_320": (352,),
}
# Those whose trained detectors are also tested with both exits of a hard image made one.
MERGED = ("same", "same_256", "same_256_own", "short_256_own", "same_6000", "lite01")
# The one whose curve stands in the README.
SHOWN = "same_256_own_merged"
LEAST_IOU = 0.6  # chosen on val: from 0.5 to 0.7 AP hardly differs
_MERGED = "_merged"


def title(setup: str) -> str:
    """Of a set-up, or of one that is tested in another way than it was trained."""
    if setup.endswith(_MERGED):
        return f"{title(setup.removesuffix(_MERGED))}, merged exits"
    name, at, size = setup.partition("_at")
    words = SETUPS.get(name, name)
    return f"{words}, tested at {size} pixels" if at else words


_FOLDER = re.compile(r"(?P<setup>.+)_s(?P<seed>\d+)")


@dataclass(frozen=True)
class Data:
    """A data set in COCO's format.

    Attributes:
        folder: with ``instances_train.json``, ``instances_val.json``, ``instances_test.json`` and
            ``images``.
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def split(self, split: str) -> str:
        """Its name in Detectron2's catalogs."""
        return f"{self.name}_{split}"

    def keys(self) -> list[str]:
        """Config keys and values: the sets, and the classes that there are.

        Raises:
            ValueError: naming the file that cannot be read.
        """
        sets = [
            [self.split(split), str(self._json(split)), str(self.folder.resolve() / "images")]
            for split in SPLITS
        ]
        classes = read_json(str(self._json("train"))).get("categories", [])
        return [
            *("DATASETS.COCO_JSON", repr(sets)),
            *("DATASETS.TRAIN", repr((self.split("train"),))),
            *("DATASETS.TEST", repr((self.split("val"),))),
            *("MODEL.ROI_HEADS.NUM_CLASSES", str(len(classes))),
        ]

    def _json(self, split: str) -> Path:
        return self.folder.resolve() / f"instances_{split}.json"


@dataclass(frozen=True)
class Run:
    """A training: a set-up and a seed, in the folder ``SETUP_sSEED``."""

    setup: str
    seed: int
    folder: Path

    @classmethod
    def of(cls, folder: Path) -> "Run":
        """The run that a folder's name says.

        Raises:
            ValueError: it says none.
        """
        found = _FOLDER.fullmatch(folder.resolve().name)
        if found is None:
            raise ValueError(f"{folder} is not named SETUP_sSEED, such as 'same_s1'.")
        return cls(found["setup"], int(found["seed"]), folder)

    def at_size(self, size: int) -> "Run":
        """The same weights with another input size, in a folder beside this one's.

        Args:
            size: shorter side of the images, in pixels; the longest one follows in proportion.
        """
        cfg = read_config(str(self.config))
        return self._tested(f"{self.setup}_at{size}", at_input_size(cfg, size))

    def with_merged_exits(self) -> "Run":
        """The same weights whose hard images leave by both exits, in a folder beside it."""
        merged = ["MODEL.DYNAMIC.MERGE_EXITS_IOU", str(LEAST_IOU)]
        return self._tested(f"{self.setup}{_MERGED}", read_config(str(self.config), merged))

    def _tested(self, setup: str, cfg: CfgNode) -> "Run":
        other = Run(setup, self.seed, self.folder.with_name(f"{setup}_s{self.seed}"))
        other.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(other.config) as file:
            file.write(cfg.dump().encode())
        if not other.weights.exists():
            other.weights.symlink_to(self.weights.resolve())
        return other

    @property
    def start(self) -> Path | None:
        """The weights of another run that it begins with; None: those of its config."""
        other = BEGINS_WITH.get(self.setup)
        return self.folder.with_name(f"{other}_s{self.seed}") / self.weights.name if other else None

    @property
    def config(self) -> Path:
        """As the trainer has written it."""
        return self.folder / "config.yaml"

    @property
    def weights(self) -> Path:
        return self.folder / "model_final.pth"


def planned(root: Path, setups: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All runs, seed by seed, so that the first ones are one of each set-up."""
    return [Run(setup, seed, root / f"{setup}_s{seed}") for seed in seeds for setup in setups]

# SPDX-License-Identifier: Apache-2.0
"""From a yaml file and ``KEY VALUE`` pairs to a config; no code runs from either."""

import copy
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg
from detectron2.utils.file_io import PathManager

from dynamicdet_d2.config.classes import fill_num_classes
from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.config.pairs import (
    BASE,
    mismatch,
    plain,
    refuse_no_pairs,
    unknown_key,
    without_value,
)
from dynamicdet_d2.config.start_weights import say_start_weights
from dynamicdet_d2.config.unread import unread
from dynamicdet_d2.config.unread_by_commands import unread_threshold
from dynamicdet_d2.utils.arguments import refuse_no_config
from dynamicdet_d2.utils.files import names_a_file, refuse_pipes
from dynamicdet_d2.utils.plain_yaml import Numbers, PlainYamlError, read_yaml
from dynamicdet_d2.utils.shipped import shipped
from dynamicdet_d2.utils.words import in_lines, shown

logger = logging.getLogger(__name__)

# Unknown keys, of which each is said; of more than these, and no other, the file is the mistake.
_FEW = 3
# Of yacs, for a value that it cannot take or make out.
_REFUSALS = (AssertionError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


class Config(CfgNode):
    """A Detectron2 config with the project's keys: nothing runs from the files that it reads.

    ``add_dynamicdet_config`` makes Detectron2's config one of these, so that nobody has to think of
    it.
    """

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """As Detectron2's, with plain values alone.

        Args:
            cfg_filename: a yaml file, whose ``_BASE_`` may name others.
            allow_unsafe: is not listened to.

        Raises:
            ValueError: as ``read_config``.
        """
        wrong = _merge_files(self, cfg_filename)
        if wrong:
            raise ValueError(in_lines(wrong))

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """As Detectron2's; ``allow_unsafe`` is not listened to."""
        return super().load_yaml_with_base(filename, allow_unsafe=False)

    @classmethod
    def _decode_cfg_value(cls, value: object) -> object:
        # yacs compares types: what is below the top is Detectron2's own.
        return CfgNode._decode_cfg_value(value)


def add_dynamicdet_config(cfg: CfgNode) -> None:
    """Add the keys of DynamicDet to a Detectron2 config, in place, and make it a ``Config``.

    Keys that are there already keep their values.

    Args:
        cfg: what ``detectron2.config.get_cfg()`` returns.

    Raises:
        ValueError: it is no config.
    """
    refuse_no_config(cfg)
    if type(cfg) is CfgNode:
        object.__setattr__(cfg, "__class__", Config)  # a config's own attributes are its keys
    for declared in KEYS.values():
        if declared.ours:
            *sections, last = declared.name.split(".")
            node = cfg
            for section in sections:
                node = node.setdefault(section, CfgNode())
            node.setdefault(last, copy.deepcopy(declared.default))


def get_cfg() -> CfgNode:
    """Detectron2's defaults and the project's.

    In the place of ``detectron2.config.get_cfg`` it is the one line that a script of Detectron2's,
    such as its ``demo.py``, needs for the configs of this project.
    """
    cfg = detectron2_cfg()
    add_dynamicdet_config(cfg)
    return cfg


def read_config(
    config_file: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    alone: bool = False,
    shared: bool = False,
) -> CfgNode:
    """Detectron2's defaults and the project's, a yaml file, and ``KEY VALUE`` pairs.

    Plain values alone are read, so a file from anywhere is safe to read. A whole number is taken
    where a key has a number with a fraction. Without a GPU, ``MODEL.DEVICE`` "cuda" becomes "cpu",
    which is said of one that was typed, and in a file "cuda:1" as well: the file may be of another
    machine. A number of classes of 0 becomes that of the training set's JSON, and the ``~`` of a
    path, which no shell has seen in a file, the home folder. What the values may be is ``check``'s
    affair.

    Args:
        config_file: a yaml file, whose ``_BASE_`` may name others; empty: defaults alone. What
            comes with the package ("configs/quickstart.yaml") is found from every folder.
        overrides: keys and values in turn.
        alone: refuse a ``_BASE_`` and do not look into data sets, so that no other file is read.
        shared: the overrides are those of another config as well, so some may be for that one.

    Raises:
        ValueError: naming the file that cannot be read, or all keys that are wrong, a line each.
    """
    if config_file is not None and not isinstance(config_file, str | os.PathLike):
        raise ValueError(f"{shown(config_file)} is no path of a config file.")
    cfg = get_cfg()
    refuse_no_pairs(overrides)
    overrides = [plain(value) for value in overrides]
    if len(overrides) % 2:
        raise ValueError(without_value(overrides, set(dict(_leaves(cfg, cfg)))))
    wrong = _merge_files(cfg, config_file, alone=alone) if config_file else []
    if not torch.cuda.is_available() and str(cfg.MODEL.DEVICE).startswith("cuda"):
        cfg.MODEL.DEVICE = "cpu"
    wrong += _merge(cfg, zip(overrides[::2], overrides[1::2], strict=True))
    wrong += unread_threshold(cfg, overrides[::2])
    if not (wrong or shared):
        wrong = unread(cfg, overrides[::2])
    if wrong:
        raise ValueError(in_lines(wrong))
    if not alone:
        fill_num_classes(cfg)
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        logger.warning("No GPU is found; MODEL.DEVICE cuda, which was typed, becomes cpu.")
        cfg.MODEL.DEVICE = "cpu"
    _find_paths(cfg)
    return cfg


def _find_paths(cfg: CfgNode) -> None:
    """Those in the home folder, and those of what comes with the package."""
    for node, key in (
        (cfg, "OUTPUT_DIR"),
        (cfg.MODEL, "WEIGHTS"),
        (cfg.MODEL.COMPOSITE, "WEIGHTS2"),
        (cfg.MODEL.DYNAMIC, "CALIBRATION"),
    ):
        if isinstance(node[key], str):  # a key without a value is None, which check refuses
            node[key] = shipped(os.path.expanduser(node[key]))


def read_with_weights(
    config_file: str | os.PathLike[str], weights: str | None, overrides: Sequence[str] = ()
) -> CfgNode:
    """``read_config``, for a command that runs trained weights.

    Args:
        weights: of ``--weights``, for ``MODEL.WEIGHTS``; None: those of the config.

    Raises:
        ValueError: as ``read_config``; there are no weights, or ``MODEL.WEIGHTS`` is typed as well.
    """
    if weights is not None and "MODEL.WEIGHTS" in overrides[::2]:
        raise ValueError("--weights and MODEL.WEIGHTS both name a file; give one.")
    cfg = read_config(config_file, overrides)
    if weights is not None:
        cfg.MODEL.WEIGHTS = weights
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("There are no weights: name a file with --weights or MODEL.WEIGHTS.")
    if weights is None and "MODEL.WEIGHTS" not in overrides[::2]:
        say_start_weights(config_file, cfg)
    return cfg


def _merge_files(
    cfg: CfgNode, config_file: str | os.PathLike[str], *, alone: bool = False
) -> list[str]:
    """Set the keys of a file and of its bases in place; a sentence for each that is wrong."""
    wrong = []
    for file, content in _layers(shipped(os.fspath(config_file)), alone=alone):
        if len(content) > _FEW and not any(name in cfg for name in content):
            raise ValueError(f"{file} is no config: none of its {len(content)} keys is known.")
        pairs = list(_leaves(cfg, content))
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        said = [
            f"{name} stands there twice, in its section and by its full name." for name in twice
        ]
        wrong += [f"{file}: {sentence}" for sentence in (*said, *_merge(cfg, pairs))]
    return wrong


def _layers(
    file: str, above: tuple[str, ...] = (), *, alone: bool = False
) -> Iterator[tuple[str, dict]]:
    """The content of the files that ``_BASE_`` names, and then of the file itself.

    Args:
        above: files that the file is included by, outermost first.
        alone: refuse a ``_BASE_``.
    """
    if os.path.realpath(file) in map(os.path.realpath, above):
        raise ValueError(f"{file} includes itself by {BASE}: {' -> '.join([*above, file])}.")
    content = _read_yaml(file, f"{BASE} of {above[-1]}," if above else "--config-file")
    bases = content.pop(BASE, [])
    if alone and bases:
        raise ValueError(f"{file} has a {BASE}; this config may not read other files.")
    for base in bases if isinstance(bases, list) else [bases]:
        if not names_a_file(base):
            raise ValueError(f"{file}: {BASE} is {shown(base)}; it must name yaml files.")
        yield from _layers(_beside(file, os.path.expanduser(base)), (*above, file))
    yield file, content


def _beside(file: str, base: str) -> str:
    """Where a base is that a file names: relative to the file's folder."""
    if "://" in base:
        return base
    return os.path.normpath(os.path.join(os.path.dirname(file), base))


def _read_yaml(file: str, named_by: str) -> dict:
    where = f"{named_by} {file}"
    refuse_pipes(file, where)
    if file.endswith(".py"):
        raise ValueError(f"{where} is Python, which is not run; it must be a yaml file.")
    try:
        with PathManager.open(file, "rb") as stream:  # text would be in the locale's encoding
            content = read_yaml(TextIOWrapper(stream, encoding="utf-8"), Numbers.NEW)
    except FileNotFoundError:
        raise ValueError(f"{where} does not exist.") from None
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror or error}.") from None
    except PlainYamlError as error:
        raise ValueError(f"{where} {error}") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else shown(content)
        raise ValueError(f"{where} holds {found}; it must hold keys and their values.")
    return content


def _leaves(node: CfgNode, content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Full names and values of a file's keys, as deep as the config has sections."""
    for name, value in content.items():
        section = node.get(name) if isinstance(name, str) else None
        if isinstance(section, CfgNode) and isinstance(value, dict):
            yield from _leaves(section, value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _merge(cfg: CfgNode, pairs: Iterable[tuple[str, object]]) -> list[str]:
    """Set keys in place; a sentence for each that cannot be set."""
    known = dict(_leaves(cfg, cfg))
    wrong = []
    for name, value in pairs:
        if name not in known:
            wrong.append(unknown_key(name, value, list(known)))
            continue
        try:
            cfg.merge_from_list([name, _with_fraction(value, known[name])])
        except _REFUSALS:
            wrong.append(mismatch(name, value, known[name]))
    return wrong


def _with_fraction(value: object, default: object) -> object:
    """The value, as a float where the key's default is one: yacs takes 1.0 alone, not 1."""
    if not isinstance(default, float) or isinstance(value, bool):
        return value
    try:
        return float(value) if isinstance(value, (int, str)) else value
    except (ValueError, OverflowError):
        return value

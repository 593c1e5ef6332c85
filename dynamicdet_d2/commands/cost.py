# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet cost``: multiply-adds of a config's model, beside the paper's figures."""

import argparse
import sys
from dataclasses import replace

from detectron2.modeling import build_model

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.evaluation.cost import RouteCost, kept_proposals, table
from dynamicdet_d2.evaluation.flop_meter import NUM_DETECTIONS
from dynamicdet_d2.evaluation.paper import setting_of
from dynamicdet_d2.modeling.architecture import building


def parser() -> argparse.ArgumentParser:
    """Config, image size (by default the paper's) and number of proposals (the config's)."""
    options = argparse.ArgumentParser(
        description="Multiply-adds of a config's model by part and route, and as in the paper."
    )
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--height", type=int, help="pixels")
    options.add_argument("--width", type=int, help="pixels")
    options.add_argument("--num-proposals", type=int, metavar="N")
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


# Keys of an evaluation that nothing here follows -> what says it.
_UNREAD = {
    "INPUT.MIN_SIZE_TEST": "here --height and --width say it",
    "INPUT.MAX_SIZE_TEST": "here --height and --width say it",
    "TEST.DYNAMIC.INPUT_SIZES": "here --height and --width say one size",
    "TEST.AUG.ENABLED": "one pass of an image is counted",
    "TEST.DETECTIONS_PER_IMAGE": f"masks and keypoints are counted for {NUM_DETECTIONS} detections",
}
_GIVEN = ("height", "width", "num_proposals")
_PROPOSALS = "MODEL.RPN.POST_NMS_TOPK_TEST"


def _refuse_unread(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: a key that would be passed over.
    """
    for name in args.opts[::2]:
        if name in _UNREAD:
            raise ValueError(f"{name} would not be read: {_UNREAD[name]}.")
        if name == _PROPOSALS and args.num_proposals is not None:
            raise ValueError(f"{name} and --num-proposals say the same: give one of them.")


def run(args: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        ValueError: naming the key or the option that is wrong.
    """
    cfg = read_config(args.config_file, args.opts)
    _refuse_unread(args)
    # A route costs the same wherever the threshold comes from and whatever the weights are.
    dynamic = cfg.MODEL.DYNAMIC
    dynamic.CALIBRATION, dynamic.HARD_FRACTION, dynamic.TARGET_LATENCY_MS = "", None, None
    cfg.MODEL.DEVICE = "cpu"
    check(cfg, Use.MODEL)
    given = {name: vars(args)[name] for name in _GIVEN if vars(args)[name] is not None}
    with building():
        model = build_model(cfg)
    kept = kept_proposals(model)
    if args.num_proposals is not None and not kept:
        raise ValueError(
            f"--num-proposals is {args.num_proposals}; a {cfg.MODEL.META_ARCHITECTURE} has none."
        )
    setting = replace(setting_of(cfg), **given)
    if kept and args.num_proposals is None:
        cost = RouteCost(model, size_multiple=cfg.MODEL.INFERENCE.SIZE_MULTIPLE)
        size = cost.padded_size(setting.height, setting.width)
        setting = replace(setting, num_proposals=kept_proposals(model, size=size))
    sys.stdout.write(table(model, cfg, setting))

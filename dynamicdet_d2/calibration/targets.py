# SPDX-License-Identifier: Apache-2.0
"""What an operating point can be chosen for: one class per target, each an option of calibrate.py.

To add a target, write a subclass of ``Target`` and put it into ``TARGETS``: the command line, the
pass over the data set and the calibration file follow from it.
"""

import argparse

import numpy as np

from dynamicdet_d2.calibration.ap_drop import ApDrop
from dynamicdet_d2.calibration.latency_p95 import LatencyP95
from dynamicdet_d2.calibration.target import Choice, Measured, Target
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.operating_point import hard_fraction_for_cost
from dynamicdet_d2.operating_point.guarantee import DEFAULT_SHARE, MODES, Guarantee
from dynamicdet_d2.utils.words import shown


class HardFraction(Target):
    """The hard fraction itself."""

    name = "hard_fraction"
    option = "--hard-fraction"
    metavar = "K"
    help = "share of images on the hard route, in [0, 1]"
    largest = 1.0

    def choose(self, measured: Measured) -> Choice:
        return Choice(abs(self.value))  # -0 as well, which would be said to be one


class Latency(Target):
    """Mean latency per image on this machine, by eq. 14."""

    name = "latency_ms"
    option = "--target-latency-ms"
    metavar = "MS"
    help = "mean milliseconds per image on this machine"

    def choose(self, measured: Measured) -> Choice:
        return Choice(measured.calibration.hard_fraction_for_latency(self.value))


class Gflops(Target):
    """Mean multiply-adds per image, at the sizes that the images really have.

    Hard images may be larger than easy ones, so that the mean of a routing is not eq. 14's mixture
    of the means of both routes: images turn hard one by one here, the most difficult first.
    """

    name = "gflops"
    option = "--target-gflops"
    metavar = "G"
    help = "mean 10^9 multiply-adds per image"

    def choose(self, measured: Measured) -> Choice:
        keys, sizes = measured.cfg, measured.observation.sizes
        cost = RouteCost(measured.model, keys.TEST.DYNAMIC.ATTENTION_MATMUL)
        costs = cost.of_images(sizes)
        easy, hard = costs.mean(axis=0).tolist()
        # Which refuses what is out of reach.
        hard_fraction_for_cost(easy, hard, self.value, "cost", "GFLOPs")
        order = np.argsort(-np.array(measured.observation.difficulties), kind="stable")
        more = np.cumsum((costs[:, 1] - costs[:, 0])[order]) / len(order)
        means = easy + np.append(0.0, more)
        return Choice(float(np.interp(self.value, means, np.linspace(0, 1, len(means)))))


# The options of calibrate.py, in the order of its help.
TARGETS: tuple[type[Target], ...] = (HardFraction, Latency, LatencyP95, Gflops, ApDrop)


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option per target, of which at most one can be given, and those of a guarantee."""
    group = parser.add_mutually_exclusive_group()
    _check_targets()
    for target in TARGETS:
        said = str(target.help).replace("%", "%%")  # argparse puts values in their place
        group.add_argument(target.option, type=float, metavar=target.metavar, help=said)
    able = " and ".join(target.option for target in TARGETS if target.promises)
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="C",
        help=f"choose so that the target holds for new images with this chance ({able})",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        help="with --max-ap-drop and --confidence: 'ap', of the set's AP, for many images; "
        "'finite', of the images whose own AP falls by more, for any number of them; default: ap",
    )
    parser.add_argument(
        "--share",
        type=float,
        metavar="A",
        help=f"with --mode finite: share of images that may lose more; default: {DEFAULT_SHARE:g}",
    )


def _check_targets() -> None:
    """
    Raises:
        ValueError: one that a program has put into ``TARGETS`` cannot be one.
    """
    options: list[str] = []
    for target in TARGETS:
        if not (isinstance(target, type) and issubclass(target, Target)):
            raise ValueError(f"TARGETS has {shown(target)}; each must be a subclass of Target.")
        missing = [x for x in ("name", "option", "metavar", "help") if not hasattr(target, x)]
        if missing:
            raise ValueError(f"{target.__name__}, a target, has no {missing[0]}.")
        if not str(target.option).startswith("--"):
            raise ValueError(
                f"{target.__name__}, a target, has the option {shown(target.option)}; an option "
                "begins with '--'."
            )
        if target.option in options:
            raise ValueError(
                f"{target.__name__}, a target, has the option {target.option}; another has it."
            )
        options.append(target.option)


def target_of(arguments: argparse.Namespace) -> Target | None:
    """The target that was given, if any.

    Raises:
        ValueError: its value is out of range, or what is to be promised does not go with it.
    """
    for target in TARGETS:
        value = getattr(arguments, target.option.removeprefix("--").replace("-", "_"))
        if value is not None:
            return target(value, _guarantee(arguments, target))
    if _guarantee(arguments, None) is not None:
        raise ValueError("--confidence needs a target to be sure of, such as --max-ap-drop.")
    return None


def _guarantee(arguments: argparse.Namespace, target: type[Target] | None) -> Guarantee | None:
    given = [name for name in ("mode", "share") if getattr(arguments, name) is not None]
    if arguments.confidence is None:
        if given:
            raise ValueError(f"--{given[0]} needs --confidence.")
        return None
    if arguments.share is not None and arguments.mode != "finite":
        raise ValueError("--share needs --mode finite.")
    if target and arguments.share is not None and target.share not in (None, arguments.share):
        raise ValueError(f"--share is {target.share} by {target.option}, and no other one.")
    usual = target.promises[0] if target and target.promises else MODES[0]
    share = DEFAULT_SHARE if arguments.share is None else arguments.share
    return Guarantee(arguments.confidence, arguments.mode or usual, share)

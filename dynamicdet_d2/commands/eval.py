# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet eval``: what ``train --eval-only`` does."""

import argparse

from dynamicdet_d2.commands import train


def parser() -> argparse.ArgumentParser:
    """That of ``train``."""
    options = train.parser()
    options.set_defaults(eval_only=True)
    return options


def run(args: argparse.Namespace) -> None:
    """Evaluate ``MODEL.WEIGHTS``, or with --resume the last checkpoint in ``OUTPUT_DIR``."""
    train.run(args)

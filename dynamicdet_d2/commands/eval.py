# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet eval``: what ``train --eval-only`` does."""

import argparse

from dynamicdet_d2.commands import train

EXAMPLES = """examples:
  --config-file output/config.yaml MODEL.WEIGHTS output/model_final.pth
  --config-file output/config.yaml --resume    (the last checkpoint in OUTPUT_DIR)
"""


def parser() -> argparse.ArgumentParser:
    """That of ``train``."""
    options = train.parser()
    options.set_defaults(eval_only=True)
    options.epilog = EXAMPLES
    return options


def run(args: argparse.Namespace) -> None:
    """Evaluate ``MODEL.WEIGHTS``, or with --resume the last checkpoint in ``OUTPUT_DIR``."""
    train.run(args)

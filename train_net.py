#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train or evaluate a detector; Detectron2's own command line.

python train_net.py --config-file configs/quickstart.yaml [--resume] [--eval-only] KEY VALUE ...
"""

import sys

from dynamicdet_d2.commands.main import run

if __name__ == "__main__":
    sys.exit(run("train_net.py", "train"))

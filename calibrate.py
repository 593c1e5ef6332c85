#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calibrate a dynamic detector: thresholds for hard fractions, and for a target on this machine.

    python calibrate.py --config-file F --weights W --output calibration.json \\
        [--hard-fraction K | --target-latency-ms MS | --target-gflops G | --max-ap-drop AP] \\
        [--plan] [KEY VALUE ...]

With --plan the target is met by the best of several knobs at once: docs/operating.md.
"""

import sys

from dynamicdet_d2.commands.main import run

if __name__ == "__main__":
    sys.exit(run("calibrate.py", "calibrate"))

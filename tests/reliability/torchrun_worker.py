# SPDX-License-Identifier: Apache-2.0
"""train_net.py under torchrun, whose second process dies in its sixth step, once."""

import os
import runpy
import sys

from tests.reliability.kills import Blow

if __name__ == "__main__":
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        Blow("SIGKILL", "step", 6, "", rank=1).arm()
    sys.argv[0] = "train_net.py"
    runpy.run_path("train_net.py", run_name="__main__")

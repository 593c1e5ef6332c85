# SPDX-License-Identifier: Apache-2.0
"""``python -m dynamicdet_d2 COMMAND``."""

import sys

from dynamicdet_d2.commands.main import main

if __name__ == "__main__":
    sys.exit(main())

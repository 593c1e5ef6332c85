# SPDX-License-Identifier: Apache-2.0
"""A user without a name, as ``docker run --user 1000:1000`` makes one."""

import getpass
import os


def name_the_nameless() -> None:
    """Have the environment say a name where neither it nor the machine's list of users has one.

    torchvision cannot be imported without: torch names a folder for compiled code by the user.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # KeyError until Python 3.12
        os.environ["USER"] = str(os.getuid())

# SPDX-License-Identifier: Apache-2.0
"""Signals as a terminal leaves them."""

import signal


def heed_ignored() -> None:
    """A script's jobs in the background ignore Ctrl-C, and ``nohup`` a closed terminal.

    What is started there inherits it, and heeds neither; but runs are struck here on purpose.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)

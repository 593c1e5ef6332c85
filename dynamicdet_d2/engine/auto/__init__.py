# SPDX-License-Identifier: Apache-2.0
"""``SOLVER.ROUTER.OBJECTIVE "auto"``: every objective is tried on images kept aside.

The offset's pass has seen both exits of every training image, so a router is trained in a second
and the AP curve that it leads to is known in another. What routes best is what the phase trains.
"""

from dynamicdet_d2.engine.auto.choose import COLUMNS, NAME, chosen_lesson

__all__ = ["COLUMNS", "NAME", "chosen_lesson"]

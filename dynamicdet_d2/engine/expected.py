# SPDX-License-Identifier: Apache-2.0
"""Figures that a config expects of an evaluation, by names that the evaluation may not have."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.utils import comm

from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.utils.words import shown


def check_expected(expected: Sequence[Sequence[Any]], results: Mapping[str, Any]) -> None:
    """Refuse names of figures that there are none of, before Detectron2 looks for them.

    Args:
        expected: ``TEST.EXPECTED_RESULTS``, lists [task, metric, value, tolerance].
        results: figures by task and metric, of the main process; others have none.

    Raises:
        ValueError: a task or a metric that an evaluation does not give.
    """
    for task, metric, *_ in expected if comm.is_main_process() else ():
        if task not in results:
            raise ValueError(
                f"TEST.EXPECTED_RESULTS names '{task}'; the evaluation gives "
                f"{', '.join(results) or 'nothing'}."
            )
        if metric not in results[task]:
            raise ValueError(
                f"TEST.EXPECTED_RESULTS names {shown(metric)} of '{task}', which the evaluation "
                f"does not give.{nearest(str(metric), list(results[task]))}"
            )

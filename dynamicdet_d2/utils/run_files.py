# SPDX-License-Identifier: Apache-2.0
"""Names of the files of a run, by which it is known and gone on with."""

LAST = "last_checkpoint"  # of Detectron2; it names the checkpoint to resume from
METRICS = "metrics.json"
CONFIG = "config.yaml"
LOG = "log.txt"  # of Detectron2

# SPDX-License-Identifier: Apache-2.0
"""A trained Detectron2 detector becomes the easy route of a dynamic one."""

from dynamicdet_d2.engine.upgrade.conversion import dynamic_keys, stock_file
from dynamicdet_d2.engine.upgrade.proof import Proof, compare, equal, proof_dicts

__all__ = ["Proof", "compare", "dynamic_keys", "equal", "proof_dicts", "stock_file"]

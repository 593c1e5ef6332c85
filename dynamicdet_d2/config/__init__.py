# SPDX-License-Identifier: Apache-2.0
"""The config: ``keys`` (the reference manual), ``rules``, reading, and the check of both."""

# Keys and rules are declared when their files are imported.
from dynamicdet_d2.config import (
    head_limits,
    keys,
    limits,
    recipe_keys,
    router_rules,
    rules,
    start_rules,
    training_limits,
    yolo_keys,
)
from dynamicdet_d2.config.checking import check
from dynamicdet_d2.config.declare import Use
from dynamicdet_d2.config.reading import (
    Config,
    add_dynamicdet_config,
    get_cfg,
    read_config,
    read_with_weights,
)

__all__ = [
    "Config",
    "Use",
    "add_dynamicdet_config",
    "check",
    "get_cfg",
    "head_limits",
    "keys",
    "limits",
    "read_config",
    "read_with_weights",
    "recipe_keys",
    "router_rules",
    "rules",
    "start_rules",
    "training_limits",
    "yolo_keys",
]

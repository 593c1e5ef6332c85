# SPDX-License-Identifier: Apache-2.0
"""Which weights of a detector a phase trains."""

import torch
from torch import nn

from dynamicdet_d2.engine.phases import PHASES
from tests.support.toy import toy_cfg, toy_model


def test_weights_that_lie_beside_a_detectors_parts_are_trained_with_them() -> None:
    """As weights of losses that are learnt, which a subclass has as attributes."""
    model = toy_model()
    model.log_scale = nn.Parameter(torch.zeros(2))
    model.router2 = nn.Linear(2, 1)  # no router of the detector's, whatever its name
    names = {id(weight): name for name, weight in model.named_parameters()}
    trained = {
        phase: {names[id(x)].split(".")[0] for part in own for x in part.parameters()}
        for phase, own in ((n, kind(toy_cfg()).trained(model)) for n, kind in PHASES.items())
    }
    tail = {"neck", "proposal_generator", "roi_heads"}
    assert trained == {
        "detectors": {"backbone", "log_scale", "router2", *tail},
        "detector2": {"backbone"},
        "router": {"router"},
    }

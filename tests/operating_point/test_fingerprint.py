# SPDX-License-Identifier: Apache-2.0
"""What a calibration belongs to, of a router that looks beyond features."""

import pytest

from dynamicdet_d2.operating_point.fingerprint import differences, fingerprint
from tests.support.toy import toy_cfg, toy_model


@pytest.mark.parametrize(
    ("inputs", "key", "value", "says"),
    [
        ("detections", "MODEL.YOLO.MULTI_LABEL", False, "as usual (here False)"),
        ("detections", "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 2, "as usual (here 2)"),
        ("rpn", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 4, "as usual (here 4)"),
        ("rpn", "MODEL.RPN.NMS_THRESH", 0.5, "0.7 (here 0.5)"),
        ("rpn", "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 2, ""),
        ("features", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 4, ""),
    ],
)
def test_keys_that_what_a_router_sees_depends_on(
    inputs: str, key: str, value: object, says: str
) -> None:
    asked = ("MODEL.ROUTER.INPUTS", [inputs])
    model = toy_model(*asked)
    usual, other = (fingerprint(model, toy_cfg(*asked, *keys)) for keys in ((), (key, value)))
    assert differences(usual, other) == (f"heads {key} {says}" if says else "")
    assert not set(usual.get("heads", {})) & {"MODEL.YOLO.MULTI_LABEL"}  # earlier ones hold

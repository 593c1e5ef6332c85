# SPDX-License-Identifier: Apache-2.0
"""One toy model for the folder's tests."""

from types import SimpleNamespace

import pytest

from dynamicdet_d2.prediction import DynamicPredictor
from tests.support.predicting import predicting_cfg, write_model_files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return write_model_files(tmp_path_factory.mktemp("prediction"))


@pytest.fixture(scope="session")
def predictor(files: SimpleNamespace) -> DynamicPredictor:
    cfg = predicting_cfg("MODEL.WEIGHTS", files.weights)
    return DynamicPredictor(cfg, ["cat", "dog", "cow"])

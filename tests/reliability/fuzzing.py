# SPDX-License-Identifier: Apache-2.0
"""Properties that hold for any input, each with the inputs that it is tried on.

A few examples of each run with the tests (test_fuzz.py). ``make fuzz FUZZ_MINUTES=60`` goes on for
as long as it is told, with new examples all the time; what it finds is printed, and belongs into
the tables of cases once it is mended.
"""

import dataclasses
import functools
import itertools
import json
import sys
import time
import traceback
from typing import Any

import hypothesis
import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.data.datasets import load_coco_json
from detectron2.engine import DefaultPredictor
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.data.check.run import check_dataset
from dynamicdet_d2.operating_point import Calibration
from tests.reliability import fuzzed_files
from tests.reliability.fuzzed_files import COCO, image_root
from tests.reliability.mutations import mutated, values
from tests.reliability.properties import Target, folder, sentence
from tests.reliability.test_cases_calibration import RECORD
from tests.support.toy import toy_cfg

# A calibration is refused with the name of its file, or gives thresholds in [0, 1].


def calibration_holds(content: Any) -> None:
    path = folder() / "calibration.json"
    path.write_text(json.dumps(content))
    try:
        record = Calibration.from_json(path)
    except ValueError as error:
        sentence(error, str(path))
        return
    assert all(0 <= record.threshold(k) <= 1 for k in (0, 0.25, 1))
    try:
        assert 0 <= record.threshold_for_latency(1.5) <= 1
    except ValueError as error:
        sentence(error)
    record.to_json(path)
    assert Calibration.from_json(path) == record


# A data set that the check finds nothing in is one that Detectron2 loads and maps.


def data_set_holds(content: Any) -> None:
    file = folder() / "set.json"
    root = image_root()
    file.write_text(json.dumps(content))
    report = check_dataset("own", str(file), root, 2, testing=True, mask_format="polygon")
    text = report.text()
    text.encode()
    assert len(text) < 20_000
    if not report.errors:
        mapper = DatasetMapper(
            is_train=True, augmentations=[], image_format="BGR", use_instance_mask=True
        )
        for image in load_coco_json(str(file), root):
            mapper(image)


# A config is refused by sentences, or says the same when it was dumped and read again.

overrides = st.lists(
    st.tuples(
        st.sampled_from([*KEYS, "MODEL", "SOLVER.ROUTER", "x"]) | st.text(max_size=8),
        st.text(max_size=12) | values.map(repr) | values.map(str),
    ),
    max_size=4,
)
nested = st.dictionaries(
    st.sampled_from([*{name.split(".")[0] for name in KEYS}, "_BASE_"]) | st.text(max_size=4),
    values | st.dictionaries(st.sampled_from([n.split(".")[-1] for n in KEYS]), values),
    max_size=4,
)
files = nested.map(lambda x: json.dumps(x, default=str)) | st.text(max_size=60)


def config_holds(given: tuple[str, list[tuple[str, str]]]) -> None:
    text, pairs = given
    file = folder() / "f.yaml"
    file.write_text(text, errors="surrogatepass")
    dumped = folder() / "dumped.yaml"
    try:
        cfg = read_config(str(file), [word for pair in pairs for word in pair])
        for use in Use:
            check(cfg, use)
        dumped.write_text(cfg.dump())
        # yacs takes a string that looks like a number for one, which is then refused.
        again = read_config(str(dumped))
    except ValueError as error:
        sentence(error)
        return
    # To JSON tuples are lists; the order of a mapping says nothing.
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(cfg))


# A predictor refuses what is no image, or gives a difficulty in (0, 1).

shapes = st.sampled_from([(64, 96, 3), (8, 8, 3), (1, 1, 3), (5, 40, 3)]) | arrays.array_shapes(
    min_dims=0, max_dims=4, min_side=0, max_side=8
)
dtypes = st.sampled_from(["u1", "f4"]) | arrays.scalar_dtypes()
pictures = dtypes.flatmap(lambda dtype: arrays.arrays(dtype, shapes))


@functools.cache
def predictor() -> DefaultPredictor:
    torch.manual_seed(0)
    return DefaultPredictor(toy_cfg("DATASETS.TEST", (), "INPUT.MIN_SIZE_TEST", 64))


def predictor_holds(image: Any) -> None:
    try:
        output = predictor()(image)
    except ValueError as error:
        sentence(error, "The image ")
        return
    assert 0 < output["difficulty"] < 1
    assert output["route"] in ("easy", "hard")
    assert np.isfinite(output["instances"].pred_boxes.tensor.numpy()).all()


TARGETS = {
    "calibration": Target(mutated(dataclasses.asdict(RECORD)) | values, calibration_holds),
    "data set": Target(mutated(COCO) | values, data_set_holds),
    "config": Target(st.tuples(files, overrides), config_holds),
    "predictor": Target(pictures | values, predictor_holds),
    **fuzzed_files.TARGETS,
}


def fuzz(target: Target, examples: int, seed: int | None = None) -> None:
    """Try a property; without a seed always on the same examples."""

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(target.inputs)
    def tried(given: Any) -> None:
        target.holds(given)

    (tried if seed is None else hypothesis.seed(seed)(tried))()


def main(minutes: float) -> int:
    """Rounds of new examples until the time is up; the number of properties that do not hold."""
    torch.set_num_threads(1)
    end, examples = time.monotonic() + 60 * minutes, 300
    tried = dict.fromkeys(TARGETS, 0)
    broken: list[str] = []
    start = int(time.time())
    for seed in itertools.count(start):
        for name, target in TARGETS.items():
            if time.monotonic() > end or len(broken) == len(TARGETS):
                counts = ", ".join(f"{name} {count}" for name, count in tried.items())
                sys.stdout.write(
                    f"Tried: {counts}. {len(broken)} of {len(TARGETS)} properties do not hold.\n"
                )
                return len(broken)
            if name in broken:
                continue
            try:
                fuzz(target, examples, seed)
                tried[name] += examples
            except Exception as error:
                broken.append(name)
                sys.stdout.write(f"--- {name}, seed {seed}\n")
                sys.stdout.write("".join(traceback.format_exception(error, limit=-3)))
    return len(broken)


if __name__ == "__main__":
    sys.exit(min(main(float(sys.argv[1])), 1))

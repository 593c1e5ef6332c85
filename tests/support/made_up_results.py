# SPDX-License-Identifier: Apache-2.0
"""Made-up results of a few runs, for what reads them."""

from dynamicdet_d2.engine.objectives import OBJECTIVES
from evidence.records import FRACTIONS, DynamicSplit, Origin, Result, Route, Routing, StaticSplit
from evidence.routers import AUTOS
from evidence.timing import Times

ORIGIN = Origin(
    "python -m evidence measure", "0123456789abcdef", "2026-01-01", "cpu", {"torch": "2"}
)
F = len(FRACTIONS)


def routing(inputs: tuple[str, ...], learns: str, lead: float) -> Routing:
    """A router that leads by so much at every hard fraction; the oracle leads by 2."""
    return Routing(
        inputs=inputs,
        learns=learns,
        chosen={"gain at 0.01": 3},
        ap=(41.0 + lead,) * F,
        ap_std=(0.0,) * F,
        lead=(lead,) * F,
        share=(lead / 2,) * F,
        gflops=tuple(1.0 + k for k in FRACTIONS),
        area=lead,
        area_std=0.0,
        auroc=0.6,
        kendall_tau=None,
    )


def dynamic(seed: int, lead: float, setup: str = "short") -> Result:
    routings = [
        routing(inputs, learns, lead + extra)
        for inputs, extra in ((("features",), 0.0), (("rpn",), 0.5))
        for learns in (*AUTOS, *OBJECTIVES)
    ]
    split = DynamicSplit(
        images=200,
        easy_ap=40.0,
        hard_ap=42.0,
        random_ap=(41.0,) * F,
        oracle_ap=(43.0,) * F,
        better=0.3,
        random_area_std=0.1,
        cost={"features": Route(1.0, 2.0), "rpn": Route(1.0, 2.2)},
        routings=(*routings, routing((), "true loss gap", 1.5)),
    )
    return Result(setup, "roads", seed, 3000, 4, (1, 2, 3), ORIGIN, {"val": split}, {})


def static(seed: int, ap: float, gflops: float, setup: str) -> Result:
    split = StaticSplit(images=200, ap=ap, ap50=60.0, gflops=gflops)
    return Result(setup, "roads", seed, 3000, 4, (), ORIGIN, {}, {"val": split})


RESULTS = [
    dynamic(1, 0.5),
    dynamic(2, 1.5),
    static(1, 40.0, 1.0, "static0"),
    static(1, 42.0, 2.0, "static1"),
]
TIMES = Times(
    "roads",
    20,
    5,
    ORIGIN,
    {
        "short": {"features": Route(10.0, 20.0)},
        "static0": {"": Route(10.0, 10.0)},
        "static1": {"": Route(30.0, 30.0)},
    },
)

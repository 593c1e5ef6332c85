# SPDX-License-Identifier: Apache-2.0
"""The phases that a run can have; ``SOLVER.PHASES`` names those that it has, in order."""

from dynamicdet_d2.engine.phases.detector2 import Detector2Phase
from dynamicdet_d2.engine.phases.detectors import DetectorsPhase
from dynamicdet_d2.engine.phases.phase import Phase
from dynamicdet_d2.engine.phases.router import RouterPhase

PHASES: dict[str, type[Phase]] = {
    phase.name: phase for phase in (DetectorsPhase, Detector2Phase, RouterPhase)
}

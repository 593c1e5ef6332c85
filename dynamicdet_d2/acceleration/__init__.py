# SPDX-License-Identifier: Apache-2.0
"""What makes a trained detector fast, and leaves the detector that was trained as it is."""

from dynamicdet_d2.acceleration.optimize import optimize_for_inference
from dynamicdet_d2.acceleration.optimized_copy import OptimizedCopy, on_optimized_copy
from dynamicdet_d2.acceleration.options import InferenceOptions

__all__ = ["InferenceOptions", "OptimizedCopy", "on_optimized_copy", "optimize_for_inference"]

# SPDX-License-Identifier: Apache-2.0
"""Several knobs at once, for one target: threshold, easy proposals, input size, precision."""

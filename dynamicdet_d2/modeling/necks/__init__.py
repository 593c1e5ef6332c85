# SPDX-License-Identifier: Apache-2.0
"""Necks: Detectron2's FPN over features that are already computed."""

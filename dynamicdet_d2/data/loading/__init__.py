# SPDX-License-Identifier: Apache-2.0
"""Loaders that name corrupt images and resume exactly."""

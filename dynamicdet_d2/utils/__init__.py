# SPDX-License-Identifier: Apache-2.0
"""Files, memory, progress, versions: what every room may use."""

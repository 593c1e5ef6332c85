# SPDX-License-Identifier: Apache-2.0
"""What a user types: a file per command, and ``main``, which knows them all."""

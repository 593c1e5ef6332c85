# SPDX-License-Identifier: Apache-2.0
"""How large an image may be."""

# Pillow's limit, beyond which it suspects a decompression bomb.
MOST_PIXELS = 178_956_970

# SPDX-License-Identifier: Apache-2.0
"""The COCO sweep: exact AP at every threshold from one matching of both exits.

It needs numpy and pycocotools alone.
"""

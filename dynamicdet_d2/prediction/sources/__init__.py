# SPDX-License-Identifier: Apache-2.0
"""Where images come from: files, folders, patterns, lists, videos, cameras."""

from dynamicdet_d2.prediction.sources.named import sources_of
from dynamicdet_d2.prediction.sources.read_ahead import ReadAhead
from dynamicdet_d2.prediction.sources.source import Camera, Frame, ImageFile, Source, VideoFile

__all__ = ["Camera", "Frame", "ImageFile", "ReadAhead", "Source", "VideoFile", "sources_of"]

# SPDX-License-Identifier: Apache-2.0
"""Reading in a thread of its own, so that decoding and detecting take their time at once."""

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Self

from dynamicdet_d2.data.loading.corrupt import CorruptImageError
from dynamicdet_d2.prediction.sources.source import Frame, Source

# Frames that wait; more would only take memory.
DEPTH = 8
# Seconds, for the frame that is being read when nobody takes it any more.
PATIENCE = 5.0
_END = object()


class ReadAhead:
    """Frames of all sources in turn, read by a thread that is a few ahead.

    OpenCV and Pillow let other threads run while they decode. Of a camera the newest frame alone
    waits, so that what is detected is what is there now; those that nobody took are counted.
    Leaving the context ends the thread. ::

        with ReadAhead(sources) as frames:
            for frame in frames: ...

    Attributes:
        dropped: frames of cameras that came while others were detected.
    """

    def __init__(self, sources: Sequence[Source], depth: int = DEPTH) -> None:
        """
        Args:
            sources: read one after the other.
            depth: frames that may wait, >= 1.
        """
        live = any(source.live for source in sources)
        self._sources, self._live = sources, live
        self._waiting: queue.Queue = queue.Queue(1 if live else depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        self.dropped = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        # A camera, or a dead network's file, may never answer; the thread ends with the process.
        self._thread.join(PATIENCE)

    def __iter__(self) -> Iterator[Frame | CorruptImageError]:
        """Frames; in the place of an image that cannot be read, the error, not raised.

        Raises:
            whatever else ended the thread.
        """
        while (item := self._waiting.get()) is not _END:
            if isinstance(item, BaseException) and not isinstance(item, CorruptImageError):
                raise item
            yield item

    def _read(self) -> None:
        try:
            for source in self._sources:
                try:
                    for frame in source.frames():
                        if not self._put(frame, newest=source.live):
                            return
                except CorruptImageError as error:
                    self._put(error)
        except BaseException as error:  # it is raised where the frames are taken
            self._put(error)
        finally:
            self._put(_END)

    def _put(self, item: object, newest: bool = False) -> bool:
        """Hand one on; False once nobody takes them any more."""
        while not self._stopped.is_set():
            try:
                self._waiting.put(item, timeout=0.0 if newest else 0.1)
                return True
            except queue.Full:
                if newest:
                    self._drop()
        return False

    def _drop(self) -> None:
        try:
            self._waiting.get_nowait()
            self.dropped += 1
        except queue.Empty:
            pass  # it was taken just now

# SPDX-License-Identifier: Apache-2.0
"""A stream: frames in, predictions out, the threshold moved where there is a budget."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from dynamicdet_d2.budget import BudgetController, DriftMonitor
from dynamicdet_d2.data.loading.corrupt import CorruptImageError
from dynamicdet_d2.prediction.outputs import Output
from dynamicdet_d2.prediction.predictor import (
    DynamicPredictor,
    Prediction,
    UnusableImageError,
)
from dynamicdet_d2.prediction.sources import Frame
from dynamicdet_d2.prediction.tally import Tally
from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.progress import Progress

logger = logging.getLogger(__name__)

# A process's first batches take longer, whatever the machine's speed; their time tells nothing.
WARMUP = 2


class Stream:
    """Runs a predictor over frames and hands the results to outputs."""

    def __init__(
        self,
        predictor: DynamicPredictor,
        outputs: Sequence[Output],
        *,
        min_score: float = 0.0,
        batch_size: int = 1,
        skip_corrupt: bool = False,
        governor: BudgetController | DriftMonitor | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            predictor: what detects.
            outputs: each gets every frame, in order.
            min_score: detections with a lower score are left out.
            batch_size: frames that run together, >= 1.
            skip_corrupt: leave out images that cannot be read, instead of stopping.
            governor: keeps a budget, or only looks whether the difficulties are the calibration's.
            clock: gives seconds.
        """
        self._predictor, self._outputs = predictor, outputs
        self._min_score, self._batch_size = min_score, batch_size
        self._skip_corrupt, self._governor, self._clock = skip_corrupt, governor, clock
        self._batches = 0
        self._tally = Tally(clock)

    def run(self, frames: Iterable[Frame | CorruptImageError], total: int | None = None) -> Tally:
        """All frames; Ctrl-C ends the stream between two, with what was done so far written.

        Args:
            total: how many there are, for the log; None: not known.

        Raises:
            CorruptImageError: unless such images are left out.
        """
        progress = Progress(total, "Images", self._clock)
        try:
            with stopping.signals_heeded():
                for batch in _batches(self._readable(frames), self._batch_size):
                    for frame, prediction in self._detected(batch):
                        with stopping.deferred():  # a frame is in all outputs or in none
                            self._write(frame, prediction)
                        progress.step(self._note)
                        stopping.look()
        except KeyboardInterrupt:
            self._tally.stopped = True
            for output in self._outputs:
                output.stop()
        return self._tally

    def _write(self, frame: Frame, prediction: Prediction) -> None:
        for output in self._outputs:
            output.write(frame, prediction)
        self._tally.add(prediction.get("route"))

    def _readable(self, frames: Iterable[Frame | CorruptImageError]) -> Iterator[Frame]:
        for frame in frames:
            if isinstance(frame, Frame):
                yield frame
            elif self._skip_corrupt:
                logger.warning("%s Left out.", frame.sentence)
                self._tally.left_out += 1
            else:
                raise frame

    def _detected(self, batch: Sequence[Frame]) -> Iterable[tuple[Frame, Prediction]]:
        """Frames and what is in them, without those that are left out for being no images."""
        while batch:
            try:
                return zip(batch, self._detect(batch), strict=True)
            except UnusableImageError as error:
                said = f"{batch[error.place].source.name}: {error.sentence}"
                if not self._skip_corrupt:
                    more = "DATALOADER.SKIP_CORRUPT_IMAGES True leaves such images out."
                    raise ValueError(f"{said} {more}") from None
                logger.warning("%s Left out.", said)
                self._tally.left_out += 1
                batch = [*batch[: error.place], *batch[error.place + 1 :]]
        return ()

    def _detect(self, batch: Sequence[Frame]) -> list[Prediction]:
        if isinstance(self._governor, BudgetController):
            self._predictor.model.threshold = self._governor.threshold
        start = self._clock()
        predictions = self._predictor([frame.image for frame in batch])
        if any("instances" not in prediction for prediction in predictions):
            raise ValueError(
                f"{type(self._predictor.model).__name__} (MODEL.META_ARCHITECTURE) gives no "
                "detections, which would be drawn and written."
            )
        for prediction in predictions:  # to memory, which waits for a GPU
            prediction["instances"] = prediction["instances"].to("cpu")
        seconds = self._clock() - start
        self._tally.detector_seconds += seconds
        self._batches += 1
        self._tell_governor(predictions, seconds)
        for prediction in predictions:
            found = prediction["instances"]
            prediction["instances"] = found[found.scores >= self._min_score]
        return predictions

    def _tell_governor(self, predictions: Sequence[Prediction], seconds: float) -> None:
        difficulties = [x["difficulty"] for x in predictions if "difficulty" in x]
        if isinstance(self._governor, BudgetController):
            milliseconds = 1000 * seconds if self._batches > WARMUP else None
            self._governor.observe(difficulties, milliseconds)
        elif self._governor is not None:
            self._governor.observe(difficulties)

    def _note(self) -> str:
        if isinstance(self._governor, BudgetController):
            return f"{self._tally.recently()}, threshold {self._governor.threshold:.3f}"
        return self._tally.recently()


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """So many frames at a time; fewer at the end."""
    while batch := list(itertools.islice(frames, size)):
        yield batch

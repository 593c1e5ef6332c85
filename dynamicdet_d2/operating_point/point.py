# SPDX-License-Identifier: Apache-2.0
"""Where a model's threshold comes from: the config, or a calibration and a target."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.config.ranges import integer
from dynamicdet_d2.operating_point.fingerprint import (
    check_fingerprint,
    compute_dtype,
    fingerprint,
)
from dynamicdet_d2.operating_point.knobs import check_knobs
from dynamicdet_d2.operating_point.milliseconds import check_milliseconds
from dynamicdet_d2.operating_point.record import Calibration
from dynamicdet_d2.operating_point.thresholds import SHARE

logger = logging.getLogger(__name__)

ENOUGH = 20
"""Images that say something of a threshold."""


class OperatingPoint:
    """A threshold and, where it was calibrated, the calibration that it was read from.

    Attributes:
        threshold: in [0, 1]; an image is hard iff its difficulty is above it.
        calibration: None where the threshold was set by hand.
        easy_proposals: candidates kept of an easy image; 0: as many as of a hard one.
    """

    def __init__(
        self,
        *,
        threshold: float,
        calibration: Calibration | None = None,
        cfg: CfgNode | None = None,
        easy_proposals: int = 0,
    ) -> None:
        """
        Args:
            threshold: in [0, 1].
            calibration: the record that the threshold was read from.
            cfg: the config that the model was built from; needed with a calibration.
            easy_proposals: see above; >= 0.

        Raises:
            ValueError: if the threshold is not a number in [0, 1], the number of proposals no whole
                one, or a calibration comes without its config.
        """
        threshold = SHARE.number(threshold, "The threshold (MODEL.DYNAMIC.THRESHOLD)")
        easy_proposals = integer(at_least=0).whole(easy_proposals, "easy_proposals")
        if calibration is not None and cfg is None:
            raise ValueError(
                "A calibrated threshold needs the config that the model is built from."
            )
        self.threshold = threshold
        self.calibration = calibration
        self.easy_proposals = easy_proposals
        self._cfg = cfg
        self._checked = ""  # the number type that it was found to fit in
        self._silent = False
        self._seen: list[float] = []

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "OperatingPoint":
        """From ``MODEL.DYNAMIC.THRESHOLD``, or ``CALIBRATION`` and one target.

        Raises:
            ValueError: the calibration cannot be read, or was planned with other keys, or its
                milliseconds are of a model that was run in another way, or the target is out of
                reach.
        """
        keys = cfg.MODEL.DYNAMIC
        if not keys.CALIBRATION:
            return cls(threshold=keys.THRESHOLD, easy_proposals=keys.EASY_PROPOSALS)
        calibration = _named_by_key(keys.CALIBRATION)
        check_knobs(calibration.operating_point, keys.CALIBRATION, cfg)
        if keys.HARD_FRACTION is not None:
            threshold = calibration.threshold(keys.HARD_FRACTION)
        else:
            check_milliseconds(calibration, cfg)
            try:
                threshold = calibration.threshold_for_latency(keys.TARGET_LATENCY_MS)
            except ValueError as error:
                raise ValueError(
                    f"MODEL.DYNAMIC.TARGET_LATENCY_MS by {keys.CALIBRATION}: {error}"
                ) from None
        return cls(
            threshold=threshold,
            calibration=calibration,
            cfg=cfg.clone(),
            easy_proposals=keys.EASY_PROPOSALS,
        )

    @property
    def calibrated_input(self) -> CfgNode | None:
        """The config's INPUT, by which a threshold was calibrated; None: it was set by hand."""
        return None if self.calibration is None or self._cfg is None else self._cfg.INPUT

    def read_from(self, cfg: CfgNode) -> None:
        """The config has another place now, and with it the file of its calibration."""
        self._cfg = cfg.clone()

    def moved(self, threshold: float) -> "OperatingPoint":
        """Another threshold, set by hand, in [0, 1]."""
        return OperatingPoint(threshold=threshold, easy_proposals=self.easy_proposals)

    def tried(self, threshold: float) -> "OperatingPoint":
        """Another threshold, in [0, 1], to be measured: nothing is said of its routes."""
        point = self.moved(threshold)
        point._silent = True
        return point

    def limited(self, easy_proposals: int) -> "OperatingPoint":
        """Another number of candidates of easy images, >= 0, set by hand."""
        return OperatingPoint(threshold=self.threshold, easy_proposals=easy_proposals)

    def limit(self, detector: int) -> int:
        """Candidates kept of an image that leaves by detector 1 or 2; 0: no limit of its own."""
        return self.easy_proposals if detector == 1 else 0

    def check(self, model: nn.Module) -> None:
        """Refuse a calibration of other weights, input size or precision.

        Weights are looked at once for all until ``look_again``; the precision each time, since
        autocast may begin after a predictor was built.

        Args:
            model: whose threshold this is.

        Raises:
            ValueError: naming what differs.
        """
        if self.calibration is None or self._cfg is None:
            return
        dtype = compute_dtype(model, self._cfg)
        if dtype == self._checked:
            return
        path = self._cfg.MODEL.DYNAMIC.CALIBRATION
        check_fingerprint(self.calibration.fingerprint, fingerprint(model, self._cfg), path)
        self._checked = dtype

    def look_again(self) -> None:
        """The model gets other weights, whether or not it had those of the calibration."""
        self._checked = ""

    def note(self, difficulties: Sequence[float]) -> None:
        """Say once, when ``ENOUGH`` images have been routed, that all of them went one way.

        A threshold that was never calibrated, such as the default, may well lie outside of what
        the router says. The thresholds 0 and 1 are meant to send all images one way.

        Args:
            difficulties: of the images that were just routed.
        """
        if self._silent or self.calibration is not None or not 0 < self.threshold < 1:
            return
        if len(self._seen) >= ENOUGH:
            return
        self._seen += difficulties
        routes = {value > self.threshold for value in self._seen}
        if len(self._seen) >= ENOUGH and len(routes) == 1:
            logger.warning(
                "The first %d images all took the %s route: their difficulties lie between %.3f "
                "and %.3f, and MODEL.DYNAMIC.THRESHOLD is %g. calibrate.py finds a threshold for a "
                "share of hard images.",
                len(self._seen),
                "hard" if True in routes else "easy",
                min(self._seen),
                max(self._seen),
                self.threshold,
            )


class HasOperatingPoint(Protocol):
    """A dynamic detector, as far as its threshold is concerned."""

    operating_point: OperatingPoint


@contextmanager
def at_threshold(model: HasOperatingPoint, threshold: float) -> Iterator[None]:
    """Another threshold inside; afterwards the very same operating point as before.

    Setting ``model.threshold`` and setting it back would lose the calibration, and with it the
    check that the calibration belongs to the model.

    Args:
        threshold: in [0, 1].
    """
    before = model.operating_point
    model.operating_point = before.moved(threshold)
    try:
        yield
    finally:
        model.operating_point = before


def _named_by_key(path: str) -> Calibration:
    """What ``MODEL.DYNAMIC.CALIBRATION`` names; a relative path is not one beside the config."""
    try:
        return Calibration.from_json(path)
    except ValueError as error:
        if os.path.lexists(path):
            raise
        where = os.path.abspath(path)
        raise ValueError(
            f"{str(error).rstrip('.')}; MODEL.DYNAMIC.CALIBRATION is {where}."
        ) from None

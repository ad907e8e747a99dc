"""What validation says of a layer of a station model: hidden stations, in later steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..calendar import iso
from ..errors import NoObservations
from ..gate import Verdict, judge
from ..steps import TimeStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Frames = NDArray[np.int64]

LEAST_FRAMES = 40  # with readings of three stations
LEAST_REPORTING = 3
VALIDATION = 0.25
BLOCK_HOURS = 72


@dataclass(frozen=True)
class StationSplit:
    """Which frames train, which stop and gate, and which calibrate.

    Parameters
    ----------
    train, gate, calibrate : array of int
        Frames; validation is the last quarter of the record in alternating blocks of three days.
    block : int
        Frames in a block.
    """

    train: Frames
    gate: Frames
    calibrate: Frames
    block: int

    @classmethod
    def of(cls, values: Array, step_ns: int) -> StationSplit:
        """Split the frames of `values` (T, S) in which at least three stations reported.

        Raises
        ------
        NoObservations
            If there are too few.
        """
        usable = np.flatnonzero(np.isfinite(values).sum(axis=1) >= LEAST_REPORTING)
        if len(usable) < LEAST_FRAMES:
            raise NoObservations(
                f"{len(usable)} steps before the end of training have readings of at least "
                f"{LEAST_REPORTING} stations; at least {LEAST_FRAMES} are needed. Give a longer "
                "record or a later --until."
            )
        cut = usable[int(len(usable) * (1 - VALIDATION))]
        later = usable[usable >= cut]
        hours = step_ns / 3_600_000_000_000
        block = max(1, min(round(BLOCK_HOURS / hours), len(later) // 8))
        odd = (later - cut) // block % 2 == 1
        return cls(usable[usable < cut], later[~odd], later[odd], block)

    @property
    def all(self) -> Frames:
        """All usable frames in order."""
        return np.sort(np.concatenate([self.train, self.gate, self.calibrate]))

    def spans(self, times: NDArray[np.datetime64], freq: str, tz: str) -> dict[str, str]:
        """Return start and end of training and validation as ISO times, ends exclusive."""
        step = TimeStep.through(times, freq, tz=tz)
        ends = step.start(step.number(times) + 1)  # days and months differ in length
        later = np.concatenate([self.gate, self.calibrate])
        found = {
            "train_start": times[self.train[0]], "train_end": ends[self.train[-1]],
            "validation_start": times[later.min()], "end": ends[later.max()],
        }  # fmt: skip
        return {name: iso(stamp) for name, stamp in found.items()}


def verdict(layer: str, without: Array, using: Array, block: int) -> Verdict:
    """Return the verdict on the CRPS per frame (m,) without and with a layer."""
    known = np.isfinite(without) & np.isfinite(using)
    blocks = np.flatnonzero(known) // block
    return judge(layer, "CRPS", without[known], using[known], blocks)


def per_frame(scores: Array, frame: Frames, frames: Frames) -> Array:
    """Return the mean of `scores` (n,) of rows in each of `frames`; NaN where there is none."""
    place = np.searchsorted(frames, frame)
    total = np.bincount(place, scores, len(frames))
    count = np.bincount(place, minlength=len(frames))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

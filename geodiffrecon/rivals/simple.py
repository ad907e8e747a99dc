"""What people use before they train anything: climatology, shares of history, interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from ..priors.climatology import Climatology
from ..priors.shares import ShareRefinement
from ..windows import from_blocks, repeat, to_blocks
from .filling import nearest_filled
from .idw import idw
from .method import Quick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..assembly import Observations
    from .method import Course

    Array = NDArray[np.float64]

SMOOTHING_H = 1.5  # bandwidth over the day of shares
STRENGTH = 10.0  # counts, or usual maps of positive values, that the all-time share weighs


@dataclass
class SlotClimatology(Quick):
    """The usual map of the slot of the day, weekend, weekday and season; observations unused.

    One regression per fine cell on the cycles that the calendar has seen, as harmonics, so that
    slots and seasons with few samples borrow from those beside them.
    """

    def fit(self, course: Course) -> dict[str, int]:
        """Learn one regression per fine cell."""
        lesson, frames = course.lesson, complete_frames(course)
        fine = lesson.record.fine[frames].astype(np.float64)
        self._calendar, self._signed = lesson.calendar, lesson.kind == "real"
        self._shape = fine.shape[1:]
        design = self._calendar.climatology(lesson.record.times[frames])
        self._usual = Climatology.fit(fine.reshape(len(fine), -1), design)
        return {}

    def predict(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return fine means (F, N I, N J) in raw units."""
        usual = self._usual.predict(self._calendar.climatology(given.times[frames]))
        return _bounded(usual.reshape(len(frames), *self._shape), signed=self._signed)


@dataclass
class HistoricalShare(Quick):
    """Holes from climatology at the level of the frame, then the pattern that history shows.

    A hidden coarse cell gets its climatology times the observed total over the climatology of
    the observed cells (one usual cell more on both sides holds the ratio near 1 where little is
    observed); signed values get the mean anomaly of the observed cells added instead. Fine cells
    share sums by the slot of the day, shrunk to the share of all time, and means in the same
    proportions; signed means get the mean offset of every fine cell. Observed cells are kept.
    """

    def fit(self, course: Course) -> dict[str, int]:
        """Learn the climatology of coarse cells and the pattern within them."""
        lesson, frames = course.lesson, complete_frames(course)
        record = lesson.record
        self._calendar, self._signed = lesson.calendar, lesson.kind == "real"
        self._factor, self._shape = record.factor, lesson.shape
        coarse = record.coarse[frames].reshape(int(frames.sum()), -1)
        self._usual = Climatology.fit(coarse, self._calendar.climatology(record.times[frames]))
        self._level = float(coarse.mean())
        blocks = to_blocks(record.fine[frames].astype(np.float64), record.factor)
        if self._signed:
            self._pattern = (blocks - blocks.mean(-1, keepdims=True)).mean(axis=0)[None]
            return {}
        # Counts weigh by their number; other units are arbitrary, so a usual map weighs 1.
        unit = 1.0 if lesson.kind == "count" else max(float(blocks.sum(-1).mean()), 1e-300)
        shares = self._shares(blocks / unit, record.times[frames])
        self._pattern = shares if record.aggregation == "sum" else shares * blocks.shape[-1]
        return {}

    def predict(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return fine means (F, N I, N J) in raw units."""
        times = given.times[frames]
        coarse = self._completed(given.coarse[frames].reshape(len(frames), -1), times)[..., None]
        slots = self._calendar.slots(times) if len(self._pattern) > 1 else np.zeros_like(frames)
        pattern = self._pattern[slots]
        blocks = coarse + pattern if self._signed else coarse * pattern
        return np.asarray(from_blocks(blocks, self._factor, self._shape))

    def _shares(self, blocks: Array, times: NDArray[np.datetime64]) -> Array:
        calendar = self._calendar
        slots = calendar.n_slots if calendar.slot else 1
        found = ShareRefinement.fit(
            blocks, calendar.slots(times), slots,
            bandwidth=SMOOTHING_H * slots / 24, strength=STRENGTH,
        )  # fmt: skip
        shares = found.shares.astype(np.float64)
        return np.asarray(shares / shares.sum(-1, keepdims=True))

    def _completed(self, coarse: Array, times: NDArray[np.datetime64]) -> Array:
        usual = self._usual.predict(self._calendar.climatology(times))
        usual = _bounded(usual, signed=self._signed)
        seen = np.isfinite(coarse)
        expected = np.where(seen, usual, 0.0).sum(axis=1, keepdims=True)
        found = np.where(seen, coarse, 0.0).sum(axis=1, keepdims=True)
        if self._signed:
            filled = usual + (found - expected) / np.maximum(seen.sum(1, keepdims=True), 1)
        else:
            one = max(self._level, 1e-300)
            filled = usual * (found + one) / (expected + one)
        return np.where(seen, coarse, filled)


@dataclass
class Interpolator(Quick):
    """Base of what interpolates observed coarse cells: fine densities from coarse ones.

    Sums are divided among their fine cells first, so that all work is on fine values. A frame
    without any observation gets the mean map of the course; values with a natural zero stay
    above it.
    """

    def fit(self, course: Course) -> dict[str, int]:
        """Learn the mean map; subclasses may learn more."""
        record, frames = course.lesson.record, complete_frames(course)
        self._factor, self._signed = record.factor, course.lesson.kind == "real"
        self._cells = float(record.factor**2) if record.aggregation == "sum" else 1.0
        self._usual = record.fine[frames].astype(np.float64).mean(axis=0)
        return {}

    def predict(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return fine means (F, N I, N J) in raw units."""
        density = given.coarse[frames] / self._cells
        fine = np.repeat(self._usual[None], len(frames), axis=0)
        some = np.isfinite(density).any(axis=(1, 2))
        if some.any():
            fine[some] = self._between(density[some])
        return _bounded(fine, signed=self._signed)

    def _between(self, density: Array) -> Array:
        """Return fine maps (F, N I, N J) of `density` (F, I, J), NaN where not observed."""
        raise NotImplementedError


@dataclass
class Nearest(Interpolator):
    """The nearest observed cell, spread evenly over the fine cells."""

    def _between(self, density: Array) -> Array:
        return np.asarray(repeat(nearest_filled(density), self._factor))


@dataclass
class Bilinear(Interpolator):
    """Holes from the nearest observed cell, then bilinear between the centres of coarse cells.

    Maps do not add up to what was observed, as those of a GIS do not.
    """

    def _between(self, density: Array) -> Array:
        shape = (density.shape[1], density.shape[2])
        where = fine_centres(shape, self._factor).T.reshape(2, *self._usual.shape)
        maps = nearest_filled(density)
        return np.stack([map_coordinates(one, where, order=1, mode="nearest") for one in maps])


@dataclass
class InverseDistance(Interpolator):
    """Inverse distance weighting from observed coarse centres straight to fine centres.

    Parameters
    ----------
    power : float
        Exponent of the distance.
    neighbours : int
        Nearest observed cells that count.
    """

    power: float = 2.0
    neighbours: int = 12

    def _between(self, density: Array) -> Array:
        shape = (density.shape[1], density.shape[2])
        centres, targets = coarse_centres(shape), fine_centres(shape, self._factor)
        found = []
        for values in density.reshape(len(density), -1):
            seen = np.isfinite(values)
            found.append(
                idw(
                    centres[seen], values[seen], targets,
                    power=self.power, neighbours=self.neighbours,
                )
            )  # fmt: skip
        return np.stack(found).reshape(len(density), *self._usual.shape)


def coarse_centres(shape: tuple[int, int]) -> Array:
    """Return row and column (I J, 2) of the centres of coarse cells, in coarse cells."""
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return centres.reshape(-1, 2).astype(np.float64)


def fine_centres(shape: tuple[int, int], factor: int) -> Array:
    """Return row and column (N I N J, 2) of the centres of fine cells, in coarse cells.

    Examples
    --------
    >>> fine_centres((1, 1), 2)
    array([[-0.25, -0.25],
           [-0.25,  0.25],
           [ 0.25, -0.25],
           [ 0.25,  0.25]])
    """
    fine = coarse_centres((shape[0] * factor, shape[1] * factor))
    return np.asarray((fine + 0.5) / factor - 0.5)


def complete_frames(course: Course) -> NDArray[np.bool_]:
    """Return which frames (T,) of the course are complete."""
    return np.asarray(course.frames & course.lesson.record.complete)


def _bounded(values: Array, *, signed: bool) -> Array:
    return values if signed else np.maximum(values, 0.0)

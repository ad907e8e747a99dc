"""Readings in the units of the model: anomalies, and steps that lie outside the record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sky import Sky
    from .surroundings import Surroundings

    Array = NDArray[np.float64]

LEAST = 3  # stations that must report for a step to be judged by them
EDGE = 4.0  # spreads from the usual step within which no step lies outside the record
RARE = 0.99  # share of the record's steps that lie inside it
RAMP = 4.0  # a step one quarter farther off than the edge is outside for certain
ABSOLUTE = float(np.sqrt(np.pi / 2))  # standard deviation over mean size, for a Gaussian
MEAN_SIZE = np.pi / 2 - 1  # variance of the log of a mean size, times the number of errors
MEDIAN = np.pi / 2  # variance of a median over that of a mean
NARROWEST = 0.2  # width of a step
TINY = 1e-9


@dataclass(frozen=True)
class Readings:
    """A network in the units of the model.

    Parameters
    ----------
    anomalies : array (T, S)
        Transformed, less climate and the lasting effect of places; NaN where missing.
    centre : array (T,)
        Climate of the network at each step.
    km : array (S, 2)
        Positions.
    sky : Sky
        Weather and calendar of every step.
    terrain : array (S, C)
        Standardised covariates of the stations' places.
    lasting : array (S,)
        Lasting effect of the stations' places.
    unseen : array (S,), optional
        The same, each from a fit that had not seen the station; `lasting` without it.
    shift : array (T,), optional
        What each step lies above the climate as a whole; `anomalies` are without it.
    inside : array (T,), optional
        The part of it that lies inside the record.
    width : array (T,), optional
        What anomalies and lasting effects of each step are multiplied by: 1 but for steps that lie
        outside the record.
    since : array (T,) of int, optional
        The first step whose readings say something of each step: the last break up to it.
    """

    anomalies: Array
    centre: Array
    km: Array
    sky: Sky
    terrain: Array
    lasting: Array
    unseen: Array | None = None
    shift: Array | None = None
    inside: Array | None = None
    width: Array | None = None
    since: NDArray[np.int64] | None = None

    @property
    def expected(self) -> Array:
        """Lasting effect (S,) that a prediction of a hidden station may know."""
        return self.lasting if self.unseen is None else self.unseen

    def usual(self, part: NDArray[np.int64]) -> Array:
        """Return what the network reads (m,) at the steps `part`, as far as the record knows it."""
        return self.centre[part] + (0.0 if self.inside is None else self.inside[part])

    def widths(self, part: NDArray[np.int64]) -> Array:
        """Return the width (m, 1) of the steps `part`."""
        return np.ones((len(part), 1)) if self.width is None else self.width[part][:, None]

    def restored(self, part: NDArray[np.int64], lasting: Array, anomalies: Array) -> Array:
        """Return transformed values (m, Q) of `anomalies` (m, Q) at the steps `part`.

        `lasting` (Q,) is the lasting effect of their places.
        """
        shift = 0.0 if self.shift is None else self.shift[part][:, None]
        return self.centre[part][:, None] + shift + self.widths(part) * (lasting + anomalies)

    def transformed(self, part: NDArray[np.int64]) -> Array:
        """Return the transformed readings (m, S) of the steps `part`; NaN where missing."""
        return self.restored(part, self.lasting, self.anomalies[part])

    def hiding(self, keep: NDArray[np.bool_]) -> Readings:
        """Return the readings of the stations that are kept."""
        return replace(
            self, anomalies=self.anomalies[:, keep], km=self.km[keep],
            terrain=self.terrain[keep], lasting=self.lasting[keep],
            unseen=None if self.unseen is None else self.unseen[keep],
        )  # fmt: skip


@dataclass(frozen=True)
class UsualSteps:
    """How the level and the spread of whole steps vary over the record.

    Covariance, memory and spread are learnt from the record, and hold where steps are like it. On
    the day of a fire they do not: its level is drawn towards the usual one, its spread stays the
    usual one, and the next day remembers it. So a step whose level, or whose errors of stations
    hidden from each other, lie outside the record is brought to a usual one by what its own
    readings say of both, and what is predicted is brought back. Steps inside the record stay as
    they are; but where the level leaps from one to the next as it hardly ever does in the record,
    what was read before says nothing of what is read after.

    Parameters
    ----------
    level, level_spread : float
        Of the median anomaly of a step.
    local : float
        Spread of a reading about the level of its step.
    size, size_spread : float
        Of the logarithm of the mean size of standardised errors in a step.
    edge : float
        Spreads from the usual step beyond which a step lies outside the record.
    change, leap : float
        Spread of the change of level from step to step, and the largest change in such spreads
        across which there is memory.
    """

    level: float = 0.0
    level_spread: float = 1.0
    local: float = 1.0
    size: float = 0.0
    size_spread: float = 1.0
    edge: float = np.inf
    change: float = 1.0
    leap: float = np.inf

    @classmethod
    def fit(cls, readings: Readings, frames: NDArray[np.int64], around: Surroundings) -> UsualSteps:
        """Measure the steps `frames` of a record whose stations `around` describes."""
        level, count = _levels(readings.anomalies[frames])
        used = count >= LEAST
        if used.sum() < 2:
            return cls()
        frames, level, count = frames[used], level[used], count[used]
        leaps = np.diff(level)[np.diff(frames) == 1]
        local = float(np.nanstd(readings.anomalies[frames] - level[:, None]))
        size = _sizes(readings, frames, level, around)
        found = cls(
            float(np.median(level)), _spread(level, MEDIAN * local**2 / count), max(local, TINY),
            float(np.median(size)), _spread(size, MEAN_SIZE / count),
        )  # fmt: skip
        far = np.hypot(*found._standard(level, size, count))
        found = replace(found, edge=max(EDGE, float(np.quantile(far, RARE))))
        if len(leaps) < 2:
            return found
        change = max(_spread(leaps, 0.0 * leaps), TINY)
        leap = float(np.quantile(np.abs(leaps), RARE)) / change
        return replace(found, change=change, leap=max(EDGE, leap))

    def adapted(
        self,
        readings: Readings,
        frames: NDArray[np.int64],
        around: Surroundings,
        *,
        sized: bool = False,
    ) -> tuple[Readings, NDArray[np.bool_]]:
        """Return the readings with the steps `frames` (m,) brought to usual ones, and which were.

        Those outside the record: True where a step lies outside more likely than not. With `sized`
        those inside it have their own spread, too, as far as their readings tell it; without it
        layers above read it from them.
        """
        level, count = _levels(readings.anomalies[frames])
        outside = np.zeros(len(frames))
        judged = np.flatnonzero(count >= LEAST)
        if not np.isfinite(self.edge) or not len(judged):
            return readings, outside > 0
        steps, level, count = frames[judged], level[judged], count[judged]
        size = _sizes(readings, steps, level, around)
        far = np.hypot(*self._standard(level, size, count))
        share = np.clip((far / self.edge - 1) * RAMP, 0, 1)
        # estimated from few errors: a little wider, as Student's distribution is
        own = size - self.size + np.log1p(2 / (count - 1)) / 2
        told = sized * self.size_spread**2 / (self.size_spread**2 + MEAN_SIZE / count)
        own = share * own + (1 - share) * told * (size - self.size)
        width = np.maximum(np.exp(own), NARROWEST)
        shift, widths = np.zeros(len(readings.centre)), np.ones(len(readings.centre))
        shift[steps], widths[steps] = share * (level - self.level), width
        inside = np.zeros_like(shift)
        inside[steps] = (1 - share) * shift[steps]
        anomalies = readings.anomalies.copy()
        apart = anomalies[steps] + readings.lasting - shift[steps][:, None]
        anomalies[steps] = apart / width[:, None] - readings.lasting
        outside[judged] = share
        return replace(
            readings, anomalies=anomalies, shift=shift, inside=inside, width=widths,
            since=self._since(anomalies),
        ), outside > 0.5  # fmt: skip

    def _since(self, anomalies: Array) -> NDArray[np.int64]:
        """Return the last break (T,) up to each step of `anomalies` (T, S); 0 where none was."""
        level, count = _levels(anomalies)
        told = count >= LEAST
        leap = np.abs(np.diff(level, prepend=level[:1])) > self.leap * self.change
        broken = leap & told & np.append(True, told[:-1])
        return np.maximum.accumulate(np.where(broken, np.arange(len(level)), 0))

    def _standard(self, level: Array, size: Array, count: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return how far levels and sizes lie from the usual, in spreads; small sizes do not."""
        sway = np.sqrt(self.level_spread**2 + MEDIAN * self.local**2 / count)
        width = np.sqrt(self.size_spread**2 + MEAN_SIZE / count)
        return (level - self.level) / sway, np.maximum(size - self.size, 0) / width


def _levels(anomalies: Array) -> tuple[Array, NDArray[np.int64]]:
    """Return the median (m,) of every step, 0 where nothing is known, and how many reported."""
    count = np.isfinite(anomalies).sum(axis=1)
    level = np.zeros(len(anomalies))
    level[count > 0] = np.nanmedian(anomalies[count > 0], axis=1)
    return level, count


def _sizes(
    readings: Readings, frames: NDArray[np.int64], level: Array, around: Surroundings
) -> Array:
    """Return the logarithm of the mean size (m,) of errors of stations hidden in their step."""
    moved = replace(readings, anomalies=readings.anomalies[frames] - level[:, None])
    error = around.own_residuals(moved, np.arange(len(frames))).abs().numpy()
    seen = np.isfinite(moved.anomalies)
    mean = (error * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.asarray(np.log(np.maximum(ABSOLUTE * mean, TINY)))


def _spread(values: Array, noise: Array) -> float:
    """Return the spread of `values` beyond the variance `noise` of each; robust."""
    apart = np.median(np.abs(values - np.median(values))) * 1.4826
    return float(np.sqrt(max(apart**2 - float(np.mean(noise)), 0.0)))

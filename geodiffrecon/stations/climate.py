"""What stations usually read: the cycles of the whole network, and lasting effects of places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..calendar import Calendar

    Array = NDArray[np.float64]

RIDGE = 1e-3
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Climate:
    """Usual level of the network at a time of day, of the week and of the year.

    Parameters
    ----------
    calendar : Calendar
        Cycles that the record has seen in full.
    coefficients : array (F,)
        Of the calendar's design.
    """

    calendar: Calendar
    coefficients: Array

    @classmethod
    def fit(cls, calendar: Calendar, times: NDArray[np.datetime64], values: Array) -> Climate:
        """Fit to the network means of transformed `values` (T, S)."""
        seen = np.isfinite(values)
        count = seen.sum(axis=1)
        used = count > 0
        mean = np.nansum(values[used], axis=1) / count[used]
        design = calendar.climatology(times[used])
        weight = count[used][:, None] / count.max()
        normal = design.T @ (weight * design)
        normal += RIDGE * len(design) * np.diag(np.arange(design.shape[1]) > 0)
        return cls(calendar, np.linalg.solve(normal, design.T @ (weight[:, 0] * mean)))

    def at(self, times: NDArray[np.datetime64]) -> Array:
        """Return the usual level (T,)."""
        return np.asarray(self.calendar.climatology(times) @ self.coefficients)


@dataclass(frozen=True)
class PlaceEffect:
    """What a place adds for good, from its position and its covariates: a ridge regression.

    Parameters
    ----------
    centre, width : array (C,)
        Of the columns in training.
    coefficients : array (C,)
        In transformed units; all zero where no penalty gains on hidden stations.
    penalty : float
        Of the ridge; 0 where there is no effect.
    """

    centre: Array
    width: Array
    coefficients: Array
    penalty: float = 0.0

    @classmethod
    def none(cls, columns: int) -> PlaceEffect:
        """Return no effect of `columns` columns."""
        return cls(np.zeros(columns), np.ones(columns), np.zeros(columns))

    @classmethod
    def fit(cls, places: Array, anomalies: Array) -> PlaceEffect:
        """Fit to the lasting offsets of stations, with the penalty that predicts hidden ones best.

        Parameters
        ----------
        places : array (S, C)
            Position in km and covariates.
        anomalies : array (T, S)
            Transformed readings less climate; NaN where missing.
        """
        centre, width = places.mean(axis=0), np.maximum(places.std(axis=0), 1e-9)
        design = (places - centre) / width
        offset = _offsets(anomalies)
        best, chosen = float((_hidden(offset) ** 2).mean()), None
        for penalty in PENALTIES:
            loss = float((_left_out(design, offset, penalty) ** 2).mean())
            if loss < best:
                best, chosen = loss, penalty
        if chosen is None:
            return cls(centre, width, np.zeros(design.shape[1]))
        return cls(centre, width, _ridge(design, offset - offset.mean(), chosen), chosen)

    def at(self, places: Array) -> Array:
        """Return the effect (Q,) of `places` (Q, C), never beyond those of training."""
        design = np.clip((places - self.centre) / self.width, -3, 3)
        return np.asarray(design @ self.coefficients)

    def hidden(self, places: Array, anomalies: Array) -> Array:
        """Return the effect (S,) at each station of a fit, fitted anew without it.

        Its own readings are in `at`, so errors of hidden stations would come out too small.
        """
        if not self.penalty:
            return np.zeros(len(places))
        design = np.clip((places - self.centre) / self.width, -3, 3)
        offset, found = _offsets(anomalies), np.empty(len(places))
        for station in range(len(places)):
            others = np.arange(len(places)) != station
            target = offset[others] - offset[others].mean()
            centred = design[others] - design[others].mean(axis=0)
            found[station] = design[station] @ _ridge(centred, target, self.penalty)
        return found


def _offsets(anomalies: Array) -> Array:
    """Return how far every station (S,) lies off the others of its steps, on average."""
    seen = np.isfinite(anomalies)
    count = seen.sum(axis=1, keepdims=True)
    level = np.nansum(anomalies, axis=1, keepdims=True) / np.maximum(count, 1)
    apart = np.where(seen & (count > 1), anomalies - level, 0.0)
    return np.asarray(apart.sum(axis=0) / np.maximum((seen & (count > 1)).sum(axis=0), 1))


def _hidden(offset: Array) -> Array:
    """Return the errors (S,) of predicting each offset by the mean of the others."""
    return (offset - offset.mean()) * len(offset) / max(len(offset) - 1, 1)


def _left_out(design: Array, offset: Array, penalty: float) -> Array:
    """Return the errors (S,) of predicting each offset by a ridge on the others."""
    columns = np.concatenate([np.ones((len(design), 1)), design], axis=1)
    normal = columns.T @ columns + penalty * np.diag([0.0] + [1.0] * design.shape[1])
    hat = columns @ np.linalg.solve(normal, columns.T)
    residual = offset - hat @ offset
    return np.asarray(residual / np.maximum(1 - np.diagonal(hat), 1e-6))


def _ridge(design: Array, target: Array, penalty: float) -> Array:
    normal = design.T @ design + penalty * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(normal, design.T @ target))

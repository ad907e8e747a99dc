"""A bound, not a method: what could be said by somebody who knows a hidden station's own past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .baselines import Spread, lag_one, usual, with_usual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baselines import Record, Targets
    from .forecast import SiteForecast

    Array = NDArray[np.float64]

LAGS = 4  # the step itself and three before it
PARTS = 5  # of the training period, for choosing the penalty
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)
LEAST_OWN = 48  # readings of the target from which anything is fitted


class Oracle:
    """Ridge on all given stations at four lags, fitted to the target's own training readings.

    Inadmissible: a place without a station has no past. It shows how much of an error is due to
    not knowing the place.

    Parameters
    ----------
    own : float64, (T, P)
        Readings of the targets in the training period; NaN where missing.
    """

    def __init__(self, own: Array) -> None:
        self.own = own
        self.rho = 0.0

    def fit(self, record: Record) -> None:
        """Fit each target; penalty and spread come from leaving parts of the period out."""
        record = record.thinned()
        power = record.power()
        z, own = power.forward(record.values), power.forward(self.own)
        self._usual = usual(z)
        design, level = self._design(z)
        fitted = [_ridge(design, target - level) for target in own.T]
        self._slopes = np.stack([slopes for slopes, _ in fitted], axis=1)  # (K, P)
        errors = np.stack([left_out for _, left_out in fitted], axis=1)
        mean = own - errors
        self._spread = [Spread.fit(mean[:, n], errors[:, n]) for n in range(errors.shape[1])]
        self.rho = lag_one(errors / self._scale(np.nan_to_num(mean)))

    def predict(self, record: Record, targets: Targets, frames: NDArray[np.int64]) -> SiteForecast:
        """Return distributions at the targets that it was made for."""
        record = record.thinned()
        power = record.power()
        design, level = self._design(power.forward(record.values))
        location = level[frames, None] + design[frames] @ self._slopes
        scale = self._scale(location)
        return with_usual(record.times[frames], location, scale, power, self._usual)

    def _scale(self, level: Array) -> Array:
        return np.stack([spread(level[:, n]) for n, spread in enumerate(self._spread)], axis=1)

    def _design(self, z: Array) -> tuple[Array, Array]:
        """Return differences (T, K) of stations and lags from the level (T,) of each step."""
        known = np.isfinite(z)
        total = np.where(known, z, 0.0).sum(axis=1)
        count = known.sum(axis=1)
        level = np.where(count > 0, total / np.maximum(count, 1), self._usual[0])
        filled = np.where(known, z, level[:, None])
        lagged = [filled[np.maximum(np.arange(len(z)) - lag, 0)] for lag in range(LAGS)]
        design = np.concatenate(lagged, axis=1) - level[:, None]
        return np.concatenate([design, np.ones((len(z), 1))], axis=1), level


def _ridge(design: Array, wanted: Array) -> tuple[Array, Array]:
    """Return slopes (K,) for `wanted` (T,), and errors (T,) of parts that were left out."""
    known = np.isfinite(wanted)
    errors = np.full(len(wanted), np.nan)
    if known.sum() < LEAST_OWN:
        errors[known] = wanted[known]
        return np.zeros(design.shape[1]), errors
    rows, aim = design[known], wanted[known]
    part = np.arange(len(aim)) * PARTS // len(aim)
    grams = [rows[part == n].T @ rows[part == n] for n in range(PARTS)]
    rights = [rows[part == n].T @ aim[part == n] for n in range(PARTS)]
    gram, right = sum(grams), sum(rights)
    eye = np.eye(len(gram))
    trials = []
    for penalty in PENALTIES:
        found = np.empty(len(aim))
        for n in range(PARTS):
            slopes = np.linalg.solve(gram - grams[n] + penalty * eye, right - rights[n])
            found[part == n] = aim[part == n] - rows[part == n] @ slopes
        trials.append((float((found**2).mean()), penalty, found))
    _, penalty, errors[known] = min(trials, key=lambda trial: trial[0])
    return np.linalg.solve(gram + penalty * eye, right), errors

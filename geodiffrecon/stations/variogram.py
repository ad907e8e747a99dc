"""One exponential variogram for many steps, fitted by leaving stations out; kriging with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from .baselines import TINY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEAST_KNOWN = 3  # stations of a step in which one of them is left out
RANGES, NUGGETS = 12, (0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6)
SEARCH_WORK = 1e7  # steps times stations cubed
BATCH = 4e6  # numbers in a batch of matrices


@dataclass(frozen=True)
class Kernel:
    """Exponential correlation with a nugget, the level of every step unknown.

    Parameters
    ----------
    reach_km : float
        Distance at which the correlation of the smooth part is 1/e.
    nugget : float
        Share of the variance that no other station shares.
    variance : float
        Factor, such that standardised errors of leaving stations out have variance 1.
    """

    reach_km: float
    nugget: float
    variance: float = 1.0

    def between(self, apart: Array) -> Array:
        """Return correlations of different stations at distances `apart` (km)."""
        return (1 - self.nugget) * np.exp(-apart / self.reach_km)

    def among(self, km: Array) -> Array:
        """Return the correlation matrix of the stations at `km` (S, 2)."""
        found = self.between(cdist(km, km))
        np.fill_diagonal(found, 1.0)
        return found


def fit_kernel(z: Array, km: Array) -> Kernel:
    """Fit range and nugget to `z` (T, S), pooled over steps, by the CRPS of leaving stations out.

    The variance is refitted for every trial, so that the CRPS compares calibrated forecasts.
    """
    some = z[chosen_steps(len(z), SEARCH_WORK / z.shape[1] ** 3, run=1)]
    apart = cdist(km, km)
    widest = max(float(apart.max()), TINY)
    ranges = np.geomspace(widest / 40, 8 * widest, RANGES)
    best = min(_trial(some, km, reach, nugget) for reach in ranges for nugget in NUGGETS)
    step = (ranges[-1] / ranges[0]) ** (1 / (RANGES - 1))
    near = [
        _trial(some, km, best[1] * step**across, float(np.clip(best[2] * wider, 0.003, 0.9)))
        for across in (-0.67, -0.33, 0.0, 0.33, 0.67)
        for wider in (0.75, 0.87, 1.0, 1.15, 1.3)
    ]
    _, reach, nugget, variance = min([best, *near])
    return Kernel(reach, nugget, variance)


def leave_one_out(z: Array, correlation: Array) -> tuple[Array, Array]:
    """Return error and variance (T, S) of each station's `z`, predicted from the others.

    One inverse for each step: the errors are those of kriging with an unknown level, without
    solving a system for each station. NaN where fewer than three stations report.

    References
    ----------
    Dubrule, O. (1983). Cross validation of kriging in a unique neighborhood. Math. Geol. 15.
    """
    errors, variance = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
    for part in _batches(*z.shape):
        known = np.isfinite(z[part])
        inverse = np.linalg.inv(_masked(correlation, known))  # (B, S, S)
        level = (inverse @ known[..., None].astype(float))[..., 0]
        total = np.maximum(level.sum(axis=1), TINY)[:, None]
        filled = np.where(known, z[part], 0.0)
        diagonal = np.diagonal(inverse, axis1=1, axis2=2) - level**2 / total
        weighted = (inverse @ filled[..., None])[..., 0]
        weighted -= level * (level * filled).sum(axis=1, keepdims=True) / total
        usable = known & (known.sum(axis=1, keepdims=True) >= LEAST_KNOWN)
        diagonal = np.where(usable, np.maximum(diagonal, TINY), np.nan)
        errors[part], variance[part] = weighted / diagonal, 1 / diagonal
    return errors, variance


def krige(z: Array, correlation: Array, cross: Array) -> tuple[Array, Array]:
    """Return mean and variance (F, P) from `z` (F, S), the level of every step unknown.

    Parameters
    ----------
    z : float64, (F, S)
        NaN where missing; a step without any value gives NaN.
    correlation : float64, (S, S)
        Of stations.
    cross : float64, (S, P)
        Of stations and targets, whose own variance is 1.
    """
    mean = np.empty((len(z), cross.shape[1]))
    variance = np.empty_like(mean)
    for part in _batches(*z.shape):
        known = np.isfinite(z[part])
        right = np.concatenate([cross, np.ones((len(cross), 1))], axis=1)
        right = right * known[..., None]  # (B, S, P + 1)
        solved = np.linalg.solve(_masked(correlation, known), right)
        weight, level = solved[..., :-1], solved[..., -1:]
        total = level.sum(axis=1)  # (B, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            lacking = (1 - weight.sum(axis=1)) / total
            filled = np.where(known, z[part], 0.0)[:, None]  # (B, 1, S)
            mean[part] = (filled @ (weight + level * lacking[:, None]))[:, 0]
            explained = (right[..., :-1] * weight).sum(axis=1)
            variance[part] = 1 - explained + lacking**2 * total
    return mean, variance


def chosen_steps(steps: int, most: float, *, run: int) -> NDArray[np.int64]:
    """Return steps spread evenly over all, in runs of `run`: all of them, or about `most`.

    Examples
    --------
    >>> chosen_steps(10, 4, run=2).tolist()
    [0, 1, 8, 9]
    """
    if most >= steps:
        return np.arange(steps)
    runs = max(2, round(most / run))
    starts = np.linspace(0, max(steps - run, 0), runs).astype(np.int64)
    found = np.unique(starts[:, None] + np.arange(run))
    return found[found < steps]


def _trial(z: Array, km: Array, reach: float, nugget: float) -> tuple[float, float, float, float]:
    """Return CRPS, range, nugget and variance of one trial."""
    errors, variance = leave_one_out(z, Kernel(reach, nugget).among(km))
    known = np.isfinite(errors)
    if not known.any():
        return np.inf, float(reach), float(nugget), 1.0
    errors, variance = errors[known], variance[known]
    factor = max(float((errors**2 / variance).mean()), TINY)
    spread = np.sqrt(factor * variance)
    standard = errors / spread
    density = np.exp(-0.5 * standard**2) / np.sqrt(2 * np.pi)
    score = spread * (standard * (2 * ndtr(standard) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return float(score.mean()), float(reach), float(nugget), factor


def _masked(correlation: Array, known: NDArray[np.bool_]) -> Array:
    """Return matrices (B, S, S) in which missing stations stand apart from all others."""
    both = known[:, :, None] & known[:, None, :]
    return np.where(both, correlation, np.eye(len(correlation)))


def _batches(steps: int, stations: int) -> list[slice]:
    size = max(1, int(BATCH // stations**2))
    return [slice(first, first + size) for first in range(0, steps, size)]

"""Kriging with one covariance: likelihood, left-out errors, prediction, joint distribution.

The mean is one unknown level with a flat prior; planes and covariates are part of the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .covariance import Covariance, Sites

    Array = NDArray[np.float64]

JITTER = 1e-9
PRIOR_READINGS = 2.0  # of unit variance: what keeps the variance of three readings finite
CHUNK_VALUES = 1 << 23  # of a matrix readings × places that exist at once


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings in working units.

    Parameters
    ----------
    sites : Sites
        n of them.
    repeats : array (n,)
        How many readings of one place and time were averaged.
    noise : array (n,), optional
        Variance of each reading's own error in working units; None where nothing is said.
    """

    sites: Sites
    repeats: Array
    noise: Array | None = None

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, chosen: NDArray[np.integer]) -> Readings:
        """Return some of the readings."""
        noise = None if self.noise is None else self.noise[chosen]
        return Readings(self.sites[chosen], self.repeats[chosen], noise)


def matrix(known: Covariance, readings: Readings, sill: float) -> Array:
    """Return the covariance (n, n) of readings, their nugget and their own errors in it."""
    found = sill * known.between(readings.sites, readings.sites)
    diagonal = sill * (known.grain / readings.repeats + JITTER)
    found[np.diag_indices_from(found)] += diagonal
    if readings.noise is not None:
        found[np.diag_indices_from(found)] += readings.noise
    return found


@dataclass(frozen=True, eq=False)
class Factor:
    """The Cholesky factor of readings under one covariance, for several columns of values.

    Parameters
    ----------
    known : Covariance
        Of the field.
    readings : Readings
        n of them.
    values : array (n, c)
        Columns in working units.
    sill : float, optional
        Variance; None takes the one that the values say, column by column.
    """

    known: Covariance
    readings: Readings
    values: Array
    sill: float | None = None

    @cached_property
    def lower(self) -> Array:
        """Cholesky factor (n, n)."""
        return np.asarray(
            cholesky(
                matrix(self.known, self.readings, self.sill or 1.0), lower=True, check_finite=False
            )
        )

    @cached_property
    def _white(self) -> tuple[Array, Array, float]:
        one = np.ones((len(self.readings), 1))
        both = np.hstack([one, self.values])
        both = solve_triangular(self.lower, both, lower=True, check_finite=False)
        return both[:, 0], both[:, 1:], float(both[:, 0] @ both[:, 0])

    @cached_property
    def misfit(self) -> Array:
        """Weighted square (c,) of the values about their level."""
        one, white, a = self._white
        return np.maximum((white**2).sum(axis=0) - (one @ white) ** 2 / a, 1e-12)

    @cached_property
    def variances(self) -> Array:
        """Factor (c,) that makes `matrix` the covariance of the values."""
        if self.sill is not None:
            return np.ones(self.values.shape[1])
        n = len(self.readings) - 1 + PRIOR_READINGS
        return (self.misfit + PRIOR_READINGS) / n

    @cached_property
    def log_likelihood(self) -> Array:
        """Restricted log likelihood (c,) of each column."""
        _, _, a = self._white
        determinant = 2 * np.log(np.diagonal(self.lower)).sum() + np.log(a)
        if self.sill is not None:
            return -0.5 * (self.misfit + determinant)
        n = len(self.readings) - 1 + PRIOR_READINGS
        return -0.5 * (n * np.log(self.misfit + PRIOR_READINGS) + determinant)

    @cached_property
    def precision(self) -> Array:
        """Inverse (n, n) of the covariance with the unknown level taken out."""
        inverse = cho_solve((self.lower, True), np.eye(len(self.readings)), check_finite=False)
        share = inverse.sum(axis=1)
        return np.asarray(inverse - np.outer(share, share) / share.sum())

    def left_out(
        self, column: int, groups: Sequence[NDArray[np.int64]] | None
    ) -> tuple[Array, Array]:
        """Return mean and variance (n,) of each reading, predicted without it or its group."""
        q, values = self.precision, self.values[:, column]
        variance = float(self.variances[column])
        if groups is None:
            own = np.maximum(np.diagonal(q), 1e-12)
            return values - (q @ values) / own, variance / own
        mean, spread, pull = values.copy(), np.empty(len(values)), q @ values
        for group in groups:
            block = q[np.ix_(group, group)]
            block = block + np.eye(len(group)) * 1e-10 * max(float(block.max()), 1e-12)
            inverse = np.linalg.inv(block)
            mean[group] -= inverse @ pull[group]
            spread[group] = np.maximum(np.diagonal(inverse), 1e-12) * variance
        return mean, spread

    def predict(self, sites: Sites, column: int) -> tuple[Array, Array]:
        """Return mean and variance (m,) of new readings at `sites`."""
        mean, variance = np.empty(len(sites)), np.empty(len(sites))
        for part in _parts(len(sites), len(self.readings)):
            mean[part], _, variance[part] = self._part(sites[part], column)
        return mean, variance

    def conditioned(self, sites: Sites, column: int, free: Array, there: Array) -> Array:
        """Return draws (K, m) at `sites` that know the readings.

        Parameters
        ----------
        sites : Sites
            m places.
        column : int
            Of the values.
        free : array (K, m)
            Draws of new readings at `sites`, of unit sill, that know nothing.
        there : array (K, n)
            The same draws at the readings, their noise in it.
        """
        scale = float(np.sqrt((self.sill or 1.0) * self.variances[column]))
        missing = self.values[:, column, None] - scale * there.T  # (n, K)
        found = scale * free
        for part in _parts(len(sites), len(self.readings)):
            found[:, part] += (self.weights(sites[part]) @ missing).T
        return np.asarray(found)

    def weights(self, sites: Sites) -> Array:
        """Return the weights (m, n) of the readings in the means of new ones at `sites`."""
        one, _, a = self._white
        _, (white, short), _ = self._part(sites, 0)
        both = np.hstack([white, one[:, None]])
        both = solve_triangular(self.lower, both, lower=True, trans="T", check_finite=False)
        return np.asarray(both[:, :-1].T + np.outer(short, both[:, -1]) / a)

    def joint(self, sites: Sites, column: int) -> tuple[Array, Array]:
        """Return mean (m,) and covariance (m, m) of new readings at `sites`."""
        mean, (white, short), _ = self._part(sites, column)
        scale = (self.sill or 1.0) * float(self.variances[column])
        known = self.known.between(sites, sites) + np.eye(len(sites)) * self.known.grain
        spare = np.outer(short, short) / self._white[2] - white.T @ white
        return mean, np.asarray(scale * known + spare * float(self.variances[column]))

    def _part(self, sites: Sites, column: int) -> tuple[Array, tuple[Array, Array], Array]:
        """Return means, what the readings explain in whitened form, and variances."""
        one, values, a = self._white
        sill = self.sill or 1.0
        cross = sill * self.known.between(self.readings.sites, sites)  # (n, m)
        white = solve_triangular(self.lower, cross, lower=True, check_finite=False)
        level = float(one @ values[:, column]) / a
        mean = level + white.T @ (values[:, column] - level * one)
        short = 1 - white.T @ one
        own = sill * self.known.variance(sites)
        variance = own - (white**2).sum(axis=0) + short**2 / a
        floor = 1e-10 * sill
        return mean, (white, short), np.maximum(variance, floor) * float(self.variances[column])


def _parts(count: int, readings: int) -> Iterator[slice]:
    step = max(1, CHUNK_VALUES // max(readings, 1))
    for low in range(0, count, step):
        yield slice(low, min(low + step, count))

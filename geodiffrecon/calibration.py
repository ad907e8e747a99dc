"""Predictive distributions, and their correction by what validation showed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import betainc, gammainc, gammaincinv, ndtr, ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .scaling import Transform

    Array = NDArray[np.float64]

KNOTS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
TINY = 1e-9
NOTHING_MUCH = 1e-3  # of the spread of an amount
NOTHING = 1e-100  # spread or variance; only keeps divisions defined


class Predictive(Protocol):
    """A distribution per cell, known by its parameters and not by draws."""

    def interval(self, truth: Array) -> tuple[Array, Array]:
        """Return the distribution function just below and at `truth`."""
        ...

    def quantile(self, level: float) -> Array:
        """Return the quantile of `level` in every cell."""
        ...

    def standardise(self, truth: Array) -> Array:
        """Return the error of `truth` in units of the predicted spread."""
        ...


@dataclass(frozen=True)
class GaussianPredictive:
    """Gaussian in transformed units, for real and positive fields.

    Parameters
    ----------
    mean, spread : array
        In transformed units.
    transform : Transform
        Back to raw units.
    """

    mean: Array
    spread: Array
    transform: Transform

    def interval(self, truth: Array) -> tuple[Array, Array]:
        """Return the distribution function at `truth`, twice; with the mass below a bound at it."""
        z = self.transform.forward(truth)
        at = ndtr((z - self.mean) / np.maximum(self.spread, NOTHING))
        below = np.where(truth > 0, at, 0.0) if self.transform.root else at
        return below, at

    def quantile(self, level: float) -> Array:
        """Return the quantile of `level`."""
        return np.asarray(self.transform.inverse(self.mean + self.spread * ndtri(level)))

    def standardise(self, truth: Array) -> Array:
        """Return the error in transformed units, in units of the spread."""
        return (self.transform.forward(truth) - self.mean) / np.maximum(self.spread, NOTHING)


@dataclass(frozen=True)
class GammaPredictive:
    """Gamma of given mean and variance, for positive amounts that add up.

    What is less than `NOTHING_MUCH` of the spread is nothing, so that amounts can be zero.
    """

    mean: Array
    variance: Array

    def interval(self, truth: Array) -> tuple[Array, Array]:
        """Return the distribution function at `truth`, twice."""
        shape, scale = self._parameters()
        at = gammainc(shape, np.maximum(truth, self._least) / scale)
        return np.where(truth > self._least, at, 0.0), at

    def quantile(self, level: float) -> Array:
        """Return the quantile of `level`."""
        shape, scale = self._parameters()
        found = gammaincinv(shape, level) * scale
        return np.where(found > self._least, found, 0.0)

    @property
    def _least(self) -> Array:
        return NOTHING_MUCH * np.sqrt(self.variance)

    def standardise(self, truth: Array) -> Array:
        """Return the error in units of the spread."""
        return (truth - self.mean) / np.sqrt(np.maximum(self.variance, NOTHING))

    def _parameters(self) -> tuple[Array, Array]:
        spread = np.sqrt(np.maximum(self.variance, NOTHING))
        mean = np.maximum(self.mean, 1e-4 * spread)
        variance = np.maximum(spread, 1e-4 * mean) ** 2
        return mean**2 / variance, variance / mean


@dataclass(frozen=True)
class CountPredictive:
    """Negative binomial where the variance exceeds the mean, binomial where it falls short.

    Both distribution functions are regularised incomplete beta functions, which also take a
    number of trials that is not whole.

    Examples
    --------
    >>> CountPredictive(np.array([4.0]), np.array([8.0])).quantile(0.5)
    array([4.])
    """

    mean: Array
    variance: Array

    def interval(self, truth: Array) -> tuple[Array, Array]:
        """Return the distribution function just below and at `truth`."""
        return self._at(truth - 1), self._at(truth)

    def quantile(self, level: float) -> Array:
        """Return the smallest count whose distribution function reaches `level`."""
        low = np.full(self.mean.shape, -1.0)
        high = np.ceil(self.mean + 12 * np.sqrt(self.variance) + 12)
        while bool((high - low > 1).any()):
            middle = np.floor((low + high) / 2)
            reached = self._at(middle) >= level
            high, low = np.where(reached, middle, high), np.where(reached, low, middle)
        return np.asarray(high)

    def standardise(self, truth: Array) -> Array:
        """Return the error in units of the spread."""
        return (truth - self.mean) / np.sqrt(np.maximum(self.variance, TINY))

    def _at(self, count: Array) -> Array:
        mean = np.maximum(self.mean, 1e-6)
        ratio = np.maximum(self.variance, 1e-7) / mean
        # A ratio of 1 is the Poisson limit of both; a hair off it keeps one formula each.
        wide = np.maximum(ratio, 1 + 1e-4)
        size = mean / (wide - 1)
        over = betainc(size, np.maximum(count, 0) + 1, 1 / wide)
        narrow = np.minimum(ratio, 1 - 1e-4)
        trials = mean / (1 - narrow)
        under = betainc(np.maximum(trials - count, TINY), np.maximum(count, 0) + 1, narrow)
        under = np.where(count >= trials, 1.0, under)
        return np.where(count < 0, 0.0, np.where(ratio >= 1, over, under))


@dataclass(frozen=True)
class Calibration:
    """What validation showed of the errors: factors of both spreads, and a map of levels.

    Parameters
    ----------
    coarse, fine : float
        Factors of the predicted spreads of both stages.
    drawn_coarse, drawn_fine : float
        The same for the draws of diffusion, which have a spread of their own.
    levels : tuple of float
        Predicted levels at which the shares `KNOTS` of the validation truth lay.
    rho_coarse, rho_fine : float
        Correlation of the residuals from one step to the next.
    """

    coarse: float = 1.0
    fine: float = 1.0
    levels: tuple[float, ...] = KNOTS
    rho_coarse: float = 0.0
    rho_fine: float = 0.0
    drawn_coarse: float = 1.0
    drawn_fine: float = 1.0

    def quantile(self, predictive: Predictive, level: float) -> Array:
        """Return the calibrated quantile of `level`; independent of any number of draws."""
        return predictive.quantile(float(np.interp(level, *self.map())))

    def pit(self, predictive: Predictive, truth: Array, seed: int) -> Array:
        """Return calibrated, randomised PIT values of `truth`; NaN where it is unknown.

        References
        ----------
        Czado, C., Gneiting, T. and Held, L. (2009). Predictive model assessment for count data.
        Biometrics 65.
        """
        known, raw = self.map()
        return np.interp(randomised_pit(predictive, truth, seed), raw, known) + 0 * truth

    @staticmethod
    def fit_levels(pit: Array) -> tuple[float, ...]:
        """Return the predicted levels at the shares `KNOTS` of validation PIT values."""
        values = pit[np.isfinite(pit)]
        found = np.quantile(values, KNOTS)
        return tuple(float(level) for level in np.clip(found, 1e-4, 1 - 1e-4))

    def map(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return true levels and the predicted ones that stand for them, both from 0 to 1."""
        known = np.concatenate([[0.0], KNOTS, [1.0]])
        # Strictly increasing, so that the map can be read both ways.
        raw = np.maximum.accumulate(np.concatenate([[0.0], self.levels, [1.0]]))
        return known, raw + np.arange(len(raw)) * 1e-12


def randomised_pit(predictive: Predictive, truth: Array, seed: int) -> Array:
    """Return the distribution function at `truth`, drawn uniformly across its jump there."""
    below, at = predictive.interval(np.nan_to_num(truth))
    position = np.random.default_rng(seed).random(truth.shape)
    return np.asarray(below + position * (at - below) + 0 * truth)

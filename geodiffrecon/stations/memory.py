"""How long errors at a spot last: what the spread of day means depends on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from ..noise import NoiseField

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RATES = (0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.995)
LAGS = 24
LEAST_PAIRS = 50


@dataclass(frozen=True)
class ErrorMemory:
    """Correlation of errors from step to step: a sum of decays, the rest without memory.

    Parameters
    ----------
    shares : tuple of float
        Of the variance, each for one rate; they add up to at most 1.
    rates : tuple of float
        Correlation from one step to the next of each share.
    """

    shares: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()

    @classmethod
    def fit(cls, errors: Array) -> ErrorMemory:
        """Fit to standardised `errors` (T, S) of consecutive steps; NaN where unknown."""
        lags, found = _correlogram(errors)
        if not len(lags):
            return cls()
        trials = []
        for pair in combinations(RATES, 2):
            design = np.stack([decay(rate)[lags] for rate in pair], axis=1)
            shares, misfit = nnls(design, found)
            total = max(1.0, float(shares.sum()))
            misfit = float(np.linalg.norm(design @ (shares / total) - found))
            trials.append((misfit, tuple(map(float, shares / total)), pair))
        _, shares, rates = min(trials)
        return cls(shares, rates)

    def noise(
        self, seed: int, count: int, draws: range, steps: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return standard normal numbers (F, K, count) with this memory.

        The numbers of a draw and an absolute step are the same, but for rounding, whatever is drawn
        with them.
        """
        rest = max(0.0, 1 - sum(self.shares))
        parts = [*zip(self.shares, self.rates, strict=True), (rest, 0.0)]
        total = np.zeros((len(steps), len(draws), count), np.float32)
        for stream, (share, rate) in enumerate(parts):
            if share > 0:
                field = NoiseField(seed, (count,), stream, rate)
                for column, draw in enumerate(draws):
                    total[:, column] += np.float32(np.sqrt(share)) * _series(field, draw, steps)
        return total


def _series(field: NoiseField, draw: int, steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what `NoiseField.series` does, for long runs of steps in a time linear in them."""
    weights = field._weights()
    memory = len(weights)
    if memory == 1 or np.any(np.diff(steps) != 1):
        return field.series(draw, steps)
    first = int(steps[0]) - memory + 1
    white = np.stack(
        [
            field.generator(draw, step).standard_normal(field.shape)
            for step in range(first, int(steps[-1]) + 1)
        ]
    )
    found = np.empty((len(steps), *field.shape))
    found[0] = np.tensordot(weights[::-1], white[:memory], axes=1)
    # a moving sum of decaying weights: what is new comes in, what is forgotten goes out
    lost = weights[-1] * field.rho
    for row in range(1, len(steps)):
        fresh = weights[0] * white[row + memory - 1] - lost * white[row - 1]
        found[row] = field.rho * found[row - 1] + fresh
    return found.astype(np.float32)


def decay(rate: float) -> Array:
    """Return the correlation (LAGS + 1,) of a `NoiseField` with itself some steps later."""
    weights = NoiseField(0, (), 0, rate)._weights()
    padded = np.concatenate([weights, np.zeros(LAGS)])
    return np.array([float(weights @ padded[lag : lag + len(weights)]) for lag in range(LAGS + 1)])


def _correlogram(errors: Array) -> tuple[NDArray[np.int64], Array]:
    """Return the lags with enough pairs and the correlation of errors at each."""
    variance = float(np.nanmean(errors**2)) if np.isfinite(errors).any() else 0.0
    lags, found = [], []
    for lag in range(1, min(LAGS, len(errors) - 1) + 1):
        product = errors[lag:] * errors[:-lag]
        known = product[np.isfinite(product)]
        if len(known) >= LEAST_PAIRS and variance > 0:
            lags.append(lag)
            found.append(float(known.mean()) / variance)
    return np.array(lags, dtype=np.int64), np.array(found)

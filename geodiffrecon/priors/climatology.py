"""Climatology: what a cell has at this slot, weekday and season, by ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIDGE = 1.0  # pseudo-observations that hold each cycle at zero
SPREAD_FLOOR = 0.05  # of the field's median cell spread


@dataclass(frozen=True)
class Climatology:
    """Expected value and spread of every cell given calendar features.

    Parameters
    ----------
    coefficients : array (F, P)
        One regression per cell.
    spread : array (P,)
        Standard deviation of the anomalies of each cell, in the values' units.
    """

    coefficients: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64], design: NDArray[np.float64]) -> Climatology:
        """Fit to `values` (T, P), NaN = missing, with calendar `design` (T, F)."""
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        penalty = np.full(design.shape[1], RIDGE)
        penalty[0] = 1e-6  # the intercept is not shrunk
        if known.all():
            gram = design.T @ design + np.diag(penalty)
            coefficients = np.linalg.solve(gram, design.T @ filled)
        else:
            grams = np.einsum("tf,tp,tg->pfg", design, known, design, optimize=True)
            right = design.T @ filled  # (F, P)
            coefficients = np.linalg.solve(grams + np.diag(penalty), right.T[..., None])[..., 0].T
        anomalies = np.where(known, values - design @ coefficients, np.nan)
        return cls(np.asarray(coefficients, np.float64), _spread(anomalies))

    def predict(self, design: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected values (T, P) for calendar `design` (T, F)."""
        return design @ self.coefficients

    def standardise(
        self, values: NDArray[np.float64], design: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return anomalies of `values` (T, P) in units of each cell's spread."""
        return (values - self.predict(design)) / self.spread


def _spread(anomalies: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.isfinite(anomalies).sum(axis=0)
    squares = np.nansum(anomalies**2, axis=0)
    pooled = np.sqrt(squares.sum() / max(counts.sum(), 1))
    # Three pseudo-observations of the pooled variance keep a rarely seen cell from a zero spread.
    spread = np.sqrt((squares + 3 * pooled**2) / (counts + 3))
    return np.maximum(spread, SPREAD_FLOOR * max(float(np.median(spread)), 1e-12))

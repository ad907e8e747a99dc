"""Climatology: what a cell has at this slot, weekday and season, by ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIDGE = 1.0  # pseudo-observations that hold each cycle at zero
FEW = 10  # known frames below which a cell borrows from the cells around it
DECAY = 3.0  # power of the distance with which what is borrowed counts less
MAX_TRIED = 400  # cells whose level is predicted from others, to learn how well that goes
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

    def borrowed(
        self, known: NDArray[np.int64], positions: NDArray[np.float64], design: NDArray[np.float64]
    ) -> tuple[Climatology, NDArray[np.float64]]:
        """Give cells known in fewer than `FEW` frames the climatology of those around them.

        Parameters
        ----------
        known : array (P,)
            Known frames of every cell.
        positions : array (P, 2)
            Row and column of every cell.
        design : array (T, F)
            Calendar over which the error of what is borrowed is averaged.

        Returns
        -------
        Climatology
            The spread of borrowed cells has the error of their level in it.
        own : array (P,)
            Correlation of a cell's anomaly with that about its true level: 1 where not borrowed.
        """
        few = known < FEW
        own = np.ones(len(known))
        if not few.any() or few.all():
            return self, own
        far = cdist(positions, positions[~few])  # (P, seen)
        weights = _weights(far[few])
        coefficients, spread = self.coefficients.copy(), self.spread.copy()
        coefficients[:, few] = coefficients[:, ~few] @ weights.T
        spread[few] = weights @ spread[~few]
        error = _level_error(self.predict(design)[:, ~few], far[~few], far[few].min(axis=1))
        total = np.sqrt(spread[few] ** 2 + error)
        own[few], spread[few] = spread[few] / total, total
        return Climatology(coefficients, spread), own


def _weights(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights (q, p) that sum to 1 and fade with the distance."""
    weights = np.maximum(distance, 1e-9) ** -DECAY
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _level_error(
    usual: NDArray[np.float64], distance: NDArray[np.float64], nearest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean squared error (q,) of levels borrowed from cells `nearest` (q,) or farther.

    Learnt on the seen cells, of usual values (T, p) and mutual distances (p, p).
    """
    tried = np.linspace(0, len(distance) - 1, min(len(distance), MAX_TRIED)).astype(int)
    errors = np.empty(len(nearest))
    for reach in np.unique(nearest):
        # On a small grid no cell may be so far away: the farthest then has to do.
        limit = np.minimum(reach, distance[tried].max(axis=1, keepdims=True)) - 1e-6
        others = np.where(distance[tried] >= np.maximum(limit, 1e-9), distance[tried], np.inf)
        found = usual @ _weights(others).T
        errors[nearest == reach] = ((found - usual[:, tried]) ** 2).mean()
    return errors


def _spread(anomalies: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.isfinite(anomalies).sum(axis=0)
    squares = np.nansum(anomalies**2, axis=0)
    pooled = np.sqrt(squares.sum() / max(counts.sum(), 1))
    # Three pseudo-observations of the pooled variance keep a rarely seen cell from a zero spread.
    spread = np.sqrt((squares + 3 * pooled**2) / (counts + 3))
    return np.maximum(spread, SPREAD_FLOOR * float(np.median(spread)) or 1e-12)

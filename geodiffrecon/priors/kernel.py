"""A fitted space-time correlation for anomalies: level + stable decay + nugget, AR(1) in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPONENTS = (1.0, 1.5)
MAX_PAIR_CELLS = 400
MIN_PAIRS = 20  # frames in which two cells are both known, below which they say nothing


@dataclass(frozen=True)
class SpaceTimeKernel:
    """Separable correlation ``(level + sill exp(-(d/range)^exponent) + nugget [d=0]) rho^|h|``.

    Parameters
    ----------
    level, sill, nugget : float
        Shares of the variance: common to the whole frame, decaying with distance, and of a
        single cell. They sum to 1.
    range : float
        Distance of decay, in coarse cells.
    exponent : float
        1 (exponential) or 1.5 (smoother).
    rho : float
        Correlation from one time step to the next.
    """

    level: float
    sill: float
    nugget: float
    range: float
    exponent: float
    rho: float

    @classmethod
    def fit(cls, anomalies: NDArray[np.float64], positions: NDArray[np.float64]) -> SpaceTimeKernel:
        """Fit to standardised `anomalies` (T, P), NaN = missing, at `positions` (P, 2)."""
        cells = np.linspace(0, len(positions) - 1, min(len(positions), MAX_PAIR_CELLS)).astype(int)
        known = np.isfinite(anomalies[:, cells])
        values = np.where(known, anomalies[:, cells], 0.0)
        pairs = known.T.astype(float) @ known
        covariance = (values.T @ values) / np.maximum(pairs, 1)  # (p, p)
        spread = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        correlation = covariance / np.outer(spread, spread)
        distance = _distances(positions[cells], positions[cells])
        keep = (pairs > 2) & (pairs >= min(MIN_PAIRS, pairs.max()))
        best = min(
            (
                _fit_shares(correlation[keep], distance[keep], reach, exponent)
                for reach in np.geomspace(0.5, max(1.5 * distance.max(), 1.0), 16)
                for exponent in EXPONENTS
            ),
            key=lambda candidate: candidate[0],
        )
        _, shares, reach, exponent = best
        total = max(float(shares.sum()), 1e-9)
        level, sill, nugget = (float(share) / total for share in shares)
        return cls(level, sill, nugget, float(reach), exponent, _persistence(anomalies))

    def correlation(
        self, left: NDArray[np.float64], right: NDArray[np.float64], lag: float = 0.0
    ) -> NDArray[np.float64]:
        """Return the correlation (P, Q) of cells at `left` (P, 2) and `right` (Q, 2)."""
        distance = _distances(left, right)
        decay = np.exp(-((distance / self.range) ** self.exponent))
        same = distance < 1e-9
        return (self.level + self.sill * decay + self.nugget * same) * self.rho ** abs(lag)


def _distances(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = left[:, None, :] - right[None, :, :]
    return np.sqrt((difference**2).sum(axis=-1))


def _fit_shares(
    correlation: NDArray[np.float64], distance: NDArray[np.float64], reach: float, exponent: float
) -> tuple[float, NDArray[np.float64], float, float]:
    design = np.stack(
        [np.ones_like(distance), np.exp(-((distance / reach) ** exponent)), distance < 1e-9], axis=1
    )
    gram, right = design.T @ design, design.T @ correlation
    factor = np.linalg.cholesky(gram + 1e-9 * np.eye(3) * np.trace(gram))
    shares, _ = nnls(factor.T, np.linalg.solve(factor, right))
    error = float(((correlation - design @ shares) ** 2).sum())
    return error, shares, reach, exponent


def _persistence(anomalies: NDArray[np.float64]) -> float:
    before, after = anomalies[:-1], anomalies[1:]
    both = np.isfinite(before) & np.isfinite(after)
    if both.sum() < 8:
        return 0.0
    before, after = before[both], after[both]
    scale = float(np.sqrt((before**2).sum() * (after**2).sum()))
    return float(np.clip((before * after).sum() / max(scale, 1e-12), 0.0, 0.995))

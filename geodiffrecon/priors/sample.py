"""What the covariance of anomalies is learnt from: a record with holes, and its fitted kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .kernel import SpaceTimeKernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Lags = tuple[int, ...]

NUGGET = 1e-3  # of the known cells that others are filled from
MAX_WORK = 4e11  # multiplications; patterns of holes beyond are left out, evenly


@dataclass(frozen=True)
class Sample:
    """Standardised anomalies, and the kernel that was fitted to them.

    Parameters
    ----------
    anomalies : array (T, P)
        NaN = missing, or of a frame that takes no part.
    positions : array (P, 2)
        Row and column of each coarse cell.
    own : array (P,)
        Below 1 for cells whose climatology is borrowed: they hang together with the others that
        much less.
    kernel : SpaceTimeKernel
        The fitted correlation.
    """

    anomalies: NDArray[np.float64]
    positions: NDArray[np.float64]
    own: NDArray[np.float64]
    kernel: SpaceTimeKernel
    _found: dict[Lags, NDArray[np.float64] | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        anomalies: NDArray[np.float64],
        positions: NDArray[np.float64],
        *,
        frames: NDArray[np.bool_] | None = None,
        own: NDArray[np.float64] | None = None,
    ) -> Sample:
        """Fit the kernel to `anomalies` (T, P) at `frames` (T,)."""
        frames = np.ones(len(anomalies), bool) if frames is None else frames
        own = np.ones(len(positions)) if own is None else own
        seen = np.where(frames[:, None], anomalies, np.nan)
        return cls(seen, positions, own, SpaceTimeKernel.fit(seen, positions))

    def target(self, lags: Lags) -> NDArray[np.float64]:
        """Return the kernel's correlation (L P, L P); a borrowed level errs the same at any lag."""
        shared, alone = np.outer(self.own, self.own), np.diag(1 - self.own**2)
        parts = [
            [self.kernel.correlation(self.positions, self.positions, a - b) for b in lags]
            for a in lags
        ]
        return np.block([[part * shared + alone for part in row] for row in parts])

    def empirical(self, lags: Lags) -> NDArray[np.float64] | None:
        """Return the covariance (L P, L P) of the frames at `lags`; None where there are too few.

        What is missing is kriged from what is known of the same frames by the kernel, and the
        variance that this leaves is added: one step of expectation maximisation (Dempster, Laird
        and Rubin 1977). Frames at whose lags nothing is known are left out.
        """
        if lags not in self._found:
            self._found[lags] = self._moments(lags)
        return self._found[lags]

    def _moments(self, lags: Lags) -> NDArray[np.float64] | None:
        now = np.arange(max(lags), len(self.anomalies))
        stack = np.stack([self.anomalies[now - lag] for lag in lags], axis=1)  # (T, L, P)
        stack = stack[np.all(np.isfinite(stack).any(axis=2), axis=1)]
        if len(stack) < 2 * len(lags):
            return None
        values = stack.reshape(len(stack), -1)
        if np.isfinite(values).all():
            return np.asarray(values.T @ values / len(values))
        values, left = _filled(values, self.target(lags))
        return np.asarray(values.T @ values / len(values) + left)


def _filled(
    values: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values (T, M) without holes, and the mean covariance (M, M) of what filled them."""
    patterns, which = np.unique(np.isfinite(values), axis=0, return_inverse=True)
    most = max(1, int(MAX_WORK / covariance.size**1.5))
    chosen = np.unique(np.linspace(0, len(patterns) - 1, min(len(patterns), most)).astype(int))
    filled, left = values.copy(), np.zeros_like(covariance)
    for number in chosen:
        rows = np.flatnonzero(which.ravel() == number)
        known, lacking = (np.flatnonzero(cells) for cells in (patterns[number], ~patterns[number]))
        system = covariance[np.ix_(known, known)] + NUGGET * np.eye(len(known))
        cross = covariance[np.ix_(known, lacking)]
        weights = cho_solve(cho_factor(system, lower=True), cross)  # (known, lacking)
        filled[np.ix_(rows, lacking)] = values[np.ix_(rows, known)] @ weights
        between = covariance[np.ix_(lacking, lacking)] - weights.T @ cross
        left[np.ix_(lacking, lacking)] += len(rows) * between
    used = np.isin(which.ravel(), chosen)
    return filled[used], left / used.sum()

"""Fine offsets from the coarse mean, by ridge regression on nearby anomalies (mean aggregation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RADII = (1, 2, 4, 8)
PENALTIES = (3.0, 30.0, 300.0)
MAX_NEIGHBOURS = 300


@dataclass(frozen=True)
class OffsetRefinement:
    """Offset of every fine cell from its coarse cell, linear in nearby anomalies and calendar.

    Parameters
    ----------
    coefficients : array (P, F, N*N)
        Per coarse cell: regressors are the ``(2 radius + 1)^2`` anomalies around it (zero outside
        the grid), then the calendar design.
    radius : int
        Neighbourhood in coarse cells.
    spread : array (P, N*N)
        Standard deviation of the fine residuals, cross-fitted, in transformed units.
    colour : array (P, N*N, N*N), optional
        Lower triangular factor of the correlation of the residuals inside each coarse cell; None
        leaves the residuals of draws white.
    """

    coefficients: NDArray[np.float32]
    radius: int
    spread: NDArray[np.float32]
    colour: NDArray[np.float32] | None = None

    @classmethod
    def fit(
        cls,
        offsets: NDArray[np.float64],
        anomalies: NDArray[np.float64],
        design: NDArray[np.float64],
        *,
        radius: int = 2,
        penalty: float = 30.0,
    ) -> OffsetRefinement:
        """Fit to `offsets` (T, P, N*N) given `anomalies` (T, I, J) and calendar `design` (T, C)."""
        known = np.isfinite(offsets).all(axis=(1, 2)) & np.isfinite(anomalies).all(axis=(1, 2))
        offsets, anomalies, design = offsets[known], anomalies[known], design[known]
        near = neighbourhoods(anomalies, radius)  # (T, P, K)
        cells, calendar = near.shape[1], design.shape[1]
        shrink = np.full(near.shape[2] + calendar, penalty)
        shrink[near.shape[2] :] = 1.0
        shrink[near.shape[2]] = 1e-6  # the intercept is not shrunk
        coefficients = np.empty((cells, len(shrink), offsets.shape[2]), np.float32)
        for p in range(cells):
            regressors = np.concatenate([near[:, p], design], axis=1)
            gram = regressors.T @ regressors + np.diag(shrink)
            coefficients[p] = np.linalg.solve(gram, regressors.T @ offsets[:, p])
        model = cls(coefficients, radius, np.ones(offsets.shape[1:], np.float32))
        residual = offsets - model.predict(anomalies, design)
        return cls(coefficients, radius, residual.std(axis=0).astype(np.float32))

    @classmethod
    def select(
        cls,
        offsets: NDArray[np.float64],
        anomalies: NDArray[np.float64],
        design: NDArray[np.float64],
        folds: NDArray[np.int64],
    ) -> dict[str, float]:
        """Return the radius and penalty with the least squared error on blocked `folds` (T,)."""
        reach = max(anomalies.shape[1:])
        radii = [r for r in RADII if r < 2 * reach and (2 * r + 1) ** 2 <= MAX_NEIGHBOURS]
        grid = [(r, penalty) for r in radii or [1] for penalty in PENALTIES]
        losses = []
        for radius, penalty in grid:
            errors = [
                residuals_of_fold(cls, offsets, anomalies, design, folds, fold, radius, penalty)
                for fold in np.unique(folds[folds >= 0])
            ]
            losses.append(float(np.nanmean(np.concatenate(errors) ** 2)))
        radius, penalty = grid[int(np.argmin(losses))]
        return {"radius": radius, "penalty": penalty}

    def predict(
        self, anomalies: NDArray[np.float64], design: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return offsets (T, P, N*N) for `anomalies` (T, I, J) and calendar `design` (T, C)."""
        near = neighbourhoods(anomalies, self.radius)
        size = near.shape[2]
        local = np.einsum("tpk,pkn->tpn", near, self.coefficients[:, :size], optimize=True)
        return local + np.einsum("tc,pcn->tpn", design, self.coefficients[:, size:], optimize=True)

    def coloured(self, white: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return white noise (n, P, N*N) with the correlation of the residuals."""
        if self.colour is None:
            return white.astype(np.float64)
        return np.asarray(np.einsum("npk,pjk->npj", white, self.colour, optimize=True))


def colour_of(residuals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the factor (P, N*N, N*N) of the correlation of residuals (T, P, N*N) in each cell.

    Every cell's own correlation is shrunk to that of all cells, the more the fewer frames there
    are.
    """
    known = residuals[np.isfinite(residuals).all(axis=(1, 2))]
    size = known.shape[2]
    standard = known / np.maximum(known.std(axis=0), 1e-9)
    own = np.einsum("tpj,tpk->pjk", standard, standard, optimize=True) / len(standard)
    share = 2 * size / (2 * size + len(standard))
    mixed = (1 - share) * own + share * own.mean(axis=0) + 1e-3 * np.eye(size)
    scale = np.sqrt(np.diagonal(mixed, axis1=1, axis2=2))
    mixed /= scale[:, :, None] * scale[:, None, :]
    return np.linalg.cholesky(mixed).astype(np.float32)


def neighbourhoods(maps: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Return the values around every cell of `maps` (T, I, J), as (T, I J, (2 radius + 1)^2)."""
    padded = np.pad(maps, ((0, 0), (radius, radius), (radius, radius)))
    window = 2 * radius + 1
    views = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(1, 2))
    return np.asarray(views.reshape(len(maps), -1, window * window))


def residuals_of_fold(
    cls: type[OffsetRefinement],
    offsets: NDArray[np.float64],
    anomalies: NDArray[np.float64],
    design: NDArray[np.float64],
    folds: NDArray[np.int64],
    fold: int,
    radius: float,
    penalty: float,
) -> NDArray[np.float64]:
    """Return the residuals (t, P, N*N) of the frames of one fold under a fit on the others."""
    learn, held = (folds >= 0) & (folds != fold), folds == fold
    model = cls.fit(
        offsets[learn], anomalies[learn], design[learn], radius=int(radius), penalty=penalty
    )
    return offsets[held] - model.predict(anomalies[held], design[held])

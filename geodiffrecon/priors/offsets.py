"""Fine offsets from the coarse mean, by ridge regression on nearby anomalies (mean aggregation)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .definite import definite

if TYPE_CHECKING:
    from numpy.typing import NDArray

RADII = (1, 2, 4, 8)
PENALTIES = (3.0, 30.0, 300.0)
MAX_NEIGHBOURS = 300
RIDGE_STEPS = 12  # of conjugate gradients, where offsets have holes
FEW = 10  # known frames below which a fine cell borrows from those beside it


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
        """Fit to `offsets` (T, P, N*N) given `anomalies` (T, I, J) and calendar `design` (T, C).

        NaN offsets are unknown; frames without a whole map of anomalies are left out. Fine cells
        known in fewer than `FEW` frames borrow (`lent`).
        """
        whole = np.isfinite(anomalies).all(axis=(1, 2)) & np.isfinite(offsets).any(axis=(1, 2))
        offsets, anomalies, design = offsets[whole], anomalies[whole], design[whole]
        near = neighbourhoods(anomalies, radius)  # (T, P, K)
        cells, calendar = near.shape[1], design.shape[1]
        shrink = np.full(near.shape[2] + calendar, penalty)
        shrink[near.shape[2] :] = 1.0
        shrink[near.shape[2]] = 1e-6  # the intercept is not shrunk
        coefficients = np.empty((cells, len(shrink), offsets.shape[2]), np.float32)
        for p in range(cells):
            regressors = np.concatenate([near[:, p], design], axis=1)
            coefficients[p] = _ridge(regressors, offsets[:, p], shrink)
        few = rare(offsets)
        coefficients = np.where(few[:, None], lent(coefficients, few), coefficients)
        model = cls(coefficients, radius, np.ones(offsets.shape[1:], np.float32))
        return replace(model, spread=spread_of(offsets - model.predict(anomalies, design), offsets))

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


def _ridge(
    regressors: NDArray[np.float64], targets: NDArray[np.float64], shrink: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return coefficients (F, n) of targets (T, n), each from the frames in which it is known."""
    known = np.isfinite(targets)
    gram = regressors.T @ regressors + np.diag(shrink)
    if known.all():
        return np.asarray(np.linalg.solve(gram, regressors.T @ targets))
    # Conjugate gradients for all targets at once: the gram of all frames is close to that of each.
    factor = cho_factor(gram)
    found, left = 0.0, regressors.T @ np.where(known, targets, 0.0)
    towards = better = cho_solve(factor, left)
    for _ in range(RIDGE_STEPS):
        gain = (left * better).sum(axis=0)
        image = regressors.T @ (known * (regressors @ towards)) + shrink[:, None] * towards
        step = gain / np.maximum((towards * image).sum(axis=0), 1e-300)
        found, left = found + step * towards, left - step * image
        better = cho_solve(factor, left)
        towards = better + towards * ((left * better).sum(axis=0) / np.maximum(gain, 1e-300))
    return np.asarray(found)


def rare(offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which fine cells (P, N*N) have too few known offsets (T, P, N*N) of their own."""
    known = np.isfinite(offsets)
    return np.asarray(known.sum(axis=0) < min(FEW, max(int(known.sum(axis=0).max()), 1)))


def lent(values: NDArray[np.floating], few: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return what fine cells can borrow of `values` (P, F, N*N), the `few` (P, N*N) themselves out.

    The mean of the cells of the same coarse cell; without any, of the cells at the same place in
    all the coarse cells.
    """
    weight = (~few).astype(values.dtype)[:, None]
    inside = (values * weight).sum(-1, keepdims=True) / np.maximum(weight.sum(-1, keepdims=True), 1)
    everywhere = (values * weight).sum(0) / np.maximum(weight.sum(0), 1)
    alone = np.asarray(few.all(axis=1)).reshape(-1, 1, 1)
    return np.where(alone, everywhere, inside)


def spread_of(residuals: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the spread (P, N*N) of residuals of `offsets`, both (T, P, N*N), about zero.

    Cells that borrow get the widest spread of their coarse cell, or the usual widest where none
    there is known, widened by how much the usual offsets of those cells differ.
    """
    few, squares = rare(residuals), residuals**2
    squares[:, few] = 0.0
    spread = np.sqrt(np.nanmean(squares, axis=0))
    alone, widest = few.all(axis=1), spread.max(axis=1)
    widest[alone] = np.sqrt((widest[~alone] ** 2).mean())
    known = np.isfinite(offsets)
    usual = np.where(known, offsets, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    levels = lent((usual**2)[:, None], few)[:, 0]
    return np.where(few, np.sqrt(widest[:, None] ** 2 + levels), spread).astype(np.float32)


def colour_of(residuals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the factor (P, N*N, N*N) of the correlation of residuals (T, P, N*N) in each cell.

    Every pair's own correlation is shrunk to that of all cells, the more the fewer frames know
    both; NaN is unknown.
    """
    residuals = residuals[np.isfinite(residuals).any(axis=(1, 2))]
    known, size = np.asarray(np.isfinite(residuals)), residuals.shape[2]
    residuals[:, ~known.any(axis=0)] = 0.0
    standard = residuals / np.maximum(np.nanstd(residuals, axis=0), 1e-9)
    standard[~known] = 0.0
    pairs = np.einsum("tpj,tpk->pjk", known, known, dtype=float, optimize=True)
    own = np.einsum("tpj,tpk->pjk", standard, standard, optimize=True) / np.maximum(pairs, 1)
    share = 2 * size / (2 * size + pairs)
    common = own.sum(axis=0) / np.maximum((pairs > 0).sum(axis=0), 1)
    mixed = (1 - share) * own + share * common + 1e-3 * np.eye(size)
    scale = np.sqrt(np.diagonal(mixed, axis1=1, axis2=2))
    mixed /= scale[:, :, None] * scale[:, None, :]
    return np.linalg.cholesky(definite(mixed)).astype(np.float32)


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

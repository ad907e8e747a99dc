"""Scores of point forecasts, ensembles and intervals; NaN truth is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InvalidParameter

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mae(truth: NDArray[np.floating], forecast: NDArray[np.floating]) -> float:
    """Return the mean absolute error over all known cells and frames (paper eq 35, per cell).

    Examples
    --------
    >>> mae(np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.0, 9.0]))
    0.5
    """
    return float(np.nanmean(np.abs(forecast - truth)))


def rmse(truth: NDArray[np.floating], forecast: NDArray[np.floating]) -> float:
    """Return the root mean squared error per cell (paper eq 36 with its missing cell count)."""
    return float(np.sqrt(np.nanmean((forecast - truth) ** 2)))


def bias(truth: NDArray[np.floating], forecast: NDArray[np.floating]) -> float:
    """Return the mean of forecast minus truth."""
    return float(np.nanmean(forecast - truth))


def fair_crps(truth: NDArray[np.floating], draws: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the fair CRPS (...) of `draws` (K, ...), unbiased in the number of draws.

    References
    ----------
    Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. Q. J. R. Meteorol. Soc. 140.

    Raises
    ------
    InvalidParameter
        With fewer than two draws.
    """
    size = len(draws)
    if size < 2:
        raise InvalidParameter(f"The fair CRPS needs at least 2 draws, not {size}.")
    ordered = np.sort(draws.astype(np.float64), axis=0)
    error = np.abs(ordered - truth).mean(axis=0)
    rank = (2 * np.arange(1, size + 1) - size - 1).reshape(-1, *[1] * truth.ndim)
    spread = (rank * ordered).sum(axis=0) / (size * (size - 1))
    return np.asarray(error - spread)


def coverage(pit: NDArray[np.floating], level: float) -> float:
    """Return the share of (randomised) PIT values inside the central interval of `level`."""
    tail = (1 - level) / 2
    known = pit[np.isfinite(pit)]
    return float(((known >= tail) & (known <= 1 - tail)).mean())

"""Unconditional draws of a field on a lattice, by fast Fourier transforms of its covariance.

The lattice is put on a torus of at least twice its size, on which covariances are circulant and
their square root is a product of spectra (Dietrich & Newsam 1997, SIAM J. Sci. Comput. 18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .covariance import Sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .covariance import Covariance

    Array = NDArray[np.float64]

TORUS = 2  # times the size of the lattice, at least
REACH = 5.0  # ranges that the torus leaves between a place and its image
MOST = 4  # sides of the lattice that a range counts for, in the size of the torus
LONGEST = 1.2  # sides of the lattice: fields of a longer range would need too large a torus


def lattice_draws(
    known: Covariance,
    rngs: Sequence[np.random.Generator],
    shape: tuple[int, int],
    step: tuple[float, float],
    features: Array,
) -> Array:
    """Return draws (K, rows · cols) of a field of unit sill that nothing is known of.

    Parameters
    ----------
    known : Covariance
        Without memory: one date.
    rngs : sequence of Generator
        One for each of K draws.
    shape : (rows, cols)
        Of the lattice.
    step : (dy, dx)
        Between its rows and its columns, in km; rows may go either way.
    features : array (rows · cols, p)
        Of the cells, as `Sites` has them.

    Notes
    -----
    What is left of the correlation at half the torus makes negative parts of its spectrum, which
    are set to zero. A field that is smooth and well known feels them where they are a thousandth
    of its variance, so ranges must be short: see `is_short`.
    """
    root = np.sqrt(_spectrum(known, shape, step))
    weights = known.feature_weights(Sites(np.zeros((1, 2)), features[:1]))
    drawn = np.empty((len(rngs), shape[0] * shape[1]))
    for row, rng in zip(drawn, rngs, strict=True):
        white = rng.standard_normal((2, *root.shape))
        field = np.fft.fft2((white[0] + 1j * white[1]) * root).real
        row[:] = field[: shape[0], : shape[1]].ravel() * np.sqrt(1 - known.nugget)
        if known.nugget:
            row += np.sqrt(known.nugget) * rng.standard_normal(row.shape)
        if weights.any():
            row += features @ (rng.standard_normal(len(weights)) * np.sqrt(weights))
    return drawn


def is_short(known: Covariance, shape: tuple[int, int], step: tuple[float, float]) -> bool:
    """Tell whether a torus about the lattice is exact enough for a covariance."""
    side = min(n * abs(d) for n, d in zip(shape, step, strict=True))
    return bool(_longest(known) <= LONGEST * side)


def _longest(known: Covariance) -> float:
    return float(known.range_km * np.sqrt(known.ratio))


def _spectrum(known: Covariance, shape: tuple[int, int], step: tuple[float, float]) -> Array:
    """Return eigenvalues (rows', cols') of the covariance on the torus, over its size."""
    size = [
        _even(max(TORUS * n, n + REACH * min(_longest(known) / abs(d), MOST * n)))
        for n, d in zip(shape, step, strict=True)
    ]
    lag_y, lag_x = (np.fft.fftfreq(n, 1 / n) * d for n, d in zip(size, step, strict=True))
    there = np.stack(np.broadcast_arrays(lag_x[None], lag_y[:, None]), axis=-1).reshape(-1, 2)
    origin = Sites(np.zeros((1, 2)), np.zeros((1, 0)))
    places = Sites(there, np.zeros((len(there), 0)))
    along = known.between(origin, places).reshape(size) / max(1 - known.nugget, 1e-12)
    values = np.maximum(np.fft.fft2(along).real, 0.0)
    return np.asarray(values / values.sum())


def _even(size: float) -> int:
    """Return a size that fast Fourier transforms like: 2, 3 and 5 in it only."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(int(np.ceil(size))))

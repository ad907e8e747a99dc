"""Covariances put together from pairs: made positive definite where they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOOR = 0.1  # least eigenvalue of what is mended, in units of the mean variance


def definite(matrix: NDArray[np.float64], jitter: float = 1e-6) -> NDArray[np.float64]:
    """Return covariances (..., n, n) as they are if all are positive definite, or else mended.

    Covariances of pairs of cells that are known in different frames may contradict each other.
    They all shrink then, variances kept, until the least eigenvalue is well above zero: clipping
    it at zero leaves directions without variance, in which weights of kriging explode.

    Examples
    --------
    >>> mended = definite(np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]))
    >>> mended.round(2)
    array([[ 1.  ,  0.47, -0.47],
           [ 0.47,  1.  ,  0.47],
           [-0.47,  0.47,  1.  ]])
    """
    unit = np.eye(matrix.shape[-1])
    try:
        np.linalg.cholesky(matrix + jitter * unit)
    except np.linalg.LinAlgError:
        variance = np.diagonal(matrix, axis1=-2, axis2=-1)
        least, mean = np.linalg.eigvalsh(matrix).min(axis=-1), variance.mean(axis=-1)
        lift = np.where(least > 0, 0.0, FLOOR * mean - least)[..., None]
        shrink = np.sqrt(variance / (variance + lift))
        mended = (matrix + lift[..., None] * unit) * shrink[..., :, None] * shrink[..., None, :]
        return np.asarray(mended)
    return matrix

"""Filling holes of a coarse map from the cells around them, as rivals that cannot complete do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest_filled(
    coarse: NDArray[np.floating], fallback: NDArray[np.floating] | float = 0.0
) -> NDArray[np.float64]:
    """Return `coarse` (T, I, J) with every hole given the value of its nearest observed cell.

    Parameters
    ----------
    coarse : array (T, I, J)
        NaN where not observed.
    fallback : array (I, J) or float
        What a frame without any observation becomes.

    Examples
    --------
    >>> nearest_filled(np.array([[[1.0, np.nan, np.nan, 4.0]]]))
    array([[[1., 1., 4., 4.]]])
    """
    filled = coarse.astype(np.float64)
    for frame in filled:
        missing = np.isnan(frame)
        if missing.all():
            frame[...] = fallback
        elif missing.any():
            nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
            frame[...] = frame[tuple(nearest)]
    return filled

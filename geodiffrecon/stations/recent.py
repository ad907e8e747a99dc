"""Recalibration by recent errors: how far off the stations that report have lately been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LIMIT = 9.0  # squared standardised errors beyond it are cut
LIKE = 0.3  # width, in log spread, of what counts as a spot alike
WEIGHT_OF_USUAL = 100.0  # station steps that the usual error counts for
SMALLEST, LARGEST = 0.6, 2.0  # factors


@dataclass(frozen=True)
class RecentErrors:
    """Factor of the stated spread, from errors at reporting stations over the last days.

    A season that training never saw may be harder to map than the record. The stations that report
    tell: each is predicted from the others, as in training, and its errors in terms of the stated
    spread are compared with those of calibration. Stations whose spread is like that of the spot
    count most, so that isolated spots learn from isolated stations. Of adaptive conformal
    inference this keeps the idea: what was stated is corrected by how it has lately done.

    Parameters
    ----------
    steps : int
        Steps that count, the current one included.
    usual : float
        Mean square of standardised errors in calibration.

    References
    ----------
    Gibbs, I. and Candès, E. (2021). Adaptive conformal inference under distribution shift. NeurIPS.
    """

    steps: int = 0
    usual: float = 1.0

    def factor(self, errors: Array, size: Array, sites: Array, *, hide_self: bool = False) -> Array:
        """Return the factor (m, Q) of the spread of spots.

        Parameters
        ----------
        errors : array (steps - 1 + m, S)
            Standardised errors at the stations up to each frame; NaN where unknown.
        size : array (steps - 1 + m, S)
            Logarithm of the stated spread there.
        sites : array (m, Q)
            Logarithm of the stated spread at the spots.
        hide_self : bool
            Spots are the stations, whose own errors nobody would know.
        """
        known = np.isfinite(errors)
        square = np.where(known, np.minimum(np.nan_to_num(errors) ** 2, LIMIT), 0.0)
        count, total = self._moving(known.astype(float)), self._moving(square)  # (m, S)
        usual_size = self._moving(np.where(known, size, 0.0)) / np.maximum(count, 1)
        found = np.empty(sites.shape)
        for row in range(len(sites)):
            apart = (sites[row][:, None] - usual_size[row]) / LIKE  # (Q, S)
            weight = np.exp(-0.5 * np.minimum(apart**2, 25.0))
            if hide_self:
                np.fill_diagonal(weight, 0.0)
            excess = weight @ total[row] / self.usual + WEIGHT_OF_USUAL
            found[row] = np.sqrt(excess / (weight @ count[row] + WEIGHT_OF_USUAL))
        return np.clip(found, SMALLEST, LARGEST)

    def _moving(self, values: Array) -> Array:
        """Return sums over `steps` rows, one for each row after the first ``steps - 1``."""
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return np.asarray(total[self.steps :] - total[: -self.steps])


def mean_square(errors: Array) -> float:
    """Return the mean square of standardised `errors` as `RecentErrors` counts them."""
    known = errors[np.isfinite(errors)]
    return float(np.minimum(known**2, LIMIT).mean()) if known.size else 1.0

"""From means, predictive distributions and draws to the maps that users read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calibration import Calibration, GaussianPredictive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .calibration import Predictive
    from .reconstruction import Belief, Reconstructor
    from .series import Series

    Array = NDArray[np.float64]

QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


@dataclass(frozen=True)
class Summary:
    """Statistics of some fine maps, each (F, N I, N J) in raw units.

    Parameters
    ----------
    mean : array
        Conditional mean.
    std : array
        Predictive standard deviation.
    quantiles : dict
        By name, ``q05``, ``q50`` and ``q95``.
    """

    mean: Array
    std: Array
    quantiles: dict[str, Array]

    @classmethod
    def of_predictive(
        cls, mean: Array, predictive: Predictive, calibration: Calibration
    ) -> Summary:
        """Summarise a predictive distribution; no number of draws enters."""
        if isinstance(predictive, GaussianPredictive):
            variance = predictive.transform.variance(predictive.mean, predictive.spread**2)
        else:
            variance = predictive.variance  # type: ignore[attr-defined]
        quantiles = {
            name: calibration.quantile(predictive, level) for name, level in QUANTILES.items()
        }
        return cls(mean, np.sqrt(variance), quantiles)

    @classmethod
    def of_draws(cls, draws: Array) -> Summary:
        """Summarise draws (K, F, N I, N J): for models that have nothing but draws."""
        quantiles = dict(
            zip(QUANTILES, np.quantile(draws, list(QUANTILES.values()), axis=0), strict=True)
        )
        return cls(draws.mean(axis=0), draws.std(axis=0, ddof=min(1, len(draws) - 1)), quantiles)


def summarise(
    model: Reconstructor,
    series: Series,
    belief: Belief,
    frames: NDArray[np.int64],
    draws: Array | None,
    *,
    consistent: bool = True,
) -> Summary:
    """Return the statistics of `frames`: of the predictive distribution where there is one.

    Means pool to the completed coarse ones if `consistent`.
    """
    if model.samples_its_mean:
        assert draws is not None
        return Summary.of_draws(draws)
    raw, predictive = model.means(series, belief, frames, consistent=consistent)
    return Summary.of_predictive(raw, predictive, model.calibration)

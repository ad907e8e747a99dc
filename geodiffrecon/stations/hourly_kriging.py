"""Kriging per step by pykrige: a variogram and a variance of each step's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidParameter
from .baselines import TINY, lag_one, usual, with_usual
from .variogram import Kernel, chosen_steps, leave_one_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baselines import Record, Targets
    from .forecast import SiteForecast

    Array = NDArray[np.float64]

FEWEST = 5  # stations from which a variogram of one step is fitted
PAIRS = 60  # of steps, that tell the correlation of errors
JITTER = 1e-6


class HourlyKriging:
    """Ordinary kriging (pykrige) in raw units with a variogram and a variance of its own per step.

    A step with fewer than five reporting stations, or with all of them equal, gets their mean
    with the usual spread within a step; a step without any gets the usual level.

    Raises
    ------
    InvalidParameter
        On `fit`, if pykrige is not installed.
    """

    def __init__(self) -> None:
        self.rho = 0.0

    def fit(self, record: Record) -> None:
        """Learn what is said where a step has too few stations, and the memory of errors."""
        _pykrige()
        record = record.thinned()
        self._usual = usual(record.values)
        within = record.values - _step_means(record.values)
        self._within = float(np.nanstd(within)) + TINY if np.isfinite(within).any() else 1.0
        firsts = chosen_steps(len(record.times) - 1, PAIRS, run=1)
        pairs = [self._standard_errors(record, np.array([step, step + 1])) for step in firsts]
        gap = np.full((1, record.values.shape[1]), np.nan)
        self.rho = lag_one(np.concatenate([row for pair in pairs for row in (pair, gap)] or [gap]))

    def predict(self, record: Record, targets: Targets, frames: NDArray[np.int64]) -> SiteForecast:
        """Return Gaussian distributions of kriging mean and variance, cut at zero if unsigned."""
        location = np.empty((len(frames), len(targets.km)))
        scale = np.empty_like(location)
        for number, frame in enumerate(frames):
            values = record.values[frame]
            location[number], scale[number] = self._step(values, record.places.km, targets.km)
        power = record.power(1.0)
        return with_usual(record.times[frames], location, scale, power, self._usual)

    def _step(self, values: Array, km: Array, at: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation (P,) from the `values` (S,) of one step."""
        known = np.isfinite(values)
        fitted = self._fitted(values[known], km[known])
        if fitted is not None:
            mean, variance = fitted.execute("points", at[:, 0], at[:, 1])
            return np.asarray(mean), np.sqrt(np.maximum(np.asarray(variance), 0.0))
        mean = values[known].mean() if known.any() else np.nan
        return np.full(len(at), mean), np.full(len(at), self._within)

    def _fitted(self, values: Array, km: Array) -> Any:
        """Return pykrige's object, or None where a variogram cannot be fitted."""
        if len(values) < FEWEST or np.ptp(values) <= 0:
            return None
        # The pseudo-inverse is slower; only stations at one place need it.
        twins = len(np.unique(km.round(3), axis=0)) < len(km)
        return _pykrige()(
            km[:, 0], km[:, 1], values, variogram_model="exponential", pseudo_inv=twins
        )

    def _standard_errors(self, record: Record, steps: NDArray[np.int64]) -> Array:
        """Return standardised errors (2, S) of leaving stations out of `steps`."""
        found = np.full((len(steps), record.values.shape[1]), np.nan)
        for number, step in enumerate(steps):
            known = np.isfinite(record.values[step])
            km, values = record.places.km[known], record.values[step, known]
            fitted = self._fitted(values, km)
            if fitted is None:
                continue
            sill, reach, nugget = fitted.variogram_model_parameters
            kernel = Kernel(reach / 3, nugget / max(sill + nugget, TINY))
            correlation = kernel.among(km) + JITTER * np.eye(len(km))
            errors, variance = leave_one_out(values[None], correlation)
            found[number, known] = (errors / np.sqrt(variance * max(sill + nugget, TINY)))[0]
        return found


def _step_means(values: Array) -> Array:
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(known, values, 0.0).sum(axis=1, keepdims=True) / count


def _pykrige() -> Any:
    try:
        from pykrige.ok import OrdinaryKriging as Kriging
    except ImportError as error:
        raise InvalidParameter(
            "Kriging per step needs pykrige, which is not installed; "
            "pip install 'geodiffrecon[baselines]'."
        ) from error
    return Kriging

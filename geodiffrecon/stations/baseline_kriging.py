"""Kriging as it is done: pooled over steps with its variance refitted, and around a regression."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from .baselines import TINY, lag_one, usual, with_usual
from .variogram import chosen_steps, fit_kernel, krige, leave_one_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baselines import Record, Targets
    from .forecast import SiteForecast
    from .variogram import Kernel

    Array = NDArray[np.float64]

FINAL_WORK = 1e10  # steps times stations cubed
RUN = 24  # consecutive steps, where not all are taken
GROUPS = 5  # of stations, that a regression is fitted without in turn
RIDGE = 1e-3


class PooledKriging:
    """One variogram for all steps in square-root units, its variance refitted on training.

    Parameters
    ----------
    given : Kernel, optional
        Range and nugget; fitted without them.
    """

    def __init__(self, given: Kernel | None = None) -> None:
        self.given = given
        self.rho = 0.0

    def fit(self, record: Record) -> None:
        """Learn range and nugget, then the variance, by leaving each station out."""
        record = record.thinned()
        z, km = record.power().forward(record.values), record.places.km
        self._usual = usual(z)
        self._learn(record, z)
        kernel = self.given or fit_kernel(self._rest(record, z), km)
        steps = chosen_steps(len(z), FINAL_WORK / z.shape[1] ** 3, run=RUN)
        errors, variance = self._left_out(record, z, kernel.among(km), steps)
        factor = float(np.nanmean(errors**2 / variance)) if np.isfinite(errors).any() else 1.0
        self.kernel = replace(kernel, variance=max(factor, TINY))
        self.rho = lag_one(errors / np.sqrt(variance))

    def predict(self, record: Record, targets: Targets, frames: NDArray[np.int64]) -> SiteForecast:
        """Return Gaussian distributions in square-root units."""
        power, km = record.power(), record.places.km
        z = power.forward(record.values)[frames] - self._trend(record, record.places, frames)
        cross = self.kernel.between(cdist(km, targets.km))
        mean, variance = krige(z, self.kernel.among(km), cross)
        scale = np.sqrt(np.maximum(variance, TINY) * self.kernel.variance)
        location = mean + self._trend(record, targets, frames)
        return with_usual(record.times[frames], location, scale, power, self._usual)

    def _learn(self, record: Record, z: Array) -> None:
        """Fit what is taken off before kriging: nothing."""

    def _trend(self, record: Record, places: Targets, frames: NDArray[np.int64]) -> Array:
        return np.zeros((len(frames), len(places.km)))

    def _rest(self, record: Record, z: Array) -> Array:
        return z - self._trend(record, record.places, np.arange(len(z)))

    def _left_out(
        self, record: Record, z: Array, correlation: Array, steps: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Return errors and variances (T, S) of leaving stations out, NaN between `steps`."""
        errors, variance = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
        errors[steps], variance[steps] = leave_one_out(self._rest(record, z)[steps], correlation)
        return errors, variance


class RegressionKriging(PooledKriging):
    """A linear trend in position, weather times position and covariates; kriging of the rest.

    The level of a step is kriging's own, so only what differs between the stations of one step
    is regressed: the trend is fitted to differences from the mean of the step.
    """

    def _learn(self, record: Record, z: Array) -> None:
        self._centre = record.places.km.mean(axis=0)
        self._size = float(record.places.km.std()) + TINY
        self._weather = _standard(record.weather)
        self._cover = _standard(record.places.cover)
        everyone = np.ones(z.shape[1], dtype=bool)
        self._slopes = self._regressed(record, z, everyone)

    def _trend(self, record: Record, places: Targets, frames: NDArray[np.int64]) -> Array:
        return self._design(record, places, frames) @ self._slopes

    def _left_out(
        self, record: Record, z: Array, correlation: Array, steps: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        errors, variance = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
        group = np.arange(z.shape[1]) % GROUPS
        slopes = self._slopes
        for number in np.unique(group):
            # A station must not have helped to fit the trend that predicts it.
            self._slopes = self._regressed(record, z, group != number)
            found = super()._left_out(record, z, correlation, steps)
            errors[:, group == number] = found[0][:, group == number]
            variance[:, group == number] = found[1][:, group == number]
        self._slopes = slopes
        return errors, variance

    def _regressed(self, record: Record, z: Array, stations: NDArray[np.bool_]) -> Array:
        """Return slopes (K,) from differences of `stations` (S,) within each step."""
        design = self._design(record, record.places, np.arange(len(z)))[:, stations]
        z = z[:, stations]
        known = np.isfinite(z)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        z = np.where(known, z, 0.0)
        z = np.where(known, z - z.sum(axis=1, keepdims=True) / count, 0.0)
        design *= known[..., None]
        design = (design - design.sum(axis=1, keepdims=True) / count[..., None]) * known[..., None]
        flat = design.reshape(-1, design.shape[-1])
        gram = flat.T @ flat
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)) + TINY * np.eye(len(gram))
        return np.linalg.solve(gram, flat.T @ z.ravel())

    def _design(self, record: Record, places: Targets, frames: NDArray[np.int64]) -> Array:
        """Return features (F, P, K): position, covariates, and weather times position."""
        position = (places.km - self._centre) / self._size  # (P, 2)
        weather = _filled(record.weather[frames], self._weather)  # (F, W)
        static = np.concatenate([position, _filled(places.cover, self._cover)], axis=1)
        moving = weather[:, None, :, None] * position[None, :, None, :]  # (F, P, W, 2)
        still = np.broadcast_to(static, (len(frames), *static.shape))
        return np.concatenate([still, moving.reshape(*moving.shape[:2], -1)], axis=2)


def _standard(features: Array) -> tuple[Array, Array]:
    """Return mean and spread (K,) of `features` (n, K), 0 and 1 where all are missing."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, features, 0.0).sum(axis=0) / count
    square = (np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / count
    return mean, np.where(square > 0, np.sqrt(square), 1.0)


def _filled(features: Array, standard: tuple[Array, Array]) -> Array:
    return np.nan_to_num((features - standard[0]) / standard[1])

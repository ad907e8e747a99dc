"""Noise at any spots: correlated in space as the errors of kriging are, and in time as errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..noise import calendar_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..steps import TimeStep
    from .anomalies import Readings
    from .kriging import StationKriging
    from .memory import ErrorMemory

    Array = NDArray[np.float64]

MICRO_SHARE = 0.02  # reach of what a spot has for itself, in usual distances between stations
MICRO_WAVES = 0.5  # as many waves, for each of the local field


@dataclass(frozen=True)
class SpotNoise:
    """Standard normal noise at spots, correlated like the errors of kriging.

    A random field made of waves, minus its own kriging from the stations that reported
    (Matheron's rule), over its standard deviation. Waves are known everywhere, so a spot's noise
    is the same alone, in a map, or in a tile.

    Parameters
    ----------
    kriging : StationKriging
        Whose errors are imitated, for the current step.
    memory : ErrorMemory
        From step to step.
    unit_km : float
        Usual distance between stations.
    waves : int
        Of the local field.
    step : TimeStep
        Whose numbers address the noise.

    References
    ----------
    Journel, A. G. and Huijbregts, C. J. (1978). Mining Geostatistics. Academic Press.
    """

    kriging: StationKriging
    memory: ErrorMemory
    unit_km: float
    waves: int
    step: TimeStep

    def draw(
        self,
        readings: Readings,
        times: NDArray[np.datetime64],
        frames: NDArray[np.int64],
        sites: Array,
        draws: range,
        seed: int,
    ) -> NDArray[np.float32]:
        """Return noise (K, m, Q) of `sites` (Q, 2) in km at `frames` of the readings."""
        steps = calendar_numbers(times[frames], self.step)
        at_sites, at_stations = self._basis(sites), self._basis(readings.km)
        coefficients = self.memory.noise(seed, at_sites.shape[1], draws, steps)  # (m, K, C)
        found = np.empty((len(draws), len(frames), len(sites)), np.float32)
        for rows in _alike(np.isfinite(readings.anomalies[frames])):
            weights, variance = self.kriging.weights(
                readings.anomalies, readings.km, frames[rows[:1]], sites
            )
            basis = at_sites - weights[0].float() @ at_stations  # (Q, C)
            width = variance[0].sqrt().float()
            for row in rows:
                field = torch.as_tensor(coefficients[row]) @ basis.T
                found[:, row] = (field / width).numpy()
        return found

    def _basis(self, km: Array) -> torch.Tensor:
        """Return the functions (P, C) whose random sum is the field: level, waves, micro waves."""
        kernel = self.kriging.kernel
        own = int(self.waves * MICRO_WAVES)
        level = torch.exp(kernel.level / 2).item() * np.ones((len(km), 1))
        local = _waves(km, kernel.waves(self.waves, 0), 1.0)
        near = kernel.waves(own, 1) * np.exp(kernel.reach.item()) / (MICRO_SHARE * self.unit_km)
        micro = _waves(km, near, float(kernel.own.item()))
        return torch.as_tensor(np.concatenate([level, local, micro], axis=1), dtype=torch.float32)


def _alike(seen: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the rows of `seen` (m, S) in groups of the same stations, whose weights are equal."""
    found: dict[bytes, list[int]] = {}
    for row, pattern in enumerate(seen):
        found.setdefault(pattern.tobytes(), []).append(row)
    return [np.array(rows) for rows in found.values()]


def _waves(km: Array, vectors: Array, variance: float) -> Array:
    """Return cosines and sines (P, 2 M) of waves, which add up to `variance`."""
    phase = km @ vectors.T
    size = np.sqrt(variance / len(vectors))
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * size

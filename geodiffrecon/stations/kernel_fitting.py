"""Covariance of a network by hiding its stations, and what of it earns its place."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import NoObservations
from ..progress import Progress, silent
from .kernel import StationKernel
from .kriging import StationKriging
from .spread import crps_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .anomalies import Readings
    from .forecast import Power

    Array = NDArray[np.float64]

RATE = 0.05
LEAST_REPORTING = 3
MOST_STATIONS = 150  # that one frame of the fit holds


@dataclass(frozen=True)
class KernelFit:
    """How a covariance is fitted: by CRPS of stations hidden whole, in raw units.

    Parameters
    ----------
    power : Power
        Of the transformed readings.
    steps, frames : int
        Optimiser steps, and frames per step.
    seed : int
        Of the frames.
    """

    power: Power
    steps: int
    frames: int
    seed: int

    def __call__(
        self,
        readings: Readings,
        frames: NDArray[np.int64],
        lags: tuple[int, ...],
        *,
        start: StationKernel | None = None,
        wind: bool = True,
        progress: Progress = silent,
    ) -> StationKriging:
        """Return the kriging fitted to `frames` of the readings.

        Without `wind` readings of the past stay where they were read.
        """
        kernel = copy.deepcopy(start) if start is not None else StationKernel()
        kriging = StationKriging(kernel, lags)
        readings = self._thinned(readings)
        usable = frames[np.isfinite(readings.anomalies[frames]).sum(axis=1) >= LEAST_REPORTING]
        if not len(usable):
            raise NoObservations(
                f"No step has readings of {LEAST_REPORTING} of the {len(readings.km)} stations "
                "that report most; give a record in which stations report together."
            )
        kernel.requires_grad_(True)
        if start is None:
            with torch.no_grad():
                kernel.sill.fill_(np.log(np.nanstd(readings.anomalies) / 2))
        kernel.drift.requires_grad_(wind and readings.sky.way is not None and max(lags) > 0)
        rng = np.random.default_rng([self.seed, len(lags)])
        optimiser = torch.optim.Adam([p for p in kernel.parameters() if p.requires_grad], lr=RATE)
        for step in range(self.steps):
            chosen = np.sort(rng.choice(usable, min(self.frames, len(usable)), replace=False))
            parts = kriging.parts(chosen, len(readings.km))
            optimiser.zero_grad()
            weight = 1 / self._size(readings, chosen)
            for number, part in enumerate(parts):
                # Gradients add up over parts: all frames at once would take gigabytes, and be
                # deaf to a request to stop.
                loss = weight * self._loss(kriging, readings, part)
                loss.backward()  # type: ignore[no-untyped-call]
                done = step * len(parts) + number + 1
                progress(done, self.steps * len(parts), f"covariance over {len(lags)} steps")
            optimiser.step()
        kernel.requires_grad_(False)
        return kriging

    @torch.no_grad()
    def score(
        self, kriging: StationKriging, readings: Readings, frames: NDArray[np.int64]
    ) -> Array:
        """Return the CRPS of hidden stations, per frame (m,); NaN where none reported."""
        readings = self._thinned(readings)
        rows = [
            _frame_means(*self._scores(kriging, readings, part))
            for part in kriging.parts(frames, len(readings.km))
        ]
        return np.concatenate(rows)

    def _size(self, readings: Readings, frames: NDArray[np.int64]) -> float:
        """Return by what the sum of the scores of `frames` is divided: number times usual size."""
        usual = float(np.nanstd(self.power.inverse(readings.transformed(frames))))
        return float(_known(readings, frames).sum()) * max(usual, 1e-9)

    def _loss(self, kriging: StationKriging, readings: Readings, part: NDArray[np.int64]) -> Tensor:
        """Return the sum of the scores of some frames."""
        scores, known = self._scores(kriging, readings, part)
        return scores[known].sum()

    def _scores(
        self, kriging: StationKriging, readings: Readings, part: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Return the CRPS (m, S) and where it is known."""
        window = kriging.window(readings.anomalies, readings.km, part, readings.sky.way)
        mean, spread = kriging.leave_one_out(window)
        z = torch.as_tensor(readings.transformed(part))
        known = torch.as_tensor(_known(readings, part))
        back = torch.as_tensor(readings.expected + readings.centre[part][:, None])
        truth = self.power.inverse(z.nan_to_num())
        flat = crps_of(truth.flatten(), (mean + back).flatten(), spread.flatten(), self.power)
        return flat.view(z.shape), known

    def _thinned(self, readings: Readings) -> Readings:
        """Return at most MOST_STATIONS stations, those of most readings."""
        count = len(readings.km)
        if count <= MOST_STATIONS:
            return readings
        often = np.argsort(-np.isfinite(readings.anomalies).sum(axis=0), kind="stable")
        keep = np.zeros(count, bool)
        keep[often[:MOST_STATIONS]] = True
        return readings.hiding(keep)


def _known(readings: Readings, frames: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stations (m, S) have a reading that others can be compared with."""
    seen = np.isfinite(readings.transformed(frames))
    return np.asarray(seen & (seen.sum(axis=1, keepdims=True) > 1))


def _frame_means(scores: Tensor, known: Tensor) -> Array:
    total, count = (scores * known).sum(1), known.sum(1)
    return torch.where(count > 0, total / count.clamp_min(1), torch.nan).numpy()

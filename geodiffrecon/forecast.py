"""What a method says of maps that it is tested on: a mean, a distribution, an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .errors import InvalidParameter
from .limits import level_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .assembly import Observations
    from .calibration import Calibration, Predictive
    from .reconstruction import Reconstructor

    Array = NDArray[np.float64]


class Distribution(Protocol):
    """A calibrated distribution per cell, known without draws."""

    def pit(self, truth: Array, seed: int) -> Array:
        """Return calibrated, randomised PIT values of `truth`."""
        ...

    def quantile(self, level: float) -> Array:
        """Return the calibrated quantile of `level` in every cell."""
        ...


@dataclass(frozen=True)
class Calibrated:
    """A predictive distribution with the correction that validation found.

    Parameters
    ----------
    predictive : Predictive
        Per cell.
    calibration : Calibration
        Of its levels.
    """

    predictive: Predictive
    calibration: Calibration

    def pit(self, truth: Array, seed: int) -> Array:
        """Return calibrated, randomised PIT values of `truth`."""
        return self.calibration.pit(self.predictive, truth, seed)

    def quantile(self, level: float) -> Array:
        """Return the calibrated quantile of `level`."""
        return self.calibration.quantile(self.predictive, level_of(level))


@dataclass(frozen=True)
class Forecast:
    """Answer of a method for F frames.

    Parameters
    ----------
    mean : array (F, N I, N J)
        Conditional mean in raw units.
    distribution : Distribution, optional
        Per cell; None where only draws know it.
    draws : array (K, F, N I, N J), optional
        Ensemble.
    """

    mean: Array
    distribution: Distribution | None
    draws: Array | None

    def pit(self, truth: Array, seed: int) -> Array:
        """Return randomised PIT values (F, N I, N J) of the truth."""
        if self.distribution is not None:
            return self.distribution.pit(truth, seed)
        assert self.draws is not None
        return rank_pit(truth, self.draws, seed)


def rank_pit(truth: Array, draws: Array, seed: int) -> Array:
    """Return the randomised rank of the truth among draws (K, ...), as a PIT value."""
    below, at = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    position = np.random.default_rng(seed).random(truth.shape)
    return np.asarray((below + position * (at + 1)) / (len(draws) + 1))


def of_layers(
    layers: Reconstructor,
    observations: Observations,
    frames: NDArray[np.int64],
    *,
    samples: int,
    seed: int,
    steps: int | None = None,
) -> Forecast:
    """Return what the layers of a model say of held coarse cells.

    Parameters
    ----------
    layers : Reconstructor
        With its calibration.
    observations : Observations
        Of the frames and the history before them.
    frames : array (F,)
        Which frames are asked for.
    samples : int
        Draws; fewer than 2 leave the ensemble out.
    seed : int
        Of the draws.
    steps : int, optional
        Network calls per draw.

    Raises
    ------
    InvalidParameter
        If the model has no mean but that of draws, and there are none.
    """
    series = layers.series(observations, hard=True)
    series, belief = layers.complete(series, observations, hard=True)
    draws = None
    if samples > 1:
        draws = layers.collect(
            series, belief, observations.times, frames, range(samples), seed, steps=steps
        )
    if layers.samples_its_mean:
        if draws is None:
            raise InvalidParameter(f"This model needs at least 2 samples, not {samples}.")
        return Forecast(draws.mean(axis=0), None, draws)
    mean, predictive = layers.means(series, belief, frames)
    return Forecast(mean, Calibrated(predictive, layers.calibration), draws)

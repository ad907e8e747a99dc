"""Noise that is a function of seed, draw, time and cell, whatever is computed around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .steps import DAY_NS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .steps import TimeStep

MEMORY_TOLERANCE = 1e-3
MAX_MEMORY = 96


@dataclass(frozen=True)
class NoiseField:
    """Standard normal fields, AR(1) in time, addressed by draw and absolute time step.

    The noise of one draw and step is the same alone or among many, on a part of the series or on
    the whole of it, because it is generated from a key and never from a running state.

    Parameters
    ----------
    seed : int
        The user's seed.
    shape : tuple of int
        Shape of one field; it is generated whole and cropped afterwards.
    stream : int
        Separates independent uses (completion, refinement, sampler steps).
    rho : float
        Correlation from one time step to the next.

    Examples
    --------
    >>> field = NoiseField(seed=1, shape=(2, 2), stream=0)
    >>> bool((field(draw=3, step=7) == field(draw=3, step=7)).all())
    True
    """

    seed: int
    shape: tuple[int, ...]
    stream: int
    rho: float = 0.0

    def __call__(self, draw: int, step: int) -> NDArray[np.float32]:
        """Return the field of `draw` at absolute time `step`."""
        weights = self._weights()
        total = np.zeros(self.shape, np.float64)
        for age, weight in enumerate(weights):
            total += weight * self.generator(draw, step - age).standard_normal(self.shape)
        return total.astype(np.float32)

    def series(self, draw: int, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the fields (F, ...) of `draw` at `steps`; equal to calling each by itself."""
        weights = self._weights()
        needed = np.unique(steps[:, None] - np.arange(len(weights))[None, :])
        white = {int(s): self.generator(draw, int(s)).standard_normal(self.shape) for s in needed}
        return np.stack(
            [sum(w * white[int(s) - a] for a, w in enumerate(weights)) for s in steps]
        ).astype(np.float32)

    def generator(self, draw: int, step: int) -> np.random.Generator:
        """Return the generator of `draw` and `step`, for other distributions than the normal."""
        key = [self.seed & 0xFFFFFFFF, self.stream, draw, step & 0xFFFFFFFF]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))

    def _weights(self) -> NDArray[np.float64]:
        if self.rho <= 0:
            return np.ones(1)
        memory = int(np.ceil(np.log(MEMORY_TOLERANCE) / np.log(min(self.rho, 0.9999))))
        weights = self.rho ** np.arange(min(memory, MAX_MEMORY))
        return np.asarray(weights / np.sqrt((weights**2).sum()))


def steps_since_epoch(times: NDArray[np.datetime64], step_ns: int) -> NDArray[np.int64]:
    """Return the absolute step number (T,) of UTC `times`, for steps of one fixed length."""
    return times.astype("datetime64[ns]").astype(np.int64) // step_ns


def calendar_numbers(times: NDArray[np.datetime64], step: TimeStep) -> NDArray[np.int64]:
    """Return the absolute number (T,) of the steps that start at UTC `times`.

    Days, weeks and months are counted as the calendar counts them: where a clock change makes a
    day longer or shorter, neighbours still have neighbouring numbers, whether their days are cut
    at midnight of the zone, in UTC or at another fixed hour. Steps of a fixed length, and days
    and weeks in UTC or in a zone whose clock never changed, have the numbers of
    `steps_since_epoch`; months are numbered by themselves, and days of a zone that was on the
    other side of UTC in 1970 (London, which was ahead of it then) are one off.

    Examples
    --------
    >>> from geodiffrecon.steps import TimeStep
    >>> times = np.array(["2024-03-30T00", "2024-03-31T00", "2024-03-31T23"], "datetime64[ns]")
    >>> np.diff(calendar_numbers(times, TimeStep.parse("1D", tz="Europe/London"))).tolist()
    [1, 1]
    """
    numbers = step.steady(times)
    if step.unit != "day":
        return numbers
    return numbers + steps_since_epoch(step.start(np.zeros(1, np.int64)), step.count * DAY_NS)[0]

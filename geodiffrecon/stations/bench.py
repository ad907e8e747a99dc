"""The test that all methods sit: the same hidden stations, steps and days for each."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from ..errors import InvalidParameter, NoObservations
from .baseline_kriging import PooledKriging, RegressionKriging
from .baselines import Record, Weighted, draw, targets_at
from .forecast import JoinedForecast
from .hourly_kriging import HourlyKriging
from .oracle import Oracle
from .places import Places
from .tally import DayForecast
from .variogram import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..grid import NestedGrid
    from .baselines import Baseline
    from .folds import Fold
    from .forecast import SiteForecast
    from .network import StationNetwork

    Array = NDArray[np.float64]
    Contender = Callable[[int, Fold], SiteForecast]

HOURLY, POOLED = "kriging per step", "pooled square-root kriging"
RULE = "pooled kriging, 100 km"  # a usual rule of thumb; only its variance is fitted
ORACLE = "oracle"
BASELINES: dict[str, Callable[[], Baseline]] = {
    HOURLY: HourlyKriging,
    POOLED: PooledKriging,
    RULE: lambda: PooledKriging(Kernel(100.0, 0.05)),
    "regression kriging": RegressionKriging,
    "idw": Weighted,
    "nearest": lambda: Weighted(np.inf),
}
METHODS = (*BASELINES, ORACLE)
DAY_NS = 86_400_000_000_000
DRAW_STREAM = 1_000_003


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one method says at every hidden station.

    Parameters
    ----------
    forecast : JoinedForecast
        At the scored steps, without draws.
    daily : DayForecast or None
        Of day means, from draws at every step.
    seconds : float
        Fitting and predicting in all folds.
    """

    forecast: JoinedForecast
    daily: DayForecast | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Bench:
    """Stations, folds and steps of a trial.

    Parameters
    ----------
    network : StationNetwork
        From the first step of training to the last that is tested.
    grid : NestedGrid
        Whose CRS the stations are in.
    folds : tuple of Fold
        Each station is held out in one of them.
    train_steps : int
        Steps of `network` that training may see; those between them and the test are a buffer.
    first : int
        First step that is tested.
    every : int
        Every how many steps an error is scored; day means are of all steps.
    samples : int
        Draws; 0 leaves day means out.
    seed : int
        Of draws and of the random position of PIT values.
    external : Covariates, optional
        Weather per time, land per cell.
    signed : bool, optional
        Whether values may be negative; by default whether any is in training.

    Raises
    ------
    NoObservations
        If nothing is left to train or to test on.
    """

    network: StationNetwork
    grid: NestedGrid
    folds: tuple[Fold, ...]
    train_steps: int
    first: int
    every: int = 1
    samples: int = 100
    seed: int = 0
    external: Covariates | None = None
    signed: bool | None = None

    def __post_init__(self) -> None:
        values = self.network.values
        if not np.isfinite(values[: self.train_steps]).any():
            raise NoObservations("No station has a value in the training period; check --until.")
        if not np.isfinite(values[self.first :]).any():
            raise NoObservations(
                "No station has a value in the period to be scored; give later data or an "
                "earlier --from."
            )

    @property
    def frames(self) -> NDArray[np.int64]:
        """Steps (A,) of the network that are predicted: all where day means are scored."""
        return np.arange(self.first, len(self.network.times), 1 if self.samples else self.every)

    @property
    def picked(self) -> NDArray[np.int64]:
        """Indices (F,) into `frames` of the steps that are scored."""
        return np.arange(0, len(self.frames), self.every if self.samples else 1)

    @property
    def times(self) -> NDArray[np.datetime64]:
        """UTC starts (F,) of the scored steps."""
        return self.network.times[self.frames][self.picked]

    @property
    def truth(self) -> Array:
        """Readings (F, P) at the scored steps."""
        return np.asarray(self.network.values[self.frames][self.picked])

    @property
    def steps_per_day(self) -> int:
        """Steps in a whole day; 1 for days and longer steps."""
        return max(1, round(DAY_NS / self.network.step_ns))

    @cached_property
    def day(self) -> NDArray[np.datetime64]:
        """Local day (A,) of every predicted step."""
        clock = pd.DatetimeIndex(self.network.times[self.frames]).tz_localize("UTC")
        local = clock.tz_convert(self.network.calendar_tz).tz_localize(None)
        return local.to_numpy().astype("datetime64[D]")

    @cached_property
    def places(self) -> Places:
        """From the grid's coordinates to kilometres."""
        return Places.of(self.grid)

    @cached_property
    def distance_km(self) -> Array:
        """Distance (F, P) from each hidden station to the nearest given one that reported."""
        km = self.places.km(self.network.x, self.network.y)
        known = np.isfinite(self.truth)
        found = np.full(known.shape, np.inf)
        for fold in self.folds:
            nearest = found[:, fold.held]
            for station in np.flatnonzero(fold.given):
                apart = cdist(km[station : station + 1], km[fold.held])  # (1, held)
                apart = np.where(known[:, station, None], apart, np.inf)
                nearest = np.minimum(nearest, apart)
            found[:, fold.held] = nearest
        return found

    def given(self, fold: Fold) -> StationNetwork:
        """Return what a fold may know: other stations, training and test."""
        return self.network.only(fold.given)

    def baseline(self, name: str) -> Contender:
        """Return the baseline of that name, fitted anew in every fold.

        Raises
        ------
        InvalidParameter
            If there is none.
        """
        if name not in METHODS:
            raise InvalidParameter(f"No method is named {name!r}; choose of {', '.join(METHODS)}.")

        def contend(number: int, fold: Fold) -> SiteForecast:
            given = self.given(fold)
            signed = self.signed
            if signed is None:
                signed = bool((given.values[: self.train_steps] < 0).any())
            record = Record.of(given, self.places, self.grid, self.external, signed=signed)
            held = self.network.only(fold.held)
            at = targets_at(self.places, self.grid, self.external, held.x, held.y)
            own = held.values[: self.train_steps]
            method: Baseline = Oracle(own) if name == ORACLE else BASELINES[name]()
            method.fit(record.before(self.train_steps))
            found = method.predict(record, at, self.frames)
            if not self.samples:
                return found
            seed = self.seed + DRAW_STREAM * (number + 1)
            return found.with_draws(draw(found, method.rho, self.samples, seed))

        return contend

    def run(self, contender: Contender, before_fold: Callable[[int], None]) -> Outcome:
        """Return what `contender` says in all folds; only one fold's draws are held at a time.

        Parameters
        ----------
        contender : callable
            Takes the number of a fold and the fold; returns a forecast for `frames` at the
            stations held out, in their order, with draws where `samples` is not 0.
        before_fold : callable
            Called with the number of each fold.
        """
        began = time.monotonic()
        parts, daily, columns = [], [], []
        for number, fold in enumerate(self.folds):
            before_fold(number)
            found = contender(number, fold)
            columns.append(np.flatnonzero(fold.held))
            if self.samples and self.steps_per_day > 1 and found.draws is not None:
                daily.append(self._day_means(found.draws, columns[-1]))
            parts.append(found.only(self.picked))
        joined = JoinedForecast(tuple(parts), tuple(columns))
        whole = DayForecast.joined(daily, columns) if daily else None
        return Outcome(joined, whole, time.monotonic() - began)

    def _day_means(self, draws: NDArray[np.floating], held: NDArray[np.int64]) -> DayForecast:
        truth = self.network.values[self.frames][:, held]
        day = np.unique(self.day, return_inverse=True)[1].astype(np.int64)
        seed = self.seed + int(held[0])  # another position between draws in every fold
        return DayForecast.of(draws, truth, day, steps_per_day=self.steps_per_day, seed=seed)

    def fingerprint(self) -> str:
        """Return a SHA-256 of the stations' positions, times and values."""
        network = self.network
        digest = hashlib.sha256()
        for array in (network.x, network.y, network.times.astype(np.int64), network.values):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

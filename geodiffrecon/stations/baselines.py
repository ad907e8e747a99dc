"""What a model of stations must beat: records as simple methods read them, and the simplest two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.optimize import nnls
from scipy.signal import lfilter
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from .forecast import Power, SiteForecast, standard_quantile

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from ..covariates import Covariates
    from ..grid import NestedGrid
    from .network import StationNetwork
    from .places import Places

    Array = NDArray[np.float64]

LARGEST = 200  # stations that settings are fitted on; predictions read all
NEAREST_KM = 1e-3  # below this, stations stand at the same place
MAX_RHO = 0.99
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Targets:
    """Places to predict at.

    Parameters
    ----------
    km : float64, (P, 2)
        Kilometres on the plane of the record.
    cover : float64, (P, C)
        Covariates of the place; NaN where unknown.
    """

    km: Array
    cover: Array


@dataclass(frozen=True, eq=False)
class Record:
    """Readings as baselines take them.

    Parameters
    ----------
    times : datetime64, (T,)
        Regular steps.
    values : float64, (T, S)
        NaN where missing.
    places : Targets
        Of the S stations.
    weather : float64, (T, W)
        Features per time; NaN where missing.
    signed : bool
        Values may be negative.
    """

    times: NDArray[np.datetime64]
    values: Array
    places: Targets
    weather: Array
    signed: bool = False

    @classmethod
    def of(
        cls,
        network: StationNetwork,
        places: Places,
        grid: NestedGrid,
        external: Covariates | None,
        *,
        signed: bool,
    ) -> Self:
        """Return the record of `network`, with the covariates at its times and stations."""
        weather = np.empty((len(network.times), 0))
        if external is not None:
            weather = external.align(network.times)
        sites = targets_at(places, grid, external, network.x, network.y)
        return cls(network.times, network.values, sites, weather, signed)

    def before(self, step: int) -> Self:
        """Return the first `step` steps."""
        return replace(
            self, times=self.times[:step], values=self.values[:step], weather=self.weather[:step]
        )

    def thinned(self) -> Self:
        """Return the record of at most `LARGEST` stations, chosen at random but always alike."""
        count = self.values.shape[1]
        if count <= LARGEST:
            return self
        kept = np.sort(np.random.default_rng(0).choice(count, LARGEST, replace=False))
        places = Targets(self.places.km[kept], self.places.cover[kept])
        return replace(self, values=self.values[:, kept], places=places)

    def power(self, exponent: float = 0.5) -> Power:
        """Return the transformation of these values."""
        return Power(exponent, self.signed)


class Baseline(Protocol):
    """A method that predicts places from the stations of the same step, or of steps before it."""

    rho: float
    """Correlation of its errors from one step to the next, as training shows it."""

    def fit(self, record: Record) -> None:
        """Learn from the training period of the stations that are given."""
        ...

    def predict(self, record: Record, targets: Targets, frames: NDArray[np.int64]) -> SiteForecast:
        """Return distributions at `targets` (P) in the steps `frames` (F,) of `record`."""
        ...


@dataclass(frozen=True)
class Spread:
    """Standard deviation of errors that grows with the level, in transformed units.

    Parameters
    ----------
    constant, slope : float
        Variance: ``constant + slope · level²``.
    """

    constant: float
    slope: float

    @classmethod
    def fit(cls, level: Array, errors: Array) -> Self:
        """Fit to `errors` at `level` (NaN = unknown), so that standardised ones have variance 1."""
        known = np.isfinite(level) & np.isfinite(errors)
        if not known.any():
            return cls(1.0, 0.0)
        square, wanted = level[known] ** 2, errors[known] ** 2
        design = np.stack([np.ones_like(square), square], axis=1)
        # Weighted as squares of normal errors scatter: in proportion to their mean.
        weight = 1 / (square + square.mean() + TINY)
        found, _ = nnls(design * weight[:, None], wanted * weight)
        variance = np.maximum(design @ found, TINY)
        factor = float((wanted / variance).mean())
        return cls(factor * float(found[0]) + TINY, factor * float(found[1]))

    def __call__(self, level: Array) -> Array:
        """Return the standard deviation at `level`."""
        return np.sqrt(self.constant + self.slope * level**2)


class Weighted:
    """Weights from distance alone, and a spread fitted to leaving each station out.

    Parameters
    ----------
    power : float
        Of inverse distance; infinite for the nearest station.
    """

    def __init__(self, power: float = 2.0) -> None:
        self.power = power
        self.rho = 0.0

    def fit(self, record: Record) -> None:
        """Learn the spread of errors by leaving each station out."""
        record = record.thinned()
        to_root = record.power()
        apart = cdist(record.places.km, record.places.km)
        np.fill_diagonal(apart, np.inf)  # a station tells nothing of itself
        level = to_root.forward(self._weighted(record.values, apart))
        z = to_root.forward(record.values)
        self._spread = Spread.fit(level, z - level)
        self._usual = usual(z)
        self.rho = lag_one((z - level) / self._spread(level))

    def predict(self, record: Record, targets: Targets, frames: NDArray[np.int64]) -> SiteForecast:
        """Return distributions around the weighted mean of what was reported in each step."""
        apart = cdist(targets.km, record.places.km)
        to_root = record.power()
        level = to_root.forward(self._weighted(record.values[frames], apart))
        scale = self._spread(level)
        return with_usual(record.times[frames], level, scale, to_root, self._usual)

    def _weighted(self, values: Array, apart: Array) -> Array:
        """Return means (F, P) of `values` (F, S) with weights from distances `apart` (P, S)."""
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        if np.isfinite(self.power):
            weight = np.maximum(apart, NEAREST_KM).T ** -self.power  # (S, P)
            with np.errstate(invalid="ignore"):
                return np.asarray((filled @ weight) / (known @ weight))
        found = np.full((len(values), len(apart)), np.nan)
        for place, row in enumerate(apart):
            order = np.argsort(row, kind="stable")[: np.isfinite(row).sum()]
            first = order[known[:, order].argmax(axis=1)]
            picked = values[np.arange(len(values)), first]
            found[:, place] = np.where(known[:, order].any(axis=1), picked, np.nan)
        return found


def targets_at(
    places: Places, grid: NestedGrid, external: Covariates | None, x: Array, y: Array
) -> Targets:
    """Return the targets at `x`, `y` (P,) in the CRS of `grid`, with their covariates."""
    cover = np.empty((len(x), 0))
    if external is not None and external.per_cell is not None:
        maps, level = external.cells(grid)
        row, col, inside = grid.cell_of(x, y, level=level)
        cover = np.where(inside[:, None], maps[:, row, col].T.astype(np.float64), np.nan)
    return Targets(places.km(x, y), cover)


def usual(z: Array) -> tuple[float, float]:
    """Return mean and standard deviation of all known `z`: what is said where nobody reports."""
    known = z[np.isfinite(z)]
    return (float(known.mean()), float(known.std()) + TINY) if known.size else (0.0, 1.0)


def with_usual(
    times: NDArray[np.datetime64],
    location: Array,
    scale: Array,
    power: Power,
    fallback: tuple[float, float],
) -> SiteForecast:
    """Return a forecast with the `usual` level where `location` (F, P) is NaN."""
    known = np.isfinite(location)
    return SiteForecast(
        times,
        np.where(known, location, fallback[0]),
        np.where(known, np.maximum(scale, TINY), fallback[1]),
        power,
    )


def lag_one(errors: Array) -> float:
    """Return the correlation of standardised `errors` (T, S) from one step to the next.

    Examples
    --------
    >>> lag_one(np.array([[1.0], [1.0], [np.nan], [-1.0]]))
    0.99
    """
    first, second = errors[:-1], errors[1:]
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(np.clip((first * second).sum() / size, 0.0, MAX_RHO)) if size > 0 else 0.0


def draw(forecast: SiteForecast, rho: float, samples: int, seed: int) -> NDArray[np.float32]:
    """Return draws (K, F, P) in raw units, AR(1) over the steps and independent between sites.

    Parameters
    ----------
    forecast : SiteForecast
        Of consecutive steps.
    rho : float
        Correlation from one step to the next.
    samples : int
        K; the first draws are the same whatever it is.
    seed : int
        Of the noise.
    """
    steps, sites = forecast.location.shape
    found = np.empty((samples, steps, sites), np.float32)
    for number in range(samples):
        white = np.random.default_rng([seed, number]).standard_normal((steps, sites))
        white[1:] *= np.sqrt(1 - rho**2)
        noise = lfilter([1.0], [1.0, -rho], white, axis=0)
        if forecast.shape:
            noise = standard_quantile(ndtr(noise), forecast.shape)
        found[number] = forecast.power.inverse(forecast.location + forecast.scale * noise)
    return found

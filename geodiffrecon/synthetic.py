"""Simulated data with known truth: daily PM2.5 around Beijing, and two fast fields for tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import ndimage

from .atmosphere import (
    BOUNDS,
    CITIES,
    FINE,
    PAD,
    TIME_ZONE,
    Emissions,
    Wind,
    autoregressive,
    hourly_weather,
    inflow,
    transport,
)
from .errors import InvalidParameter
from .progress import Progress, silent

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_SPIN_UP = 72  # hours simulated before the first step, so that no field starts from nothing


@dataclass(frozen=True)
class SimulatedPM25:
    """Simulate PM2.5 over Beijing–Tianjin–Hebei by hourly advection and diffusion.

    Emissions of traffic, heating and industry are carried by a wind with fronts, breezes and
    eddies, diluted in a boundary layer, washed out by rain and fed by air from outside. The
    field is fiction: places and magnitudes are plausible, no value was ever measured.

    Parameters
    ----------
    days : int
        Length of the record in days.
    start : str
        First local day (Asia/Shanghai).
    freq : str
        Step, a pandas frequency that is a whole number of hours, such as ``"1D"`` or ``"6h"``.
    seed : int
        Everything random follows from it.

    Examples
    --------
    >>> simulation = SimulatedPM25(days=2, seed=1)
    >>> simulation.times[0].isoformat()
    '2021-12-31T16:00:00'
    >>> simulation.pm25().shape
    (2, 32, 32)
    """

    days: int = 730
    start: str = "2022-01-01"
    freq: str = "1D"
    seed: int = 0

    @property
    def step_hours(self) -> int:
        """Hours in one step.

        Raises
        ------
        InvalidParameter
            If the step is not a whole number of hours or does not divide the record.
        """
        hours = pd.Timedelta(self.freq) / pd.Timedelta("1h")
        if self.days < 1 or hours < 1 or hours % 1 or (24 * self.days) % hours:
            raise InvalidParameter(
                f"Steps of {self.freq!r} do not divide {self.days} days of whole hours;"
                " choose a step such as '1h', '6h' or '1D'."
            )
        return int(hours)

    @property
    def times(self) -> pd.DatetimeIndex:
        """Starts of the steps in UTC without a zone, as cubes store them."""
        first = pd.Timestamp(self.start, tz=TIME_ZONE).tz_convert("UTC").tz_localize(None)
        steps = 24 * self.days // self.step_hours
        return pd.date_range(first, periods=steps, freq=f"{self.step_hours}h", unit="ns")

    def weather(self) -> pd.DataFrame:
        """Return the weather that drives the field, one row a step.

        Returns
        -------
        pandas.DataFrame
            Index ``time`` (local, with offset); ``wind_u`` and ``wind_v`` (m/s, towards east and
            north), ``wind_speed`` (m/s), ``temperature_c``, ``boundary_layer_m`` and ``rain_mm``
            (sum of the step).
        """
        hourly = self._hourly_weather.iloc[_SPIN_UP:]
        steps = np.arange(len(hourly)) // self.step_hours
        table = hourly.groupby(steps).mean()
        table["rain_mm"] = hourly["rain_mm"].groupby(steps).sum()
        table.index = self.times.tz_localize("UTC").tz_convert(TIME_ZONE).rename("time")
        return table.round(2)

    def pm25(self, *, progress: Progress = silent) -> NDArray[np.float32]:
        """Return the true field, ``(time, y, x)`` in µg/m³, north row first."""
        weather = self._hourly_weather
        emission = Emissions(pd.DatetimeIndex(weather.index), self._stream(1))
        wind = Wind(weather, self._stream(2))
        outside = inflow(weather)
        depth = weather["boundary_layer_m"].to_numpy()
        loss = 0.006 + 8.0 / depth + 0.05 * weather["rain_mm"].to_numpy() ** 0.7
        field = outside[0].copy()
        total = np.zeros((len(self.times), FINE, FINE))
        for hour in range(len(weather)):
            field = transport(field, wind(hour), outside[hour])
            field = (field + emission(hour) / depth[hour]) * np.exp(-loss[hour])
            if hour >= _SPIN_UP:
                step = (hour - _SPIN_UP) // self.step_hours
                total[step] += field[PAD:-PAD, PAD:-PAD]
            if hour % 240 == 0:
                progress(hour, len(weather), "Simulating PM2.5")
        return (total / self.step_hours).astype(np.float32)

    def truth(self, *, progress: Progress = silent) -> xr.Dataset:
        """Return the true field as a complete cube on the fine grid (factor 4).

        Returns
        -------
        xarray.Dataset
            Variable ``pm25`` (µg/m³) with dims ``(time, latitude, longitude)``.
        """
        from .cube import make_cube
        from .grid import NestedGrid

        grid = NestedGrid.from_bounds(BOUNDS, crs="EPSG:4326", shape=(8, 8), factor=4)
        return make_cube(
            self.pm25(progress=progress),
            self.times.to_numpy(),
            grid,
            value="pm25",
            level="fine",
            aggregation="mean",
            freq=self.freq,
            calendar_tz=TIME_ZONE,
            value_attrs={"units": "ug m-3", "long_name": "simulated PM2.5"},
            attrs={"title": "SIMULATED PM2.5 over Beijing-Tianjin-Hebei, not measured"},
        )

    def stations(
        self,
        field: NDArray[np.floating],
        *,
        n: int = 60,
        relative_noise: float = 0.08,
        noise: float = 2.0,
        outages: float = 0.06,
    ) -> pd.DataFrame:
        """Observe a field at irregular stations with noise, outages and gaps.

        Parameters
        ----------
        field : ndarray, shape (time, 32, 32)
            What `pm25` returned.
        n : int
            Number of stations; most stand in towns, so that many coarse cells have none.
        relative_noise, noise : float
            Standard deviations of the multiplicative error (also of each site's constant
            factor) and of the additive one (µg/m³).
        outages : float
            Share of steps lost in outages of about a week; a third as many single values are
            blank.

        Returns
        -------
        pandas.DataFrame
            Columns ``station, longitude, latitude, time, pm25``: local step starts with offset,
            µg/m³ with one decimal; rows of outages are absent, blanks are NaN.
        """
        rng = self._stream(3)
        longitude, latitude = _sites(n, rng)
        row, column = (np.clip(a, 0, FINE - 1) for a in _fine_position(longitude, latitude))
        truth = np.stack([ndimage.map_coordinates(f, (row, column), order=1) for f in field])
        site = np.exp(rng.normal(0, relative_noise, n))
        shape = truth.shape  # (time, station)
        seen = truth * site * np.exp(rng.normal(0, relative_noise, shape))
        seen = np.maximum(seen + rng.normal(0, noise, shape), 1.0).round(1)
        seen[rng.random(shape) < outages / 3] = np.nan
        running = ~_outages(shape, outages, rng)
        local = self.times.tz_localize("UTC").tz_convert(TIME_ZONE)
        step, station = np.nonzero(running)
        return pd.DataFrame(
            {
                "station": np.array([f"S{k + 1:02d}" for k in range(n)])[station],
                "longitude": longitude[station],
                "latitude": latitude[station],
                "time": local[step],
                "pm25": seen[step, station],
            }
        )

    @cached_property
    def _hourly_weather(self) -> pd.DataFrame:
        """Weather of every hour, the spin-up first."""
        first = pd.Timestamp(self.start, tz=TIME_ZONE) - pd.Timedelta(hours=_SPIN_UP)
        times = pd.date_range(first, periods=24 * self.days + _SPIN_UP, freq="1h")
        return hourly_weather(times, self._stream(0))

    def _stream(self, index: int) -> np.random.Generator:
        """Return an independent generator for each part, so that none shifts another."""
        return np.random.default_rng([self.seed, index])


def _fine_position(longitude: Array, latitude: Array) -> tuple[Array, Array]:
    """Fractional row and column of points, whole numbers at cell centres."""
    west, south, east, north = BOUNDS
    row = (north - latitude) / (north - south) * FINE - 0.5
    return row, (longitude - west) / (east - west) * FINE - 0.5


def _sites(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Place stations: half in and around towns, the others anywhere, fewer in the mountains."""
    west, south, east, north = BOUNDS
    cities = np.array(CITIES)
    inside = (cities[:, 0] > west) & (cities[:, 0] < east)
    inside &= (cities[:, 1] > south) & (cities[:, 1] < north)
    towns = cities[inside]
    weight = towns[:, 3] / towns[:, 3].sum()
    found: list[tuple[float, float]] = []
    while len(found) < n:
        town = towns[rng.choice(len(towns), p=weight)]
        near = rng.normal(town[:2], town[2] * np.array([0.018, 0.014]))
        anywhere = rng.uniform((west, south), (east, north))
        lon, lat = near if rng.random() < 0.5 else anywhere
        plain = lat < 39.95 + 0.40 * (lon - 115.4) or rng.random() < 0.5
        if west < lon < east and south < lat < north and plain:
            found.append((round(float(lon), 4), round(float(lat), 4)))
    longitude, latitude = np.array(found).T
    return longitude, latitude


def _outages(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark spells of about seven steps that a station is silent, (time, station)."""
    starts = rng.random(shape) < share / 7
    length = rng.geometric(1 / 7, shape)
    silent_steps = np.zeros(shape, dtype=bool)
    for step, station in zip(*np.nonzero(starts), strict=True):
        silent_steps[step : step + length[step, station], station] = True
    return silent_steps


def plumes(shape: tuple[int, int], steps: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a fast, smooth, positive field: hills that drift, swell and fade.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    steps : int
        Number of frames.
    seed : int
        Everything random follows from it.

    Returns
    -------
    ndarray of float32, shape (steps, rows, columns)

    Examples
    --------
    >>> field = plumes((8, 12), 5, seed=3)
    >>> field.shape, bool((field > 0).all())
    ((5, 8, 12), True)
    """
    rng, hills = np.random.default_rng([seed, 10]), 6
    place, drift = rng.uniform(size=(2, hills)), rng.normal(0, 0.02, (2, hills))
    width = rng.uniform(0.10, 0.22, hills)
    swell = np.stack([np.exp(0.6 * autoregressive(steps, 8, rng)) for _ in range(hills)], axis=1)
    time = np.arange(steps)[:, None]
    bumps = []
    for axis, size in enumerate(shape):
        centre = (place[axis] + drift[axis] * time)[..., None]  # (time, hill, 1)
        gap = (np.arange(size) + 0.5) / size - centre
        gap -= np.round(gap)  # what leaves on one side comes back on the other
        bumps.append(np.exp(-0.5 * (gap / width[:, None]) ** 2))
    field = 5 + 10 * np.einsum("th,thy,thx->tyx", swell, *bumps)
    return np.asarray(field, dtype=np.float32)


def counts(
    shape: tuple[int, int], steps: int, seed: int = 0, *, steps_per_day: int = 24, mean: float = 5.0
) -> NDArray[np.int32]:
    """Return Poisson flows with a daily and a weekly cycle, for tests of ``sum``.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    steps : int
        Number of frames; the first is midnight of a Monday.
    seed : int
        Everything random follows from it.
    steps_per_day : int
        Frames in a day.
    mean : float
        Mean flow of a cell and frame.

    Returns
    -------
    ndarray of int32, shape (steps, rows, columns)

    Examples
    --------
    >>> flows = counts((8, 8), 48, seed=0)
    >>> flows.shape, flows.dtype.name, bool((flows >= 0).all())
    ((48, 8, 8), 'int32', True)
    """
    rng = np.random.default_rng([seed, 11])
    busy = np.exp(ndimage.gaussian_filter(rng.normal(size=shape), 1.0, mode="wrap") * 3)
    work = 1 / (1 + np.exp(-3 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)))
    day = np.arange(steps) / steps_per_day
    angle = 2 * np.pi * day[:, None, None]
    cycle = 1 - 0.6 * np.cos(angle - 0.9) + 0.35 * (2 * work - 1) * np.sin(2 * angle)
    week = np.where(day % 7 < 5, 1.1, 0.75)[:, None, None]
    mood = np.exp(0.2 * autoregressive(steps, steps_per_day / 4, rng))[:, None, None]
    rate = busy * np.clip(cycle, 0.05, None) * week * mood
    return np.asarray(rng.poisson(mean * rate / rate.mean()), dtype=np.int32)

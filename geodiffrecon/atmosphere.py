"""The weather, emissions and transport of a simulated atmosphere around Beijing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import ndimage, signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


BOUNDS = (115.4, 39.4, 117.5, 41.1)
TIME_ZONE = "Asia/Shanghai"

FINE, PAD = 32, 8  # cells a side; the padding holds what the wind carries in
_METRES_PER_DEGREE = 111_320.0

# longitude, latitude, radius in km, and strength of traffic, heating and industry
CITIES = (
    (116.40, 39.91, 13.0, 10.0, 5.0, 2.0),  # Beijing
    (116.66, 39.90, 6.0, 2.5, 1.5, 1.0),  # Tongzhou
    (116.70, 39.52, 6.0, 2.0, 2.0, 2.5),  # Langfang
    (117.20, 39.13, 12.0, 7.0, 5.0, 8.0),  # Tianjin, south of the map
    (115.47, 38.98, 9.0, 3.0, 5.0, 5.0),  # towards Baoding, south of the map
    (117.95, 39.63, 9.0, 3.0, 4.0, 10.0),  # towards Tangshan, east of the map
    (115.97, 39.49, 5.0, 1.5, 2.0, 2.0),  # Zhuozhou
    (116.14, 39.74, 5.0, 1.5, 1.5, 2.5),  # Fangshan
    (116.34, 39.73, 6.0, 2.0, 1.5, 1.0),  # Daxing
    (116.65, 40.13, 5.0, 1.8, 1.0, 1.2),  # Shunyi
    (116.23, 40.22, 5.0, 1.5, 1.0, 0.5),  # Changping
    (116.63, 40.32, 4.0, 0.7, 0.7, 0.4),  # Huairou
    (116.84, 40.38, 4.0, 0.7, 0.8, 0.3),  # Miyun
    (117.12, 40.14, 4.0, 0.8, 1.0, 0.6),  # Pinggu
    (117.41, 40.05, 5.0, 1.0, 1.4, 1.5),  # Jizhou
    (117.08, 39.98, 5.0, 1.0, 1.2, 1.5),  # Sanhe
    (117.31, 39.72, 5.0, 1.0, 1.5, 1.5),  # Baodi
    (115.97, 40.46, 4.0, 0.5, 0.8, 0.3),  # Yanqing
)
_ROADS = (
    ((116.40, 39.91), (116.66, 39.75), (116.85, 39.50), (117.20, 39.13)),
    ((116.40, 39.91), (116.14, 39.74), (115.97, 39.49), (115.47, 38.98)),
    ((116.40, 39.91), (116.65, 40.13), (116.84, 40.38), (117.20, 40.70)),
    ((116.40, 39.91), (116.23, 40.22), (115.97, 40.46), (115.40, 40.60)),
    ((116.40, 39.91), (117.08, 39.98), (117.41, 40.05), (117.95, 39.63)),
)

_BASIN = (np.array([115.97]), np.array([40.46]))  # Yanqing, a plain inside the mountains
_EDGE = np.minimum(np.arange(FINE + 2 * PAD), np.arange(FINE + 2 * PAD)[::-1])
_RIM = np.clip(1 - np.minimum(_EDGE[:, None], _EDGE) / PAD, 0, 1) ** 2  # share of outside air


def hourly_weather(times: pd.DatetimeIndex, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the weather of every hour: fronts, breezes, seasons and showers.

    Parameters
    ----------
    times : pandas.DatetimeIndex
        Hours in local time.
    rng : numpy.random.Generator
        Source of everything random.

    Returns
    -------
    pandas.DataFrame
        Columns ``wind_u, wind_v, wind_speed`` (m/s), ``temperature_c``, ``boundary_layer_m``
        and ``rain_mm`` (of the hour).
    """
    hour, warmth = times.hour.to_numpy(), _warmth(times)
    stagnation, front = _synoptic(len(times), rng)
    sun = np.cos(2 * np.pi * (hour - 14) / 24)
    breeze = 0.9 * np.cos(2 * np.pi * (hour - 16) / 24)  # upslope, from the south-west
    gust = np.stack([autoregressive(len(times), 8, rng) for _ in range(3)])
    push = front * (1.15 - 0.35 * warmth)
    u = 0.2 + 0.5 * breeze + 0.2 * stagnation + 2.2 * push + 0.7 * gust[0]
    v = 0.2 + 0.8 * breeze + 0.9 * stagnation - 2.8 * push + 0.7 * gust[1]
    temperature = 12.5 + 14.5 * warmth + 4 * sun + 1.5 * stagnation - 2.5 * front + gust[2]
    depth = (720 + 260 * warmth) * np.exp(0.55 * sun - 0.33 * stagnation + 0.25 * front)
    return pd.DataFrame(
        {
            "wind_u": u,
            "wind_v": v,
            "wind_speed": np.hypot(u, v),
            "temperature_c": temperature,
            "boundary_layer_m": np.clip(depth, 120, 3000),
            "rain_mm": _rain(stagnation, warmth, rng),
        },
        index=times,
    )


class Emissions:
    """Hourly emission into the air column, one map of the padded grid at a call.

    Parameters
    ----------
    times : pandas.DatetimeIndex
        Hours in local time.
    rng : numpy.random.Generator
        Source of the daily ups and downs of each town.
    """

    def __init__(self, times: pd.DatetimeIndex, rng: np.random.Generator) -> None:
        longitude, latitude = _padded_coordinates()
        cities = np.array(CITIES)
        distance = _kilometres(longitude, latitude, cities[:, 0], cities[:, 1])
        plumes = np.exp(-0.5 * (distance / (1.3 * cities[:, 2, None, None])) ** 2)
        plumes /= plumes.sum(axis=(1, 2), keepdims=True)
        self._cities = plumes  # (city, y, x)
        self._strength = cities[:, 3:]  # traffic, heating, industry
        days = len(times) // 24 + 1
        self._daily = np.exp(0.3 * np.stack([autoregressive(days, 3, rng) for _ in cities]) - 0.045)
        plain = 1.0 - _mountains()
        self._diffuse = np.stack([_roads(longitude, latitude), plain, np.zeros_like(plain)])
        self._activity = _activity(times)  # (hour, 3)

    def __call__(self, hour: int) -> Array:
        """Return what one hour emits, µg/m², shape (y, x)."""
        active = self._activity[hour]
        city = (self._strength @ active) * self._daily[:, hour // 24]
        spread = np.tensordot(active * (0.055, 0.016, 0.0), self._diffuse, axes=1)
        emitted: Array = 13_000 * (np.tensordot(city, self._cities, axes=1) + spread)
        return emitted


class Wind:
    """Hourly wind in cells an hour: the regional wind, eddies, and the shelter of mountains.

    Parameters
    ----------
    weather : pandas.DataFrame
        What `hourly_weather` returned.
    rng : numpy.random.Generator
        Source of the eddies, which no weather column shows.
    """

    def __init__(self, weather: pd.DataFrame, rng: np.random.Generator) -> None:
        self._regional = weather[["wind_u", "wind_v"]].to_numpy()
        modes = 6
        angle, length = rng.uniform(0, 2 * np.pi, modes), rng.uniform(12, 36, modes)  # cells
        self._wave = 2 * np.pi / length * np.stack([np.cos(angle), np.sin(angle)])  # (2, mode)
        y, x = np.indices((FINE + 2 * PAD,) * 2)
        phase = np.multiply.outer(self._wave[0], x) + np.multiply.outer(self._wave[1], y)
        self._sine, self._cosine = np.sin(phase), np.cos(phase)
        self._swing = np.stack(
            [autoregressive(len(weather), 30, rng) for _ in range(2 * modes)], axis=1
        )
        self._shelter = 1.0 - 0.45 * _mountains()

    def __call__(self, hour: int) -> Array:
        """Return the way of the air in one hour, columns then rows, shape (2, y, x)."""
        sine, cosine = np.split(0.5 * self._swing[hour], 2)
        # a stream function of waves: its eddies neither gather nor scatter the air
        slope = sine[:, None, None] * self._cosine - cosine[:, None, None] * self._sine
        direction = self._wave / np.hypot(*self._wave)
        eddy_u = np.tensordot(-direction[1], slope, axes=1)
        eddy_v = np.tensordot(-direction[0], slope, axes=1)  # rows count southwards
        u = (self._regional[hour, 0] + eddy_u) * self._shelter
        v = (self._regional[hour, 1] + eddy_v) * self._shelter
        width, height = _cell_metres()
        moved: Array = 3600 * np.stack([u / width, -v / height])  # columns, rows
        return moved


def transport(field: Array, moved: Array, inflow: Array) -> Array:
    """Advect one hour (semi-Lagrangian), diffuse, and let outside air in at the rim.

    Parameters
    ----------
    field : ndarray, shape (y, x)
        Concentration on the padded grid, µg/m³.
    moved : ndarray, shape (2, y, x)
        What `Wind` returned.
    inflow : ndarray, shape (y, x)
        Concentration outside.

    Returns
    -------
    ndarray, shape (y, x)
    """
    y, x = np.indices(field.shape, dtype=float)
    departure = np.stack([y - moved[1], x - moved[0]])
    carried = ndimage.map_coordinates(field, departure, order=1, mode="nearest")
    carried = ndimage.gaussian_filter(carried, sigma=0.7, mode="nearest")  # about 2 200 m²/s
    carried += _RIM * (inflow - carried)
    return np.asarray(carried, dtype=float)


def inflow(weather: pd.DataFrame) -> Array:
    """Return the air outside: dirty from the southern plain, clean from the mountains.

    Parameters
    ----------
    weather : pandas.DataFrame
        What `hourly_weather` returned.

    Returns
    -------
    ndarray, shape (hour, y, x)
        Concentration on the padded grid, µg/m³; only its rim matters.
    """
    south = ndimage.gaussian_filter1d(weather["wind_v"].to_numpy(), 10)
    depth = ndimage.gaussian_filter1d(weather["boundary_layer_m"].to_numpy(), 12)
    wash = np.exp(-0.1 * ndimage.gaussian_filter1d(weather["rain_mm"].to_numpy(), 6))
    level = 20 + 48 * wash * (700 / depth) ** 0.9 * np.exp(0.4 * np.tanh(south / 1.5))
    side = np.linspace(0.65, 1.20, FINE + 2 * PAD)[:, None] * (1 - 0.35 * _mountains())
    return np.asarray(level[:, None, None] * side, dtype=float)


def _synoptic(hours: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Stagnation that builds up over days (mean 0, spread 1), and the fronts that end it."""
    days = hours // 24 + 40
    noise, level = rng.normal(size=days), np.zeros(days)
    for day in range(2, days):
        level[day] = 1.02 * level[day - 1] - 0.52 * level[day - 2] + noise[day]
    level = level[30:] / 1.62
    steps = np.arange(hours) / 24
    smooth = ndimage.map_coordinates(level, steps[None] + 2, order=3, mode="nearest")
    fall = -np.gradient(smooth) * 24
    return smooth, 1.6 * np.tanh(np.clip(fall, 0, None) / 1.6)


def _rain(stagnation: Array, warmth: Array, rng: np.random.Generator) -> Array:
    """Hourly rain in mm: summer showers and rare, light winter snow."""
    humid = autoregressive(len(stagnation), 12, rng) + 0.3 * stagnation
    excess = np.clip(humid - (2.1 - 0.75 * warmth), 0, None)
    return np.asarray(1.9 * np.exp(0.9 * warmth) * excess, dtype=float)


def _activity(times: pd.DatetimeIndex) -> Array:
    """Share of traffic, heating and industry that emits, (hour, 3); each averages near one."""
    hour, weekday = times.hour.to_numpy(), times.day_of_week.to_numpy()
    rush = sum(np.exp(-0.5 * ((hour - peak) / 1.8) ** 2) for peak in (8, 18))
    week = np.array([1.05, 1.05, 1.05, 1.05, 1.12, 0.86, 0.78])[weekday]
    traffic = week * (0.55 + 0.15 * (hour >= 6) + 0.9 * rush)
    evening = 1 + 0.35 * np.cos(2 * np.pi * (hour - 21) / 24)
    heating = evening * (0.25 + 1.6 / (1 + np.exp(8 * (_warmth(times) + 0.45))))
    industry = np.where(weekday == 6, 0.88, 1.02) * np.ones_like(evening)
    return np.stack([traffic, heating, industry], axis=1)


def _warmth(times: pd.DatetimeIndex) -> Array:
    """Season from -1 (late January) to 1 (late July)."""
    day = times.day_of_year.to_numpy() + times.hour.to_numpy() / 24
    return np.asarray(-np.cos(2 * np.pi * (day - 22) / 365.25), dtype=float)


def autoregressive(steps: int, memory: float, rng: np.random.Generator) -> Array:
    """Draw a first-order autoregression of mean 0 and variance 1.

    Parameters
    ----------
    steps : int
        Length of the series.
    memory : float
        Steps after which the correlation has fallen to 1/e.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    ndarray, shape (steps,)

    Examples
    --------
    >>> series = autoregressive(1000, 3.0, np.random.default_rng(0))
    >>> bool(0.5 < series.std() < 1.5)
    True
    """
    keep = np.exp(-1 / memory)
    noise = rng.normal(size=steps) * np.sqrt(1 - keep**2)
    noise[0] /= np.sqrt(1 - keep**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -keep], noise), dtype=float)


def _cell_metres() -> tuple[float, float]:
    """Width and height of a fine cell."""
    west, south, east, north = BOUNDS
    middle = np.cos(np.radians((south + north) / 2))
    scale = _METRES_PER_DEGREE / FINE
    return (east - west) * scale * float(middle), (north - south) * scale


def _padded_coordinates() -> tuple[Array, Array]:
    """Longitudes and latitudes of the padded cells, each (y, x), north row first."""
    west, south, east, north = BOUNDS
    centre = (np.arange(-PAD, FINE + PAD) + 0.5) / FINE
    longitude, latitude = np.meshgrid(
        west + centre * (east - west), north - centre * (north - south)
    )
    return longitude, latitude


def _kilometres(longitude: Array, latitude: Array, lon: Array, lat: Array) -> Array:
    """Distance of every cell from every place, (place, y, x)."""
    scale = _METRES_PER_DEGREE / 1000
    east = (longitude - lon[:, None, None]) * np.cos(np.radians(40.25))
    return np.asarray(scale * np.hypot(east, latitude - lat[:, None, None]), dtype=float)


def _mountains() -> Array:
    """Share of mountain in every padded cell: the ranges north-west of the plain."""
    longitude, latitude = _padded_coordinates()
    foot = 39.72 + 0.40 * (longitude - 115.4)
    height = 1 / (1 + np.exp(-(latitude - foot) / 0.09))
    basin = np.exp(-0.5 * (_kilometres(longitude, latitude, *_BASIN)[0] / 14) ** 2)
    return np.asarray(height * (1 - 0.7 * basin), dtype=float)


def _roads(longitude: Array, latitude: Array) -> Array:
    """Traffic along the trunk roads: one where a road runs, falling off over a cell."""
    places = [
        np.linspace(start, end, 60) for road in _ROADS for start, end in itertools.pairwise(road)
    ]
    lon, lat = np.concatenate(places).T
    distance = _kilometres(longitude, latitude, lon, lat).min(axis=0)
    return np.asarray(np.exp(-0.5 * (distance / 4.0) ** 2), dtype=float)

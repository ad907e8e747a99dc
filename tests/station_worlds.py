"""Small networks of stations in simulated fields, whose truth is known everywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from geodiffrecon.covariates import Covariates
from geodiffrecon.grid import NestedGrid
from geodiffrecon.stations.kernel import StationKernel
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.settings import StationSettings, station_preset

FIRST = np.datetime64("2024-03-01T00", "ns")
HOUR = np.timedelta64(3_600_000_000_000, "ns")
SIDE_KM = 200.0


@dataclass(frozen=True)
class World:
    """A network, and stations of the same field that no model is given."""

    network: StationNetwork
    hidden: StationNetwork
    grid: NestedGrid
    external: Covariates | None = None


def tiny(**changes: object) -> StationSettings:
    """Return settings that fit in a few seconds."""
    base = replace(
        station_preset("tiny"), kernel_steps=25, kernel_frames=24, rows=6000, steps=40, groups=2,
        fields=96, chain=4,
    )  # fmt: skip
    return replace(base, **changes)


def square(factor: int = 2) -> NestedGrid:
    """Return 4 x 4 coarse cells of 50 km."""
    bounds = (400_000, 4_400_000, 600_000, 4_600_000)
    return NestedGrid.from_bounds(bounds, crs="EPSG:32650", shape=(4, 4), factor=factor)


def places(count: int, seed: int) -> np.ndarray:
    """Return positions (count, 2) in the square, in km from its south-western corner."""
    return np.random.default_rng(seed).uniform(3, SIDE_KM - 3, (count, 2))


def gaussian_field(
    km: np.ndarray, hours: int, seed: int, *, reach: float = 60.0, memory: float = 0.9
) -> np.ndarray:
    """Return a Gaussian process (hours, n): exponential in space, AR(1) in time."""
    rng = np.random.default_rng(seed)
    apart = np.linalg.norm(km[:, None] - km[None], axis=-1)
    root = np.linalg.cholesky(np.exp(-apart / reach) + 1e-9 * np.eye(len(km)))
    noise = rng.standard_normal((hours, len(km))) @ root.T
    field = np.empty_like(noise)
    field[0] = noise[0]
    for hour in range(1, hours):
        field[hour] = memory * field[hour - 1] + np.sqrt(1 - memory**2) * noise[hour]
    return field


def network_of(km: np.ndarray, values: np.ndarray, name: str = "S") -> StationNetwork:
    """Return stations at `km` (n, 2) that read `values` (T, n)."""
    return StationNetwork(
        tuple(f"{name}{k:02}" for k in range(len(km))), 400_000 + 1000 * km[:, 0],
        4_400_000 + 1000 * km[:, 1], FIRST + np.arange(len(values)) * HOUR, values,
        value="pm25", freq="1h", units="ug m-3",
    )  # fmt: skip


def concentration(z: np.ndarray) -> np.ndarray:
    """Return positive values of a standard field with a daily cycle."""
    hours = np.arange(len(z))[:, None]
    return np.maximum(6 + 1.3 * z + 0.5 * np.sin(hours * np.pi / 12), 0.3) ** 2


def world(
    stations: int = 20, hours: int = 16 * 24, hidden: int = 6, seed: int = 0, *,
    missing: float = 0.03,
) -> World:  # fmt: skip
    """Return a world of positive values: a network with gaps and stations that it does not have."""
    km = places(stations + hidden, seed + 1)
    rng = np.random.default_rng(seed + 2)
    z = gaussian_field(km, hours, seed) + 0.3 * rng.standard_normal((hours, len(km)))
    values = concentration(z)
    values[:, :stations][rng.random((hours, stations)) < missing] = np.nan
    given = network_of(km[:stations], values[:, :stations])
    return World(given, network_of(km[stations:], values[:, stations:], "H"), square())


def plume_world(stations: int = 24, hours: int = 12 * 24, seed: int = 5) -> World:
    """Return a field that a changing wind carries along, and the wind."""
    km, rng = places(stations, seed), np.random.default_rng(seed)
    heading = np.cumsum(rng.normal(0, 0.12, hours)) + 1.0
    wind = 4.5 * np.stack([np.cos(heading), np.sin(heading)], axis=1)  # m/s
    gone = np.concatenate([np.zeros((1, 2)), np.cumsum(wind[1:] * 3.6, axis=0)])  # km
    waves = StationKernel().waves(400, seed)  # correlation length 60 km
    phase = rng.uniform(0, 2 * np.pi, 400) + 0.02 * rng.normal(size=400) * np.arange(hours)[:, None]
    where = km[None] - gone[:, None]  # the same air at all hours
    z = np.sqrt(2 / 400) * np.cos(where @ waves.T + phase[:, None]).sum(axis=-1)
    z += 0.1 * rng.standard_normal(z.shape)
    index = pd.DatetimeIndex(FIRST + np.arange(hours) * HOUR)
    table = pd.DataFrame({"wind_u": wind[:, 0], "wind_v": wind[:, 1]}, index)
    external = Covariates(("wind_u", "wind_v"), table, None)
    return World(network_of(km, concentration(z)), network_of(km[:1], z[:, :1]), square(), external)

"""What simulated fields are made of: noise with a spectrum, warps, blobs and lines.

Everything draws from a `Source`, which knows two kinds of chance: numbers, that are the same on all
dates of a simulation, and white noise, that changes from date to date as much as its memory says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SMOOTHNESS = (0.3, 0.5, 1.0, 1.5, 2.5, 4.0)


@dataclass(eq=False)
class Source:
    """Chance for one simulation.

    Parameters
    ----------
    seed : int
        Of the numbers; `restart` begins them anew for another date.
    noise : Generator
        Of white noise.
    size : int
        Cells a side.
    memory : float
        Correlation of white noise from date to date.
    """

    seed: int
    noise: np.random.Generator
    size: int
    memory: float = 0.0
    rng: np.random.Generator = field(init=False)
    _kept: list[Array] = field(init=False, default_factory=list)
    _next: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Go to the next date: the same numbers, older noise."""
        self.rng, self._next = np.random.default_rng(self.seed), 0

    def white(self, rows: int | None = None) -> Array:
        """Return standard normal noise (rows, rows), by default of the size of the field."""
        rows = rows or self.size
        fresh = self.noise.standard_normal((rows, rows))
        if self._next < len(self._kept) and self._kept[self._next].shape == fresh.shape:
            old = self._kept[self._next]
            fresh = self.memory * old + math.sqrt(1 - self.memory**2) * fresh
            self._kept[self._next] = fresh
        elif self.memory:
            self._kept[self._next :] = [fresh]
        self._next += 1
        return fresh

    def between(self, low: float, high: float) -> float:
        """Return a number, even between two."""
        return float(self.rng.uniform(low, high))

    def scale(self, low: float, high: float) -> float:
        """Return a number whose logarithm is even between two."""
        return float(np.exp(self.rng.uniform(math.log(low), math.log(high))))

    def chance(self, share: float) -> bool:
        """Return True in a share of cases."""
        return bool(self.rng.random() < share)

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high - 1."""
        return int(self.rng.integers(low, high))

    def angle(self) -> float:
        """Return a direction in radians."""
        return self.between(0, 2 * math.pi)

    @property
    def grid(self) -> tuple[Array, Array]:
        """Rows and columns (size, size) of the cells."""
        rows, cols = np.indices((self.size, self.size)).astype(np.float64)
        return rows, cols


def along(s: Source, angle: float) -> tuple[Array, Array]:
    """Return coordinates (size, size) along and across a direction, from the middle."""
    y, x = (axis - s.size / 2 for axis in s.grid)
    return math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y


def coloured(s: Source, power: Array) -> Array:
    """Return noise of unit variance with a power spectrum (n, n // 2 + 1), n twice the size."""
    n = power.shape[0]
    counted = np.full(power.shape[1], 2.0)
    counted[0] = counted[-1] = 1.0
    amplitude = np.sqrt(power / (power * counted).sum()) * n
    found = np.fft.irfft2(np.fft.rfft2(s.white(n)) * amplitude, s=(n, n))
    return np.asarray(found[: s.size, : s.size])


def wavenumbers(s: Source, stretched: float, most: float) -> tuple[Array, Array]:
    """Return wavenumbers on twice the size, stretched along a direction in a share of cases."""
    n = 2 * s.size
    ky, kx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]
    angle = s.between(0, math.pi)
    root = math.sqrt(s.scale(1, most)) if s.chance(stretched) else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    return (cos * kx + sin * ky) * root, (cos * ky - sin * kx) / root


def matern_field(
    s: Source,
    nu: float | None = None,
    length: float | None = None,
    *,
    stretched: float = 0.5,
) -> Array:
    """Return a Gaussian field with a Matérn covariance, its length in cells."""
    nu = float(s.rng.choice(SMOOTHNESS)) if nu is None else nu
    length = s.scale(1.2, 30) if length is None else length
    u, v = wavenumbers(s, stretched, 5)
    return coloured(s, (1 + (2 * math.pi * length) ** 2 * (u * u + v * v) / (2 * nu)) ** -(nu + 1))


def fractal(s: Source, slope: float | None = None) -> Array:
    """Return a Gaussian field whose spectrum falls as a power of the wavenumber."""
    slope = s.between(1.5, 4) if slope is None else slope
    u, v = wavenumbers(s, 0.5, 3.3)
    power = (np.sqrt(u * u + v * v) + 0.15 / s.size) ** -slope
    power[0, 0] = 0.0
    return coloured(s, power)


def rough(s: Source) -> Array:
    """Return one of the two, with everything left to chance."""
    return matern_field(s) if s.chance(0.6) else fractal(s)


def smooth(s: Source, shortest: float = 4, longest: float = 20) -> Array:
    """Return a smooth Gaussian field."""
    return matern_field(s, 2.5, s.scale(shortest, longest), stretched=0.3)


def sigmoid(x: Array) -> Array:
    """Return values between 0 and 1."""
    return np.asarray(0.5 * (1 + np.tanh(np.clip(x, -40, 40) / 2)))


def carried(values: Array, y: Array, x: Array) -> Array:
    """Return values at other places, by straight lines; the border goes on beyond it."""
    return np.asarray(map_coordinates(values, [y, x], order=1, mode="nearest"))


def warped(s: Source, values: Array, most: float | None = None) -> Array:
    """Return a field whose places are shifted by smooth fields of some cells."""
    y, x = s.grid
    far = s.between(1, 5) if most is None else most
    return carried(values, y + far * smooth(s, 4, 15), x + far * smooth(s, 4, 15))


def blobs(s: Source, count: int, least: float, most: float) -> Array:
    """Return a sum of bumps of random place, size, height and shape; they lie alike."""
    total = np.zeros((s.size, s.size))
    y, x = s.grid
    sharp, lie = float(s.rng.choice([1.0, 1.5, 2.0])), s.between(0, math.pi)
    for _ in range(count):
        row, col = s.rng.uniform(-3, s.size + 3, 2)
        wide, ratio, turn = s.scale(least, most), s.scale(1, 2.7), lie + 0.4 * s.rng.normal()
        u = (math.cos(turn) * (x - col) + math.sin(turn) * (y - row)) / (wide * ratio)
        v = (math.cos(turn) * (y - row) - math.sin(turn) * (x - col)) / wide
        total += s.rng.gamma(1.2) * np.exp(-0.7 * (u * u + v * v) ** (sharp / 2))
    return total


def network(s: Source, lines: int) -> Array:
    """Return roads: lines of cells with a load, on two directions or out of a centre."""
    loads = np.zeros((s.size, s.size))
    turned, gridded = s.between(0, math.pi), s.chance(0.6)
    hub = s.rng.uniform(0.2 * s.size, 0.8 * s.size, 2)
    for k in range(lines):
        if gridded:
            angle = turned + s.whole(0, 2) * math.pi / 2 + 0.03 * s.rng.normal()
            start = s.rng.uniform(0, s.size, 2)
        else:
            angle = s.angle()
            start = hub if s.chance(0.5) else s.rng.uniform(0, s.size, 2)
        steps = 2 * int(s.scale(4, 3 * s.size))
        bend = np.zeros(steps) if gridded else 0.08 * np.cumsum(s.rng.normal(size=steps))
        main = k < 3
        if gridded and main:  # the first ones cross the whole map
            start = start - s.size * np.array([math.sin(angle), math.cos(angle)])
            steps, bend = 4 * s.size, np.zeros(4 * s.size)
        path = start + 0.5 * np.cumsum(
            np.column_stack([np.sin(angle + bend), np.cos(angle + bend)]), axis=0
        )
        cells = np.floor(path).astype(np.int64)
        cells = cells[((cells >= 0) & (cells < s.size)).all(axis=1)]
        load = math.exp(0.8 * s.rng.normal()) * (2 if main else 1)
        fall = np.exp(-np.linalg.norm(cells - hub, axis=1) / s.scale(6, 60))
        np.maximum.at(loads, (cells[:, 0], cells[:, 1]), load * fall)
    return loads


def counted(s: Source, rate: Array, least: float = 0.4, most: float = 40) -> Array:
    """Return counts of a rate, or what is as noisy: Poisson, overdispersed, gamma, or bare."""
    rate = np.minimum(rate / (rate.mean() + 1e-9) * s.scale(least, most), 1e5)
    kind = s.between(0, 1)
    if kind < 0.35:
        return s.noise.poisson(rate).astype(np.float64)
    if kind < 0.7:
        shape = s.scale(1, 20)
        return s.noise.poisson(rate * s.noise.gamma(shape, 1 / shape, rate.shape)).astype(
            np.float64
        )
    if kind < 0.85:
        shape = s.scale(2, 30)
        return np.asarray(rate * s.noise.gamma(shape, 1 / shape, rate.shape))
    return rate


def drainage(height: Array) -> Array:
    """Return how many cells drain through each, by the steepest of eight neighbours."""
    size = height.shape[0]
    ways = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    ring = np.pad(height, 1, constant_values=np.inf)
    drops = np.stack([
        (height - ring[1 + a : 1 + a + size, 1 + b : 1 + b + size]) / math.hypot(a, b)
        for a, b in ways
    ])  # fmt: skip
    way, falls = drops.argmax(axis=0).ravel(), drops.max(axis=0).ravel() > 0
    step = np.array([a * size + b for a, b in ways])
    amount, target = np.ones(size * size), np.arange(size * size) + step[way]
    for cell in np.argsort(-height.ravel()):
        if falls[cell]:
            amount[target[cell]] += amount[cell]
    return amount.reshape(size, size)

"""What simulated fields are made of: Gaussian textures, warps, bumps, lines, counts, drainage."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from .source import Array, Source


@lru_cache(maxsize=8)
def axes(size: int) -> tuple[Array, Array]:
    """Row and column of every cell."""
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def turned(size: int, angle: float, row: float, column: float) -> tuple[Array, Array]:
    """Coordinates of every cell along and across a direction, from a place."""
    rows, columns = axes(size)
    sine, cosine = np.sin(angle), np.cos(angle)
    down, right = rows - row, columns - column
    return cosine * right + sine * down, cosine * down - sine * right


def slope(source: Source, steepest: float) -> Array:
    """Draw a plane that rises by at most `steepest` from side to side, in any direction."""
    middle = source.size / 2
    along, _ = turned(source.size, source.heading(), middle, middle)
    return source.between(0.0, steepest) * along / source.size


# ---- Gaussian textures


@lru_cache(maxsize=8)
def _frequencies(size: int) -> tuple[Array, Array, Array]:
    """Frequencies by row and column of a real transform, and how often each one counts."""
    down: Array = np.fft.fftfreq(size).astype(np.float64)[:, None]
    right: Array = np.fft.rfftfreq(size).astype(np.float64)[None, :]
    weight: Array = np.full((size, size // 2 + 1), 2.0)
    weight[:, 0] = weight[:, -1] = 1.0
    return down, right, weight


def _squared_frequency(source: Source, side: int, longest: float, stretched: float) -> Array:
    """Squared frequencies, drawn out along a random direction with probability `stretched`."""
    down, right, _ = _frequencies(side)
    angle = source.between(0.0, np.pi)
    ratio = source.ratio(1.0, longest) if source.chance(stretched) else 1.0
    along = np.cos(angle) * right + np.sin(angle) * down
    across = np.cos(angle) * down - np.sin(angle) * right
    return np.asarray(along**2 * ratio + across**2 / ratio)


def _coloured(source: Source, spectrum: Array) -> Array:
    """Draw a Gaussian texture with the spectrum, of variance one on a torus twice as wide."""
    side = spectrum.shape[0]
    _, _, weight = _frequencies(side)
    gain = np.sqrt(spectrum / np.sum(spectrum * weight)) * side
    torus = np.fft.irfft2(np.fft.rfft2(source.white(side)) * gain, s=(side, side))
    return torus[: source.size, : source.size]


def matern(
    source: Source,
    smoothness: float | None = None,
    reach: float | None = None,
    stretched: float = 0.5,
) -> Array:
    """Draw a Matérn texture.

    Parameters
    ----------
    source : Source
        Randomness and size.
    smoothness : float, optional
        Rough (0.3) to very smooth (4); drawn if not given.
    reach : float, optional
        Range in cells; drawn from 1.2 to 30 if not given.
    stretched : float
        Probability of being longer in one direction, up to five times.

    Returns
    -------
    numpy.ndarray
        A raster of variance one around zero (before it is cut out of its torus).
    """
    if smoothness is None:
        smoothness = source.pick((0.3, 0.5, 1.0, 1.5, 2.5, 4.0))
    if reach is None:
        reach = source.ratio(1.2, 30.0)
    squared = _squared_frequency(source, 2 * source.size, 5.0, stretched)
    scale = (2.0 * np.pi * reach) ** 2 / (2.0 * smoothness)
    return _coloured(source, (1.0 + scale * squared) ** -(smoothness + 1.0))


def power_law(source: Source, roughest: float = 1.5, smoothest: float = 4.0) -> Array:
    """Draw a texture alike at all scales, with the exponent of its spectrum between the two."""
    exponent = source.between(roughest, smoothest)
    squared = _squared_frequency(source, 2 * source.size, 3.3, 0.5)
    spectrum = (np.sqrt(squared) + 0.15 / source.size) ** -exponent
    spectrum[0, 0] = 0.0
    return _coloured(source, spectrum)


def texture(source: Source) -> Array:
    """Any Gaussian texture: Matérn or power law."""
    return matern(source) if source.chance(0.6) else power_law(source)


def smooth(source: Source, shortest: float = 4.0, longest: float = 20.0) -> Array:
    """Draw a smooth texture with a range between the two numbers of cells."""
    return matern(source, 2.5, source.ratio(shortest, longest), stretched=0.3)


# ---- moving things


def looked_up(values: Array, rows: Array, columns: Array) -> Array:
    """Values at places between the cells, bilinear; places outside take the edge's."""
    last = values.shape[0] - 1.001
    rows, columns = np.clip(rows, 0.0, last), np.clip(columns, 0.0, last)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    low, right = rows - top, columns - left
    upper = values[top, left] * (1.0 - right) + values[top, left + 1] * right
    lower = values[top + 1, left] * (1.0 - right) + values[top + 1, left + 1] * right
    return np.asarray(upper * (1.0 - low) + lower * low)


def warped(source: Source, values: Array, strength: float | None = None) -> Array:
    """Draw the values on a sheet pulled about by some cells."""
    strength = source.between(1.0, 5.0) if strength is None else strength
    rows, columns = axes(source.size)
    down, right = smooth(source, 4.0, 15.0), smooth(source, 4.0, 15.0)
    return looked_up(values, rows + strength * down, columns + strength * right)


# ---- objects


def bumps(source: Source, count: int, narrowest: float, widest: float) -> Array:
    """Draw the sum of some bumps of unlike strength, drawn out along about the same direction."""
    power = source.pick((1.0, 1.5, 2.0))
    common = source.between(0.0, np.pi)
    strength = source.gamma(1.2, source.evolving(count))
    total = np.zeros((source.size, source.size))
    for (row, column), strong in zip(source.places(count), strength, strict=True):
        width, ratio = source.ratio(narrowest, widest), source.ratio(1.0, 2.7)
        along, across = turned(source.size, common + source.normal(0.4), row, column)
        squared = (along / (width * ratio)) ** 2 + (across / width) ** 2
        total += strong * np.exp(-0.7 * squared ** (power / 2.0))
    return total


def streets(rng: np.random.Generator, size: int, count: int) -> Array:
    """Return a network of a few long roads and many side streets, with the traffic on each cell.

    Parameters
    ----------
    rng : numpy.random.Generator
        What the network is drawn from.
    size, count : int
        Rows and columns of the raster, and how many streets.

    Returns
    -------
    numpy.ndarray
        Traffic (size, size): zero away from streets, less on those far from the hub.
    """
    traffic = np.zeros((size, size))
    gridded = rng.random() < 0.6
    common = rng.uniform(0.0, np.pi)
    hub = rng.uniform(0.2 * size, 0.8 * size, 2)
    for index in range(count):
        main = index < 3
        winding = 0.0 if gridded else 0.08
        if gridded:
            heading: float = common + rng.integers(2) * np.pi / 2 + rng.normal(0.0, 0.03)
        else:
            heading = rng.uniform(0.0, 2.0 * np.pi)
        start = hub if not gridded and rng.random() < 0.5 else rng.uniform(0.0, size, 2)
        if gridded and main:  # begins outside, so that it crosses the whole raster
            start = start - size * np.array([np.sin(heading), np.cos(heading)])
        length = np.exp(rng.uniform(np.log(4.0), np.log(3.0 * size)))
        cells = _walk(rng, size, start, heading, winding, 2 * int(length))
        volume = np.exp(rng.normal(0.0, 0.8)) * (2.0 if main else 1.0)
        decay = np.exp(rng.uniform(np.log(6.0), np.log(60.0)))
        away = np.hypot(cells[:, 0] - hub[0], cells[:, 1] - hub[1])
        np.maximum.at(traffic, (cells[:, 0], cells[:, 1]), volume * np.exp(-away / decay))
    return traffic


def _walk(
    rng: np.random.Generator,
    size: int,
    start: Array,
    heading: float,
    winding: float,
    steps: int,
) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Cells on a way of half-cell steps, from where it enters the raster to where it leaves."""
    headings = np.full(steps, heading)
    if winding:
        headings = headings + np.cumsum(rng.normal(0.0, winding, steps))
    moves = 0.5 * np.stack([np.sin(headings), np.cos(headings)], axis=1)
    cells = np.floor(start + np.cumsum(moves, axis=0)).astype(np.intp)
    inside = np.all((cells >= 0) & (cells < size), axis=1)
    if not inside.any():
        return cells[:0]
    first = int(inside.argmax())
    rest = inside[first:]
    last = len(inside) if rest.all() else first + int(rest.argmin())
    return cells[first:last]


def counts(source: Source, intensity: Array, fewest: float, most: float) -> Array:
    """Draw counts with an intensity: Poisson, overdispersed, or as shares without whole numbers.

    Parameters
    ----------
    source : Source
        Randomness.
    intensity : numpy.ndarray
        Relative intensity.
    fewest, most : float
        Range of the mean number per cell.

    Returns
    -------
    numpy.ndarray
        Zeros and positive numbers.
    """
    mean = intensity / (intensity.mean() + 1e-9) * source.ratio(fewest, most)
    kind = source.between(0.0, 1.0)
    if kind < 0.35:
        return source.poisson(mean)
    if kind < 0.7:
        return source.poisson(mean * source.gamma(source.ratio(1.0, 20.0)))
    if kind < 0.85:
        return mean * source.gamma(source.ratio(2.0, 30.0))
    return mean


# ---- relief

_NEIGHBOURS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


def drainage(height: Array) -> Array:
    """How many cells drain through each one, water flowing to the steepest of eight neighbours."""
    size = height.shape[0]
    walled = np.pad(height, 1, constant_values=np.inf)
    falls = np.stack(
        [
            (height - walled[1 + down : 1 + down + size, 1 + right : 1 + right + size])
            / np.hypot(down, right)
            for down, right in _NEIGHBOURS
        ]
    )
    steepest = falls.argmax(axis=0)
    jump = np.array([down * size + right for down, right in _NEIGHBOURS])[steepest]
    target = np.arange(size * size) + jump.ravel()
    target[falls.max(axis=0).ravel() <= 0.0] = -1  # a pit keeps its water
    water, targets = [1.0] * (size * size), target.tolist()
    for cell in np.argsort(-height, axis=None).tolist():  # from the top down
        if targets[cell] >= 0:
            water[targets[cell]] += water[cell]
    return np.array(water).reshape(size, size)


def ramp(values: Array) -> Array:
    """Return a soft switch from 0 to 1."""
    return np.asarray(expit(values))

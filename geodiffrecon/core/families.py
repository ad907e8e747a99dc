"""Families of fields of either sign: textures, fronts, temperature, relief, images, stations.

Each takes a source of randomness and returns a raster and whether it is of positive values only.
Lengths are in cells. What differs between two fields of a family is drawn from wide ranges: the
network is to meet more kinds of fields here than it ever will in use.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from .source import Array, Source
from .textures import (
    axes,
    drainage,
    looked_up,
    matern,
    power_law,
    ramp,
    slope,
    smooth,
    texture,
    turned,
    warped,
)

Drawn = tuple[Array, bool]


def gaussian(source: Source) -> Drawn:
    """Draw what kriging is exact for: one or two textures, noise, a trend."""
    values = matern(source)
    if source.chance(0.4):
        values = values + source.between(0.0, 1.2) * matern(source)
    if source.chance(0.35):
        values = values + source.between(0.0, 0.7) * source.white()
    if source.chance(0.3):
        values = values + slope(source, 3.0)
    return values, False


# ---- textures whose range, strength or direction is not the same everywhere


def nonstationary(source: Source) -> Drawn:
    """Draw a texture that changes from place to place, in one of four ways."""
    ways = (_two_regimes, _uneven_strength, _pulled_about, _turning_direction)
    return ways[source.whole(0, 3)](source), False


def _two_regimes(source: Source) -> Array:
    border = smooth(source, 6.0, 20.0) + source.normal(0.4)
    share = ramp(source.between(2.0, 12.0) * border)
    first = matern(source) * source.between(0.2, 2.0) + source.normal(2.0)
    return share * first + (1.0 - share) * matern(source)


def _uneven_strength(source: Source) -> Array:
    return matern(source) * np.exp(source.between(0.3, 1.3) * smooth(source, 5.0, 20.0))


def _pulled_about(source: Source) -> Array:
    return warped(source, texture(source), source.between(1.0, 6.0))


def _turning_direction(source: Source) -> Array:
    """Streaks of unlike directions, each where its share is large."""
    shares = np.stack(
        [
            np.exp(source.between(1.0, 4.0) * smooth(source, 6.0, 20.0))
            for _ in range(source.whole(2, 4))
        ]
    )
    shares /= shares.sum(axis=0)
    return np.asarray(sum(np.sqrt(share) * matern(source, stretched=1.0) for share in shares))


# ---- air and water


def front(source: Source) -> Drawn:
    """Two air masses with a sharp or soft border, each with its own texture."""
    if source.chance(0.7):
        distance = smooth(source, 5.0, 25.0)
    else:  # a bent straight line
        middle = source.size / 2
        along, _ = turned(source.size, source.heading(), middle, middle)
        distance = warped(source, 3.0 * along / source.size)
    distance = distance - np.median(distance) + source.normal(0.3)
    side = ramp(2.0 * distance / source.ratio(0.02, 0.6))
    values = source.between(0.7, 4.0) * side
    rougher = 1.0 + source.between(-0.8, 1.0) * side
    values = values + source.between(0.1, 1.0) * texture(source) * rougher
    if source.chance(0.3):
        inner = smooth(source, 4.0, 12.0) > source.normal(0.5)
        values = values + source.between(0.3, 2.0) * inner
    return values, False


def vortex(source: Source) -> Drawn:
    """Draw a tracer that a few eddies have stirred, as on the sea's surface."""
    tracer = texture(source) if source.chance(0.5) else front(source)[0]
    stream = matern(source, 4.0, source.ratio(4.0, 12.0))
    by_row, by_column = np.gradient(stream)
    stride = source.between(0.4, 1.5) / (np.hypot(by_row, by_column).mean() + 1e-6)
    rows, columns = axes(source.size)
    by_row, by_column = np.asarray(by_row), np.asarray(by_column)
    for _ in range(source.whole(3, 9)):  # follow the water back to where it came from
        down = looked_up(by_column, rows, columns)
        right = -looked_up(by_row, rows, columns)
        rows, columns = rows - stride * down, columns - stride * right
    values = looked_up(tracer, rows, columns)
    return values + source.between(0.0, 0.2) * texture(source), False


def temperature(source: Source) -> Drawn:
    """Air temperature: a gradient, land and sea, cooler mountains, smooth weather."""
    height = power_law(source.still, 2.5, 4.0) + source.normal(0.7)
    land = ramp(height / source.ratio(0.03, 0.3))
    values = slope(source, 2.0) + source.normal(1.2) * land
    values = values - source.between(0.0, 1.5) * np.maximum(height, 0.0) * land
    values = values + source.between(0.2, 1.2) * smooth(source, 5.0, 25.0)
    return values + source.between(0.0, 0.4) * texture(source) * (0.3 + land), False


def waves(source: Source) -> Drawn:
    """One to three trains of waves with round, pointed or flat crests, on a texture."""
    values = np.zeros((source.size, source.size))
    common = source.between(0.0, np.pi)
    for _ in range(source.whole(1, 3)):
        angle = common + source.normal(source.pick((0.1, 1.5)))
        along, _ = turned(source.size, angle, 0.0, 0.0)
        bend = source.between(0.0, 2.5) * smooth(source, 6.0, 20.0)
        phase = 2.0 * np.pi * along / source.ratio(3.5, 20.0) + source.heading() + bend
        train = np.cos(phase + source.evolving(1))
        train = np.sign(train) * np.abs(train) ** source.ratio(0.3, 1.5)
        swell = np.exp(source.between(0.0, 1.0) * smooth(source, 6.0, 20.0))
        values += source.between(0.3, 1.0) * train * swell
    return values + source.between(0.1, 1.2) * texture(source), False


def seabed(source: Source) -> Drawn:
    """Draw a coast with its shelf, tidal flats and sand waves: heights, or depths of the water."""
    still = source.still
    middle = source.size / 2
    along, _ = turned(source.size, source.heading(), middle, middle)
    offshore = warped(still, along, source.between(1.0, 5.0)) + source.normal(6.0)
    reach = source.ratio(3.0, 20.0)
    height = -source.between(1.0, 4.0) * (1.0 - np.exp(-np.maximum(offshore, 0.0) / reach))
    height = height + source.between(0.02, 0.15) * np.maximum(-offshore, 0.0)
    height = height + source.between(0.1, 0.6) * power_law(still, 2.2, 3.8)
    if source.chance(0.4):
        crests, _ = turned(source.size, source.heading(), 0.0, 0.0)
        phase = 2.0 * np.pi * crests / source.ratio(3.5, 9.0) + 1.5 * smooth(still, 6.0, 20.0)
        height = height + source.between(0.05, 0.3) * np.cos(phase) * ramp(offshore)
    if source.chance(0.3):  # flats that the tide has levelled
        level = np.quantile(height, source.between(0.4, 0.8))
        height = np.where(height > level, level + 0.15 * (height - level), height)
    tide = 0.3 * source.evolving(1) + source.between(0.05, 0.3) * smooth(source, 8.0, 25.0)
    if source.chance(0.35):
        return np.maximum(np.quantile(height, source.between(0.5, 1.0)) + tide - height, 0.0), True
    return height - tide, False


# ---- land


def patches(source: Source) -> Drawn:
    """Land cover: a level and a texture for each patch."""
    makers = (_cells_of_sites, _level_sets, _overlaid_regions)
    label, kinds = makers[source.whole(0, 2)](source)
    values = source.evolving(kinds)[label]
    if source.chance(0.8):
        roughness = np.exp(0.7 * source.still.evolving(kinds))[label]
        values = values + source.between(0.0, 0.8) * roughness * texture(source)
    if source.chance(0.5):
        values = values + source.between(0.0, 0.3) * source.white()
    if source.chance(0.3):
        values = gaussian_filter(values, source.between(0.3, 1.2))
    return values, False


Labels = tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], int]


def _cells_of_sites(source: Source) -> Labels:
    """Label cells by the nearest of some sites, its borders straight or frayed."""
    count = int(source.ratio(4.0, 60.0))
    rows, columns = axes(source.size)
    sites, stretch = source.still.places(count, margin=2.0), source.ratio(1.0, 3.0)
    squared = (rows[..., None] - sites[:, 0]) ** 2 * stretch
    squared += (columns[..., None] - sites[:, 1]) ** 2 / stretch
    if source.chance(0.5):
        frayed = source.ratio(0.5, 30.0) * np.abs(texture(source.still))
        squared += frayed[..., None] * source.parameters.uniform(0.0, 1.0, count)
    return squared.argmin(axis=-1), count


def _level_sets(source: Source) -> Labels:
    cuts = source.whole(2, 5)
    ground = texture(source.still) if source.chance(0.5) else smooth(source.still)
    levels = np.sort(source.still.evolving(cuts)) * ground.std()
    return np.digitize(ground, levels), cuts + 1


def _overlaid_regions(source: Source) -> Labels:
    label = np.zeros((source.size, source.size), dtype=np.intp)
    regions = source.whole(1, 3)
    for _ in range(regions):
        region = warped(source.still, smooth(source.still, 3.0, 12.0)) > source.normal(0.6)
        label = 2 * label + region
    return label, 2**regions


def relief(source: Source) -> Drawn:
    """Terrain carved by rivers, its wetness, or the water that flows through each cell."""
    kind = source.between(0.0, 1.0)
    # Where the water is what changes, the ground does not.
    height = power_law(source if kind < 0.6 else source.still, 2.8, 4.0)
    height = height + slope(source, 2.0) * height.std()
    for _ in range(source.whole(1, 3)):
        carved = gaussian_filter(np.log(drainage(height)), source.between(0.3, 0.8))
        height = height - source.between(0.05, 0.25) * height.std() * carved
    if kind < 0.6:
        return height - (height.min() if source.chance(0.3) else 0.0), False
    wetness = gaussian_filter(np.log(drainage(height)), source.between(0.3, 1.0))
    if kind < 0.8:
        return wetness + source.between(0.0, 0.5) * texture(source), False
    flow = source.between(0.3, 1.0) * wetness + source.between(0.0, 0.5) * texture(source)
    return np.exp(flow), True


# ---- pictures and instruments


def leaves(source: Source) -> Drawn:
    """Discs of many sizes that hide one another, shaded or speckled: what pictures are like."""
    size = source.size
    values = source.normal() + source.between(0.0, 0.5) * texture(source)
    tail = source.between(1.0, 2.5)
    places = source.places(int(source.ratio(3.0, 60.0)), margin=4.0)
    for row, column in places:
        radius = min(1.5 * source.between(1e-9, 1.0) ** (-1.0 / tail), 14.0)
        stretch = source.ratio(0.5, 2.0)
        along, across = turned(size, source.between(0.0, np.pi), row, column)
        inside = radius - np.hypot(along * stretch, across / stretch)
        covers = ramp(inside / source.ratio(0.1, 1.5))
        surface = source.normal() + source.normal(0.3) * along / radius
        if source.chance(0.3):
            surface = surface + source.between(0.0, 0.3) * source.white()
        values = values * (1.0 - covers) + covers * surface
    return values + source.between(0.0, 0.5) * texture(source), False


def noisy_stations(source: Source) -> Drawn:
    """Draw a smooth signal seen by stations with their own noise, and a few that are off."""
    values = source.between(0.5, 1.5) * smooth(source, 5.0, 30.0)
    unlike = np.exp(source.between(0.0, 0.5) * source.still.white())
    values = values + source.between(0.2, 1.2) * source.white() * unlike
    if source.chance(0.4):
        off = source.still.uniform() < 0.04
        values = values + 1.5 * off * source.student(3.0)
    if source.chance(0.5):
        return np.exp(source.between(0.2, 1.0) * values), True
    return values, False

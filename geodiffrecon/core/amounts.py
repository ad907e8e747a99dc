"""Families of fields of positive values: rain, pollution, ore, counts of people and of trips.

Written as those of either sign are (:mod:`geodiffrecon.core.families`); many have zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit, logit

from .textures import (
    axes,
    bumps,
    counts,
    matern,
    power_law,
    smooth,
    streets,
    texture,
    turned,
    warped,
)

if TYPE_CHECKING:
    from .families import Drawn
    from .source import Array, Source


def skewed(source: Source) -> Drawn:
    """Draw a texture through one of five bends, some with noise that multiplies."""
    ground = texture(source)
    if source.chance(0.3):
        ground = ground + source.between(0.2, 1.0) * texture(source)
    kind = source.whole(0, 4)
    if kind == 0:
        return np.exp(source.between(0.3, 2.0) * ground), True
    if kind == 1:
        return (ground + source.normal()) ** 2, True
    if kind == 2:
        return np.logaddexp(0.0, source.between(1.0, 5.0) * ground + source.normal()), True
    if kind == 3:
        speckle = source.gamma(source.between(1.5, 20.0))
        return np.exp(source.between(0.3, 1.4) * ground) * speckle, True
    noise = source.between(0.05, 0.3) * source.student(4.0)
    return np.exp(source.between(0.3, 1.0) * ground + noise), True


# ---- rain


def rain(source: Source) -> Drawn:
    """Rain or snow: what a texture has above a level, with cells and measured in steps."""
    ground = texture(source) if source.chance(0.4) else power_law(source, 2.2, 3.6)
    if source.chance(0.5):
        ground = warped(source, ground)
    usually_wet = np.clip(source.parameters.beta(1.1, 1.4), 0.02, 0.998)
    wet = np.clip(expit(logit(usually_wet) + 0.4 * source.evolving(1)[0]), 0.04, 0.999)
    above = np.maximum(ground - np.quantile(ground, 1.0 - wet), 0.0) / ground.std()
    values = above ** source.between(0.5, 2.2)
    if source.chance(0.7):
        values = values * np.exp(source.between(0.2, 1.3) * power_law(source))
    if source.chance(0.25):
        values = values * np.exp(source.between(0.05, 0.3) * _cascade(source))
    if source.chance(0.4):
        cells = bumps(source, source.several(5.0), 0.6, 3.5)
        values = values + 5.0 * source.between(0.3, 3.0) * (values.mean() + 1e-3) * cells
    if source.chance(0.5):
        values = _without_drizzle(values, source.ratio(0.003, 0.08))
    if source.chance(0.3):
        values = _in_steps(values, source.between(20.0, 250.0))
    return values, True


def _cascade(source: Source) -> Array:
    """Draw the sum of noises on ever finer blocks, as in turbulence."""
    size = source.size
    total = np.zeros((size, size))
    for block in (32, 16, 8, 4, 2):
        noise = np.kron(source.white(size // block + 2), np.ones((block, block)))
        row, column = source.whole(0, block - 1), source.whole(0, block - 1)
        total += noise[row : row + size, column : column + size]
    return total


def _without_drizzle(values: Array, share: float) -> Array:
    """Return the values with zero for those below a share of the greatest."""
    return np.where(values < values.max() * share, 0.0, values)


def _in_steps(values: Array, steps: float) -> Array:
    step = max(values.max() / steps, 1e-9)
    return np.asarray(np.round(values / step) * step)


def convection(source: Source) -> Drawn:
    """Storm cells along a line or all over, some with a shield of steady rain about them."""
    size = source.size
    angle, offset, width = source.between(0.0, np.pi), source.between(-8.0, 8.0), source.ratio(1, 6)
    in_line = source.chance(0.5)
    count = int(source.ratio(3.0, 50.0))
    places = source.places(count)
    if in_line:
        along = (places[:, 0] / size - 0.5) * 1.4 * size
        across = source.evolving(count) * width + offset
        rows = size / 2 + along * np.sin(angle) + across * np.cos(angle)
        columns = size / 2 + along * np.cos(angle) - across * np.sin(angle)
        places = np.stack([rows, columns], axis=1)
    strength = source.gamma(0.8, source.evolving(count))
    grid_rows, grid_columns = axes(size)
    values = np.zeros((size, size))
    for (row, column), strong in zip(places, strength, strict=True):
        squared = (grid_rows - row) ** 2 + (grid_columns - column) ** 2
        power, reach = source.pick((1.0, 2.0)), source.ratio(0.7, 4.0)
        values += strong * np.exp(-(squared ** (power / 2.0)) / reach**1.5)
    spread = gaussian_filter(values, source.ratio(1.5, 6.0)) * source.ratio(1.0, 4.0)
    shield = np.maximum(spread - source.between(0.0, 0.1), 0.0)
    values = values + source.between(0.0, 0.4) * shield
    values = values * np.exp(source.between(0.0, 0.6) * texture(source))
    return _without_drizzle(values, source.ratio(0.002, 0.06)), True


# ---- pollution, soil


def blobs(source: Source) -> Drawn:
    """From one to scores of bumps, on a background or cut off below a level."""
    values = bumps(source, source.several(source.ratio(1.0, 40.0)), 0.8, 8.0)
    if source.chance(0.4):
        background = source.between(0.0, 0.4) * source.between(0.1, 1.0) * values.max()
        values = values + background * np.exp(0.5 * texture(source))
    if source.chance(0.3):
        values = np.maximum(values - source.between(0.0, 0.3) * values.max(), 0.0)
    return values, True


def plumes(source: Source) -> Drawn:
    """Smoke that the wind carries away from some sources, on a background."""
    size = source.size
    wind = source.heading() + 0.3 * float(source.evolving(1)[0])
    spread, power = source.between(0.1, 0.6), source.between(0.5, 1.0)
    values = np.zeros((size, size))
    for row, column in source.still.places(source.several(source.ratio(1.0, 12.0)), margin=6.0):
        along, across = turned(size, wind + source.normal(0.1), row, column)
        after = np.maximum(along, 0.0)
        meander = np.sin(after / source.between(3.0, 10.0) + source.between(0.0, 6.0))
        width = 0.6 + spread * after**power
        aside = (across + source.between(0.0, 2.0) * meander) / width
        plume = np.exp(-0.5 * aside**2) / width
        before = np.exp(-(along**2) - across**2)
        values += np.exp(source.normal(0.8)) * np.where(along > 0.0, plume, before)
    background = (values.mean() + 0.01) * source.between(0.1, 3.0)
    values = values + background * np.exp(source.between(0.1, 0.6) * matern(source))
    return values * np.exp(source.between(0.0, 0.4) * texture(source)), True


def air_quality(source: Source) -> Drawn:
    """Draw a smooth background that all share, a few local sources, traffic, and local noise."""
    values = np.exp(source.between(0.1, 0.6) * smooth(source, 8.0, 30.0))
    town = bumps(source.still, source.several(2.0), 2.0, 9.0)
    values = values + source.between(0.1, 1.5) * town
    stacks = bumps(source, source.several(3.0), 0.5, 2.0)
    values = values + source.between(0.0, 2.0) * stacks
    if source.chance(0.4):
        traffic = streets(source.parameters, source.size, int(source.ratio(4.0, 25.0)))
        near = gaussian_filter(traffic, source.ratio(0.4, 1.5))
        values = values + source.between(0.1, 1.0) * near / (near.max() + 1e-9)
    if source.chance(0.4):  # valleys hold their air
        values = values * np.exp(-source.between(0.1, 0.5) * power_law(source.still, 2.5, 4.0))
    return values * np.exp(source.between(0.0, 0.3) * source.white()), True


def ore(source: Source) -> Drawn:
    """Grades of ore or metals in soil: a nugget, rich spots, a limit of detection."""
    structure = matern(source, source.pick((0.3, 0.5, 1.0)), source.ratio(2.0, 12.0))
    structure = structure + source.between(0.0, 1.0) * smooth(source, 8.0, 30.0)
    nugget = source.between(0.05, 0.7)
    grade = np.sqrt(1.0 - nugget) * structure + np.sqrt(nugget / 2.0) * source.student(4.0)
    values = np.exp(source.between(0.3, 1.2) * grade)
    if source.chance(0.3):  # one kind of rock is rich, the other poor
        border = smooth(source.still, 4.0, 15.0) > source.normal(0.6)
        values = values * np.where(border, source.ratio(2.0, 10.0), 1.0)
    if source.chance(0.3):
        limit = np.quantile(values, source.between(0.05, 0.5))
        values = np.where(values < limit, 0.5 * limit, values)
    return values, True


def river(source: Source) -> Drawn:
    """Draw what falls off from one or two winding rivers, on both banks or on one."""
    size = source.size
    values = np.zeros((size, size))
    for _ in range(source.whole(1, 2)):
        _, across = turned(size, source.heading(), size / 2, size / 2)
        bed = across + source.normal(size / 4)
        distance = warped(source.still, bed, source.between(1.0, 5.0))
        distance = np.abs(distance) if source.chance(0.5) else np.maximum(distance, 0.0)
        decay = (distance / source.ratio(0.8, 10.0)) ** source.pick((0.7, 1.0, 2.0))
        values += np.exp(-decay) * source.ratio(0.3, 3.0)
    values = values + source.ratio(0.02, 0.5)
    values = values * np.exp(source.between(0.1, 0.8) * texture(source))
    if source.chance(0.6):
        values = values * np.exp(source.between(0.0, 0.4) * source.white())
    return values, True


def ridges(source: Source) -> Drawn:
    """Crests: of a mountain range over several scales, or along one line."""
    if source.chance(1.0 / 3.0):
        return _mountain_range(source), source.chance(0.3)
    ground = smooth(source, 5.0, 20.0)
    by_row, by_column = np.gradient(ground)
    distance = np.abs(ground) / (np.hypot(by_row, by_column) + 0.02)
    crest = np.exp(-distance / source.between(1.0, 6.0))
    values = crest * np.exp(source.between(0.0, 0.6) * texture(source)) + source.between(0.0, 0.4)
    if source.chance(0.5):
        values = values * np.exp(source.between(0.2, 0.8) * texture(source))
    return values, True


def _mountain_range(source: Source) -> Array:
    values = np.zeros((source.size, source.size))
    carried: Array | float = 1.0
    strength = 1.0
    for reach in (20.0, 10.0, 5.0, 2.5, 1.3):
        crest = np.maximum(1.0 - np.abs(matern(source, 2.5, reach)), -1.0) ** 2
        values += strength * crest * carried
        # Usually the lesser crests are on the greater ones only.
        carried = np.clip(crest, 0.0, 1.0) if source.chance(0.7) else 1.0
        strength *= source.between(0.4, 0.7)
    return values


# ---- people and their trips


def urban(source: Source) -> Drawn:
    """Draw counts in a town: one to five centres, streets, blocks of their own, empty land."""
    size = source.size
    rows, columns = axes(size)
    values = np.zeros((size, size))
    for row, column in source.still.places(source.whole(1, 5), margin=2.0):
        stretch = np.exp(source.normal(0.3))
        distance = np.hypot((rows - row) * stretch, columns - column)
        decay = (distance / source.ratio(1.5, 14.0)) ** source.pick((0.7, 1.0, 1.5))
        values += np.exp(source.normal(0.8)) * np.exp(-decay)
    values = values * np.exp(source.between(0.2, 1.4) * texture(source))
    if source.chance(0.5):
        network = streets(source.parameters, size, int(source.ratio(6.0, 40.0)))
        values = values * (source.between(0.05, 0.6) + network)
    if source.chance(0.4):
        values = values * np.exp(source.between(0.2, 1.0) * source.white())
    if source.chance(0.5):
        still = source.still
        ground = smooth(still, 4.0, 20.0) if source.chance(0.6) else power_law(still, 3.0, 3.0)
        values = values * (ground > -source.between(-0.6, 2.0) * ground.std())
    return counts(source, values, 0.4, 40.0), True


def roads(source: Source) -> Drawn:
    """Draw counts on a network of streets, with a little beside it."""
    traffic = streets(source.parameters, source.size, int(source.ratio(4.0, 40.0)))
    values = traffic + source.ratio(0.05, 1.0) * gaussian_filter(traffic, source.ratio(0.6, 2.5))
    values += source.ratio(0.002, 0.2) * gaussian_filter(traffic, source.ratio(3.0, 8.0))
    values = values + source.ratio(1e-4, 0.05)
    values = values * np.exp(source.between(0.1, 0.9) * texture(source))
    if source.chance(0.3):
        values = values * (smooth(source.still, 4.0, 15.0) > -source.between(0.0, 1.5))
    if source.chance(0.85):
        values = counts(source, values, 0.5, 60.0)
    return values, True


def docks(source: Source) -> Drawn:
    """Draw counts at sites of unlike size, dense where their service area has its middle."""
    size, still = source.size, source.still
    rows, columns = axes(size)
    density = np.exp(source.between(0.3, 1.5) * smooth(still, 3.0, 14.0))
    row, column = (source.between(0.25 * size, 0.75 * size) for _ in range(2))
    away = np.hypot(rows - row, columns - column)
    density = density * np.exp(-away / source.ratio(3.0, 30.0))
    share = density / density.max() * source.ratio(0.3, 6.0)
    sites = still.uniform() < np.minimum(share, 0.97)
    values = density * np.exp(source.between(0.2, 1.2) * source.white()) * sites
    return counts(source, values, 0.1, 10.0), True

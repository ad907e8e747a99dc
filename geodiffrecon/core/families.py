"""Families of simulated fields: what temperature, rain, traffic, soil or terrain may look like.

Each takes a `Source` and returns a field (size, size) and whether it is one of values that are
never negative. They are caricatures; what counts is that they differ from a Gaussian field, and
from each other, in the ways that real fields do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from .textures import (
    along,
    blobs,
    carried,
    counted,
    drainage,
    fractal,
    matern_field,
    network,
    rough,
    sigmoid,
    smooth,
    warped,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .textures import Source

    Array = NDArray[np.float64]
    Made = tuple[Array, bool]


def gaussian(s: Source) -> Made:
    """Matérn fields, alone or two scales together, with noise or a plane."""
    f = matern_field(s)
    if s.chance(0.4):
        f = f + s.between(0, 1.2) * matern_field(s)
    if s.chance(0.35):
        f = f + s.between(0, 0.7) * s.white()
    if s.chance(0.3):
        f = f + s.between(0, 3) * along(s, s.angle())[0] / s.size
    return f, False


def nonstationary(s: Source) -> Made:
    """Two regimes; a spread that varies; a warp; a direction that varies."""
    kind = s.whole(0, 4)
    if kind == 0:
        share = sigmoid(s.between(2, 12) * (smooth(s, 6, 20) + 0.4 * s.rng.normal()))
        one, other = s.between(0.2, 2) * matern_field(s), matern_field(s)
        return share * (one + 2 * s.rng.normal()) + (1 - share) * other, False
    if kind == 1:
        return matern_field(s) * np.exp(s.between(0.3, 1.3) * smooth(s, 5, 20)), False
    if kind == 2:
        return warped(s, rough(s), s.between(1, 6)), False
    count = s.whole(2, 5)
    share = np.stack([np.exp(s.between(1, 4) * smooth(s, 6, 20)) for _ in range(count)])
    share /= share.sum(axis=0)
    return np.asarray(sum(np.sqrt(w) * matern_field(s, stretched=1.0) for w in share)), False


def front(s: Source) -> Made:
    """Two air masses or water bodies and the sharp line between them."""
    if s.chance(0.7):
        line = smooth(s, 5, 25)
    else:
        line = warped(s, 3 * along(s, s.angle())[0] / s.size)
    line = line - np.median(line) + 0.3 * s.rng.normal()
    side = 0.5 * (1 + np.tanh(line / s.scale(0.02, 0.6)))
    f = s.between(0.7, 4) * side
    f = f + s.between(0.1, 1) * rough(s) * (1 + s.between(-0.8, 1) * side)
    if s.chance(0.3):
        f = f + s.between(0.3, 2) * (smooth(s, 4, 12) > 0.5 * s.rng.normal())
    return f, False


def vortex(s: Source) -> Made:
    """Stir a field by eddies."""
    f = rough(s) if s.chance(0.5) else front(s)[0]
    down, right = (np.asarray(g) for g in np.gradient(matern_field(s, 4.0, s.scale(4, 12))))
    stride = s.between(0.4, 1.5) / (float(np.hypot(down, right).mean()) + 1e-6)
    y, x = s.grid
    for _ in range(s.whole(3, 10)):
        dy, dx = carried(right, y, x), carried(down, y, x)
        y, x = y - stride * dy, x + stride * dx
    return carried(f, y, x) + s.between(0, 0.2) * rough(s), False


def coast(s: Source) -> Made:
    """Temperature over land and sea: a gradient, a contrast, a lapse with height, weather."""
    height = fractal(s, s.between(2.5, 4)) + 0.7 * s.rng.normal()
    land = sigmoid(height / s.scale(0.03, 0.3))
    f = s.between(0, 2) * along(s, s.angle())[0] / s.size + 1.2 * s.rng.normal() * land
    f = f - s.between(0, 1.5) * np.maximum(height, 0) * land
    f = f + s.between(0.2, 1.2) * smooth(s, 5, 25)
    return f + s.between(0, 0.4) * rough(s) * (0.3 + land), False


def patches(s: Source) -> Made:
    """Land cover: cells of a tessellation or slices of a field, each with level and texture."""
    kind = s.whole(0, 3)
    y, x = s.grid
    if kind == 0:
        count, ratio = int(s.scale(4, 60)), s.scale(1, 3)
        at = s.rng.uniform(-2, s.size + 2, (count, 2))
        far = (y[..., None] - at[:, 0]) ** 2 * ratio + (x[..., None] - at[:, 1]) ** 2 / ratio
        if s.chance(0.5):
            far = far + s.scale(0.5, 30) * np.abs(rough(s))[..., None] * s.rng.random(count)
        label = far.argmin(axis=-1)
    elif kind == 1:
        f = rough(s) if s.chance(0.5) else smooth(s)
        label = np.digitize(f, np.sort(s.rng.normal(size=s.whole(2, 6))) * f.std())
    else:
        label = np.zeros((s.size, s.size), np.int64)
        for k in range(s.whole(1, 4)):
            label += 2**k * (warped(s, smooth(s, 3, 12)) > 0.6 * s.rng.normal())
    level, grain = s.rng.normal(size=64), np.exp(0.7 * s.rng.normal(size=64))
    f = level[label]
    if s.chance(0.8):
        f = f + s.between(0, 0.8) * grain[label] * rough(s)
    if s.chance(0.5):
        f = f + s.between(0, 0.3) * s.white()
    return gaussian_filter(f, s.between(0.3, 1.2)) if s.chance(0.3) else f, False


def leaves(s: Source) -> Made:
    """Objects in front of each other, as in a picture."""
    y, x = s.grid
    f = s.rng.normal() + s.between(0, 0.5) * rough(s)
    steep = s.between(1, 2.5)
    for _ in range(int(s.scale(3, 60))):
        radius = min(1.5 * (1 - s.rng.random()) ** (-1 / steep), 14.0)
        row, col = s.rng.uniform(-4, s.size + 4, 2)
        ratio, turn = s.scale(0.5, 2), s.angle()
        u = math.cos(turn) * (x - col) + math.sin(turn) * (y - row)
        v = math.cos(turn) * (y - row) - math.sin(turn) * (x - col)
        cover = sigmoid((radius - np.hypot(u * ratio, v / ratio)) / s.scale(0.1, 1.5))
        face = s.rng.normal() + 0.3 * s.rng.normal() * u / radius
        if s.chance(0.3):
            face = face + s.between(0, 0.3) * s.white()
        f = f * (1 - cover) + cover * face
    return f + s.between(0, 0.5) * rough(s), False


def waves(s: Source) -> Made:
    """Dunes, gravity waves, furrows."""
    f, lie = np.zeros((s.size, s.size)), s.between(0, math.pi)
    for _ in range(s.whole(1, 4)):
        turn = lie + s.rng.normal() * float(s.rng.choice([0.1, 1.5]))
        phase = s.angle() + s.between(0, 2.5) * smooth(s, 6, 20)
        wave = np.cos(2 * math.pi / s.scale(3.5, 20) * along(s, turn)[0] + phase)
        wave = np.sign(wave) * np.abs(wave) ** s.scale(0.3, 1.5)
        f += s.between(0.3, 1) * wave * np.exp(s.between(0, 1) * smooth(s, 6, 20))
    return f + s.between(0.1, 1.2) * rough(s), False


def noisy(s: Source) -> Made:
    """Stations: a smooth signal, much local noise, a few that are far off."""
    f = s.between(0.5, 1.5) * smooth(s, 5, 30)
    f = f + s.between(0.2, 1.2) * s.white() * np.exp(s.between(0, 0.5) * s.white())
    if s.chance(0.4):
        off = s.rng.random((s.size, s.size)) < 0.04
        f = f + off * 1.5 * s.rng.standard_t(3, (s.size, s.size))
    if s.chance(0.5):
        return np.exp(s.between(0.2, 1.0) * f), True
    return f, False


def air(s: Source) -> Made:
    """Pollution of the air: a regional level, towns, sources and noise that grows with it."""
    level = np.exp(s.between(0.2, 0.8) * smooth(s, 8, 40) + s.between(0, 0.3) * rough(s))
    towns = blobs(s, 1 + s.noise.poisson(s.scale(1, 8)), 1.0, 7.0)
    f = level * (1 + s.between(0, 1.5) * towns)
    return f * np.exp(s.between(0.02, 0.3) * s.white()), True


def skewed(s: Source) -> Made:
    """Transform Gaussian fields, with or without noise in proportion."""
    f = rough(s)
    if s.chance(0.3):
        f = f + s.between(0.2, 1) * rough(s)
    kind = s.whole(0, 5)
    if kind == 0:
        return np.exp(s.between(0.3, 2) * f), True
    if kind == 1:
        return (f + s.rng.normal()) ** 2, True
    if kind == 2:
        return np.logaddexp(0, s.between(1, 5) * f + s.rng.normal()), True
    if kind == 3:
        grain = s.noise.gamma(s.between(1.5, 20), size=f.shape)
        return np.exp(s.between(0.3, 1.4) * f) * grain, True
    tails = np.clip(s.noise.standard_t(4, f.shape), -9, 9)
    return np.exp(s.between(0.3, 1) * f + s.between(0.05, 0.3) * tails), True


def ore(s: Source) -> Made:
    """Grades of soil and rock: lodes along a direction, heavy tails, a large nugget."""
    f = matern_field(s, 0.5, s.scale(2, 15), stretched=0.8)
    vein = np.abs(
        warped(s, along(s, s.angle())[1], s.between(0, 4)) - s.size * s.between(-0.3, 0.3)
    )
    f = f + s.between(0, 2) * np.exp(-vein / s.scale(1, 6))
    return np.exp(s.between(0.4, 1.2) * f + s.between(0.1, 0.7) * s.white()), True


def rain(s: Source) -> Made:
    """Wet and dry areas, cascades, cores, gauges that round."""
    f = rough(s) if s.chance(0.4) else fractal(s, s.between(2.2, 3.6))
    if s.chance(0.5):
        f = warped(s, f)
    wet = float(np.clip(s.rng.beta(1.1, 1.4), 0.04, 0.999))
    f = (np.maximum(f - np.quantile(f, 1 - wet), 0) / f.std()) ** s.between(0.5, 2.2)
    if s.chance(0.7):
        f = f * np.exp(s.between(0.2, 1.3) * fractal(s))
    if s.chance(0.25):
        f = f * np.exp(s.between(0.05, 0.3) * _cascade(s))
    if s.chance(0.4):
        cores = blobs(s, 1 + s.noise.poisson(5), 0.6, 3.5)
        f = f + s.between(1.5, 15) * cores * (f.mean() + 1e-3)
    if s.chance(0.5):
        f = np.where(f < f.max() * s.scale(0.003, 0.08), 0.0, f)
    if s.chance(0.3):
        step = max(f.max() / s.between(20, 250), 1e-9)
        f = np.round(f / step) * step
    return f, True


def _cascade(s: Source) -> Array:
    """Return noise on blocks of halving size."""
    total = np.zeros((s.size, s.size))
    for side in (32, 16, 8, 4, 2):
        block = s.rng.normal(size=(s.size // side + 2, s.size // side + 2))
        down, right = s.rng.integers(0, side, 2)
        whole = np.kron(block, np.ones((side, side)))
        total += whole[down : down + s.size, right : right + s.size]
    return total


def convection(s: Source) -> Made:
    """Showers along a line or in a cluster, with a light shield about them."""
    y, x = s.grid
    turn, aside, wide = s.between(0, math.pi), s.between(-8, 8), s.scale(1, 6)
    lined, sharp = s.chance(0.5), float(s.rng.choice([1.0, 2.0]))
    f = np.zeros((s.size, s.size))
    for _ in range(int(s.scale(3, 50))):
        row, col = s.rng.uniform(-3, s.size + 3, 2)
        if lined:
            t, o = s.between(-0.7, 0.7) * s.size, wide * s.rng.normal() + aside
            row = s.size / 2 + t * math.sin(turn) + o * math.cos(turn)
            col = s.size / 2 + t * math.cos(turn) - o * math.sin(turn)
        far = np.hypot(y - row, x - col) ** sharp / s.scale(0.7, 4) ** 1.5
        f += s.rng.gamma(0.8) * np.exp(-far)
    shield = gaussian_filter(f, s.scale(1.5, 6)) * s.scale(1, 4) - s.between(0, 0.1)
    f = (f + s.between(0, 0.4) * np.maximum(shield, 0)) * np.exp(s.between(0, 0.6) * rough(s))
    return np.where(f < f.max() * s.scale(0.002, 0.06), 0.0, f), True


def bumps(s: Source) -> Made:
    """Hot spots on nothing or on a rough ground."""
    f = blobs(s, 1 + s.noise.poisson(s.scale(1, 40)), 0.8, 8)
    if s.chance(0.4):
        ground = np.exp(0.5 * rough(s)) * s.between(0.1, 1)
        f = f + s.between(0, 0.4) * f.max() * ground
    return np.maximum(f - s.between(0, 0.3) * f.max(), 0) if s.chance(0.3) else f, True


def plumes(s: Source) -> Made:
    """Smoke down the wind from sources, over a background."""
    y, x = s.grid
    wind, widen, power = s.angle(), s.between(0.1, 0.6), s.between(0.5, 1)
    f = np.zeros((s.size, s.size))
    for _ in range(1 + s.noise.poisson(s.scale(1, 12))):
        row, col = s.rng.uniform(-6, s.size + 6, 2)
        turn = wind + 0.1 * s.rng.normal()
        ahead = math.cos(turn) * (x - col) + math.sin(turn) * (y - row)
        far = np.maximum(ahead, 0)
        side = math.cos(turn) * (y - row) - math.sin(turn) * (x - col)
        side = side + s.between(0, 2) * np.sin(far / s.between(3, 10) + s.angle())
        wide = 0.6 + widen * far**power
        plume = np.exp(-0.5 * (side / wide) ** 2) / wide
        near = np.exp(-((x - col) ** 2) - (y - row) ** 2)
        f += math.exp(0.8 * s.rng.normal()) * np.where(ahead > 0, plume, near)
    ground = np.exp(s.between(0.1, 0.6) * matern_field(s)) * f.mean() * s.between(0.1, 3)
    return (f + ground) * np.exp(s.between(0, 0.4) * rough(s)), True


def river(s: Source) -> Made:
    """Decay with the distance from winding lines, as on a flood plain."""
    f = np.zeros((s.size, s.size))
    for _ in range(s.whole(1, 3)):
        line = along(s, s.angle())[0] + s.size / 4 * s.rng.normal()
        far = warped(s, line, s.between(1, 5))
        far = np.abs(far) if s.chance(0.5) else np.maximum(far, 0)
        bend = float(s.rng.choice([0.7, 1.0, 2.0]))
        f += np.exp(-((far / s.scale(0.8, 10)) ** bend)) * s.scale(0.3, 3)
    f = (f + s.scale(0.02, 0.5)) * np.exp(s.between(0.1, 0.8) * rough(s))
    return f * np.exp(s.between(0, 0.4) * s.white()) if s.chance(0.6) else f, True


def roads(s: Source) -> Made:
    """Traffic: loads on a network and what spreads from it."""
    net = network(s, int(s.scale(4, 40)))
    f = net + s.scale(0.05, 1) * gaussian_filter(net, s.scale(0.6, 2.5))
    f = f + s.scale(0.002, 0.2) * gaussian_filter(net, s.scale(3, 8))
    f = (f + s.scale(1e-4, 0.05)) * np.exp(s.between(0.1, 0.9) * rough(s))
    if s.chance(0.3):
        f = f * (smooth(s, 4, 15) > -s.between(0, 1.5))
    return counted(s, f, 0.5, 60) if s.chance(0.85) else f, True


def urban(s: Source) -> Made:
    """Trips or people: centres that fade outwards, streets, blocks, water without any."""
    y, x = s.grid
    f = np.zeros((s.size, s.size))
    for _ in range(1 + s.whole(0, 5)):
        row, col = s.rng.uniform(-2, s.size + 2, 2)
        far = np.hypot((y - row) * math.exp(0.3 * s.rng.normal()), x - col) / s.scale(1.5, 14)
        f += math.exp(0.8 * s.rng.normal()) * np.exp(-(far ** float(s.rng.choice([0.7, 1, 1.5]))))
    f = f * np.exp(s.between(0.2, 1.4) * rough(s))
    if s.chance(0.5):
        f = f * (s.between(0.05, 0.6) + network(s, int(s.scale(6, 40))))
    if s.chance(0.4):
        f = f * np.exp(s.between(0.2, 1) * s.white())
    if s.chance(0.5):
        mask = smooth(s) if s.chance(0.6) else fractal(s, 3.0)
        f = f * (mask > -s.between(-0.6, 2) * mask.std())
    return counted(s, f), True


def docks(s: Source) -> Made:
    """Few active cells of very unequal size in a service area, zeros elsewhere."""
    y, x = s.grid
    density = np.exp(s.between(0.3, 1.5) * smooth(s, 3, 14))
    row, col = s.rng.uniform(0.25, 0.75, 2) * s.size
    density *= np.exp(-np.hypot(y - row, x - col) / s.scale(3, 30))
    active = s.rng.random((s.size, s.size)) < np.minimum(
        density / density.max() * s.scale(0.3, 6), 0.97
    )
    return counted(s, density * np.exp(s.between(0.2, 1.2) * s.white()) * active, 0.1, 10), True


def ridges(s: Source) -> Made:
    """Ridged terrain, or what clings to the zero line of a field."""
    kind = s.whole(0, 3)
    if kind == 0:
        f, share, height = np.zeros((s.size, s.size)), np.ones((s.size, s.size)), 1.0
        narrow = s.chance(0.7)
        for length in (20, 10, 5, 2.5, 1.3):
            ridge = np.clip(1 - np.abs(matern_field(s, 2.5, length)), -1, None) ** 2
            f += height * ridge * share
            share = np.clip(ridge, 0, 1) if narrow else share
            height *= s.between(0.4, 0.7)
        return f, s.chance(0.3)
    line = smooth(s, 5, 20)
    far = np.abs(line) / (np.hypot(*np.gradient(line)) + 0.02)
    f = np.exp(-far / s.between(1, 6)) * np.exp(s.between(0, 0.6) * rough(s)) + s.between(0, 0.4)
    return f * np.exp(s.between(0.2, 0.8) * rough(s)) if kind == 2 else f, True


def valleys(s: Source) -> Made:
    """Terrain cut by its own rivers, or the wetness that follows from it."""
    height = fractal(s, s.between(2.8, 4))
    height = height + s.between(0, 2) * along(s, s.angle())[0] / s.size * height.std()
    for _ in range(s.whole(1, 4)):
        cut = gaussian_filter(np.log(drainage(height)), s.between(0.3, 0.8))
        height = height - s.between(0.05, 0.25) * height.std() * cut
    kind = s.between(0, 1)
    if kind < 0.6:
        return (height - height.min(), True) if s.chance(0.3) else (height, False)
    wet = gaussian_filter(np.log(drainage(height)), s.between(0.3, 1))
    if kind < 0.8:
        return wet + s.between(0, 0.5) * rough(s), False
    return np.exp(s.between(0.3, 1) * wet) * np.exp(s.between(0, 0.5) * rough(s)), True


def seabed(s: Source) -> Made:
    """Let a shelf break to the deep, with channels and banks."""
    out = warped(s, along(s, s.angle())[0] / s.size, s.between(0, 4))
    f = s.between(0.1, 1) * out + s.between(0.5, 3) * sigmoid(
        (out - s.between(-0.4, 0.4)) * s.scale(4, 30)
    )
    channel = np.abs(smooth(s, 3, 10)) * s.scale(1, 6)
    return f + s.between(0, 1) * np.exp(-channel) + s.between(0.05, 0.4) * rough(s), False


FAMILIES: dict[str, tuple[Callable[[Source], Made], float]] = {
    "gaussian": (gaussian, 0.10), "nonstationary": (nonstationary, 0.08), "skewed": (skewed, 0.07),
    "rain": (rain, 0.12), "bumps": (bumps, 0.03), "plumes": (plumes, 0.04), "front": (front, 0.06),
    "ridges": (ridges, 0.03), "urban": (urban, 0.09), "vortex": (vortex, 0.04),
    "coast": (coast, 0.05), "patches": (patches, 0.05), "leaves": (leaves, 0.03),
    "waves": (waves, 0.03), "noisy": (noisy, 0.05), "convection": (convection, 0.05),
    "river": (river, 0.04), "roads": (roads, 0.05), "docks": (docks, 0.05),
    "valleys": (valleys, 0.03), "air": (air, 0.05), "ore": (ore, 0.04), "seabed": (seabed, 0.02),
}  # fmt: skip

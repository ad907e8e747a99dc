"""Worlds whose exact answer is known: Gaussian fields, and mixtures of two of them.

A frame is 32×32 fine cells in 8×8 coarse ones, each the mean of its 4×4. Where the covariance in
space and time is a product, the coarse maps are a Gaussian process of their own, and what is left
of the fine ones is independent of all coarse maps. So the exact posterior of every fine cell, given
the coarse cells observed up to its frame, is a Kalman filter over 64 numbers. numpy only: nothing
of the package, no kernel that a model could share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

Array = np.ndarray

FRAMES = (300, 5000)  # that a model may learn from
SEEDS = (0, 1, 2)  # of worlds that are drawn here; others may be kept back
GIVEN, ASKED = 24, 40  # frames observed before those that are asked for, and these
LEARNT, USED, HIDDEN = 1, 2, 3  # streams of one seed: training frames, test frames, masks
SEEN_IN_MIXTURES = 25  # of 64 cells


@dataclass(frozen=True)
class World:
    """A stationary Gaussian field on nested cells, AR(1) in time, or a mixture of such fields.

    Parameters
    ----------
    family : {"exponential", "matern32", "spherical"}
        Correlation of fine cells by distance.
    ranges : tuple of float
        Its range in coarse cells. More than one make a mixture: every frame is drawn with either
        range, as likely as the other, and frames are independent of each other.
    persistence : float
        Correlation from one frame to the next.
    level, spread : float
        Mean and standard deviation of a fine cell.
    side, factor : int
        Coarse cells along one side, fine cells along the side of one.
    """

    family: str
    ranges: tuple[float, ...]
    persistence: float = 0.7
    level: float = 20.0
    spread: float = 5.0
    side: int = 8
    factor: int = 4

    def __post_init__(self) -> None:
        if len(self.ranges) > 1 and self.persistence:
            raise ValueError("Frames of a mixture are independent; its persistence is 0.")

    @cached_property
    def fine(self) -> Array:
        """Covariance (G, F, F) of the fine cells, one per range."""
        line = (np.arange(self.side * self.factor) + 0.5) / self.factor
        places = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
        apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
        return self.spread**2 * np.stack([correlation(self.family, apart / r) for r in self.ranges])

    @cached_property
    def pool(self) -> Array:
        """Matrix (P, F) that takes fine maps to coarse means."""
        ones = np.kron(np.eye(self.side), np.ones(self.factor) / self.factor)
        return np.kron(ones, ones)

    @cached_property
    def coarse(self) -> Array:
        """Covariance (G, P, P) of the coarse cells."""
        return self.pool @ self.fine @ self.pool.T

    @cached_property
    def bearing(self) -> Array:
        """Regression (G, F, P) of fine cells on the coarse ones."""
        return np.linalg.solve(self.coarse, self.pool @ self.fine).transpose(0, 2, 1)

    @cached_property
    def remainder(self) -> Array:
        """Covariance (G, F, F) of what coarse cells say nothing about."""
        return self.fine - self.bearing @ self.pool @ self.fine

    def simulate(self, frames: int, seed: int, stream: int = LEARNT) -> Array:
        """Return fine maps (T, N I, N J); the first of many frames are those of few."""
        size = self.side * self.factor
        maps = np.empty((frames, size * size))
        roots, choose = np.linalg.cholesky(self.fine), np.random.default_rng([seed, stream, 1])
        chance, before = np.random.default_rng([seed, stream, 0]), 0.0
        for t in range(frames):
            new = roots[choose.integers(len(roots))] @ chance.standard_normal(size * size)
            keep = self.persistence if t else 0.0
            before = maps[t] = keep * before + np.sqrt(1 - keep**2) * new
        return self.level + maps.reshape(frames, size, size)


def correlation(family: str, h: Array) -> Array:
    """Return the correlation at distances of `h` ranges."""
    if family == "exponential":
        return np.exp(-h)
    if family == "matern32":
        return (1 + np.sqrt(3) * h) * np.exp(-np.sqrt(3) * h)
    if family == "spherical":
        h = np.minimum(h, 1.0)
        return 1 - 1.5 * h + 0.5 * h**3
    raise ValueError(f"There is no family {family!r}.")


WORLDS = {
    "exponential": World("exponential", (3.0,)),
    "matern32": World("matern32", (2.0,)),
    "spherical": World("spherical", (6.0,)),
    "mixture": World("exponential", (1.0, 8.0), persistence=0.0),
}
PATTERNS = {
    "random 40": ("random", 0.4),
    "fixed 80": ("fixed", 0.8),
    "block": ("block", 0.0),
    "complete": ("random", 0.0),
}
OF_MIXTURES = {"25 of 64": ("random", 1 - SEEN_IN_MIXTURES / 64)}


def patterns_of(world: World) -> dict[str, tuple[str, float]]:
    """Return the patterns in which a world is observed, and the share that each hides."""
    return OF_MIXTURES if len(world.ranges) > 1 else PATTERNS


def mask(pattern: tuple[str, float], frames: int, side: int, seed: int) -> Array:
    """Return which coarse cells (T, I, J) are observed."""
    kind, hidden = pattern
    seen = np.ones((frames, side * side), bool)
    if kind == "block":
        seen = seen.reshape(frames, side, side)
        seen[:, side // 2 :, side // 2 :] = False
        return seen
    chance = np.random.default_rng([seed, HIDDEN, kind == "fixed", round(hidden * 1000)])
    order = chance.random((1 if kind == "fixed" else frames, side * side)).argsort(axis=1)
    gone = np.broadcast_to(order[:, : int(hidden * side * side)], (frames, int(hidden * side**2)))
    np.put_along_axis(seen, gone, False, axis=1)
    return seen.reshape(frames, side, side)


@dataclass(frozen=True)
class Marginals:
    """Gaussian mixtures of n scalar quantities of F frames, in raw units.

    Parameters
    ----------
    weights : array (F, G)
    means, stds : array (F, G, n)
    """

    weights: Array
    means: Array
    stds: Array

    @property
    def mean(self) -> Array:
        """Mean (F, n)."""
        return (self.weights[..., None] * self.means).sum(1)

    @property
    def std(self) -> Array:
        """Standard deviation (F, n)."""
        second = (self.weights[..., None] * (self.stds**2 + self.means**2)).sum(1)
        return np.sqrt(np.maximum(second - self.mean**2, 0.0))

    def crps(self, truth: Array) -> Array:
        """Return the CRPS (F, n) of this posterior for a truth (F, n)."""
        return self.expected_distance(truth) - self.own_crps

    @property
    def own_crps(self) -> Array:
        """CRPS (F, n) to be expected when the truth is drawn from this posterior."""
        weights = self.weights[:, :, None] * self.weights[:, None]
        apart = self.means[:, :, None] - self.means[:, None]
        width = np.hypot(self.stds[:, :, None], self.stds[:, None])
        return 0.5 * (weights[..., None] * folded(apart, width)).sum((1, 2))

    def expected_distance(self, value: Array, width: Array | float = 0.0) -> Array:
        """Return the expected distance (..., F, n) of N(value, width²) from a draw of this."""
        gap = value[..., None, :] - self.means
        wide = np.hypot(self.stds, np.expand_dims(np.broadcast_to(width, value.shape), -2))
        return (self.weights[..., None] * folded(gap, wide)).sum(-2)


def folded(mean: Array, std: Array) -> Array:
    """Return the expected absolute value of N(mean, std²).

    Grimit et al. (2006). The continuous ranked probability score for circular variables and its
    application to mesoscale forecast ensemble verification. Eq A1.
    """
    safe = np.maximum(std, 1e-12)
    ratio = np.clip(mean / safe, -40.0, 40.0)  # farther out the sign is certain
    bell = np.exp(-0.5 * ratio**2) * np.sqrt(2 / np.pi)
    return safe * bell + mean * (2 * ndtr(ratio) - 1)


@dataclass(frozen=True)
class Posterior:
    """Exact posterior of F frames given coarse cells: a mixture of one Gaussian per range.

    Parameters
    ----------
    world : World
    weights : array (F, G)
    mean : array (F, G, P)
        Of the coarse cells, about the world's level.
    covariance : array (F, G, P, P)
    """

    world: World
    weights: Array
    mean: Array
    covariance: Array

    @classmethod
    def of(cls, world: World, coarse: Array, *, memory: int | None = None) -> Posterior:
        """Return the posterior of every frame of `coarse` (T, I, J), NaN where not observed.

        A frame is given its own cells and those of the frames before it: of all of them, or of
        the last `memory` frames, its own included, which is what a model with less history sees.
        """
        given = coarse.reshape(len(coarse), -1) - world.level
        prior = np.zeros(world.coarse.shape[:2]), world.coarse  # (G, P), (G, P, P)
        states = []
        for t in range(len(given)):
            start = 0 if memory is None else max(0, t + 1 - memory)
            if memory is None and t:
                states.append(_step(world, states[-1], given[t]))
                continue
            state = _update(*prior, given[start])
            for frame in given[start + 1 : t + 1]:
                state = _step(world, state, frame)
            states.append(state)
        logs = np.stack([state[2] for state in states])
        weights = np.exp(logs - logs.max(1, keepdims=True))
        return cls(
            world,
            weights / weights.sum(1, keepdims=True),
            np.stack([state[0] for state in states]),
            np.stack([state[1] for state in states]),
        )

    def last(self, frames: int) -> Posterior:
        """Return the posterior of the last `frames`."""
        return replace(
            self,
            weights=self.weights[-frames:],
            mean=self.mean[-frames:],
            covariance=self.covariance[-frames:],
        )

    @property
    def cells(self) -> Marginals:
        """Of all fine cells."""
        root = np.linalg.cholesky(_jittered(self.covariance))
        spread = ((self.world.bearing @ root) ** 2).sum(-1)
        spread = spread + np.diagonal(self.world.remainder, axis1=1, axis2=2)
        return self._marginals((self.world.bearing @ self.mean[..., None])[..., 0], spread)

    @property
    def coarse(self) -> Marginals:
        """Of all coarse cells."""
        return self._marginals(self.mean, np.diagonal(self.covariance, axis1=2, axis2=3))

    @property
    def totals(self) -> Marginals:
        """Of the mean of the whole map."""
        mean = self.mean.mean(-1, keepdims=True)
        return self._marginals(mean, self.covariance.mean((-2, -1))[..., None])

    def draw(self, draws: int, seed: int) -> Array:
        """Return exact draws (K, F, N I, N J)."""
        world, chance = self.world, np.random.default_rng(seed)
        size, frames = world.side * world.factor, len(self.mean)
        root = np.linalg.cholesky(_jittered(self.covariance))
        fine = np.linalg.cholesky(world.fine)
        found = np.empty((draws, frames, size * size))
        for t in range(frames):
            chosen = chance.choice(len(world.ranges), draws, p=self.weights[t])
            for g in np.unique(chosen):
                mine = np.flatnonzero(chosen == g)
                coarse = chance.standard_normal((len(mine), world.side**2)) @ root[t, g].T
                free = chance.standard_normal((len(mine), size * size)) @ fine[g].T
                wanted = self.mean[t, g] + coarse - free @ world.pool.T
                found[mine, t] = free + wanted @ world.bearing[g].T
        return world.level + found.reshape(draws, frames, size, size)

    def _marginals(self, mean: Array, variance: Array) -> Marginals:
        return Marginals(self.weights, self.world.level + mean, np.sqrt(np.maximum(variance, 0.0)))


def _step(world: World, state: tuple[Array, Array, Array], given: Array) -> tuple:
    keep = world.persistence
    mean, covariance = keep * state[0], keep**2 * state[1] + (1 - keep**2) * world.coarse
    return _update(mean, covariance, given)


def _update(mean: Array, covariance: Array, given: Array) -> tuple[Array, Array, Array]:
    """Return mean, covariance and log likelihood (G,) once the finite cells of `given` are seen."""
    seen = np.isfinite(given)
    if not seen.any():
        return mean, covariance, np.zeros(len(mean))
    own = covariance[:, seen][:, :, seen]
    gain = np.linalg.solve(own, covariance[:, seen]).transpose(0, 2, 1)  # (G, P, S)
    gap = given[seen] - mean[:, seen]
    after = mean + (gain @ gap[..., None])[..., 0]
    left = covariance - gain @ covariance[:, seen]
    after[:, seen], left[:, seen], left[:, :, seen] = given[seen], 0.0, 0.0
    fit = (gap * np.linalg.solve(own, gap[..., None])[..., 0]).sum(-1)
    return after, (left + left.transpose(0, 2, 1)) / 2, -0.5 * (fit + np.linalg.slogdet(own)[1])


def _jittered(covariance: Array) -> Array:
    return covariance + 1e-12 * np.eye(covariance.shape[-1])

"""The same model for 10⁴ to 10⁶ readings: each conditions on its nearest neighbours (Vecchia)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from .choice import Choice, Raw, mixture
from .covariance import Covariance, Sites, matern
from .neighbours import AT_ONCE, Neighbourhood, lags, previous
from .predictive import Predictive, fit_shape, gaussian_crps, parts_of_draws, shaped
from .transform import Transform, floor_of, usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .kriging import Readings

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

LEARNING = 20  # neighbours
FIRST, TERMS = 800, 5000  # terms of the likelihood: all of the coarse ones, some of the others
LEFT_OUT = 4000  # readings that are left out in turn
ROUNDS = 90  # of the search
SMOOTH = ((0.5, 1.0), (1.5, 0.4))  # smoothness, and its scale in terms of the rough one
LEAST_WEIGHT = 0.04
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the parts of a mixture


@dataclass(frozen=True, eq=False)
class _Terms:
    """Terms of the likelihood: some readings, each with its nearest ones before it."""

    xy: NDArray[Any]  # (b, 1 + k, d), the reading itself last
    values: Array  # (b, 1 + k, c): one, features, values
    noise: Array  # (b, 1 + k)
    repeats: Array
    weight: Array  # (b,)

    def fitted(self, known: Covariance) -> tuple[float, float, Array]:
        """Return the log likelihood, the variance and the coefficients that a covariance gives."""
        white, logs = [], 0.0
        for low in range(0, len(self.xy), AT_ONCE):
            part = slice(low, low + AT_ONCE)
            some: Any = self.xy[part]
            xy = known.stretched(some.reshape(-1, some.shape[-1])).reshape(some.shape)
            inner = (1 - known.nugget) * matern(lags(xy, xy), known.nu, known.scale)
            k = xy.shape[1]
            inner[:, range(k), range(k)] = (
                1 - known.nugget + known.nugget / self.repeats[part] + self.noise[part] + 1e-8
            )
            weights = np.linalg.solve(inner[:, :-1, :-1], inner[:, :-1, -1:])[..., 0]
            left = inner[:, -1, -1] - np.einsum("bk,bk->b", weights, inner[:, :-1, -1])
            left = np.maximum(left, 1e-10)
            values = self.values[part]
            error = values[:, -1] - np.einsum("bk,bkc->bc", weights, values[:, :-1])
            white.append(error * np.sqrt(self.weight[part] / left)[:, None])
            logs += float(self.weight[part] @ np.log(left))
        rows = np.vstack(white)
        design, target = rows[:, :-1], rows[:, -1]
        ridge = 1e-6 * np.eye(design.shape[1])
        level = np.linalg.solve(design.T @ design + ridge, design.T @ target)
        total = float(self.weight.sum())
        variance = float(np.sum((target - design @ level) ** 2)) / total
        return -0.5 * (total * math.log(max(variance, 1e-12)) + logs), variance, level


def _terms(readings: Readings, values: Array, known: Covariance, *, sill: float) -> _Terms:
    n = len(readings)
    rng = np.random.default_rng(0)
    order = rng.permutation(n)
    stretched = known.stretched(readings.sites.xy)[order]
    k = min(LEARNING, n - 1)
    chosen = np.arange(k, min(k + FIRST, n))
    weight = np.ones(len(chosen))
    later = np.arange(chosen[-1] + 1, n)
    if len(later):
        some = np.sort(rng.permutation(later)[:TERMS])
        chosen = np.append(chosen, some)
        weight = np.append(weight, np.full(len(some), len(later) / len(some)))
    before = previous(stretched, k, chosen)
    rows = order[np.hstack([before, chosen[:, None]])]  # (b, 1 + k)
    design = np.hstack([np.ones((n, 1)), readings.sites.features, values[:, None]])
    noise = np.zeros(n) if readings.noise is None else readings.noise / sill
    return _Terms(
        readings.sites.xy[rows], design[rows], noise[rows], readings.repeats[rows], weight
    )


def learn(
    readings: Readings, values: Array, *, extent: float, known: Sequence[Covariance] = ()
) -> list[tuple[float, Neighbourhood]]:
    """Return what covariances of each smoothness make of readings, with their log likelihoods.

    Range, anisotropy and nugget of each are those of the highest likelihood, unless `known`.
    """
    sill = float(values.var())
    if known:
        all_terms = [_terms(readings, values, each, sill=sill) for each in known]
        return [
            _named(terms, each, readings, values)
            for terms, each in zip(all_terms, known, strict=True)
        ]
    rough = Covariance(0.5, 0.1 * extent, 0.05)
    rough = _climbed(_terms(readings, values, rough, sill=sill), rough, extent, ROUNDS)
    found = []
    for nu, shorter in SMOOTH:
        start = replace(rough, nu=nu, scale=shorter * rough.scale)
        terms = _terms(readings, values, start, sill=sill)  # neighbours near in the field's sense
        best = _climbed(terms, start, extent, ROUNDS // 2)
        found.append(_named(terms, best, readings, values))
    return found


def _named(
    terms: _Terms, known: Covariance, readings: Readings, values: Array
) -> tuple[float, Neighbourhood]:
    likely, variance, level = terms.fitted(known)
    return likely, _neighbourhood(known, readings, values, variance, level)


def _neighbourhood(
    known: Covariance, readings: Readings, values: Array, sill: float, level: Array
) -> Neighbourhood:
    trend = level[0] + readings.sites.features @ level[1:]
    return Neighbourhood(known, readings, values - trend, sill, level)


def _climbed(terms: _Terms, start: Covariance, extent: float, rounds: int) -> Covariance:
    """Return the covariance of the highest likelihood near `start`, by simplex."""
    plane = terms.xy.shape[2] == 2

    def unpack(p: Array) -> Covariance:
        nugget = float(1 / (1 + np.exp(-np.clip(p[1], -12, 6))))
        scale = float(np.exp(np.clip(p[0], -9, 2.5)) * extent)
        if not plane:
            return replace(start, scale=scale, nugget=nugget)
        stretch = float(np.hypot(p[2], p[3]))  # log ratio, with twice the angle as direction
        angle = float(np.arctan2(p[3], p[2]) / 2)
        return replace(
            start, scale=scale, nugget=nugget, ratio=math.exp(min(stretch, 3.0)), angle=angle
        )

    def loss(p: Array) -> float:
        known = unpack(p)
        try:
            likely = terms.fitted(known)[0]
        except np.linalg.LinAlgError:
            return math.inf
        return (
            -likely
            + 2.0 * math.log(known.ratio) ** 2
            + 0.05 * math.log(4 * known.scale / extent) ** 2
        )

    turn, log_ratio = 2 * start.angle, math.log(start.ratio)
    odds = start.nugget / (1 - start.nugget)
    first = [math.log(start.scale / extent), math.log(max(odds, 1e-5))]
    if plane:
        first += [log_ratio * math.cos(turn), log_ratio * math.sin(turn)]
    steps = np.vstack([np.zeros(len(first)), 0.5 * np.eye(len(first))])
    found = minimize(
        loss, np.array(first), method="Nelder-Mead",
        options={"maxfev": rounds, "initial_simplex": np.array(first) + steps, "fatol": 0.1,
                 "xatol": 0.01},
    )  # fmt: skip
    return unpack(found.x)


@dataclass(frozen=True, eq=False)
class LargeField:
    """What very many readings say of a field; used as `Field` is.

    Parameters
    ----------
    raw : Raw
        The readings.
    choice : Choice
        Covariances, transform and calibration.
    parts : list of (weight, Neighbourhood)
        Averaged over.
    checked : array of int (c,)
        Which readings were left out; `choice.left_out` is about them.
    """

    raw: Raw
    choice: Choice
    parts: list[tuple[float, Neighbourhood]]
    checked: Index

    @classmethod
    def of(
        cls,
        raw: Raw,
        *,
        kind: str = "auto",
        transforms: Sequence[str] | None = None,
        hidden: Sequence[tuple[Index, Index]] | None = None,
    ) -> LargeField:
        """Choose and calibrate.

        Parameters
        ----------
        raw : Raw
            The readings.
        kind, transforms
            As in `choose`.
        hidden : sequence of (hidden, known) index arrays, optional
            Sets of parts to hide, shaped as what is to be filled: smoothness is chosen and errors
            are calibrated on them. Without them readings are left out one by one.
        """
        values = raw.values
        floor = floor_of(values, kind)
        names = list(transforms or [n for n in usable(values, kind) if n != "scores"])
        rng = np.random.default_rng(0)
        checked = np.sort(rng.permutation(len(values))[:LEFT_OUT])
        made = cls._with(raw, Transform.of(names[0], values, floor=floor), checked, hidden)
        best, score = made, made._score()
        for name in names[1:]:  # with the covariance of the first: learning takes most of the time
            transform = Transform.of(name, values, floor=floor)
            other = cls._with(raw, transform, checked, hidden, made.choice.best)
            if other._score() < 0.995 * score:
                best, score = other, other._score()
        if best is made:
            return made
        return cls._with(raw, best.choice.transform, checked, hidden)

    def _score(self) -> float:
        return float(self.choice.left_out.crps(self.raw.values[self.checked]).mean())

    @classmethod
    def _with(
        cls,
        raw: Raw,
        transform: Transform,
        checked: Index,
        hidden: Sequence[tuple[Index, Index]] | None,
        known: Covariance | None = None,
    ) -> LargeField:
        readings, work = raw.working(transform)
        given = () if known is None else (known,)
        tried = learn(readings, work, extent=extent_of(raw.sites), known=given)
        if hidden:
            checked = np.concatenate([away for away, _ in hidden])
        parts, mean, variance = _weighed(tried, readings, work, checked, hidden)
        own = 0.0 if readings.noise is None else readings.noise[checked]
        spread = np.sqrt(variance + own)
        shape = fit_shape((work[checked] - mean) / spread)
        if hidden:  # what can be hidden beside the holes is easier than the holes: never narrower
            shape = replace(shape, width=max(shape.width, 1.0))
        told = Predictive(mean, spread, transform, shape)
        kept: list[tuple[float, Covariance, float | None]] = [
            (w, near.known, near.sill) for w, near in parts
        ]
        return cls(
            raw,
            Choice(kept, transform, shape, told, list(hidden) if hidden else None),
            parts,
            checked,
        )

    @property
    def own(self) -> int:
        """White numbers of a draw that belong to no place: none."""
        return 0

    def at_day(self, day: float) -> LargeField:
        """Return itself: so many readings of one date need no others."""
        return self

    def predict(self, sites: Sites) -> Predictive:
        """Return the distribution of a new reading at each of `sites`."""
        mean, variance = mixture([(w, *near.predict(sites)) for w, near in self.parts])
        return Predictive(mean, np.sqrt(variance), self.choice.transform, self.choice.shape)

    def draws(self, sites: Sites, normals: Array, told: Predictive | None = None) -> Array:
        """Return joint draws (K, m) in raw units; as `Field.draws`."""
        told = told or self.predict(sites)
        work = np.empty(normals.shape)
        rows_of = parts_of_draws([w for w, _ in self.parts], len(normals))
        for (_, near), rows in zip(self.parts, rows_of, strict=True):
            if len(rows):
                work[rows] = near.draws(sites, normals[rows])
        return told.raw(shaped(work, told))


def _weighed(
    tried: list[tuple[float, Neighbourhood]],
    readings: Readings,
    work: Array,
    checked: Index,
    hidden: Sequence[tuple[Index, Index]] | None,
) -> tuple[list[tuple[float, Neighbourhood]], Array, Array]:
    """Return weighted parts, and mean and variance (c,) of the readings that were left out.

    The likelihood speaks of the nearest neighbours; how a field goes on into a hole is told by
    holes alone, so where there are any the mixture that fills them best is taken.
    """
    if not hidden:
        logs = np.array([likely for likely, _ in tried])
        weights = np.exp(np.maximum(logs - logs.max(), -700))
        kept = [k for k in range(len(tried)) if weights[k] >= LEAST_WEIGHT * weights.sum()]
        weights = weights / weights[kept].sum()
        parts = [(float(weights[k]), tried[k][1]) for k in kept]
        sites = readings.sites[checked]
        return parts, *mixture([(w, *near.predict(sites, without=checked)) for w, near in parts])
    told = [_in_holes(near, readings, hidden) for _, near in tried]
    best: tuple[float, list[tuple[float, Neighbourhood]], Array, Array] | None = None
    for shares in product(SHARES, repeat=len(tried) - 1):
        weights = [*shares, 1 - sum(shares)]
        if min(weights) < 0:
            continue
        mean, variance = mixture([(w, *each) for w, each in zip(weights, told, strict=True)])
        score = float(gaussian_crps(work[checked], mean, np.sqrt(variance)).mean())
        if best is None or score < best[0]:
            near = [(w, k) for w, (_, k) in zip(weights, tried, strict=True) if w > 0]
            best = score, near, mean, variance
    assert best is not None
    return best[1], best[2], best[3]


def _in_holes(
    near: Neighbourhood, readings: Readings, hidden: Sequence[tuple[Index, Index]]
) -> tuple[Array, Array]:
    """Return mean and variance (c,) of all hidden readings, each from what its set left."""
    told = [
        replace(near, readings=readings[rest], residual=near.residual[rest]).predict(
            readings.sites[away]
        )
        for away, rest in hidden
    ]
    mean, variance = zip(*told, strict=True)
    return np.concatenate(mean), np.concatenate(variance)


def extent_of(sites: Sites) -> float:
    """Return the extent of the sites in km."""
    return max(float(np.linalg.norm(np.ptp(sites.xy, axis=0)) / np.sqrt(2)), 1e-6)

"""Which covariances and which transform the readings speak for; how far they were off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from .covariance import Memory, candidates, log_prior, nearby, turned
from .kriging import Factor, Readings
from .predictive import Predictive, fit_shape
from .transform import Transform, floor_of, usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .covariance import Covariance, Sites
    from .predictive import Shape

    Array = NDArray[np.float64]
    Groups = list[NDArray[np.int64]]

SCREENED = 90  # readings up to which all covariances are tried on all of them
SUBSET, SUBSETS = 80, 2
DATES, PER_DATE = 6, 60  # that covariances in space are screened on
JOINT = 600  # readings on which the memory is chosen
MOST_PARTS, LEAST_WEIGHT = 4, 0.04
SILLS = (0.4, 0.7, 1.1, 1.8)
FEW, FOR_DIRECTION, FOR_TREND = 5, 12, 15
CLUSTERED = 0.5  # of the distance between neighbours in an even random pattern
# What a transform's left-out score is multiplied by: doubt speaks for the square root.
HANDICAP = {"none": 1.01, "sqrt": 0.99, "log": 1.0, "scores": 1.005}


@dataclass(frozen=True, eq=False)
class Raw:
    """Readings in raw units; n places and times, each once.

    Parameters
    ----------
    sites : Sites
        n of them.
    values : array (n,)
        Averages of the readings of one place and time.
    repeats : array (n,)
        How many there were.
    error : array (n,), optional
        Standard error of each in raw units.
    """

    sites: Sites
    values: Array
    repeats: Array
    error: Array | None = None

    def __getitem__(self, chosen: NDArray[np.integer]) -> Raw:
        """Return some of the readings."""
        error = None if self.error is None else self.error[chosen]
        return Raw(self.sites[chosen], self.values[chosen], self.repeats[chosen], error)

    def working(self, transform: Transform) -> tuple[Readings, Array]:
        """Return readings and values in working units."""
        noise = None
        if self.error is not None:
            noise = (self.error * transform.slope(self.values)) ** 2
        return Readings(self.sites, self.repeats, noise), transform.forward(self.values)


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen.

    Parameters
    ----------
    parts : list of (weight, covariance, sill)
        Averaged over; a sill of None is taken from the readings.
    transform : Transform
        To working units.
    shape : Shape
        Of standard errors, calibrated on those left out.
    left_out : Predictive
        Of every reading without it (or its neighbours, where points are clustered).
    together : list of (left out, rest), optional
        Indices of readings that were left out at once, and of what told of them; None where each
        was left out by itself.
    """

    parts: list[tuple[float, Covariance, float | None]]
    transform: Transform
    shape: Shape
    left_out: Predictive
    together: list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None

    @property
    def best(self) -> Covariance:
        """The covariance of the highest weight."""
        return max(self.parts, key=lambda part: part[0])[1]

    @property
    def noise_share(self) -> float:
        """Average nugget."""
        return float(sum(weight * known.nugget for weight, known, _ in self.parts))


def choose(raw: Raw, *, kind: str = "auto", transforms: Sequence[str] | None = None) -> Choice:
    """Choose covariances by likelihood, the transform by the left-out CRPS, and calibrate.

    Parameters
    ----------
    raw : Raw
        At least two readings that are not all equal.
    kind : {"auto", "real", "positive"}
        What values can be.
    transforms : sequence of str, optional
        The transforms to choose from.
    """
    values = raw.values
    floor = floor_of(values, kind)
    names = list(transforms or (usable(values, kind) if len(values) >= FEW else ["none"]))
    found = [Transform.of(name, values, floor=floor) for name in names]
    groups = left_groups(raw.sites)
    places = len(np.unique(raw.sites.xy, axis=0))
    if raw.error is None:
        readings, _ = raw.working(found[0])
        columns = np.stack([transform.forward(values) for transform in found], axis=1)
        trials = _trials(readings, columns, [None])
    else:
        trials = []
        for transform in found:
            readings, column = raw.working(transform)
            assert readings.noise is not None
            spare = max(float(column.var() - readings.noise.mean()), 0.1)
            trials += _trials(readings, column[:, None], [s * spare for s in SILLS])
    best: tuple[float, Choice] | None = None
    for name, transform, trial in zip(names, found, trials, strict=True):
        parts, mean, spread = _mixed(*trial, groups)
        shape = fit_shape(_errors(trial, mean, spread), places=places)
        told = Predictive(mean, spread, transform, shape)
        score = float(told.crps(values).mean()) * HANDICAP[name]
        if best is None or score < best[0]:
            kept = [(weight, f.known, f.sill) for weight, f in parts]
            best = score, Choice(kept, transform, told.shape, told, _split(groups, len(values)))
    assert best is not None
    return best[1]


def _split(
    groups: Groups | None, count: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None:
    if groups is None:
        return None
    return [(group, np.setdiff1d(np.arange(count), group)) for group in groups]


Trial = tuple[list[Factor], "Array", int]  # factors, their log posterior, which column


def _trials(readings: Readings, columns: Array, sills: Sequence[float | None]) -> list[Trial]:
    """Return, for every column, the factors of the covariances worth averaging."""
    extent, spacing = span(readings.sites)
    screens = _screens(readings)
    tried = _scored(candidates(extent, spacing), sills, readings, columns, screens, extent)
    best = _leaders(tried, columns.shape[1])
    more = list(dict.fromkeys(c for known in best for c in _variants(known, readings)))
    tried += _scored(more, sills, readings, columns, screens, extent)
    if readings.sites.days is not None:
        memories = _memories(readings.sites)
        chosen = _first_dates(readings.sites, JOINT)
        leaders = _leaders(tried, columns.shape[1])
        leaders += [replace(c, trend=1.0) for c in leaders if not c.trend]  # dates tell it together
        timed = [replace(c, memory=m) for c in leaders for m in memories]
        few = readings[chosen]
        tried = _scored(timed, sills, few, columns[chosen], [np.arange(len(few))], extent)
    count = 6 if len(readings) <= 200 else 4 if len(readings) <= JOINT else 3
    result: list[Trial] = []
    kept: dict[tuple[Covariance, float | None], Factor] = {}
    for column in range(columns.shape[1]):
        order = sorted(tried, key=lambda t: -t[2][column])[:count]
        factors = []
        for known, sill, _ in order:
            if (known, sill) not in kept:
                kept[known, sill] = Factor(known, readings, columns, sill)
            factors.append(kept[known, sill])
        logs = np.array([
            f.log_likelihood[column] + log_prior(f.known, extent) for f in factors
        ])  # fmt: skip
        result.append((factors, logs, column))
    return result


Scored = tuple["Covariance", "float | None", "Array"]


def _scored(
    covariances: Sequence[Covariance],
    sills: Sequence[float | None],
    readings: Readings,
    columns: Array,
    screens: list[NDArray[np.int64]],
    extent: float,
) -> list[Scored]:
    """Return the log posterior of each covariance, summed over the screens."""
    found = []
    for known, sill in product(covariances, sills):
        total = np.full(columns.shape[1], log_prior(known, extent))
        for chosen in screens:
            try:
                total = (
                    total + Factor(known, readings[chosen], columns[chosen], sill).log_likelihood
                )
            except np.linalg.LinAlgError:
                total = np.full(columns.shape[1], -np.inf)
        found.append((known, sill, total))
    return found


def _leaders(tried: list[Scored], columns: int) -> list[Covariance]:
    """Return the best covariance of each column, each once."""
    best = (max(tried, key=lambda t: t[2][column])[0] for column in range(columns))
    return list(dict.fromkeys(best))


def _variants(known: Covariance, readings: Readings) -> list[Covariance]:
    found = nearby(known)
    if len(readings) >= FOR_DIRECTION and readings.sites.xy.shape[1] == 2:
        found += turned(known)
    if len(readings) >= FOR_TREND:
        found += [replace(known, trend=1.0), *(replace(c, trend=1.0) for c in found[:2])]
    return found


def _screens(readings: Readings) -> list[NDArray[np.int64]]:
    """Return the parts of the readings that covariances are tried on, each with its own level."""
    rng = np.random.default_rng(0)
    days = readings.sites.days
    if days is not None and len(np.unique(days)) > 1:
        dates, counts = np.unique(days, return_counts=True)
        dates = dates[counts >= 3] if np.any(counts >= 3) else dates
        picked = rng.permutation(dates)[:DATES]
        parts = (np.flatnonzero(days == date) for date in picked)
        return [rng.permutation(part)[:PER_DATE] for part in parts]
    n = len(readings)
    if n <= SCREENED:
        return [np.arange(n)]
    tree = cKDTree(readings.sites.xy)
    centre = readings.sites.xy[rng.integers(n)]
    return [rng.permutation(n)[:SUBSET], np.sort(tree.query(centre, SUBSET)[1])][:SUBSETS]


def _memories(sites: Sites) -> list[Memory]:
    days = np.unique(sites.days)  # type: ignore[arg-type]
    step = float(np.median(np.diff(days))) if len(days) > 1 else 1.0
    return [
        Memory(step * long, lasting, site, level)
        for long in (0.4, 1.5, 6.0)
        for lasting in (0.0, 0.5, 0.9)
        for site in (0.0, 0.6)
        for level in (0.1, 1.0)
    ]


def _first_dates(sites: Sites, most: int) -> NDArray[np.int64]:
    """Return the readings of as many dates in a row as `most` allows."""
    order = np.argsort(sites.days, kind="stable")  # type: ignore[arg-type]
    return np.sort(order[:most])


def _mixed(
    factors: list[Factor], logs: Array, column: int, groups: Groups | None
) -> tuple[list[tuple[float, Factor]], Array, Array]:
    """Return weighted factors, and mean and spread of what was left out."""
    order = np.argsort(-logs)[:MOST_PARTS]
    weights = np.exp(logs[order] - logs[order[0]])
    weights /= weights.sum()
    keep = weights >= min(LEAST_WEIGHT, weights[0])
    weights, order = weights[keep] / weights[keep].sum(), order[keep]
    parts = [(float(w), factors[i]) for w, i in zip(weights, order, strict=True)]
    mean, variance = mixture([(w, *f.left_out(column, groups)) for w, f in parts])
    return parts, mean, np.sqrt(variance)


def mixture(parts: Sequence[tuple[float, Array, Array]]) -> tuple[Array, Array]:
    """Return mean and variance of a mixture of (weight, mean, variance)."""
    mean = sum(weight * m for weight, m, _ in parts)
    variance = sum(weight * (v + (m - mean) ** 2) for weight, m, v in parts)
    return np.asarray(mean), np.asarray(variance)


def _errors(trial: Trial, mean: Array, spread: Array) -> Array:
    factors, _, column = trial
    return np.asarray((factors[0].values[:, column] - mean) / spread)


def span(sites: Sites) -> tuple[float, float]:
    """Return the extent of the sites and the usual distance between neighbours, in km."""
    places = np.unique(sites.xy, axis=0)
    if len(places) < 2:
        return 1.0, 0.1
    extent = float(np.linalg.norm(np.ptp(places, axis=0)) / np.sqrt(2))
    near = cKDTree(places).query(places, 2)[0][:, 1]
    return max(extent, 1e-6), max(float(np.median(near)), 1e-4 * extent)


def left_groups(sites: Sites) -> Groups | None:
    """Return what is left out together: all dates of a place; clusters of places; None for each."""
    places, which = np.unique(sites.xy, axis=0, return_inverse=True)
    which = which.ravel()
    n = len(places)
    if n >= 12:
        near = cKDTree(places).query(places, 2)[0][:, 1]
        area = float(np.prod(np.maximum(np.ptp(places, axis=0)[:2], 1e-9)))
        if near.mean() < CLUSTERED * 0.5 * np.sqrt(area / n):
            count = int(np.clip(n // 4, 6, 24))
            start = places[np.random.default_rng(0).permutation(n)[:count]]
            which = kmeans2(places, start, minit="matrix", missing="warn")[1][which]
            return [part for k in range(count) if len(part := np.flatnonzero(which == k))]
    if n == len(sites):
        return None
    return [np.flatnonzero(which == k) for k in range(n)]

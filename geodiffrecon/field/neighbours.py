"""Kriging from nearest neighbours only, and joint draws of many places (Vecchia).

Time grows with the number of places times the cube of the neighbours; memory with what is worked
on at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_matrix, identity
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from .covariance import Covariance, Sites, matern
from .kriging import Factor, Readings, matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

MAPPING, DRAWN_FROM = 70, 40  # neighbours
SHORTEST = 0.1  # share of a field that fades, in the search for what is near
THINNED = 40  # of so many readings one may speak from further away
FIRST_BLOCK = 256  # places that are searched together first
AT_ONCE = 256  # places whose small systems exist at once: what a processor's cache holds


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Readings under one covariance, searched by a tree.

    Parameters
    ----------
    known : Covariance
        Of the field.
    readings : Readings
        n of them.
    residual : array (n,) or (n, K)
        Values less the trend, in working units; a column for each of K draws.
    sill : float
        Variance.
    level : array (1 + p,)
        Coefficients of one and of the features.
    """

    known: Covariance
    readings: Readings
    residual: Array
    sill: float
    level: Array

    @cached_property
    def _stretched(self) -> Array:
        return self.known.stretched(self.readings.sites.xy)

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree of the readings."""
        return cKDTree(self._searched(self.readings.sites))

    def _searched(self, sites: Sites) -> Array:
        """Return coordinates (m, d) in which sites are near that have much in common."""
        places, memory = self.known.stretched(sites.xy), self.known.memory
        if memory is None or sites.days is None:
            return places
        km_per_day = self.known.scale * max(1 - memory.lasting, SHORTEST) / memory.days
        return np.column_stack([places, km_per_day * sites.days])

    @cached_property
    def _thinned(self) -> tuple[Index, cKDTree] | None:
        """Every so many readings, at random: what keeps holes from being cut by whom is nearest."""
        n = len(self.readings)
        if n < THINNED * MAPPING:
            return None
        some = np.random.default_rng(0).permutation(n)[: n // THINNED]
        return some, cKDTree(self._stretched[some])

    def _near(self, places: Array, count: int) -> Index:
        """Return readings (b, count): mostly the nearest, some further around."""
        if self._thinned is None or count < 3:
            return np.asarray(self.tree.query(places, count)[1].reshape(-1, count))
        some, tree = self._thinned
        wide = count // 3
        near = self.tree.query(places, count - wide)[1].reshape(len(places), -1)
        far = some[tree.query(places, 2 * wide + 4)[1]]
        known = (far[:, :, None] == near[:, None]).any(axis=2)
        order = np.argsort(known, axis=1, kind="stable")[:, :wide]
        far = np.take_along_axis(far, order, axis=1)
        if np.take_along_axis(known, order, axis=1).any():  # a dense patch: its own are enough
            return np.asarray(self.tree.query(places, count)[1].reshape(-1, count))
        return np.hstack([near, far])

    @cached_property
    def _noise(self) -> Array:
        own = self.sill * self.known.grain / self.readings.repeats
        return own if self.readings.noise is None else own + self.readings.noise

    def trend(self, sites: Sites) -> Array:
        """Return the trend (m,) in working units."""
        return np.asarray(self.level[0] + sites.features @ self.level[1:])

    def predict(
        self, sites: Sites, *, neighbours: int = MAPPING, without: Index | None = None
    ) -> tuple[Array, Array]:
        """Return mean and variance (m,) of new readings; `without` leaves one out at each site."""
        places, days = self.known.stretched(sites.xy), None
        count = min(neighbours + (without is not None), len(self.readings))
        mean, variance = np.empty(len(sites)), np.empty(len(sites))
        for low in range(0, len(sites), AT_ONCE):
            part = slice(low, low + AT_ONCE)
            near = self._near(places[part], count)
            if without is not None:
                near = _drop(near, without[part])
            weights, variance[part] = self._weights(places[part], near, days)
            mean[part] = np.einsum("bk,bk->b", weights, self.residual[near])
        return mean + self.trend(sites), variance

    def _weights(self, places: Array, near: Index, days: Array | None) -> tuple[Array, Array]:
        """Return kriging weights (b, k) of the readings `near` and the variance (b,) left."""
        around = self._stretched[near]  # (b, k, d)
        then = self.readings.sites.days
        when = None if days is None or then is None else then[near]  # (b, k)
        between = None if when is None else np.abs(when[:, :, None] - when[:, None])
        inner = self._shared(lags(around, around), between)
        k = near.shape[1]
        inner[:, range(k), range(k)] += self._noise[near] + 1e-9 * self.sill
        since = None if when is None or days is None else np.abs(when - days[:, None])
        cross = self._shared(lags(around, places[:, None])[..., 0], since)
        weights = np.linalg.solve(inner, cross[..., None])[..., 0]
        level = 0.0 if self.known.memory is None else self.known.memory.level
        variance = self.sill * (1 + level) - np.einsum("bk,bk->b", weights, cross)
        return np.asarray(weights), np.maximum(variance, 1e-10 * self.sill)

    def _shared(self, h: Array, lag: Array | None) -> Array:
        """Return covariances of places `h` km and, where they have dates, `lag` days apart."""
        field = (1 - self.known.nugget) * matern(h, self.known.nu, self.known.scale)
        return self.sill * (field if lag is None else self.known.faded(field, h, lag))

    def draws(self, sites: Sites, normals: Array, *, neighbours: int = DRAWN_FROM) -> Array:
        """Return joint draws (K, m) in working units, given the readings.

        The places stand in random order; each is drawn given its nearest readings and the nearest
        places before it, which makes one sparse triangular system for all draws.
        """
        m = len(sites)
        order = np.random.default_rng(0).permutation(m)
        places, searched = (
            p[order] for p in (self.known.stretched(sites.xy), self._searched(sites))
        )
        days = None if sites.days is None else sites.days[order]
        n, k = len(self.readings), min(neighbours, len(self.readings))
        everything = replace(self, readings=_with(self.readings, sites[order]))
        everywhere = everything._searched(everything.readings.sites)
        given, spread = np.zeros((m, *self.residual.shape[1:])), np.empty(m)
        rows, columns, entries = [], [], []
        before = previous(searched, k)
        for low in range(0, m, AT_ONCE):
            part = slice(low, min(low + AT_ONCE, m))
            near = self.tree.query(searched[part], k)[1].reshape(-1, k)
            both = _nearest(
                searched[part], everywhere, near, np.where(
                    before[part] >= 0, before[part] + n, -1), k
            )  # fmt: skip
            weights, variance = everything._weights(
                places[part], both, None if days is None else days[part]
            )
            new = both >= n
            known = np.where(new, 0.0, weights)
            given[part] = np.einsum("bk,bk...->b...", known, self.residual[np.where(new, 0, both)])
            spread[part] = np.sqrt(variance)
            row, column = np.nonzero(new)
            rows.append(row + low)
            columns.append(both[row, column] - n)
            entries.append(weights[row, column])
        shape = (m, m)
        pulls = csc_matrix(
            (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape
        )
        system = splu(
            (identity(m, format="csc") - pulls).tocsc(), permc_spec="NATURAL",
            diag_pivot_thresh=0.0, options={"SymmetricMode": False},
        )  # fmt: skip
        given = given[:, None] if given.ndim == 1 else given
        drawn = system.solve(given + spread[:, None] * normals[:, order].T)  # (m, K)
        result = np.empty(normals.shape)
        result[:, order] = drawn.T
        return result + self.trend(sites)


def free_draws(factor: Factor, sites: Sites, normals: Array) -> tuple[Array, Array]:
    """Return draws (K, m) at `sites` and (K, n) at the readings, of unit sill, that know nothing.

    Parameters
    ----------
    factor : Factor
        Covariance and readings.
    sites : Sites
        m places.
    normals : array (K, p + n + m)
        White noise: of the coefficients of the features, of the readings and of the places.
    """
    known, sill, readings = factor.known, factor.sill or 1.0, factor.readings
    n, p = len(readings), readings.sites.features.shape[1]
    slopes = normals[:, :p] * np.sqrt(known.feature_weights(readings.sites))  # (K, p)
    flat = replace(readings.sites, features=np.zeros((n, 0)))
    noise = None if readings.noise is None else readings.noise / sill
    bare = Readings(flat, readings.repeats, noise)
    root = np.linalg.cholesky(matrix(known, bare, 1.0))
    there = root @ normals[:, p : p + n].T  # (n, K)
    near = Neighbourhood(known, bare, there, 1.0, np.zeros(1))
    level = replace(sites, features=np.zeros((len(sites), 0)))
    free = near.draws(level, normals[:, p + n :])
    return free + slopes @ sites.features.T, there.T + slopes @ readings.sites.features.T


def _with(readings: Readings, sites: Sites) -> Readings:
    """Return readings and places that are drawn, as more readings without a nugget left."""
    seen = readings.sites
    dated = seen.days is not None and sites.days is not None
    both = Sites(
        np.vstack([seen.xy, sites.xy]),
        np.vstack([seen.features, sites.features]),
        np.concatenate([seen.days, sites.days]) if dated else None,  # type: ignore[list-item]
    )
    repeats = np.append(readings.repeats, np.ones(len(sites)))
    noise = readings.noise
    if noise is not None:
        noise = np.append(noise, np.zeros(len(sites)))
    return Readings(both, repeats, noise)


def lags(a: Array, b: Array) -> Array:
    """Return distances (b, k, l) between places (b, k, d) and (b, l, d)."""
    square = np.zeros((len(a), a.shape[1], b.shape[1]))
    for axis in range(a.shape[2]):
        gap = a[:, :, None, axis] - b[:, None, :, axis]
        square += gap * gap
    return np.sqrt(square, out=square)


def _drop(near: Index, own: Index) -> Index:
    """Return neighbours (b, k) without one each; where it is not among them, without the last."""
    same = near == own[:, None]
    same[~same.any(axis=1), -1] = True
    return near[~same].reshape(len(near), -1)


def _nearest(places: Array, all_places: Array, a: Index, b: Index, count: int) -> Index:
    """Return the nearest `count` of two lists of neighbours; -1 in the second is nobody."""
    both = np.hstack([a, b])
    gap = all_places[both] - places[:, None]
    far = np.where(both < 0, np.inf, np.einsum("bkd,bkd->bk", gap, gap))
    best = np.argpartition(far, count - 1, axis=1)[:, :count]
    return np.take_along_axis(both, best, axis=1)


def previous(places: Array, count: int, rows: Index | None = None) -> Index:
    """Return the nearest places (r, count) that stand before each of `rows`; -1 is nobody.

    Parameters
    ----------
    places : array (m, d)
        In their order.
    count : int
        How many are wanted.
    rows : array of int (r,), optional
        Rising; all by default.

    Notes
    -----
    Rows are searched in blocks that double, in a tree of all places up to the end of the block,
    so that the time grows almost in proportion to their number.
    """
    rows = np.arange(len(places)) if rows is None else rows
    found = np.full((len(rows), count), -1)
    low = 0
    while low < len(rows):
        high = int(np.searchsorted(rows, max(2 * int(rows[low]), FIRST_BLOCK)))
        block = rows[low:high]
        tree, size = cKDTree(places[: block[-1] + 1]), int(block[-1]) + 1
        for start in range(0, len(block), 16 * AT_ONCE):
            part = block[start : start + 16 * AT_ONCE]
            found[low + start : low + start + len(part)] = _before(tree, places, part, count, size)
        low = high
    return found


def _before(tree: cKDTree, places: Array, rows: Index, count: int, size: int) -> Index:
    """Return the nearest places before `rows` in a tree that holds later ones as well."""
    found = np.full((len(rows), count), -1)
    left, wanted = np.arange(len(rows)), min(3 * count + 1, size)
    while len(left):
        near = tree.query(places[rows[left]], wanted)[1].reshape(len(left), -1)
        late = near >= rows[left, None]
        order = np.argsort(late, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(np.where(late, -1, near), order, axis=1)
        found[left, : best.shape[1]] = best
        enough = (~late).sum(axis=1) >= np.minimum(count, rows[left])
        left, wanted = left[~enough], min(2 * wanted, size)
    return found

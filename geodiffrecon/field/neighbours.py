"""Kriging from nearest neighbours only, and joint draws of many places (Vecchia).

Time grows with the number of places times the cube of the neighbours; memory with what is worked
on at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_matrix, identity
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from .covariance import Covariance, Sites, matern
from .kriging import Factor, Readings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

MAPPING, DRAWN_FROM = 70, 40  # neighbours
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
    residual : array (n,)
        Values less the trend, in working units.
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

    @classmethod
    def of_factor(cls, factor: Factor) -> Neighbourhood:
        """Return the neighbourhood form of an exact system with the same mean."""
        values, features = factor.values[:, 0], factor.readings.sites.features
        one, white, a = factor._white
        level = float(one @ white[:, 0]) / a
        # What the exact form says of the coefficients: their mean given the readings.
        inner = np.linalg.solve(factor.lower.T, white[:, 0] - level * one)
        weights = factor.known.feature_weights(factor.readings.sites) * (factor.sill or 1.0)
        slopes = weights * (features.T @ inner)
        residual = values - level - features @ slopes
        sill = (factor.sill or 1.0) * float(factor.variances[0])
        return cls(factor.known, factor.readings, residual, sill, np.append(level, slopes))

    @cached_property
    def _stretched(self) -> Array:
        return self.known.stretched(self.readings.sites.xy)

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree of the readings."""
        return cKDTree(self._stretched)

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
        own = self.sill * self.known.nugget / self.readings.repeats
        return own if self.readings.noise is None else own + self.readings.noise

    def trend(self, sites: Sites) -> Array:
        """Return the trend (m,) in working units."""
        return np.asarray(self.level[0] + sites.features @ self.level[1:])

    def predict(
        self, sites: Sites, *, neighbours: int = MAPPING, without: Index | None = None
    ) -> tuple[Array, Array]:
        """Return mean and variance (m,) of new readings; `without` leaves one out at each site."""
        places = self.known.stretched(sites.xy)
        count = min(neighbours + (without is not None), len(self.readings))
        mean, variance = np.empty(len(sites)), np.empty(len(sites))
        for low in range(0, len(sites), AT_ONCE):
            part = slice(low, low + AT_ONCE)
            near = self._near(places[part], count)
            if without is not None:
                near = _drop(near, without[part])
            weights, variance[part] = self._weights(places[part], near)
            mean[part] = np.einsum("bk,bk->b", weights, self.residual[near])
        return mean + self.trend(sites), variance

    def _weights(self, places: Array, near: Index) -> tuple[Array, Array]:
        """Return kriging weights (b, k) of the readings `near` and the variance (b,) left."""
        around = self._stretched[near]  # (b, k, d)
        inner = self._shared(lags(around, around))
        k = near.shape[1]
        inner[:, range(k), range(k)] += self._noise[near] + 1e-9 * self.sill
        cross = self._shared(lags(around, places[:, None])[..., 0])
        weights = np.linalg.solve(inner, cross[..., None])[..., 0]
        variance = self.sill - np.einsum("bk,bk->b", weights, cross)
        return np.asarray(weights), np.maximum(variance, 1e-10 * self.sill)

    def _shared(self, h: Array) -> Array:
        return self.sill * (1 - self.known.nugget) * matern(h, self.known.nu, self.known.scale)

    def draws(self, sites: Sites, normals: Array, *, neighbours: int = DRAWN_FROM) -> Array:
        """Return joint draws (K, m) in working units, given the readings.

        The places stand in random order; each is drawn given its nearest readings and the nearest
        places before it, which makes one sparse triangular system for all draws.
        """
        m = len(sites)
        order = np.random.default_rng(0).permutation(m)
        places = self.known.stretched(sites.xy)[order]
        n, k = len(self.readings), min(neighbours, len(self.readings))
        everything = Neighbourhood(
            self.known, _with(self.readings, sites[order]),
            np.append(self.residual, np.zeros(m)), self.sill, self.level,
        )  # fmt: skip
        given, spread = np.empty(m), np.empty(m)
        rows, columns, entries = [], [], []
        before = previous(places, k)
        for low in range(0, m, AT_ONCE):
            part = slice(low, min(low + AT_ONCE, m))
            near = self.tree.query(places[part], k)[1].reshape(-1, k)
            both = _nearest(
                places[part], everything._stretched, near, np.where(
                    before[part] >= 0, before[part] + n, -1), k
            )  # fmt: skip
            weights, variance = everything._weights(places[part], both)
            new = both >= n
            given[part] = np.einsum(
                "bk,bk->b", np.where(new, 0, weights), everything.residual[both]
            )
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
        drawn = system.solve(given[:, None] + spread[:, None] * normals[:, order].T)  # (m, K)
        result = np.empty(normals.shape)
        result[:, order] = drawn.T
        return result + self.trend(sites)


def _with(readings: Readings, sites: Sites) -> Readings:
    """Return readings and places that are drawn, as more readings without a nugget left."""
    both = Sites(
        np.vstack([readings.sites.xy, sites.xy]),
        np.vstack([readings.sites.features, sites.features]),
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

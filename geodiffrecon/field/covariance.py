"""Covariances of a field in space and time, and the ones that are tried.

Distances are in kilometres and times in days, always: nothing here knows degrees. A covariance is
a correlation of unit variance; the variance comes from the data. `nugget` is the share of it that
no two places share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NUS = (0.5, 1.5, 2.5)
NUGGETS = (1e-3, 0.1, 0.35, 0.7)
RATIOS = (2.0, 4.0)
ANGLES = (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)
# Practical range: where the correlation has fallen to 5 %, in units of the scale.
PRACTICAL = {0.5: 2.996, 1.5: 2.739, 2.5: 2.647}
SAME = 1e-8  # of the largest distance: lags that are one
NAMES = {0.5: "Matérn 1/2 (exponential)", 1.5: "Matérn 3/2", 2.5: "Matérn 5/2"}


@dataclass(frozen=True, eq=False)
class Sites:
    """Where and when: n places in km, their features, and their times in days.

    Parameters
    ----------
    xy : array (n, 2) or (n, 3)
        In km; three columns where the extent is too large for a plane.
    features : array (n, p)
        Centred and scaled to unit spread: coordinates for the trend, covariates.
    days : array (n,), optional
        None where nothing has a date.
    within : array (q, 2), optional
        Where each site is the mean of q places: those, in km from its middle.
    """

    xy: Array
    features: Array
    days: Array | None = None
    within: Array | None = None

    def __len__(self) -> int:
        return len(self.xy)

    @cached_property
    def lags(self) -> tuple[Array, Array, NDArray[np.int64]]:
        """What lies between places of two of these sites.

        Returns
        -------
        array (g, k, 2)
            Every gap of places within sites, and every lag between sites once; few on a lattice.
        array (g,)
            How often each gap is.
        array (n, n)
            Which of the k lags a pair of sites has.
        """
        apart = (self.xy[:, None] - self.xy[None]).reshape(-1, self.xy.shape[1])
        whole = np.round(apart / (SAME * max(float(np.abs(apart).max()), 1e-12))).astype(np.int64)
        key = whole @ (2 * int(1 / SAME) + 1) ** np.arange(whole.shape[1])
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        gaps, shares = zip(*_gaps(self, self), strict=True)
        between = np.stack(gaps)[:, None] + apart[first][None]
        return between, np.array(shares), place.reshape(len(self), len(self))

    def __getitem__(self, chosen: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Sites:
        """Return some of the sites."""
        days = None if self.days is None else self.days[chosen]
        return Sites(self.xy[chosen], self.features[chosen], days, self.within)


@dataclass(frozen=True)
class Memory:
    """How a field goes on in time; shares lie between 0 and 1.

    Parameters
    ----------
    days : float
        Time in which the correlation falls to 1/e.
    lasting : float
        Share of the spatial pattern that never changes: the climate.
    site : float
        Share of the nugget that belongs to the place: all its readings have it, of any date.
    level : float
        Variance of the level that all places of a date share, in terms of the field's.
    """

    days: float
    lasting: float
    site: float
    level: float


@dataclass(frozen=True)
class Covariance:
    """A Matérn covariance with geometric anisotropy, nugget and a proper prior of the trend.

    Parameters
    ----------
    nu : {0.5, 1.5, 2.5}
        Smoothness.
    scale : float
        Length in km: correlations are a function of distance / scale.
    nugget : float
        Share of the variance that no two places share.
    ratio, angle : float
        Along `angle` (radians, from east to north) the scale is ``sqrt(ratio)`` times `scale`,
        across it ``1 / sqrt(ratio)`` times.
    trend : float
        Prior variance of the coefficients of the coordinates, in terms of the field's.
    memory : Memory, optional
        Of fields in space and time.

    Examples
    --------
    >>> known = Covariance(nu=0.5, scale=1.0, nugget=0.0)
    >>> place = Sites(np.array([[0.0, 0.0], [1.0, 0.0]]), np.zeros((2, 0)))
    >>> known.between(place, place)[0].round(3).tolist()
    [1.0, 0.368]
    """

    nu: float
    scale: float
    nugget: float
    ratio: float = 1.0
    angle: float = 0.0
    trend: float = 0.0
    memory: Memory | None = None

    def between(self, a: Sites, b: Sites) -> Array:
        """Return the correlations (n, m) of what two sets of sites share; no nugget in it."""
        if a.within is None and b.within is None:
            return self._of_places(a.xy, a, b) + self.of_features(a, b)
        if a is b and a.days is None and a.xy.shape[1] == 2:
            between, shares, place = a.lags
            h = np.linalg.norm(self.stretched(between.reshape(-1, 2)), axis=1)
            lag = shares @ matern(h, self.nu, self.scale).reshape(len(shares), -1)
            return (1 - self.nugget) * lag[place] + self.of_features(a, b)
        field = np.zeros((len(a), len(b)))
        for gap, share in _gaps(a, b):
            field += share * self._of_places(a.xy + gap, a, b)
        return field + self.of_features(a, b)

    def _of_places(self, xy: Array, a: Sites, b: Sites) -> Array:
        """Return what places `xy`, at the days of `a`, share with the places of `b`."""
        h = cdist(self.stretched(xy), self.stretched(b.xy))
        field = (1 - self.nugget) * matern(h, self.nu, self.scale)
        if self.memory is not None and a.days is not None and b.days is not None:
            field = self.faded(field, h, np.abs(a.days[:, None] - b.days[None]))
        return field

    def faded(self, field: Array, h: Array, lag: Array) -> Array:
        """Return what is shared across `lag` days of what would be shared on one date."""
        if self.memory is None:
            return field
        fade = np.exp(-lag / self.memory.days)
        field = field * (self.memory.lasting + (1 - self.memory.lasting) * fade)
        field += self.memory.level * fade
        if self.memory.site:
            field += self.nugget * self.memory.site * (h == 0)
        return field

    @property
    def grain(self) -> float:
        """Share of the variance that no two readings share, be they of one place."""
        return self.nugget * (1 - (0.0 if self.memory is None else self.memory.site))

    def of_features(self, a: Sites, b: Sites) -> Array | float:
        """Return the covariance that trend and covariates bring."""
        weights = self.feature_weights(a)
        if not weights.any():
            return 0.0
        return np.asarray((a.features * weights) @ b.features.T)

    def feature_weights(self, sites: Sites) -> Array:
        """Return the prior variance (p,) of each coefficient: the plane's first, then covariates'.

        The first columns are the coordinates, as many as `xy` has.
        """
        weights = np.ones(sites.features.shape[1])
        weights[: sites.xy.shape[1]] = self.trend
        return weights

    def variance(self, sites: Sites) -> Array:
        """Return the prior variance (n,) of a new reading at each site."""
        level = 0.0 if self.memory is None else self.memory.level
        known = (sites.features**2) @ self.feature_weights(sites)
        return np.asarray(1.0 + level + known)

    def stretched(self, xy: Array) -> Array:
        """Return places in which the field is isotropic."""
        if self.ratio == 1.0 or xy.shape[1] != 2:
            return xy
        cos, sin, root = math.cos(self.angle), math.sin(self.angle), math.sqrt(self.ratio)
        turn = np.array([[cos / root, -sin * root], [sin / root, cos * root]])
        return np.asarray(xy @ turn)

    @property
    def range_km(self) -> float:
        """Distance at which the correlation has fallen to 5 %."""
        return PRACTICAL[self.nu] * self.scale

    def told(self, of: str = "") -> str:
        """Return the covariance in words; `of` says of what."""
        text = f"{NAMES[self.nu]}{of and f' of {of}'}, range {length(self.range_km)}"
        if self.ratio > 1.05:
            compass = round((90 - math.degrees(self.angle)) % 180)
            text += f", {self.ratio:.2g} times as far towards {compass}° as across"
        return text


def _gaps(a: Sites, b: Sites) -> list[tuple[Array, float]]:
    """Return what lies between a place of a site and one of another, and how often."""
    middle = np.zeros((1, a.xy.shape[1]))
    ours, theirs = (middle if s.within is None else s.within for s in (a, b))
    every = (ours[:, None] - theirs[None]).reshape(-1, middle.shape[1])
    gaps, counts = np.unique(every.round(9), axis=0, return_counts=True)
    return [(gap, float(count) / len(every)) for gap, count in zip(gaps, counts, strict=True)]


def length(km: float) -> str:
    """Return a length as people write it.

    Examples
    --------
    >>> length(4.123), length(0.25)
    ('4.1 km', '250 m')
    """
    return f"{km:.3g} km" if km >= 100 else f"{km:.2g} km" if km >= 1 else f"{1000 * km:.3g} m"


def matern(h: Array, nu: float, scale: float) -> Array:
    """Return the Matérn correlation of distances; closed forms of half-integer smoothness."""
    a = h * (-math.sqrt(2 * nu) / scale)
    fall = np.exp(a)
    if nu == 0.5:
        return fall
    if nu == 1.5:
        a -= 1
        a *= fall
        return np.asarray(np.negative(a, out=a))
    return np.asarray((1 - a + a * a / 3) * fall)


def candidates(extent_km: float, spacing_km: float) -> list[Covariance]:
    """Return the isotropic covariances that are tried, from half a spacing to twice the extent."""
    low, high = 0.5 * spacing_km, max(2.0 * extent_km, 2 * spacing_km)
    count = int(np.clip(round(math.log(high / low) / 0.55), 4, 10))
    scales = np.geomspace(low, high, count)
    return [Covariance(nu, float(s), g) for nu in NUS for s in scales for g in NUGGETS]


def turned(best: Covariance) -> list[Covariance]:
    """Return anisotropic forms of a covariance."""
    return [replace(best, ratio=q, angle=a) for q in RATIOS for a in ANGLES]


def nearby(best: Covariance) -> list[Covariance]:
    """Return covariances between the ones of the list around `best`."""
    odds = best.nugget / (1 - best.nugget)
    nuggets = (
        [odds * f / (1 + odds * f) for f in (0.4, 2.2)] if best.nugget > 2e-3 else [0.02, 0.05]
    )
    scales = [replace(best, scale=best.scale * f) for f in (0.76, 1.32)]
    return scales + [replace(best, nugget=g) for g in nuggets]


def log_prior(known: Covariance, extent_km: float) -> float:
    """Return the log prior: middling ranges, little nugget, rough fields, no direction, no plane.

    Directions are punished hard: there are many of them, and few fields have one.
    """
    p = -0.5 * (math.log(4 * known.scale / extent_km) / 1.3) ** 2
    p -= 1.1 * known.nugget**0.7 + 0.3 * (known.nu - 0.5)
    if known.ratio > 1:
        p -= 2.1 + 0.72 * math.log(known.ratio)
    return p - (1.0 if known.trend else 0.0)

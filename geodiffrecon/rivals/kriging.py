"""Ordinary kriging by pykrige, with one variogram for the whole course, and draws around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import nnls
from scipy.spatial.distance import cdist

from ..errors import InvalidParameter, MemoryEstimateExceeded
from ..noise import NoiseField, calendar_numbers
from .simple import Interpolator, coarse_centres, complete_frames, fine_centres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..assembly import Observations
    from .method import Course

    Array = NDArray[np.float64]

MAX_LAG = 16.0  # coarse cells
MAX_MAPS = 500  # that the variogram is estimated from
RANGES = 32  # tried
FEWEST = 3  # observed cells that tell the variance of a frame
MAX_POINTS = 6000  # whose covariance is factored for draws
SAME_PLACE = 1e-10  # distance below which pykrige returns the observation


@dataclass(frozen=True)
class Variogram:
    """Exponential variogram with a nugget, of fields whose maps have variance 1.

    Parameters
    ----------
    sill, nugget : float
        Partial sill and nugget, as shares of `variance`.
    reach : float
        Practical range in coarse cells: ``sill (1 - exp(-3 h / reach)) + nugget``.
    variance : float
        Mean variance of the cells of one map, in the units of the values squared.
    """

    sill: float
    nugget: float
    reach: float
    variance: float

    @classmethod
    def fit(cls, maps: Array) -> Variogram:
        """Fit to complete `maps` (T, I, J), pooled over all of them.

        Matheron's estimator at every lag vector up to half the diagonal of the grid, then least
        squares weighted with pairs over distance squared (Pebesma 2004, gstat).
        """
        maps = maps - maps.mean(axis=(1, 2), keepdims=True)
        variance = float(maps.var(axis=(1, 2), ddof=1).mean()) if maps[0].size > 1 else 0.0
        if variance <= 0:
            return cls(1.0, 0.0, 1.0, 0.0)
        distance, semivariance, pairs = _empirical(maps)
        weight = np.sqrt(pairs) / distance
        target = semivariance / variance * weight
        trials = []
        for reach in np.geomspace(1.0, 6 * distance.max(), RANGES):
            design = np.stack([1 - np.exp(-3 * distance / reach), np.ones_like(distance)], axis=1)
            (sill, nugget), error = nnls(design * weight[:, None], target)
            trials.append((float(error), float(sill), float(nugget), float(reach)))
        _, sill, nugget, reach = min(trials)
        return cls(sill, nugget, reach, variance)

    def __call__(self, distance: Array) -> Array:
        """Return the semivariance at `distance`; zero at no distance."""
        found = self.sill * (1 - np.exp(-3 * distance / self.reach)) + self.nugget
        return np.where(distance <= SAME_PLACE, 0.0, found)

    @property
    def total(self) -> float:
        """Variance far away: partial sill and nugget."""
        return self.sill + self.nugget


@dataclass
class OrdinaryKriging(Interpolator):
    """Ordinary kriging (pykrige) per frame from observed coarse centres to fine centres.

    Cells are taken as points at their centres, as is common in a GIS. The variogram is fitted
    once, to the coarse maps of the course with the mean of each map removed, because refitting
    it per frame is slow and unstable; its sill is then scaled to the variance of the cells that
    a frame observes, which changes the kriging variance and not the weights.

    Raises
    ------
    InvalidParameter
        On `fit`, if pykrige is not installed.
    """

    def fit(self, course: Course) -> dict[str, int]:
        """Learn the variogram."""
        _pykrige()
        super().fit(course)
        record = course.lesson.record
        self._step = course.lesson.step
        chosen = np.flatnonzero(complete_frames(course))
        self._spread = record.fine[chosen].astype(np.float64).std(axis=0)
        chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), MAX_MAPS)).astype(int)]
        self._variogram = Variogram.fit(record.coarse[chosen] / self._cells)
        self._centres = coarse_centres(course.lesson.shape)
        self._targets = fine_centres(course.lesson.shape, record.factor)
        return {}

    def variances(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return the kriging variance (F, N I, N J) of fine cells, in raw units squared.

        A frame without any observation gets the variance of every fine cell over the course.
        """
        found = np.repeat(self._spread[None] ** 2, len(frames), axis=0)
        for number, values in enumerate(self._flat(given, frames)):
            if np.isfinite(values).any():
                variance = self._kriged(values)[1] * self._scale(values)
                found[number] = variance.reshape(self._usual.shape)
        return found

    def simulate(
        self, given: Observations, frames: NDArray[np.int64], *, draws: int, seed: int
    ) -> NDArray[np.float32]:
        """Return Gaussian draws (K, F, N I, N J) given the observations, in raw units.

        By Matheron's rule: a field with the variogram, less what kriging makes of it, is an
        error of kriging. Frames are drawn each by itself; draw and time step are the key of the
        noise. Draws do not add up to the coarse cells, and are clipped at a natural zero.

        Raises
        ------
        MemoryEstimateExceeded
            If the grid has too many cells for their covariance.
        """
        factor, fine = self._factor_of_covariance(), len(self._targets)
        noise = NoiseField(seed, (len(factor),), 0)
        steps = calendar_numbers(given.times[frames], self._step)
        found = np.empty((draws, len(frames), *self._usual.shape), np.float32)
        for number, values in enumerate(self._flat(given, frames)):
            white = np.stack([noise(draw, int(steps[number])) for draw in range(draws)])
            field = white @ factor.T  # (K, fine and coarse points)
            drawn = self._drawn(values, field[:, :fine], field[:, fine:])
            found[:, number] = drawn.reshape(draws, *self._usual.shape)
        return found if self._signed else np.maximum(found, 0.0)

    def _between(self, density: Array) -> Array:
        maps = [self._kriged(values)[0] for values in density.reshape(len(density), -1)]
        return np.stack(maps).reshape(len(density), *self._usual.shape)

    def _kriged(self, values: Array) -> tuple[Array, Array]:
        """Return mean and variance (N I N J,) from `values` (I J,) for maps of variance 1."""
        seen = np.isfinite(values)
        if seen.sum() < 2:  # pykrige wants two values
            weights, variance = self._solved(seen)
            return weights @ values[seen], variance
        variogram, places = self._variogram, self._centres[seen]
        kriging = _pykrige()(
            places[:, 1], places[:, 0], values[seen], variogram_model="exponential",
            variogram_parameters={
                "psill": variogram.sill, "range": variogram.reach, "nugget": variogram.nugget
            },
        )  # fmt: skip
        mean, variance = kriging.execute("points", self._targets[:, 1], self._targets[:, 0])
        return np.asarray(mean), np.maximum(np.asarray(variance), 0.0)

    def _solved(self, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return the weights (N I N J, n) of `seen` (I J,), which pykrige hides, and variance."""
        places = self._centres[seen]
        count = len(places)
        system = np.ones((count + 1, count + 1))
        system[:count, :count] = self._variogram(cdist(places, places))
        system[count, count] = 0.0
        right = np.ones((count + 1, len(self._targets)))
        right[:count] = self._variogram(cdist(places, self._targets))
        solution = np.linalg.solve(system, right)  # weights, then the multiplier
        variance = np.maximum((solution * right).sum(axis=0), 0.0)
        return np.asarray(solution[:count].T), np.asarray(variance)

    def _drawn(self, values: Array, fine: Array, coarse: Array) -> Array:
        """Return draws (K, N I N J) from free fields at `fine` and `coarse` centres."""
        seen = np.isfinite(values)
        if not seen.any():
            error = fine / np.sqrt(self._variogram.total) * self._spread.ravel()
            return np.asarray(self._usual.ravel() + error)
        weights, _ = self._solved(seen)
        error = (fine - coarse[:, seen] @ weights.T) * np.sqrt(self._scale(values))
        return np.asarray(weights @ values[seen] + error)

    def _factor_of_covariance(self) -> Array:
        points = np.concatenate([self._targets, self._centres])
        if len(points) > MAX_POINTS:
            raise MemoryEstimateExceeded(
                f"Draws by kriging need the covariance of {len(points)} fine and coarse cells, "
                f"more than {MAX_POINTS}; draw on a smaller grid."
            )
        covariance = self._variogram.total - self._variogram(cdist(points, points))
        jitter = 1e-8 * self._variogram.total  # centres of both grids may coincide
        return np.asarray(np.linalg.cholesky(covariance + jitter * np.eye(len(points))))

    def _flat(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        return given.coarse[frames].reshape(len(frames), -1) / self._cells

    def _scale(self, values: Array) -> float:
        """Return the variance of the observed cells of a frame, or of all maps if they are few."""
        seen = values[np.isfinite(values)]
        return float(seen.var(ddof=1)) if len(seen) >= FEWEST else self._variogram.variance


class ConditionalSimulation(OrdinaryKriging):
    """Ordinary kriging whose ensemble is its own: Gaussian simulation given the observations."""

    slow = False

    def draws(
        self, given: Observations, frames: NDArray[np.int64], samples: int, seed: int
    ) -> Array:
        """Return draws (K, F, N I, N J) in raw units, by `simulate`."""
        return self.simulate(given, frames, draws=samples, seed=seed).astype(np.float64)


def _empirical(maps: Array) -> tuple[Array, Array, Array]:
    """Return distance, semivariance and pairs of every lag vector between cells of a map."""
    _, rows, columns = maps.shape
    limit = min(MAX_LAG, max(1.0, float(np.hypot(rows, columns)) / 2))
    found = []
    for down in range(min(rows - 1, int(limit)) + 1):
        for right in range(-min(columns - 1, int(limit)), min(columns - 1, int(limit)) + 1):
            distance = float(np.hypot(down, right))
            if distance > limit or (down == 0 and right <= 0):
                continue
            left = maps[:, : rows - down, max(0, -right) : columns - max(0, right)]
            other = maps[:, down:, max(0, right) : columns - max(0, -right)]
            found.append((distance, 0.5 * ((other - left) ** 2).mean(), left[0].size))
    distances, semivariances, pairs = np.array(found).T
    return distances, semivariances, pairs


def _pykrige() -> Any:
    try:
        from pykrige.ok import OrdinaryKriging as Kriging
    except ImportError as error:
        raise InvalidParameter(
            "Ordinary kriging needs pykrige, which is not installed; "
            "pip install 'geodiffrecon[baselines]'."
        ) from error
    return Kriging

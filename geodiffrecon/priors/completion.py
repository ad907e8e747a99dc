"""Kriging of anomalies: the Gaussian conditional mean of every coarse cell, and its variance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .sample import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .kernel import SpaceTimeKernel

MAX_DENSE = 1100  # largest lags x cells for which the covariance is kept and solved whole
TILE, HALO = 8, 6  # coarse cells solved together, and seen around them, on larger grids
JITTER = 1e-6
SHRINKAGES = (0.03, 0.07, 0.15, 0.3, 0.6, 1.0)
LEVELS = (0.0, 0.3, 3.0)
CACHED_PATTERNS = 64


class Solution(NamedTuple):
    """Kriging weights of one observation pattern for one block of target cells."""

    target: NDArray[np.int64]  # (p,)
    source: NDArray[np.int64]  # (o,) into the stack (lag, cell)
    weights: NDArray[np.float64]  # (p, o)
    variance: NDArray[np.float64]  # (p,)


@dataclass(frozen=True)
class GaussianCompletion:
    """Conditional mean of the current frame given what this and recent frames observed.

    Simple kriging of standardised anomalies with an extra variance for the unknown level of the
    frame (universal kriging in the limit). The covariance is the empirical one, shrunk towards a
    fitted space-time kernel; on grids too large for that the kernel alone is used, in local
    neighbourhoods.

    Parameters
    ----------
    lags : tuple of int
        Frames back in time that are used; 0 is the current one and comes first.
    kernel : SpaceTimeKernel
        The fitted correlation.
    positions : array (P, 2)
        Row and column of each coarse cell.
    covariance : array (L P, L P), optional
        Shrunk covariance of the stacked frames; None where the kernel alone is used.
    level : float
        Prior variance of the level of the recent frames.
    """

    lags: tuple[int, ...]
    kernel: SpaceTimeKernel
    positions: NDArray[np.float64]
    covariance: NDArray[np.float64] | None
    level: float
    _cache: dict[bytes, list[Solution]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def fit(
        cls,
        anomalies: NDArray[np.float64],
        positions: NDArray[np.float64],
        *,
        lags: tuple[int, ...] = (0, 1, 2),
        shrinkage: float = 0.15,
        level: float = 0.3,
        frames: NDArray[np.bool_] | None = None,
        own: NDArray[np.float64] | None = None,
    ) -> GaussianCompletion:
        """Fit to `anomalies` (T, P) at `frames` (T,), NaN = missing; `own` as in `Sample`."""
        sample = Sample.of(anomalies, positions, frames=frames, own=own)
        return cls.learnt(sample, lags=lags, shrinkage=shrinkage, level=level)

    @classmethod
    def learnt(
        cls, sample: Sample, *, lags: tuple[int, ...], shrinkage: float, level: float
    ) -> GaussianCompletion:
        """Return what a sample says with these settings."""
        small = len(lags) * len(sample.positions) <= MAX_DENSE
        covariance = cls._shrunk(sample, lags, shrinkage) if small else None
        return cls(lags, sample.kernel, sample.positions, covariance, level)

    @classmethod
    def select(
        cls,
        anomalies: NDArray[np.float64],
        positions: NDArray[np.float64],
        folds: NDArray[np.int64],
        *,
        lag_options: Sequence[tuple[int, ...]],
        seed: int = 0,
    ) -> dict[str, tuple[int, ...] | float]:
        """Return the lags, shrinkage and level with the least error on blocked `folds` (T,).

        Frames with fold -1 take no part. Coordinate-wise search with masks of every ratio.
        """
        best: dict[str, tuple[int, ...] | float] = {"lags": (0,), "shrinkage": 0.15, "level": 0.3}
        options: list[tuple[str, Sequence[tuple[int, ...] | float]]] = [
            ("lags", lag_options),
            ("shrinkage", SHRINKAGES),
            ("level", LEVELS),
        ]
        if np.isnan(anomalies[folds >= 0]).any():
            options.append(options[0])  # with holes the first shrinkage is too little for many lags
        samples = {
            int(fold): Sample.of(anomalies, positions, frames=(folds >= 0) & (folds != fold))
            for fold in np.unique(folds[folds >= 0])
        }
        for name, values in options:
            scored = [
                (_cross_validate(cls, anomalies, samples, folds, {**best, name: value}, seed), i)
                for i, value in enumerate(values)
            ]
            best[name] = values[min(scored)[1]]
        return best

    def predict(
        self,
        anomalies: NDArray[np.float64],
        *,
        error: NDArray[np.float64] | None = None,
        frames: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return conditional mean and variance (F, P) of `frames` of the series `anomalies` (T, P).

        NaN = not observed; `error` (T, P) is the variance of each observation about its cell's
        true mean. Frames after the current one are never read.
        """
        mean, variance = self.predict_fields(anomalies[None], error=error, frames=frames)
        return mean[0], variance

    def predict_fields(
        self,
        fields: NDArray[np.float64],
        *,
        error: NDArray[np.float64] | None = None,
        frames: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means (D, F, P) of several fields (D, T, P) observed in the same places."""
        observed = np.isfinite(fields[0])
        error = np.zeros(fields.shape[1:]) if error is None else error
        frames = np.arange(fields.shape[1]) if frames is None else frames
        mean = np.zeros((fields.shape[0], len(frames), fields.shape[2]))
        variance = np.zeros((len(frames), fields.shape[2]))
        for i, t in enumerate(frames):
            inside = t >= np.array(self.lags)
            past = np.maximum(t - np.array(self.lags), 0)
            seen = observed[past] & inside[:, None]  # (L, P)
            stacked = fields[:, past].reshape(len(fields), -1)  # (D, L P)
            for block in self._solutions(seen, np.where(inside[:, None], error[past], 0.0)):
                mean[:, i, block.target] = stacked[:, block.source] @ block.weights.T
                variance[i, block.target] = block.variance
        return mean, variance

    def simulated_variance(
        self,
        observed: NDArray[np.bool_],
        *,
        error: NDArray[np.float64] | None = None,
        frames: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Return the variance (F, P) of fields that `colour` makes about their own kriging.

        Where the covariance is kept it is not quite that of kriging: fields of the past are those
        of the current frame, faded, while the covariance of lags is as it was found.
        """
        error = np.zeros(observed.shape) if error is None else error
        found = np.zeros((len(frames), observed.shape[1]))
        lags, size = np.array(self.lags), observed.shape[1]
        faded = self.kernel.rho ** np.abs(lags[:, None] - lags[None, :])
        for i, t in enumerate(frames):
            inside = t >= lags
            past = np.maximum(t - lags, 0)
            wrong = np.where(inside[:, None], error[past], 0.0)
            for block in self._solutions(observed[past] & inside[:, None], wrong):
                if self.covariance is None:
                    found[i, block.target] = block.variance
                    continue
                alike = np.kron(faded, self.covariance[:size, :size]) + self.level
                source, weights = block.source, block.weights
                system = alike[np.ix_(source, source)] + np.diag(wrong.ravel()[source])
                cross = alike[np.ix_(block.target, source)]
                spread = ((weights @ system - 2 * cross) * weights).sum(axis=1)
                found[i, block.target] = np.diagonal(alike)[block.target] + spread
        return np.maximum(found, 0.0)

    @property
    def white_shape(self) -> tuple[int, ...]:
        """Shape of the white noise that `colour` takes."""
        rows, columns = (int(size) for size in self.positions.max(axis=0) + 1)
        return (rows * columns,) if self.covariance is not None else (2 * rows, 2 * columns)

    def colour(self, white: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return fields (..., P) with the covariance of one frame, from white noise.

        By a Cholesky factor where the covariance is kept; otherwise by circulant embedding
        (Dietrich and Newsam 1997), with negative eigenvalues set to zero.
        """
        size = len(self.positions)
        if self.covariance is not None:
            factor = np.linalg.cholesky(self.covariance[:size, :size] + JITTER * np.eye(size))
            return np.asarray(white @ factor.T)
        high, wide = white.shape[-2:]
        rows, columns = np.meshgrid(np.arange(high), np.arange(wide), indexing="ij")
        wrapped = np.stack([np.minimum(rows, high - rows), np.minimum(columns, wide - columns)], -1)
        torus = self.kernel.correlation(wrapped.reshape(-1, 2).astype(float), np.zeros((1, 2)))
        power = np.maximum(np.fft.fft2(torus.reshape(high, wide)).real, 0.0)
        field = np.fft.ifft2(np.sqrt(power) * np.fft.fft2(white)).real
        return np.asarray(field[..., : high // 2, : wide // 2].reshape(*white.shape[:-2], size))

    @property
    def now(self) -> GaussianCompletion:
        """The same from the current frame alone: less sure, and much quicker."""
        size = len(self.positions)
        covariance = None if self.covariance is None else self.covariance[:size, :size]
        return GaussianCompletion((0,), self.kernel, self.positions, covariance, self.level)

    @staticmethod
    def _shrunk(sample: Sample, lags: tuple[int, ...], shrinkage: float) -> NDArray[np.float64]:
        target, empirical = sample.target(lags), sample.empirical(lags)
        if empirical is None:
            return target
        spread = np.sqrt(np.maximum(np.diag(empirical), 1e-6))
        mixed = (1 - shrinkage) * empirical + shrinkage * np.outer(spread, spread) * target
        return mixed.astype(np.float32).astype(np.float64)

    def _solutions(self, observed: NDArray[np.bool_], error: NDArray[np.float64]) -> list[Solution]:
        key = np.packbits(observed).tobytes() + error[observed].tobytes()
        if key not in self._cache:
            if len(self._cache) >= CACHED_PATTERNS:
                self._cache.clear()
            self._cache[key] = [
                self._solve(target, nearby & observed.ravel(), error.ravel())
                for target, nearby in self._blocks()
            ]
        return self._cache[key]

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
        lags, cells = len(self.lags), np.arange(len(self.positions))
        if self.covariance is not None:
            yield cells, np.ones(lags * len(cells), bool)
            return
        tiles = np.floor(self.positions / TILE).astype(int)
        for tile in np.unique(tiles, axis=0):
            low, high = tile * TILE - HALO, (tile + 1) * TILE + HALO
            nearby = ((self.positions >= low) & (self.positions < high)).all(axis=1)
            yield cells[(tiles == tile).all(axis=1)], np.tile(nearby, lags)

    def _solve(
        self, target: NDArray[np.int64], use: NDArray[np.bool_], error: NDArray[np.float64]
    ) -> Solution:
        source = np.flatnonzero(use)
        own = self._between(target, target)
        if source.size == 0:
            return Solution(target, source, np.zeros((len(target), 0)), np.diag(own).copy())
        system = self._between(source, source) + np.diag(error[source] + JITTER)
        cross = self._between(target, source)
        weights = cho_solve(cho_factor(system, lower=True), cross.T).T
        variance = np.diag(own) - (weights * cross).sum(axis=1)
        return Solution(target, source, weights, np.maximum(variance, 0.0))

    def _between(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.covariance is not None:
            return self.covariance[np.ix_(left, right)] + self.level
        size, lags = len(self.positions), np.array(self.lags)
        result = np.empty((len(left), len(right)))
        for a in np.unique(left // size):
            for b in np.unique(right // size):
                rows, columns = (
                    np.flatnonzero(left // size == a),
                    np.flatnonzero(right // size == b),
                )
                result[np.ix_(rows, columns)] = self.kernel.correlation(
                    self.positions[left[rows] % size],
                    self.positions[right[columns] % size],
                    lags[a] - lags[b],
                )
        return result + self.level


def _cross_validate(
    cls: type[GaussianCompletion],
    anomalies: NDArray[np.float64],
    samples: dict[int, Sample],
    folds: NDArray[np.int64],
    settings: dict[str, tuple[int, ...] | float],
    seed: int,
) -> float:
    rng = np.random.default_rng(seed)
    squares, count = 0.0, 0
    for fold, sample in samples.items():
        model = cls.learnt(sample, **settings)  # type: ignore[arg-type]
        targets = np.flatnonzero(folds == fold)
        targets = targets[np.linspace(0, len(targets) - 1, min(len(targets), 48)).astype(int)]
        ratio = rng.uniform(0.2, 0.8, size=(len(anomalies), 1))
        ratio[: len(anomalies) // 2] = rng.uniform(0.4, 0.9)
        noise = rng.uniform(size=anomalies.shape)
        noise[: len(anomalies) // 2] = noise[
            :1
        ]  # half of the record lacks the same cells throughout
        seen = noise > ratio
        observations = np.where(seen, anomalies, np.nan)
        mean, _ = model.predict(observations, frames=targets)
        errors = np.where(seen[targets], np.nan, anomalies[targets] - mean)
        squares += float(np.nansum(errors**2))
        count += int(np.isfinite(errors).sum())
    return squares / max(count, 1)

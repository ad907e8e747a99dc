"""A record, seen as it will be seen in use: with holes, by priors that do not know it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .assembly import Observations, assemble
from .evidence import Trial
from .windows import Pattern, mask_series, observation_mask, to_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .priors.prior import Prior
    from .series import Series
    from .windows import Record

    Array = NDArray[np.float64]

POINTS_PER_CELL = 3  # most points behind one observed cell in rehearsal
PATTERNS_TRIED: tuple[tuple[Pattern, float], ...] = (
    ("random", 0.4),
    ("fixed", 0.8),
    ("random", 0.8),
    ("fixed", 0.4),
    ("fixed", 0.6),
    ("fixed", 0.8),
)


@dataclass(frozen=True)
class Source:
    """What is rehearsed: a record, its features, and the noise of its points.

    Parameters
    ----------
    record : Record
        Fine history; what it does not know nobody sees.
    context, cells : array (T, E) and (S, I, J)
        Features of every frame and of every coarse cell.
    noise : float
        Relative error of a point observation; half of its variance stays with the place.
    """

    record: Record
    context: NDArray[np.float32]
    cells: NDArray[np.float32]
    noise: float

    def as_cells(self, seen: NDArray[np.bool_]) -> Observations:
        """Observe the coarse cells `seen` (T, I, J)."""
        values = np.where(seen, self.record.coarse, np.nan)
        return Observations(self.record.times, values, self.context, self.cells)

    def as_points(self, seen: NDArray[np.bool_], rng: np.random.Generator) -> Observations:
        """Observe a few fixed fine cells of every coarse cell `seen` in place of its mean.

        Of those the ones that are known in a frame; where none is, nothing.
        """
        record = self.record
        blocks = to_blocks(record.fine.astype(np.float64), record.factor)  # (T, P, N N)
        size = (int(blocks.shape[1]), int(blocks.shape[2]))
        n_obs = rng.integers(1, POINTS_PER_CELL + 1, size=(size[0],))
        rank = rng.random(size).argsort(axis=1).argsort(axis=1)
        weight = (rank < n_obs[:, None]) / n_obs[:, None]
        known = np.isfinite(blocks)
        found = (known & (weight > 0)).sum(-1)  # (T, P)
        count = np.maximum(found, 1)
        values = (np.where(known, blocks, 0.0) * weight).sum(-1) * (n_obs / count)
        own = rng.standard_normal((2, *values.shape))
        own[0] = own[0, :1]  # the part that stays with the place
        values = values * (1 + self.noise * (own[0] + own[1]) / np.sqrt(2 * count)).clip(0.1)
        seen = seen & (found > 0).reshape(seen.shape)
        values = np.where(seen, values.reshape(seen.shape), np.nan)
        return Observations(
            record.times, values, self.context, self.cells, count.reshape(seen.shape)
        )


@dataclass(frozen=True)
class Rehearsal:
    """Training series with honest beliefs, and the priors that held them.

    Parameters
    ----------
    series : Series
        R observation patterns of the record, with truth; NaN where it is unknown.
    priors : list of Prior
        One per training block, fitted without it, then one fitted on all of them.
    fit : array (T,)
        Which prior believed each frame.
    """

    series: Series
    priors: list[Prior]
    fit: NDArray[np.int64]

    def to(self, device: torch.device) -> Rehearsal:
        """Return the same with its tensors on `device`."""
        return replace(self, series=self.series.to(device))


def rehearse(
    source: Source,
    priors: list[Prior],
    fit: NDArray[np.int64],
    *,
    variants: int,
    segment: int,
    points: bool,
    seed: int,
) -> Rehearsal:
    """Return `variants` incomplete views of the record, each believed by the prior of its block.

    With `points`, every second view observes a few fine cells in place of a coarse mean, as
    stations do.
    """
    record = source.record
    views = [
        _view(source, seed * 1000 + v, segment, points=points and v % 2 == 1)
        for v in range(variants)
    ]
    anomalies, errors, means, spreads = [], [], [], []
    common = priors[-1]
    for view in views:
        error = _error(common, view)
        mean, spread = _believe(priors, fit, view)
        anomalies.append(common.anomalies(view.coarse, view.times))
        errors.append(error)
        means.append(mean)
        spreads.append(spread)
    parts = [np.stack(part) for part in (anomalies, errors, means, spreads)]
    series = assemble(common, views[0], parts[0], parts[1], parts[2], parts[3], fit)
    coarse = record.coarse
    truth = common.anomalies(coarse, record.times)
    series = replace(
        series,
        exists=torch.as_tensor(np.isfinite(coarse).any(axis=(1, 2))),
        truth=_tensor(truth),
        coarse=_tensor(coarse),
        fine=_tensor(record.fine),
    )
    return Rehearsal(series, priors, fit)


def trials(source: Source, *, points: bool, seed: int) -> list[Trial]:
    """Return validation trials of every pattern; as points (soft) or as coarse cells (hard)."""
    coarse = source.record.coarse
    fine = source.record.fine.astype(np.float64)
    found = []
    for number, (pattern, missing) in enumerate(PATTERNS_TRIED):
        seen = observation_mask(pattern, missing, len(coarse), coarse.shape[1:], seed + number)
        if points:
            observations = source.as_points(seen, np.random.default_rng([seed, number]))
        else:
            observations = source.as_cells(seen)
        found.append(Trial(observations, not points, coarse, fine))
    return found


def _view(source: Source, seed: int, segment: int, *, points: bool) -> Observations:
    rng = np.random.default_rng(seed)
    shape = source.record.coarse.shape
    seen = mask_series(rng, shape[0], shape[1:], segment=segment)
    return source.as_points(seen, rng) if points else source.as_cells(seen)


def _error(prior: Prior, view: Observations) -> Array:
    if view.n_obs is None:
        return np.zeros(view.coarse.shape)
    return prior.point_error(view.coarse, view.n_obs)


def _believe(
    priors: list[Prior], fit: NDArray[np.int64], view: Observations
) -> tuple[Array, Array]:
    """Return every frame's belief by its own prior, in the anomalies of the last prior."""
    common = priors[-1]
    mean = np.zeros(view.coarse.shape)
    spread = np.ones(view.coarse.shape)
    for number, prior in enumerate(priors):
        frames = np.flatnonzero(fit == number)
        if not len(frames):
            continue
        anomalies = prior.anomalies(view.coarse, view.times)
        own, width = prior.complete(anomalies, error=_error(prior, view), frames=frames)
        z = prior.centre(view.times[frames]) + prior.spread * own
        mean[frames] = (z - common.centre(view.times[frames])) / common.spread
        spread[frames] = width * prior.spread / common.spread
    if common.completion is not None and view.n_obs is None:
        observed = common.anomalies(view.coarse, view.times)
        seen = np.isfinite(observed)
        mean, spread = np.where(seen, observed, mean), np.where(seen, 0.0, spread)
    return mean, spread


def _tensor(array: NDArray[np.floating]) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32)

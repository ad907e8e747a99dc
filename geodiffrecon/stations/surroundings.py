"""What a network and the local spread read about a spot: the readings around it, never its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..progress import Progress, silent
from .kriging import StationKriging, residuals_without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .anomalies import Readings

    Array = NDArray[np.float64]

MEMORY = 24  # steps back over which residuals are averaged
PAIRS = 8_000_000  # residuals of pairs of stations that are held at once
LIMIT = 6.0  # standardised readings beyond it are cut
FAR = 1e4
LOWEST = 0.1  # of the typical transformed reading; what is expected lower counts as that
SPREAD_COLUMNS = 4  # first columns of a query, which the local spread reads


@dataclass(frozen=True)
class Cases:
    """Spots to be described, each with the stations around it.

    Parameters
    ----------
    tokens : float32, shape (n, K, F)
        What is known of the nearest stations; F is 0 where no network reads it.
    seen : bool, shape (n, K)
        Whether they reported.
    query : float32, shape (n, G)
        What is known of the spot: first what the local spread reads.
    mean, spread : float64, shape (n,)
        Of kriging, in transformed units.
    """

    tokens: Tensor
    seen: Tensor
    query: Tensor
    mean: Tensor
    spread: Tensor

    def only(self, rows: Tensor) -> Cases:
        """Return some rows."""
        return Cases(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Cases]) -> Cases:
        """Return the rows of all `parts`."""
        names = cls.__dataclass_fields__
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Surroundings:
    """How spots are described, with what was measured in training.

    Parameters
    ----------
    kriging : StationKriging
        The prior.
    unit_km : float
        Usual distance of a station to its nearest ones.
    level : tuple of float
        Mean and spread of the anomalies in training.
    neighbours : int
        Nearest stations that are described.
    stations : int
        In training; with those of a file, what is said of a step would depend on other steps.
    typical : float
        Mean transformed reading in training, where all are positive; else 0.
    """

    kriging: StationKriging
    unit_km: float
    level: tuple[float, float]
    neighbours: int
    stations: int
    typical: float = 0.0

    @classmethod
    def of(cls, kriging: StationKriging, readings: Readings, neighbours: int) -> Surroundings:
        """Measure the scales of a network."""
        apart = np.linalg.norm(readings.km[:, None] - readings.km[None], axis=-1)
        np.fill_diagonal(apart, np.inf)
        nearest = np.sort(apart, axis=1)[:, : min(3, len(apart) - 1)]
        unit = max(float(np.median(nearest.mean(axis=1))), 1e-3)
        known = readings.anomalies[np.isfinite(readings.anomalies)]
        level = float(known.mean()), max(float(known.std()), 1e-6)
        z = readings.transformed(np.arange(len(readings.anomalies)))
        typical = float(np.nanmean(z)) if np.nanmin(z) >= 0 else 0.0
        return cls(kriging, unit, level, neighbours, len(readings.km), typical)

    def of_stations(
        self,
        readings: Readings,
        frames: NDArray[np.int64],
        *,
        tokens: bool = True,
        progress: Progress = silent,
    ) -> Iterator[tuple[NDArray[np.int64], Cases]]:
        """Yield frames (m,) and the cases (m S) of their stations, each hidden from its case.

        Without `tokens` nothing is said of single stations, which only networks read. `progress`
        is told of the frames of one run, before it is yielded.
        """
        count = len(readings.km)
        near = _nearest(readings.km, readings.km, self.neighbours, hide_self=True)
        for part in _runs(frames, max(MEMORY, PAIRS // count**2 - MEMORY)):
            gathered, mean, spread = self._left_out(readings, part, near, progress)
            terrain = torch.as_tensor(readings.terrain)
            cases = self._described(
                readings, part, readings.km, near, gathered, mean, spread, terrain,
                lasting=readings.expected, others=1 - torch.eye(count, dtype=torch.float64),
                tokens=tokens,
            )  # fmt: skip
            yield part, _restored(cases, readings, part, readings.expected)

    def of_sites(
        self,
        readings: Readings,
        frames: NDArray[np.int64],
        sites: Array,
        terrain: Array,
        lasting: Array,
        *,
        tokens: bool = True,
        progress: Progress = silent,
    ) -> Iterator[tuple[NDArray[np.int64], Cases]]:
        """Yield frames (m,) and the cases (m Q) of `sites` (Q, 2), which are no stations.

        `tokens` as in `of_stations`; `progress` is told of the frames of one run, before it is
        yielded.
        """
        rows = max(1, PAIRS // max(1, len(sites) * min(self.neighbours, len(readings.km)) * 4))
        for part, heard in self._heard(readings, frames, rows):
            near = heard[_nearest(sites, readings.km[heard], self.neighbours, hide_self=False)]
            past = np.arange(part[0] - MEMORY, part[-1] + 1)
            first, second = _halves(progress, len(past), len(part))
            own = self.own_residuals(readings, past, first)  # (m + MEMORY, S)
            mean, spread = self.kriging.predict(
                readings.anomalies, readings.km, part, sites, readings.sky.way, second,
                readings.since,
            )  # fmt: skip
            gathered = own[:, near]
            cases = self._described(
                readings, part, sites, near, gathered,
                torch.as_tensor(mean), torch.as_tensor(spread), torch.as_tensor(terrain),
                lasting=lasting, others=torch.ones(1, len(readings.km), dtype=torch.float64),
                tokens=tokens,
            )  # fmt: skip
            yield part, _restored(cases, readings, part, lasting)

    def _heard(
        self, readings: Readings, frames: NDArray[np.int64], most: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield runs of frames and the stations that a spot may have near it.

        Only those of the last steps: one that is silent all the while, and reports elsewhere in a
        file, must not push another out.
        """
        everyone = np.arange(len(readings.km))
        for run in _runs(frames, most):
            if len(everyone) <= self.neighbours:
                yield run, torch.as_tensor(everyone)
                continue
            seen = np.isfinite(readings.anomalies)
            recent = np.stack([seen[max(0, f - MEMORY) : f + 1].any(axis=0) for f in run])
            changed = np.flatnonzero((recent[1:] != recent[:-1]).any(axis=1)) + 1
            for part, now in zip(np.split(run, changed), recent[[0, *changed]], strict=True):
                yield part, torch.as_tensor(np.flatnonzero(now) if now.any() else everyone)

    def _left_out(
        self, readings: Readings, part: NDArray[np.int64], near: Tensor, progress: Progress
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return residuals (m + MEMORY, S, K), mean and spread (m, S) of a run of frames."""
        past = np.arange(part[0] - MEMORY, part[-1] + 1)
        first, second = _halves(progress, len(past), len(part))
        gathered = self._residuals(readings, past, near, first)
        mean, spread = self.kriging.left_out(
            readings.anomalies, readings.km, part, readings.sky.way, second, readings.since
        )
        return gathered, mean, spread

    @torch.no_grad()
    def _residuals(
        self, readings: Readings, rows: NDArray[np.int64], near: Tensor, progress: Progress
    ) -> Tensor:
        """Return the residuals (n, S, K) of the stations `near` (S, K) each, hidden from both."""
        alone, found, done = StationKriging(self.kriging.kernel, (0,)), [], 0
        for part in _parts(rows, len(readings.km)):
            window = alone.window(readings.anomalies, readings.km, part, None)
            residual = residuals_without(alone, window)  # (n, S, S)
            found.append(residual.gather(2, near.expand(len(part), -1, -1)))
            done += len(part)
            progress(done, len(rows), "residuals")
        return torch.cat(found)

    @torch.no_grad()
    def own_residuals(
        self, readings: Readings, rows: NDArray[np.int64], progress: Progress = silent
    ) -> Tensor:
        """Return the standardised leave-one-out residuals (n, S) of the current step alone."""
        alone, found, done = StationKriging(self.kriging.kernel, (0,)), [], 0
        for part in _parts(rows, len(readings.km)):
            window = alone.window(readings.anomalies, readings.km, part, None)
            mean, spread = alone.leave_one_out(window)
            found.append((window.values - mean) / spread * window.seen)
            done += len(part)
            progress(done, len(rows), "residuals")
        return torch.cat(found)

    def _described(
        self,
        readings: Readings,
        frames: NDArray[np.int64],
        sites: Array,
        near: Tensor,
        residual: Tensor,
        mean: Tensor,
        spread: Tensor,
        terrain: Tensor,
        *,
        lasting: Array,
        others: Tensor,
        tokens: bool,
    ) -> Cases:
        """Return the cases of (m, Q) spots; `residual` (MEMORY + m, Q, K) begins earlier.

        `others` (Q, S) or (1, S) is 1 for the stations that a spot may know of, else 0.
        """
        place = _Place.of(sites, readings.km, near, self.unit_km)
        now = _gathered(readings.anomalies, frames, near)  # (m, Q, K)
        seen = torch.isfinite(now)
        residual = residual.clamp(-LIMIT, LIMIT)
        was_seen = _gathered(
            readings.anomalies, np.arange(frames[0] - MEMORY, frames[-1] + 1), near
        )
        bias, power = _recent(residual, torch.isfinite(was_seen))
        before, current = residual[MEMORY - 1 : -1], residual[MEMORY:]
        around = torch.empty(*seen.shape, 0)
        if tokens:
            standing = _standing(readings, frames, near, now, mean, spread)
            past = [current, before, bias, power.sqrt()]
            around = _tokens(readings, frames, place, near, [*standing, *past], terrain)
        frame = self._frame(readings, frames, others)
        residuals = (current, before, power)
        height = self._height(mean, readings.usual(frames), lasting)
        query = self._query(place, seen, mean, spread, residuals, height, frame)
        context = torch.as_tensor(readings.sky.context[frames])[:, None]
        context = context.expand(-1, query.shape[1], -1)
        query = torch.cat([query, context, terrain.expand(len(frames), -1, -1)], dim=-1)
        return Cases(
            around.flatten(0, 1).float(), seen.flatten(0, 1),
            query.flatten(0, 1).float(), mean.flatten().double(), spread.flatten().double(),
        )  # fmt: skip

    def _query(
        self,
        place: _Place,
        seen: Tensor,
        mean: Tensor,
        spread: Tensor,
        residuals: tuple[Tensor, Tensor, Tensor],
        height: Tensor,
        frame: list[Tensor],
    ) -> Tensor:
        """Return the columns (m, Q, 12) that need nothing but readings."""
        current, before, power = residuals
        shares = torch.exp(-place.apart / (2 * self.unit_km)) * seen
        centre, width = self.level
        size = torch.log(spread / width)
        level = (mean - centre) / width
        far = torch.where(seen, place.apart.expand(seen.shape), torch.tensor(FAR))
        far = F.pad(far, (0, 1), value=FAR).amin(-1)  # a single station has no others
        columns = [
            torch.log(_local(shares, current**2, 1.0)), torch.log(_local(shares, power, 1.0)),
            torch.log((current**2 * seen).sum(-1) + 3) - torch.log(seen.sum(-1) + 3.0),
            height, torch.log(_local(shares, before**2, 1.0)), _local(shares, current, 0.0),
            size, level, torch.log1p(2 * far / self.unit_km) - 1,
            *(part.expand(size.shape) for part in frame),
        ]  # fmt: skip
        return torch.stack(columns, -1)

    def _height(self, mean: Tensor, centre: Array, lasting: Array) -> Tensor:
        """Return how high values (m, Q) are expected, as a logarithm; 0 where they have a sign."""
        if not self.typical:
            return torch.zeros_like(mean)
        z = mean + torch.as_tensor(centre[:, None] + lasting)
        return torch.log(z.clamp_min(LOWEST * self.typical) / self.typical)

    def _frame(self, readings: Readings, frames: NDArray[np.int64], others: Tensor) -> list[Tensor]:
        """Return level, contrast and share of the stations that report, each (m, Q) or (m, 1)."""
        centre, width = self.level
        now = torch.as_tensor(readings.anomalies[frames])[:, None]  # (m, 1, S)
        known = torch.isfinite(now) * others
        value, count = now.nan_to_num() * others, known.sum(-1)
        usual = value.sum(-1) / count.clamp_min(1)
        around = ((value - usual[..., None]) ** 2 * known).sum(-1) / count.clamp_min(1)
        usually = self.stations - len(readings.km) + others.sum(-1)  # less what is hidden
        return [(usual - centre) / width, (around.sqrt() - width) / width, count / usually - 1.0]


def _restored(cases: Cases, readings: Readings, part: NDArray[np.int64], lasting: Array) -> Cases:
    """Return cases in transformed units, whose mean and spread are those of anomalies."""
    shape = (len(part), -1)
    mean = readings.restored(part, lasting, cases.mean.numpy().reshape(shape))
    spread = cases.spread.numpy().reshape(shape) * readings.widths(part)
    return replace(
        cases, mean=torch.as_tensor(mean.ravel()), spread=torch.as_tensor(spread.ravel())
    )


@dataclass(frozen=True)
class _Place:
    """Where the nearest stations (Q, K) stand, seen from their sites."""

    offset: tuple[Tensor, Tensor]
    apart: Tensor
    log: Tensor
    towards: Tensor

    @classmethod
    def of(cls, sites: Array, km: Array, near: Tensor, unit: float) -> _Place:
        offset = torch.as_tensor(km)[near] - torch.as_tensor(sites)[:, None]  # (Q, K, 2)
        apart = offset.norm(dim=-1)
        east, north = (offset / (4 * unit)).unbind(-1)
        log = torch.log1p(2 * apart / unit) - 1
        return cls((east, north), apart, log, offset / (apart[..., None] + 0.1 * unit))


def _nearest(sites: Array, km: Array, count: int, *, hide_self: bool) -> Tensor:
    """Return the indices (Q, K) of the nearest stations of every site; ties by index."""
    apart = np.linalg.norm(sites[:, None] - km[None], axis=-1)
    if hide_self:
        np.fill_diagonal(apart, np.inf)
    most = min(count, len(km) - int(hide_self))
    return torch.as_tensor(np.argsort(apart, axis=1, kind="stable")[:, :most].copy())


def _runs(frames: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
    """Yield runs of consecutive frames, at most `most` long, so that each shares one past."""
    for run in np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1):
        yield from np.array_split(run, max(1, -(-len(run) // most)))


def _halves(progress: Progress, past: int, frames: int) -> tuple[Progress, Progress]:
    """Return what tells `progress` of some frames, first by their past and then by themselves."""

    def first(done: int, of: int, what: str) -> None:
        progress(done * frames // (past + frames), frames, what)

    def second(done: int, of: int, what: str) -> None:
        first(past + done, of, what)

    return first, second


def _parts(rows: NDArray[np.int64], stations: int) -> list[NDArray[np.int64]]:
    """Return `rows` in parts of which all pairs of stations are held at once."""
    most = max(1, PAIRS // stations**2)
    return np.array_split(rows, max(1, -(-len(rows) // most)))


def _gathered(values: Array, rows: NDArray[np.int64], near: Tensor) -> Tensor:
    """Return `values` (T, S) at `rows` and the stations `near` (Q, K); NaN before the start."""
    found = np.where((rows >= 0)[:, None], values[np.maximum(rows, 0)], np.nan)
    return torch.as_tensor(found)[:, near]


def _standing(
    readings: Readings,
    frames: NDArray[np.int64],
    near: Tensor,
    now: Tensor,
    mean: Tensor,
    spread: Tensor,
) -> list[Tensor]:
    """Return how readings (m, Q, K) stand to the spot's mean and to what they were, in spreads."""
    width = spread[..., None]
    found = [((now - mean[..., None]) / width).nan_to_num().clamp(-LIMIT, LIMIT)]
    for lag in (1, 3):
        change = now - _gathered(readings.anomalies, frames - lag, near)
        found.append((change / width).nan_to_num().clamp(-LIMIT, LIMIT))
    return found


def _tokens(
    readings: Readings,
    frames: NDArray[np.int64],
    place: _Place,
    near: Tensor,
    known: list[Tensor],
    terrain: Tensor,
) -> Tensor:
    """Return what networks read of the nearest stations (m, Q, K, F), `known` in the middle."""
    upwind = readings.sky.upwind(frames, place.towards)  # (m, Q, K)
    away = [part.expand(upwind.shape) for part in (*place.offset, place.log)]
    slope = torch.as_tensor(readings.terrain)[near] - terrain[:, None]  # (Q, K, C)
    slopes = [part.expand(upwind.shape) for part in slope.unbind(-1)]
    return torch.stack([*away, *known, upwind, *slopes], -1)


def _recent(residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and mean square of the last MEMORY + 1 residuals, drawn to 0 and 1."""
    count = _moving(seen.to(residual.dtype)) + 1
    return _moving(residual) / count, (_moving(residual**2) + 1) / count


def _moving(values: Tensor) -> Tensor:
    """Return the sums over MEMORY + 1 steps, one for each step after the first MEMORY."""
    total = torch.cat([torch.zeros_like(values[:1]), values.cumsum(0)])
    return total[MEMORY + 1 :] - total[: -MEMORY - 1]


def _local(shares: Tensor, values: Tensor, prior: float) -> Tensor:
    """Return the mean around a spot, drawn to `prior` with the weight of one near station."""
    return ((shares * values).sum(-1) + prior) / (shares.sum(-1) + 1)

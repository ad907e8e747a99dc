"""Scores of forecasts at hidden stations: rows, charts' numbers, and ratios with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..fields import block_bootstrap_ratio
from ..metrics import bias, coverage, fair_crps, mae, rmse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .forecast import JoinedForecast

    Array = NDArray[np.float64]

SHARE_KNOWN = 0.75  # of the steps of a day, for its mean to be scored
DAY_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
PIT_BINS, SPREAD_BINS = 20, 10
DISTANCES_KM = (0.0, 3.0, 8.0, 17.0, 40.0, np.inf)
REPEATS = 1000
SCORES = ("mae", "mae_mean", "rmse", "bias", "crps", "coverage50", "coverage90")
NO_SCORES: dict[str, Any] = {"n": 0, **dict.fromkeys(SCORES)}


@dataclass(frozen=True, eq=False)
class Scored:
    """One method at one resolution in time: what is known of its errors per step and station.

    Parameters
    ----------
    truth : float64, (F, P)
        NaN where nothing is scored, the same for all methods.
    median, mean, crps, pit : float64, (F, P)
        Of the method.
    """

    truth: Array
    median: Array
    mean: Array
    crps: Array
    pit: Array

    @property
    def errors(self) -> dict[str, Array]:
        """Absolute errors of the median and CRPS, (F, P) each; NaN where nothing is scored."""
        return {"mae": np.abs(self.median - self.truth), "crps": self.crps}

    def row(self) -> dict[str, Any]:
        """Return all scores; None where no value is scored."""
        count = int(np.isfinite(self.truth).sum())
        if not count:
            return dict(NO_SCORES)
        scores = (
            mae(self.truth, self.median), mae(self.truth, self.mean), rmse(self.truth, self.mean),
            bias(self.truth, self.mean), float(np.nanmean(self.crps)),
            coverage(self.pit, 0.5), coverage(self.pit, 0.9),
        )  # fmt: skip
        return {"n": count, **dict(zip(SCORES, scores, strict=True))}


@dataclass(frozen=True, eq=False)
class DayForecast:
    """Means over the scored steps of local days, as draws give them.

    Parameters
    ----------
    truth, mean, crps, pit : float64, (D, P)
        NaN where less than three quarters of a day's steps are known.
    quantiles : float64, (5, D, P)
        At the levels 0.05, 0.25, 0.5, 0.75 and 0.95.
    """

    truth: Array
    mean: Array
    quantiles: Array
    crps: Array
    pit: Array

    @classmethod
    def of(
        cls, draws: NDArray[np.floating], truth: Array, day: NDArray[np.int64], *,
        steps_per_day: int, seed: int,
    ) -> DayForecast:  # fmt: skip
        """Return the day means of `draws` (K, F, P), over the steps at which `truth` is known.

        Parameters
        ----------
        draws, truth : array, (K, F, P) and (F, P)
            Raw units, every step; NaN truth is left out of its day.
        day : int64, (F,)
            Number of the day of each step, ascending from 0.
        steps_per_day : int
            Of a whole day.
        seed : int
            Of the ranks' position between two draws.
        """
        known = np.isfinite(truth)
        starts = np.flatnonzero(np.diff(day, prepend=-1))
        count = np.add.reduceat(known.astype(np.int64), starts, axis=0)  # (D, P)
        enough = count >= SHARE_KNOWN * steps_per_day
        size = np.where(enough, count, 1)
        means = np.add.reduceat(np.where(known, draws, 0.0), starts, axis=1) / size
        real = np.add.reduceat(np.where(known, truth, 0.0), starts, axis=0) / size
        real = np.where(enough, real, np.nan)
        position = np.random.default_rng([seed, 31]).random(real.shape)
        below = (means < real).sum(axis=0) + position * ((means == real).sum(axis=0) + 1)
        return cls(
            real,
            np.where(enough, means.mean(axis=0), np.nan),
            np.where(enough, np.quantile(means, DAY_LEVELS, axis=0), np.nan),
            fair_crps(real, means),
            np.where(enough, below / (len(means) + 1), np.nan),
        )

    @classmethod
    def joined(cls, parts: list[DayForecast], columns: list[NDArray[np.int64]]) -> DayForecast:
        """Return the folds' `parts` side by side, in the order that `columns` say."""
        order = np.argsort(np.concatenate(columns))

        def join(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts], axis=-1)[..., order]

        return cls(*[join(name) for name in ("truth", "mean", "quantiles", "crps", "pit")])

    def scored(self, common: NDArray[np.bool_]) -> Scored:
        """Return what is scored, on the days and stations where `common` (D, P) is True."""
        parts = (self.truth, self.quantiles[2], self.mean, self.crps, self.pit)
        return Scored(*[np.where(common, part, np.nan) for part in parts])


def scored(forecast: JoinedForecast, truth: Array, seed: int) -> Scored:
    """Return what is known of the errors of `forecast` at `truth` (F, P), NaN where unknown."""
    hole = 0 * truth
    return Scored(
        truth,
        forecast.median + hole,
        forecast.mean + hole,
        forecast.crps(truth),
        forecast.pit(truth, seed) + hole,
    )


def pit_histogram(pit: Array) -> list[float]:
    """Return the density of PIT values in twenty bins: all ones where a forecast is calibrated.

    Examples
    --------
    >>> pit_histogram((np.arange(20) + 0.5) / 20)[:3]
    [1.0, 1.0, 1.0]
    """
    count, _ = np.histogram(pit[np.isfinite(pit)], PIT_BINS, (0.0, 1.0))
    return [float(share) for share in count * PIT_BINS / max(count.sum(), 1)]


def spread_skill(std: Array, truth: Array, mean: Array) -> list[dict[str, Any]]:
    """Return predicted standard deviation and RMSE of the mean in bins of equal count.

    Each entry has ``std`` (root of the mean variance), ``rmse`` and ``count``.
    """
    known = np.isfinite(truth) & np.isfinite(std)
    order = np.argsort(std[known], kind="stable")
    variance, square = std[known][order] ** 2, (mean - truth)[known][order] ** 2
    parts = zip(
        np.array_split(variance, SPREAD_BINS), np.array_split(square, SPREAD_BINS), strict=True
    )
    return [
        {"std": float(np.sqrt(v.mean())), "rmse": float(np.sqrt(s.mean())), "count": len(v)}
        for v, s in parts
        if len(v)
    ]


def by_distance(found: Scored, distance_km: Array) -> list[dict[str, Any]]:
    """Return scores in bins of the distance to the nearest station that reported.

    Each entry has ``from_km``, ``to_km`` (None: no end) and the scores of a row.
    """
    rows = []
    for low, high in pairwise(DISTANCES_KM):
        inside = (distance_km >= low) & ((distance_km < high) | np.isinf(high))
        parts = (found.truth, found.median, found.mean, found.crps, found.pit)
        here = Scored(*[np.where(inside, part, np.nan) for part in parts])
        end = None if np.isinf(high) else float(high)
        rows.append({"from_km": float(low), "to_km": end, **here.row()})
    return rows


def by_station(found: Scored) -> dict[str, list[float | None]]:
    """Return ``mae`` (median), ``bias`` (mean) and ``crps`` of every station."""
    parts = {**found.errors, "bias": found.mean - found.truth}
    known = np.isfinite(found.truth)
    count = known.sum(axis=0)
    table = {}
    for name, errors in parts.items():
        total = np.where(known, errors, 0.0).sum(axis=0) / np.maximum(count, 1)
        table[name] = [float(t) if n else None for t, n in zip(total, count, strict=True)]
    return table


def ratios(
    found: dict[str, Scored], references: Iterable[str], *, block: int, seed: int, prefix: str = ""
) -> list[dict[str, Any]]:
    """Return paired ratios of every method to each reference that was scored.

    Each entry has ``method, reference, score, ratio`` with 95 % intervals: ``low, high`` from
    resampling blocks of steps, ``station_low, station_high`` from resampling stations.

    Parameters
    ----------
    found : dict of str to Scored
        By method.
    references : iterable of str
        Methods in the denominators.
    block : int
        Steps in a block of the bootstrap.
    seed : int
        Of the resampling.
    prefix : str
        Before the names of the scores.
    """
    rows = []
    for reference in (name for name in references if name in found):
        for method in (name for name in found if name != reference):
            for score, errors in found[method].errors.items():
                values = _ratio(errors, found[reference].errors[score], block, seed)
                rows.append(
                    {"method": method, "reference": reference, "score": prefix + score, **values}
                )
    return rows


def _ratio(errors: Array, reference: Array, block: int, seed: int) -> dict[str, float | None]:
    """Return the ratio of mean errors (F, P) and its intervals; None where there is none."""
    known = np.isfinite(errors) & np.isfinite(reference)
    pair = np.where(known, np.stack([errors, reference]), 0.0)
    # Sums over stations, so that the ratio is that of the means over all steps and stations.
    steps = np.where(known.any(axis=1), pair.sum(axis=2), np.nan)
    ratio, low, high = block_bootstrap_ratio(steps[0], steps[1], block, seed, repeats=REPEATS)
    stations = pair.sum(axis=1)[:, known.any(axis=0)]  # (2, P)
    around = _station_interval(stations, seed)
    values = {"ratio": ratio, "low": low, "high": high}
    values |= {"station_low": around[0], "station_high": around[1]}
    return {name: float(v) if np.isfinite(v) else None for name, v in values.items()}


def _station_interval(sums: Array, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of a ratio when stations are drawn again; `sums` is (2, P)."""
    count = sums.shape[1]
    if count < 2 or not sums[1].all():
        return np.nan, np.nan
    picks = np.random.default_rng([seed, 32]).integers(0, count, (REPEATS, count))
    errors, reference = sums[:, picks].sum(axis=2)
    low, high = np.quantile(errors / reference, [0.025, 0.975])
    return float(low), float(high)

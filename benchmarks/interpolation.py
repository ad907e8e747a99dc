"""One date and nothing else: this library against PyKrige, verde and inverse distances.

    python benchmarks/interpolation.py DATA [--cases N] [--sets NAMES] [--json FILE]

DATA is a folder with ``beijing_pm25_stations_public.csv.gz``, ``era5_t2m_uk_2019-03.nc`` and
``rain_radar_nl.nc``. Needs pykrige, verde and scikit-gstat (for the Meuse readings) beside this
library. Every case is left out in ten random folds and in ten blocks. Kriging takes the best of
four variograms by PyKrige's own cross-validation, and the spline its damping by verde's, once a
case and with nothing left out; methods without a distribution get a normal one from their own
left-out errors. The best rival is picked with hindsight, set by set.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pykrige.ok import OrdinaryKriging
from pykrige.uk import UniversalKriging
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from geodiffrecon.field.choice import Raw, choose
from geodiffrecon.field.covariance import Sites
from geodiffrecon.field.field import Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Told = tuple[Array, Callable[[float], Array]]  # mean, quantiles

FOLDS = 10
LEVELS = (np.arange(24) + 0.5) / 24
VARIOGRAMS = ("spherical", "exponential", "gaussian", "linear")
LIFTED = 0.05  # of the median: what zeros are lifted by before a logarithm
RESAMPLED = 2000
DRIFT = {"drift_terms": ["regional_linear"]}


@dataclass(frozen=True)
class Case:
    """Places (n, 2) in km, values (n,), and days (n,) where there are dates."""

    xy: Array
    values: Array
    days: Array | None = None
    variograms: dict[tuple[str, bool], str] = field(default_factory=dict)
    spline: dict[str, float] = field(default_factory=dict)


def ours(known: Case, wanted: Case) -> Told:
    """Return mean and quantiles of this library."""

    def sites(case: Case) -> Sites:
        scaled = (case.xy - known.xy.mean(axis=0)) / known.xy.std(axis=0)
        return Sites(case.xy, scaled, case.days)

    raw = Raw(sites(known), known.values, np.ones(len(known.values)))
    told = Field(raw, choose(raw), np.arange(len(known.values))).predict(sites(wanted))
    return told.moments()[0], told.quantile


def kriged(kind: str, *, logs: bool) -> Callable[[Case, Case], Told]:
    """Return ordinary or universal kriging with the variogram that PyKrige likes best."""

    def predict(known: Case, wanted: Case) -> Told:
        lift = 0.0
        if logs and known.values.min() < 0:
            return flat(known, wanted)
        if logs and known.values.min() == 0:
            lift = LIFTED * float(np.median(known.values[known.values > 0]))
        work = np.log(known.values + lift) if logs else known.values
        plain = kind == "ordinary"
        make, more = (OrdinaryKriging, {}) if plain else (UniversalKriging, DRIFT)
        model = known.variograms.get((kind, logs))
        try:
            made = make(*known.xy.T, work, variogram_model=model, **more)
            mean, variance = (np.asarray(a) for a in made.execute("points", *wanted.xy.T))
        except (ValueError, np.linalg.LinAlgError):
            return flat(known, wanted)
        # systems that are nearly singular now and then explode: the rival is held near its data
        reach = float(np.ptp(work))
        mean = np.clip(mean, work.min() - reach, work.max() + reach)
        spread = np.clip(np.sqrt(np.maximum(variance, 1e-12)), 0, 2 * reach)
        if not logs:
            return mean, lambda level: mean + spread * ndtri(level)
        most = np.log(10 * (known.values.max() + lift))
        middle = np.minimum(mean + spread**2 / 2, most)
        return np.exp(
            middle
        ) - lift, lambda level: np.exp(np.minimum(mean + spread * ndtri(level), most)) - lift

    return predict


def best_variogram(case: Case, *, logs: bool) -> str:
    """Return the variogram that PyKrige's own cross-validation likes best."""
    values = case.values
    if case.days is not None:
        first = case.days == case.days[0]
        case, values = Case(case.xy[first], values[first]), values[first]
    if logs:
        lift = LIFTED * float(np.median(values[values > 0])) if values.min() <= 0 else 0.0
        values = np.log(values + lift)
    scores = {}
    for model in VARIOGRAMS:
        try:
            made = OrdinaryKriging(
                *case.xy.T, values, variogram_model=model, enable_statistics=True
            )
            scores[model] = float(made.get_statistics()[2])
        except (ValueError, np.linalg.LinAlgError):
            continue
    known = {model: score for model, score in scores.items() if np.isfinite(score)}
    return min(known, key=known.__getitem__) if known else "linear"


def flat(known: Case, wanted: Case) -> Told:
    """Return the distribution of all values, where kriging gives up."""
    count = len(wanted.values)
    return np.full(count, known.values.mean()), lambda q: np.full(
        count, np.quantile(known.values, q)
    )


def with_errors(guess: Callable[[Case, Array], Array]) -> Callable[[Case, Case], Told]:
    """Return a method whose errors are normal, as wide as its own left-out ones."""

    def predict(known: Case, wanted: Case) -> Told:
        mean, left = guess(known, wanted.xy), np.empty(len(known.values))
        which = np.random.default_rng(0).permutation(len(left)) % FOLDS
        for fold in range(FOLDS):
            own = which != fold
            rest = Case(known.xy[own], known.values[own], spline=known.spline)
            left[which == fold] = guess(rest, known.xy[which == fold])
        spread = float(np.sqrt(np.mean((left - known.values) ** 2)))
        return mean, lambda level: mean + spread * ndtri(level)

    return predict


def inverse_distance(known: Case, wanted: Array) -> Array:
    """Return means weighted by inverse squares of the distance to the nearest twelve."""
    far = np.maximum(cdist(wanted, known.xy), 1e-9)
    near = np.argsort(far, axis=1)[:, :12]
    weights = 1 / np.take_along_axis(far, near, axis=1) ** 2
    return (weights * known.values[near]).sum(axis=1) / weights.sum(axis=1)


def spline(known: Case, wanted: Array) -> Array:
    """Return verde's spline, as its own cross-validation likes it best."""
    import verde

    made = verde.Spline(**known.spline).fit(tuple(known.xy.T), known.values)
    return np.asarray(made.predict(tuple(wanted.T)))


def best_spline(case: Case) -> dict[str, float]:
    """Return damping and least distance that verde's own cross-validation likes best."""
    import verde

    if case.days is not None:
        first = case.days == case.days[0]
        case = Case(case.xy[first], case.values[first])
    tried = verde.SplineCV(dampings=(1e-10, 1e-5, 1e-3, 1e-1), mindists=(0.1, 1.0))
    tried.fit(tuple(case.xy.T), case.values)
    return {"damping": tried.spline_.damping, "mindist": tried.spline_.mindist}


METHODS = {
    "ours": ours,
    "ordinary kriging": kriged("ordinary", logs=False),
    "universal kriging": kriged("universal", logs=False),
    "ordinary kriging, log": kriged("ordinary", logs=True),
    "universal kriging, log": kriged("universal", logs=True),
    "verde SplineCV": with_errors(spline),
    "inverse distance": with_errors(inverse_distance),
}


def meuse(data: Path, count: int) -> Iterator[Case]:
    """Yield zinc of the Meuse (155 points)."""
    from skgstat import data as published

    sample = published.meuse("zinc")["sample"]
    xy, values = np.asarray(sample[0], float), np.asarray(sample[1], float)
    yield Case(xy / 1000, values.ravel())


def beijing(data: Path, count: int) -> Iterator[Case]:
    """Yield single hours of stations."""
    import pandas as pd

    rows = pd.read_csv(data / "beijing_pm25_stations_public.csv.gz")
    table = rows.pivot_table(index="time", columns="station", values="pm25")
    at = rows.groupby("station")[["longitude", "latitude"]].first().loc[table.columns].to_numpy()
    xy = (at - at.mean(axis=0)) * [111.3 * np.cos(np.radians(at[:, 1].mean())), 111.3]
    for hour in np.random.default_rng(1).permutation(len(table))[:count]:
        values = table.to_numpy()[hour]
        known = np.isfinite(values)
        if known.sum() >= 20 and np.ptp(values[known]) > 0:
            yield Case(xy[known], values[known])


def temperature(data: Path, count: int) -> Iterator[Case]:
    """Yield 100 random cells of frames of 2 m temperature."""
    import xarray as xr

    rng = np.random.default_rng(2)
    with xr.open_dataset(data / "era5_t2m_uk_2019-03.nc") as opened:
        frames = opened[next(iter(opened.data_vars))].values.astype(float)
    row, col = np.indices(frames.shape[1:])
    for frame in rng.permutation(len(frames))[:count]:
        cells = rng.permutation(row.size)[:100]
        xy = np.column_stack([col.ravel()[cells] * 16.3, row.ravel()[cells] * -27.8])
        yield Case(xy, frames[frame].ravel()[cells])


def rain(data: Path, count: int) -> Iterator[Case]:
    """Yield 100 gauges of radar frames."""
    import xarray as xr

    rng = np.random.default_rng(3)
    with xr.open_dataset(data / "rain_radar_nl.nc") as opened:
        frames = opened[next(iter(opened.data_vars))]
        for frame in rng.permutation(len(frames))[:count]:
            field = frames[int(frame)].values.astype(float)
            seen = np.argwhere(np.isfinite(field))
            cells = seen[rng.permutation(len(seen))[:100]]
            values = field[tuple(cells.T)]
            if (values > 0).sum() > 10:
                yield Case(cells[:, ::-1] * [1.0, -1.0], values)


def wells(data: Path, count: int) -> Iterator[Case]:
    """Yield simulated wells: 13 weekly dates of 30; the rivals get each date by itself."""
    for world in range(max(1, count // 4)):
        rng = np.random.default_rng(40 + world)
        xy = rng.random((30, 2)) * 20
        cover = np.exp(-cdist(xy, xy) / 6)
        root = np.linalg.cholesky(cover + 1e-9 * np.eye(30))
        head = 40 - 0.4 * xy[:, 0] + 2.0 * root @ rng.standard_normal(30)
        moving, rows = root @ rng.standard_normal(30), []
        for _ in range(13):
            moving = 0.85 * moving + np.sqrt(1 - 0.85**2) * (root @ rng.standard_normal(30))
            rows.append(head + 0.8 * moving + 0.15 * rng.standard_normal(30))
        yield Case(np.tile(xy, (13, 1)), np.concatenate(rows), np.repeat(7.0 * np.arange(13), 30))


SETS = {"meuse": meuse, "beijing": beijing, "era5": temperature, "rain": rain, "wells": wells}
FULL = {"meuse": 1, "beijing": 300, "era5": 50, "rain": 30, "wells": 32}


def folds_of(case: Case, *, blocks: bool) -> Array:
    """Return the fold of each place: random, or blocks of neighbours; all dates together."""
    places, which = np.unique(case.xy, axis=0, return_inverse=True)
    rng = np.random.default_rng(0)
    if not blocks:
        return (rng.permutation(len(places)) % FOLDS)[which.ravel()]
    start = places[rng.permutation(len(places))[:FOLDS]]
    return kmeans2(places, start, minit="matrix", missing="warn")[1][which.ravel()]


def told_of(method: str, known: Case, wanted: Case) -> tuple[Array, Array]:
    """Return mean (m,) and quantiles (m, 26) of one method, date by date where it has no time."""
    levels = [*LEVELS, 0.05, 0.95]
    if method == "ours" or known.days is None or wanted.days is None:
        mean, quantile = METHODS[method](known, wanted)
        return mean, np.stack([quantile(float(q)) for q in levels], axis=1)
    mean, quantiles = np.empty(len(wanted.values)), np.empty((len(wanted.values), len(levels)))
    for day in np.unique(wanted.days):
        here, there = known.days == day, wanted.days == day
        part = Case(wanted.xy[there], wanted.values[there])
        some, quantile = METHODS[method](
            Case(known.xy[here], known.values[here], None, known.variograms, known.spline), part
        )
        mean[there] = some
        quantiles[there] = np.stack([quantile(float(q)) for q in levels], axis=1)
    return mean, quantiles


def scores_of(case: Case, method: str, *, blocks: bool) -> tuple[float, float, float]:
    """Return CRPS, MAE and the share inside the 90 % interval."""
    fold = folds_of(case, blocks=blocks)
    crps, error, inside = (np.empty(len(fold)) for _ in range(3))

    def part(rows: NDArray[np.bool_]) -> Case:
        days = None if case.days is None else case.days[rows]
        return Case(case.xy[rows], case.values[rows], days, case.variograms, case.spline)

    for number in np.unique(fold):
        away = fold == number
        mean, quantiles = told_of(method, part(~away), part(away))
        truth = case.values[away]
        gap = truth[:, None] - quantiles[:, : len(LEVELS)]
        crps[away] = 2 * np.maximum(LEVELS * gap, (LEVELS - 1) * gap).mean(axis=1)
        error[away] = np.abs(truth - mean)
        inside[away] = (truth >= quantiles[:, -2]) & (truth <= quantiles[:, -1])
    return float(crps.mean()), float(error.mean()), float(inside.mean())


def interval(ratio: Callable[[NDArray[np.int64]], float], count: int) -> tuple[float, float]:
    """Return the 90 % bootstrap interval of a ratio over cases."""
    rng = np.random.default_rng(0)
    drawn = [ratio(rng.integers(count, size=count)) for _ in range(RESAMPLED)]
    low, high = np.quantile(drawn, [0.05, 0.95])
    return float(low), float(high)


def compared(found: dict[str, Array]) -> dict[str, Any]:
    """Return our figures beside those of the best rival; each method has (cases, 3) scores."""
    mine = found["ours"]
    rivals = {name: scores for name, scores in found.items() if name != "ours"}
    best = min(rivals, key=lambda name: rivals[name][:, 0].mean())
    nearest = min(rivals, key=lambda name: rivals[name][:, 1].mean())
    low, high = interval(
        lambda rows: mine[rows, 0].mean() / rivals[best][rows, 0].mean(), len(mine)
    )
    # a rival that explodes in a few cases is judged by its usual ones here
    usual = max(float(np.median(mine[:, 0] / scores[:, 0])) for scores in rivals.values())
    return {
        "cases": len(mine), "usual": usual, "best": best,
        "crps": mine[:, 0].mean() / rivals[best][:, 0].mean(),
        "low": low, "high": high, "mae": mine[:, 1].mean() / rivals[nearest][:, 1].mean(),
        "best_mae": nearest, "inside": mine[:, 2].mean(), "inside_best": rivals[best][:, 2].mean(),
        "all": {name: scores.mean(axis=0).tolist() for name, scores in found.items()},
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, help="at most so many cases of each set")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    result: dict[str, Any] = {}
    print(f"{'set':8} {'left out':8} {'cases':>5} {'CRPS':>6} {'90 %':>13} {'median':>6} "
          f"{'MAE':>6} {'inside':>6}  best rival (its 90 % interval holds)")  # fmt: skip
    for name in given.sets.split(","):
        count = min(FULL[name], given.cases or FULL[name])
        cases = list(SETS[name](given.data, count))
        for case, kind, logs in product(cases, ("ordinary", "universal"), (False, True)):
            case.variograms[kind, logs] = best_variogram(case, logs=logs and case.values.min() >= 0)
        for case in cases:
            case.spline.update(best_spline(case))
        for blocks in (False, True):
            found = {
                method: np.array([scores_of(case, method, blocks=blocks) for case in cases])
                for method in METHODS
            }
            line = compared(found)
            how = "blocks" if blocks else "random"
            result[f"{name} {how}"] = line
            print(
                f"{name:8} {how:8} {line['cases']:5} {line['crps']:6.3f} "
                f"{line['low']:6.3f}-{line['high']:6.3f} {line['usual']:6.3f} {line['mae']:6.3f} "
                f"{line['inside']:6.3f}  "
                f"{line['best']} ({line['inside_best']:.3f})", flush=True,
            )  # fmt: skip
            if given.json:
                given.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    crps, mae, inside = (
        np.array([line[key] for line in result.values()]) for key in ("crps", "mae", "inside")
    )
    print(f"geometric mean: CRPS {np.exp(np.log(crps).mean()):.3f}, "
          f"MAE {np.exp(np.log(mae).mean()):.3f}; inside {inside.mean():.3f}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

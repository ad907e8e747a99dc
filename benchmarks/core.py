"""The shipped core on real fields of one date that it has never seen: against start and kriging.

    python benchmarks/core.py DATA [--sets NAMES] [--cases N] [--weights FILE] [--json FILE]

DATA is a folder with the public records; Meuse, the picture and the anisotropic field come with
scikit-gstat. A case is one date of which 20, 60 or 200 random cells, 60 in clusters, or 60 in one
half are seen (stations: 70 % of them; Meuse: 25, 60 or 100 of the points). The four krigings have
one covariance, the likeliest, of the square root, of the raw values or of normal scores, or the
square root averaged over covariances; the best of them is picked with hindsight, set by set.
Intervals are block-bootstrapped over cases. Nothing here was looked at while the core was made.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geodiffrecon.core.cases import Scene, believed
from geodiffrecon.core.moving import COUNTED, Moved, Nodes, mover
from geodiffrecon.core.patterns import pattern
from geodiffrecon.field.choice import choose
from geodiffrecon.field.field import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Case = tuple[Array, NDArray[np.int64], str]  # truth with gaps, what is seen, pattern

SIDE = 32
PATTERNS = (("random", 20), ("random", 60), ("random", 200), ("clusters", 60), ("empty side", 60))
RIVALS = ("square root", "averaged", "raw", "scores")
RESAMPLED = 2000


def windows(
    record: Array, rng: np.random.Generator, count: int, pool: int, least: float
) -> list[Array]:
    """Return maps of 32 cells a side, each a mean of `pool` cells a side, wet in a share."""
    found: list[Array] = []
    side = SIDE * pool
    while len(found) < count:
        t = rng.integers(len(record))
        y, x = (int(rng.integers(0, n - side + 1)) for n in record.shape[1:])
        part = np.asarray(record[t, y : y + side, x : x + side], np.float64)
        if np.isfinite(part).all():
            mean = np.maximum(part, 0).reshape(SIDE, pool, SIDE, pool).mean(axis=(1, 3))
            if (mean > 0).mean() >= least and mean.std() > 1e-6:
                found.append(mean)
    return found


def frames(name: str, data: Path, rng: np.random.Generator, count: int) -> list[Array]:
    """Return whole maps of a record."""
    import xarray as xr

    if name == "era5":
        record = xr.open_dataset(data / "era5_t2m_uk_2019-03.nc").t2m.values[:, :32, 8:40]
        return [record[i].astype(np.float64) for i in np.linspace(20, 743, count).astype(int)]
    if name.startswith("rain"):
        record = xr.open_dataset(data / "rain_radar_nl.nc").rain.values
        return windows(record, rng, count, int(name[-1]), 0.08)
    if name in ("picture", "anisotropic"):
        import skgstat
        from PIL import Image

        file = {"picture": "pancake", "anisotropic": "aniso"}[name]
        image = Image.open(Path(skgstat.data.__file__).parent / "rf" / f"{file}.png")
        pixels = np.asarray(image, np.float64)
        pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
        return windows(pixels[None], rng, count, 4 if name == "picture" else 3, 0)
    file, key = {
        "san francisco": ("sf_taxi_public.nc", "inflow"), "new york": ("nytaxi_30min.nc", "flow0")
    }[name]  # fmt: skip
    record = xr.open_dataset(data / file)[key].values.astype(np.float64)
    busy = np.flatnonzero(record.sum(axis=(1, 2)) > 800)
    return [record[i] for i in rng.choice(busy, count, replace=False)]


def on_lattice(x: Array, y: Array, wide: float) -> NDArray[np.int64]:
    """Return the cells of points on a lattice of 32 a side about them."""
    low = np.array([x.min(), y.min()])
    extent = max(np.ptp(x), np.ptp(y)) * wide
    col, row = (
        np.clip((v - o) / extent * SIDE, 0, SIDE - 1).astype(int)
        for v, o in zip((x, y), low, strict=True)
    )
    return (SIDE - 1 - row) * SIDE + col


def gridded(cells: NDArray[np.int64], values: Array) -> Array:
    """Return means of cells (32, 32); NaN where there is no point."""
    known = np.isfinite(values)
    total = np.bincount(cells[known], values[known], SIDE**2)
    number = np.bincount(cells[known], minlength=SIDE**2)
    with np.errstate(invalid="ignore"):
        return (total / number).reshape(SIDE, SIDE)


def points(name: str, data: Path, rng: np.random.Generator, count: int) -> Iterator[Case]:
    """Yield cases whose truth is known at some cells only."""
    import pandas as pd

    if name == "beijing":
        rows = pd.read_csv(data / "beijing_pm25_stations_public.csv.gz")
        table = rows.pivot_table(index="time", columns="station", values="pm25")
        at = rows.groupby("station")[["longitude", "latitude"]].first().loc[table.columns]
        cells = on_lattice(at.longitude.values * np.cos(np.radians(40)), at.latitude.values, 1.06)
        full = table[table.notna().sum(axis=1) >= 32].to_numpy()
        for hour in rng.choice(len(full), count, replace=False):
            truth = gridded(cells, full[hour])
            known = np.flatnonzero(np.isfinite(truth))
            yield truth, np.sort(rng.choice(known, int(0.7 * len(known)), replace=False)), "70 %"
    else:
        import skgstat

        table = pd.read_csv(Path(skgstat.data.__file__).parent / "samples" / "meuse.txt")
        cells = on_lattice(table.x.values, table.y.values, 1.02)
        metals = ("zinc", "copper", "lead", "cadmium")
        for k in range(count):
            truth = gridded(cells, table[metals[k % 4]].to_numpy(np.float64))
            known, seen = np.flatnonzero(np.isfinite(truth)), (25, 60, 100)[(k // 4) % 3]
            yield truth, np.sort(rng.choice(known, seen, replace=False)), f"{seen}"


def cases(name: str, data: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a set."""
    rng = np.random.default_rng(seed)
    if name in ("beijing", "meuse"):
        yield from points(name, data, rng, count)
        return
    for truth in frames(name, data, rng, -(-count // len(PATTERNS))):
        for kind, number in PATTERNS:
            if truth.size < SIDE**2 and number > 100:
                continue
            for _ in range(20):
                seen = pattern(rng, truth, number, kind)
                values = truth.ravel()[seen]
                if values.std() > 1e-6 and (values > 0).sum() >= 3:
                    yield truth, seen, f"{kind} {number}"
                    break


def fair_crps(draws: Array, truth: Array) -> Array:
    """Return the CRPS (m,) of draws (K, m), fair to their number."""
    count = len(draws)
    rank = (2 * np.arange(1, count + 1) - count - 1) / (count * (count - 1))
    return np.abs(draws - truth).mean(axis=0) - rank @ np.sort(draws, axis=0)


def energy(draws: Array, truth: Array) -> float:
    """Return the energy score of whole maps over the root of their cells."""
    count = len(draws)
    apart = np.linalg.norm(draws[:, None] - draws[None], axis=2).sum() / (count * (count - 1)) / 2
    return float((np.linalg.norm(draws - truth, axis=1).mean() - apart) / np.sqrt(len(truth)))


def scored(
    draws: Array, truth: Array, quantiles: tuple[Array, Array] | None = None
) -> dict[str, float]:
    """Return the scores of draws (K, m); coverage of their own quantiles, or of given ones."""
    low, high = quantiles or tuple(np.quantile(draws, (0.05, 0.95), axis=0))
    return {
        "crps": float(fair_crps(draws, truth).mean()),
        "mae": float(np.abs(np.median(draws, axis=0) - truth).mean()),
        "mse": float(((draws.mean(axis=0) - truth) ** 2).mean()),
        "energy": energy(draws, truth),
        "inside": float(((truth >= low) & (truth <= high)).mean()),
    }


def rival(name: str, field: Field, known: Array) -> Field:
    """Return a kriging of one transform, calibrated by nothing but its covariance."""
    kind = {"raw": "none", "scores": "scores"}.get(name, "sqrt" if known.min() >= 0 else "none")
    choice = choose(field.raw, kind="auto", transforms=(kind,))
    parts = choice.parts
    if name != "averaged":
        _, covariance, sill = max(parts, key=lambda part: part[0])
        parts = [(1.0, covariance, sill)]
    plain = replace(choice, parts=parts, shape=replace(choice.shape, width=1.0, tail=0.0))
    return Field(field.raw, plain, field.checked)


def one(truth: Array, seen: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    """Return the scores of all methods on a case."""
    known = truth.ravel()[seen]
    field, lattice = believed(Scene(truth, known, seen))
    hidden = np.isfinite(truth).ravel()
    hidden[seen] = False
    right = truth.ravel()[hidden]
    white = rng.standard_normal((COUNTED, field.own + truth.size))
    found: dict[str, Any] = {}
    started = time.perf_counter()
    told = field.predict(lattice.sites)
    error = field.errors(lattice.sites, white, told)
    before = told.raw(error)
    found["seconds_start"] = time.perf_counter() - started
    started = time.perf_counter()
    core = mover(field, lattice.sites, Nodes.of(truth.shape), strength=None)
    after, strength = before, 0.0
    if core is not None:
        width, strength = told.shape.width, core.strength

        def noise(draw: int, step: int) -> Array:
            return np.random.default_rng([draw, step]).standard_normal(truth.shape)

        after = told.raw(error + width * core.change(error / width, noise))
    found["seconds_core"] = time.perf_counter() - started
    moved = Moved(before, after, told.transform.floor, lambda values: values)
    levels = {"q05": 0.05, "q95": 0.95}
    closed = {key: told.quantile(level) for key, level in levels.items()}
    published = moved.quantiles(closed, levels)
    found["start"] = scored(
        before[:, hidden], right, (closed["q05"][hidden], closed["q95"][hidden])
    )
    found["core"] = scored(
        after[:, hidden], right, (published["q05"][hidden], published["q95"][hidden])
    )
    found["strength"] = strength
    for name in RIVALS:
        plain = rival(name, field, known)
        draws = plain.draws(lattice.sites, white)
        found[name] = scored(draws[:, hidden], right)
    return found


def ratio(
    rows: list[dict[str, Any]], a: str, b: str, key: str = "crps"
) -> tuple[float, float, float]:
    """Return a ratio of sums and its 90 % interval over cases."""
    x, y = (np.array([row[m][key] for row in rows]) for m in (a, b))
    chosen = np.random.default_rng(0).integers(0, len(x), (RESAMPLED, len(x)))
    low, high = np.quantile(x[chosen].sum(axis=1) / y[chosen].sum(axis=1), (0.05, 0.95))
    return float(x.sum() / y.sum()), float(low), float(high)


SETS = (
    "era5", "rain 1", "rain 2", "rain 4", "san francisco", "new york", "beijing", "meuse",
    "picture", "anisotropic",
)  # fmt: skip


def main() -> None:
    """Print a line for every set and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.weights:
        from geodiffrecon.core import weights

        weights.shipped = lambda stage: asked.weights
    against_best, against_start, kept = [], [], {}
    heads = (
        "set", "cases", "start / best kriging", "core / best (90 %)", "core / start (90 %)", "MAE",
        "RMSE", "energy", "in 90 %: start, core", "strength",
    )  # fmt: skip
    print(f"| {' | '.join(heads)} |")
    print(f"|{'---|' * len(heads)}")
    for name in asked.sets.split(","):
        rng = np.random.default_rng(asked.seed + 1)
        rows = [
            one(truth, seen, rng) | {"pattern": kind, "n": len(seen)}
            for truth, seen, kind in cases(name, asked.data, asked.cases, asked.seed)
        ]
        kept[name] = rows
        best = min(RIVALS, key=lambda m: sum(row[m]["crps"] for row in rows))
        core, start = ratio(rows, "core", best), ratio(rows, "core", "start")
        against_best.append(core[0])
        against_start.append(start[0])
        inside = [np.mean([row[m]["inside"] for row in rows]) for m in ("start", "core")]
        print(
            f"| {name} | {len(rows)} | {ratio(rows, 'start', best)[0]:.3f} | {core[0]:.3f} "
            f"({core[1]:.3f}–{core[2]:.3f}), {best} | "
            f"{start[0]:.3f} ({start[1]:.3f}–{start[2]:.3f}) | "
            f"{ratio(rows, 'core', 'start', 'mae')[0]:.3f} | "
            f"{ratio(rows, 'core', 'start', 'mse')[0] ** 0.5:.3f} | "
            f"{ratio(rows, 'core', 'start', 'energy')[0]:.3f} | "
            f"{inside[0]:.3f}, {inside[1]:.3f} | {np.mean([r['strength'] for r in rows]):.2f} |",
            flush=True,
        )  # fmt: skip
        if asked.json:
            asked.json.write_text(json.dumps(kept))
    for what, values in (("best kriging", against_best), ("start", against_start)):
        logs = np.log(values)
        chosen = np.random.default_rng(0).integers(0, len(logs), (RESAMPLED, len(logs)))
        low, high = np.exp(np.quantile(logs[chosen].mean(axis=1), (0.05, 0.95)))
        print(f"geometric mean against {what}: {np.exp(logs.mean()):.3f} ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()

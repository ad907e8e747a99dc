"""Fitted models against exact answers: where truth is a known field, so is the best posterior.

    python benchmarks/exact.py run --preset paper --frames 5000 --minutes 15 --out paper.json
    python benchmarks/exact.py run --preset default --frames 300 --informed --out informed.json
    python benchmarks/exact.py covariance --minutes 3 --out covariance.json
    python benchmarks/exact.py table paper.json informed.json

Worlds, frames, masks and seeds are in `exact_worlds.py`. Minutes are of processor time. A model
learns from the frames of one seed and maps frames of another stream of it, given the coarse cells
of those and of the 24 before; the exact posterior is given the same cells. For every pattern, at
fine cells, hidden coarse cells and totals of the map: the distance of the mean from the exact mean
in exact spreads, the spread of draws over the exact one, and the CRPS over that of the exact
posterior. That last ratio is over all truths that the exact posterior holds possible, so that one
lucky truth does not enter; `against truth` has the CRPS of draws and of as many exact draws for the
same simulated truth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
from exact_worlds import (
    ASKED,
    FRAMES,
    GIVEN,
    USED,
    WORLDS,
    Marginals,
    Posterior,
    World,
    mask,
    patterns_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from geodiffrecon.model import DiffRecon
    from geodiffrecon.priors.prior import Prior
    from geodiffrecon.windows import Record

Array = np.ndarray
Scores = dict[str, dict[str, float]]

START = np.datetime64("2000-01-01", "ns")
DAY = np.timedelta64(86_400_000_000_000, "ns")
LAGS = tuple(range(8))  # frames that the informed prior reads, its own included
MEMORIES = (1, 2, 4, 8)  # frames, their own included
LEVELS = ("cells", "hidden", "totals")
COVARIANCES = ("exponential", "matern32", "spherical")


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "covariance"):
        command = commands.add_parser(name)
        command.add_argument("--preset", default="default")
        command.add_argument("--frames", type=int, default=300, help=f"one of {FRAMES}")
        command.add_argument("--minutes", type=float, default=3.0, help="of processor time")
        command.add_argument("--seed", type=int, default=0, help="of the world and of the model")
        command.add_argument("--maps", type=int, default=ASKED)
        command.add_argument("--draws", type=int, default=32)
        command.add_argument("--steps", type=int, help="network calls per draw")
        command.add_argument("--out", type=Path, required=True)
    run = commands.choices["run"]
    run.add_argument("--world", choices=WORLDS, default="exponential")
    run.add_argument("--informed", action="store_true", help="give the prior the true covariance")
    run.add_argument("--model", type=Path, help="keep the fitted model here")
    table = commands.add_parser("table")
    table.add_argument("results", type=Path, nargs="+")
    chosen = parser.parse_args()
    if chosen.command == "table":
        print("\n".join(lines([json.loads(path.read_text()) for path in chosen.results])))
        return
    result = one(chosen) if chosen.command == "run" else covariances(chosen)
    chosen.out.write_text(json.dumps(result, indent=1))
    print("\n".join(lines([result])))


def one(chosen: argparse.Namespace) -> dict[str, object]:
    """Fit one model to one world and judge it."""
    world = WORLDS[chosen.world]
    model, seconds = fitted(
        world,
        chosen.preset,
        chosen.frames,
        minutes=chosen.minutes,
        seed=chosen.seed,
        informed=chosen.informed,
    )
    if chosen.model:
        model.save(chosen.model)
    found = judged(
        model, world, chosen.seed, maps=chosen.maps, draws=chosen.draws, steps=chosen.steps
    )
    about = {name: getattr(chosen, name) for name in ("preset", "frames", "minutes", "seed")}
    about |= {"world": chosen.world, "informed": chosen.informed, "draws": chosen.draws}
    return {**about, "seconds": seconds, "verdicts": model.verdicts, "patterns": found}


def covariances(chosen: argparse.Namespace) -> dict[str, object]:
    """Judge a model that learns its covariance beside one that is given it, for three families."""
    rows = {}
    for name in COVARIANCES:
        for informed in (False, True):
            chosen.world, chosen.informed, chosen.model = name, informed, None
            rows[f"{name}, {'given' if informed else 'learnt'}"] = one(chosen)
            print(f"{name}: done", file=sys.stderr)
    shares = {name: _share(rows, name) for name in COVARIANCES}
    return {"runs": rows, "share of the covariance": shares}


def _share(rows: dict[str, dict], name: str) -> dict[str, float]:
    """Return how much of the excess of CRPS of cells goes once the covariance is known."""
    learnt, given = rows[f"{name}, learnt"]["patterns"], rows[f"{name}, given"]["patterns"]
    kind = "closed" if "closed" in next(iter(learnt.values())) else "draws"
    excess = {p: [r[p][kind]["crps"]["cells"] - 1 for r in (learnt, given)] for p in learnt}
    return {pattern: 1 - given / learnt for pattern, (learnt, given) in excess.items()}


# --- fitting -------------------------------------------------------------------------------------


def fitted(
    world: World,
    preset: str,
    frames: int,
    *,
    minutes: float,
    seed: int = 0,
    informed: bool = False,
) -> tuple[DiffRecon, float]:
    """Return a model fitted to the world's training frames, and its seconds of processor time."""
    from geodiffrecon.model import DiffRecon

    history = cube(world, world.simulate(frames, seed), "fine")
    started = time.process_time()
    with given_the_truth(world) if informed else contextlib.nullcontext():
        model = DiffRecon(preset=preset, seed=seed, device="cpu").fit(
            history, kind="real", max_minutes=minutes, clock=time.process_time, log=_say
        )
    return model, time.process_time() - started


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def cube(world: World, values: Array, level: str, after: int = 0) -> xr.Dataset:
    """Return maps of a world as a daily cube that starts `after` so many days."""
    from geodiffrecon.cube import make_cube
    from geodiffrecon.grid import NestedGrid

    edge = 1000 * world.side * world.factor
    shape = (world.side, world.side)
    grid = NestedGrid.from_bounds(
        (0, 0, edge, edge), crs="EPSG:32650", shape=shape, factor=world.factor
    )
    times = START + (after + np.arange(len(values))) * DAY
    return make_cube(values, times, grid, value="v", level=level, freq="1D", aggregation="mean")


@contextlib.contextmanager
def given_the_truth(world: World) -> Iterator[None]:
    """Let every prior that is fitted inside be the world itself."""
    from geodiffrecon.priors.prior import Prior, PriorSettings

    def fit(record: Record, calendar: object, *_: object) -> Prior:
        return true_prior(world, calendar, record.times)

    with (
        mock.patch.object(Prior, "select", return_value=PriorSettings(lags=LAGS)),
        mock.patch.object(Prior, "fit", fit),
    ):
        yield


def true_prior(world: World, calendar: object, times: Array, lags: tuple[int, ...] = LAGS) -> Prior:
    """Return the prior whose covariances in space and time are those of the world."""
    from geodiffrecon.priors.climatology import Climatology
    from geodiffrecon.priors.completion import GaussianCompletion
    from geodiffrecon.priors.kernel import SpaceTimeKernel
    from geodiffrecon.priors.prior import Prior
    from geodiffrecon.scaling import Transform

    size, cells = world.side, world.side**2
    width = np.sqrt(np.diag(world.coarse[0]))  # (P,)
    apart = np.abs(np.subtract.outer(lags, lags)).astype(float)
    covariance = np.kron(
        world.persistence**apart, world.coarse[0] / np.outer(width, width)
    )  # (L P, L P)
    level = np.zeros((calendar.climatology(times[:1]).shape[1], cells))
    level[0] = world.level
    kernel = SpaceTimeKernel(0.0, 1.0, 0.0, world.ranges[0], 1.0, world.persistence)
    places = np.stack(np.meshgrid(range(size), range(size), indexing="ij"), -1).reshape(-1, 2)
    refinement = _true_refinement(world, width, len(level))
    return Prior(
        Transform("real"),
        calendar,
        (size, size),
        world.factor,
        Climatology(level, width),
        GaussianCompletion(lags, kernel, places.astype(float), covariance, 0.0),
        refinement,
        world.spread**2 - width.reshape(size, size) ** 2,
        (world.level, world.spread),
    )


def _true_refinement(world: World, width: Array, terms: int) -> object:
    """Return the regression of fine offsets on all coarse anomalies, and what it leaves."""
    from geodiffrecon.priors.offsets import OffsetRefinement
    from geodiffrecon.windows import to_blocks

    size, factor, radius = world.side, world.factor, world.side - 1
    inside = to_blocks(np.arange((size * factor) ** 2).reshape(1, size * factor, -1), factor)[0]
    offsets = world.bearing[0][inside]  # (P, N N, P)
    offsets = (offsets - np.eye(size**2)[:, None]) * width
    window = 2 * radius + 1
    coefficients = np.zeros((size**2, window**2 + terms, factor**2))
    row, column = np.divmod(np.arange(size**2), size)
    for p in range(size**2):
        near = (row - row[p] + radius) * window + column - column[p] + radius
        coefficients[p, near] = offsets[p].T
    left = world.remainder[0][inside[:, :, None], inside[:, None]]  # (P, N N, N N)
    spread = np.sqrt(np.diagonal(left, axis1=1, axis2=2))
    shape = left / (spread[:, :, None] * spread[:, None]) + 1e-6 * np.eye(factor**2)
    return OffsetRefinement(
        coefficients.astype(np.float32),
        radius,
        spread.astype(np.float32),
        np.linalg.cholesky(shape).astype(np.float32),
    )


# --- judging -------------------------------------------------------------------------------------


def judged(
    model: DiffRecon,
    world: World,
    seed: int,
    *,
    maps: int = ASKED,
    draws: int = 32,
    steps: int | None = None,
) -> dict[str, dict[str, Scores]]:
    """Return the scores of a model on the test frames of a seed, for every pattern."""
    frames = GIVEN + maps
    truth = world.simulate(frames, seed, USED)
    coarse = truth.reshape(frames, -1) @ world.pool.T
    coarse = coarse.reshape(frames, world.side, world.side)
    after = 1 + int((np.datetime64(model.trained["end"][:10]) - START) / DAY)
    found = {}
    for name, pattern in patterns_of(world).items():
        seen = mask(pattern, frames, world.side, seed)
        given = cube(world, np.where(seen, coarse, np.nan), "coarse", after)
        posterior = Posterior.of(world, np.where(seen, coarse, np.nan)).last(maps)
        first, last = (str(given["time"].to_numpy()[k])[:10] for k in (GIVEN, -1))
        answer = model.reconstruct(
            given, samples=draws, steps=steps, times=(first, last), keep_draws=True
        )
        drawn = answer["v_draws"].to_numpy().astype(np.float64)
        found[name] = of_draws(posterior, drawn, truth[GIVEN:], ~seen[GIVEN:])
        if not model.layers().samples_its_mean:
            mean, std = (answer[n].to_numpy().astype(np.float64) for n in ("v", "v_std"))
            found[name]["closed"] = of_closed_form(posterior, mean, std)
        if len(world.ranges) == 1:
            found[name]["memory"] = of_memory(world, np.where(seen, coarse, np.nan), posterior)
        _say(f"{name}: {json.dumps(found[name]['draws']['crps'])}")
    return found


def of_draws(
    posterior: Posterior, draws: Array, truth: Array, hidden: Array, seed: int = 1
) -> dict[str, Scores]:
    """Return what draws (K, F, N I, N J) are beside the exact posterior of the same frames.

    Parameters
    ----------
    posterior : Posterior
        Of F frames.
    draws : array (K, F, N I, N J)
        Of the model.
    truth : array (F, N I, N J)
        What was simulated.
    hidden : array (F, I, J) of bool
        Coarse cells that were not observed.
    seed : int
        Of as many exact draws.
    """
    from geodiffrecon.metrics import fair_crps

    world = posterior.world
    own, exact, real = (
        _levels(world, maps)
        for maps in (draws, posterior.draw(len(draws), seed), truth[None].astype(np.float64))
    )
    use = {"hidden": hidden.reshape(len(hidden), -1)}
    found: Scores = {"distance": {}, "spread": {}, "crps": {}}
    against: Scores = {"crps": {}, "exact": {}, "exact draws": {}}
    for level, marginals in _marginals(posterior).items():
        # What is known exactly (the total of a complete map) has no spread to be compared with.
        keep = use.get(level, True) & (marginals.std > 1e-6 * world.spread)
        if not keep.any():
            continue
        found["distance"][level] = _distance(own[level], marginals, keep)
        found["spread"][level] = _root(own[level].var(0, ddof=1), marginals.std**2, keep)
        expected = marginals.expected_distance(own[level]).mean(0) - _own_spread(own[level])
        found["crps"][level] = float(expected[keep].mean() / marginals.own_crps[keep].mean())
        for name, drawn in (("crps", own), ("exact draws", exact)):
            against[name][level] = float(fair_crps(real[level][0], drawn[level])[keep].mean())
        against["exact"][level] = float(marginals.crps(real[level][0])[keep].mean())
    return {"draws": found, "against truth": against}


def of_closed_form(posterior: Posterior, mean: Array, std: Array) -> Scores:
    """Return what a mean and a spread (F, N I, N J), as of a Gaussian, are beside the posterior."""
    cells = posterior.cells
    mean, std = mean.reshape(cells.mean.shape), std.reshape(cells.mean.shape)
    crps = cells.expected_distance(mean, std) - std / np.sqrt(np.pi)
    every = np.ones(mean.shape, bool)
    return {
        "distance": {"cells": _root((mean - cells.mean) ** 2 / cells.std**2, 1.0, every)},
        "spread": {"cells": _root(std**2, cells.std**2, every)},
        "crps": {"cells": float(crps.mean() / cells.own_crps.mean())},
    }


def of_memory(world: World, coarse: Array, posterior: Posterior) -> dict[str, float]:
    """Return the CRPS of cells of exact posteriors that see fewer frames, over that of all."""
    found = {}
    for memory in MEMORIES:
        less = Posterior.of(world, coarse, memory=memory).last(len(posterior.mean)).cells
        found[str(memory)] = of_closed_form(posterior, less.mean, less.std)["crps"]["cells"]
    return found


def _marginals(posterior: Posterior) -> dict[str, Marginals]:
    return {"cells": posterior.cells, "hidden": posterior.coarse, "totals": posterior.totals}


def _levels(world: World, maps: Array) -> dict[str, Array]:
    """Return fine cells, coarse cells and totals (K, F, n) of fine maps (K, F, N I, N J)."""
    flat = maps.reshape(*maps.shape[:2], -1)
    return {"cells": flat, "hidden": flat @ world.pool.T, "totals": flat.mean(-1, keepdims=True)}


def _distance(draws: Array, exact: Marginals, keep: Array) -> float:
    """Return the rms distance of the mean of draws, without what their number adds to it."""
    noise = draws.var(0, ddof=1) / len(draws)
    square = ((draws.mean(0) - exact.mean) ** 2 - noise)[keep] / exact.std[keep] ** 2
    return float(np.sqrt(max(square.mean(), 0.0)))


def _own_spread(draws: Array) -> Array:
    """Return half of the mean distance of two draws."""
    from geodiffrecon.metrics import fair_crps

    return np.abs(draws - draws[0]).mean(0) - fair_crps(draws[0], draws)


def _root(above: Array, below: Array | float, keep: Array) -> float:
    """Return the root of the ratio of two means over what is kept."""
    below = np.broadcast_to(below, above.shape)
    return float(np.sqrt(above[keep].mean() / below[keep].mean()))


# --- tables --------------------------------------------------------------------------------------

HEAD = (
    "world",
    "model",
    "frames",
    "min",
    "pattern",
    "mean at",
    *(f"sd {n}" for n in LEVELS),
    *(f"CRPS {n}" for n in LEVELS),
    "sd map",
    "CRPS map",
)


def lines(results: list[dict]) -> list[str]:
    """Return a Markdown table: everything but the distance of the mean is a ratio to the exact."""
    runs = [run for result in results for run in result.get("runs", {"": result}).values()]
    rows = [HEAD, ["---"] * len(HEAD)]
    for run in runs:
        words = [run["world"], run["preset"] + (", given" if run["informed"] else "")]
        words += [str(run["frames"]), f"{run['seconds'] / 60:.1f}"]
        for pattern, found in run["patterns"].items():
            drawn, closed = found["draws"], found.get("closed", {})
            cells = [_figure(drawn["distance"].get("cells"))]
            cells += [_figure(drawn[kind].get(n)) for kind in ("spread", "crps") for n in LEVELS]
            cells += [_figure(closed.get(kind, {}).get("cells")) for kind in ("spread", "crps")]
            rows.append([*words, pattern, *cells])
    shares = [
        result["share of the covariance"]
        for result in results
        if "share of the covariance" in result
    ]
    notes = [
        f"{name}: share of the excess CRPS that is the covariance's: "
        + ", ".join(f"{pattern} {share:.0%}" for pattern, share in found.items())
        for part in shares
        for name, found in part.items()
    ]
    return ["| " + " | ".join(row) + " |" for row in rows] + (["", *notes] if notes else [])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()

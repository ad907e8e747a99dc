"""The core's second stage on coarse rasters of real fields: against area-to-point kriging.

    python benchmarks/splits.py DATA [--sets NAMES] [--maps N] [--factors 2,4,8] [--json FILE]

DATA is as for `core.py`. A map of 32 × 32 cells is known by means of blocks of factor × factor of
them, all of these, 60 % or 20 %. The start is area-to-point kriging with all that `map` chooses;
both hold the means. Intervals are bootstrapped over maps. Nothing here was looked at while the
core was made.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from core import frames, ratio, scored

from geodiffrecon.core.cases import believed_blocks
from geodiffrecon.core.moving import COUNTED, Moved, block_mover
from geodiffrecon.field.blocks import block_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SETS = ("era5", "rain 1", "rain 2", "rain 4", "san francisco", "picture")
HIDDEN = (0.0, 0.4, 0.8)
LEVELS = {"q05": 0.05, "q95": 0.95}


def numbered(
    shape: tuple[int, int], factor: int, hidden: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the number of each cell's block; -1 for blocks that are hidden."""
    rows, cols = (n // factor for n in shape)
    seen = np.sort(rng.permutation(rows * cols)[: max(round((1 - hidden) * rows * cols), 4)])
    index = np.full(rows * cols, -1)
    index[seen] = np.arange(len(seen))
    return np.kron(index.reshape(rows, cols), np.ones((factor, factor), np.int64))


def one(truth: Array, index: NDArray[np.int64], factor: int, seed: int) -> dict[str, Any] | None:
    """Return the scores of the start and of the core on a map."""
    field, lattice, blocks = believed_blocks(truth, index, None, factor)
    if np.ptp(blocks.readings) <= 1e-9 * max(abs(blocks.readings.max()), 1e-300):
        return None
    told = field.predict(lattice.sites)
    rngs = [np.random.default_rng([seed, k]) for k in range(COUNTED)]
    drawn = block_draws(field, blocks, lattice.sites, told, rngs)
    errors, width = drawn.held(drawn.errors), told.shape.width
    before = drawn.raw(errors)

    def noise(draw: int, step: int) -> Array:
        return np.random.default_rng([seed, draw, step]).standard_normal(truth.shape)

    started = time.perf_counter()
    core = block_mover(field, lattice.sites, blocks, factor, strength=None)
    after, strength = before, 0.0
    if core is not None:
        moved = drawn.held(errors + width * core.change(errors / width, noise))
        after, strength = drawn.raw(moved), core.strength
    seconds = time.perf_counter() - started
    plain, right = told.raw(drawn.errors), truth.ravel()
    closed = {key: told.quantile(level) for key, level in LEVELS.items()}
    found: dict[str, Any] = {"strength": strength, "seconds_core": seconds}
    gap = np.abs(blocks.means(after) - blocks.readings).max() / max(np.ptp(blocks.readings), 1e-12)
    found["gap"] = float(gap)
    for name, draws in (("start", before), ("core", after)):
        of = Moved(plain, draws, told.transform.floor, lambda values: values)
        stated = of.quantiles(closed, LEVELS)
        found[name] = scored(draws, right, (stated["q05"], stated["q95"]))
    return found


def main() -> None:
    """Print a line for every set, factor and share of hidden blocks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--maps", type=int, default=20)
    parser.add_argument("--factors", default="4,2,8")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.weights:
        from geodiffrecon.core import weights

        weights.shipped = lambda stage: asked.weights
    heads = ("set", "factor", "hidden", "core / start (90 %)", "MAE", "RMSE", "energy",
             "in 90 %: start, core", "strength", "means held to")  # fmt: skip
    print(f"| {' | '.join(heads)} |")
    print(f"|{'---|' * len(heads)}")
    kept: dict[str, Any] = {}
    for factor in map(int, asked.factors.split(",")):
        ratios = []
        for name in asked.sets.split(","):
            maps = frames(name, asked.data, np.random.default_rng(asked.seed), asked.maps)
            for hidden in HIDDEN:
                rng = np.random.default_rng([asked.seed, factor])
                made = [
                    one(truth, numbered(truth.shape, factor, hidden, rng), factor, k)
                    for k, truth in enumerate(maps)
                ]
                rows = [row for row in made if row is not None]
                kept[f"{name} {factor} {hidden}"] = rows
                crps = ratio(rows, "core", "start")
                ratios.append(crps[0])
                inside = [np.mean([row[m]["inside"] for row in rows]) for m in ("start", "core")]
                print(
                    f"| {name} | {factor} | {hidden:.0%} | {crps[0]:.3f} ({crps[1]:.3f}–"
                    f"{crps[2]:.3f}) | {ratio(rows, 'core', 'start', 'mae')[0]:.3f} | "
                    f"{ratio(rows, 'core', 'start', 'mse')[0] ** 0.5:.3f} | "
                    f"{ratio(rows, 'core', 'start', 'energy')[0]:.3f} | "
                    f"{inside[0]:.3f}, {inside[1]:.3f} | "
                    f"{np.mean([row['strength'] for row in rows]):.2f} | "
                    f"{max(row['gap'] for row in rows):.0e} |",
                    flush=True,
                )  # fmt: skip
                if asked.json:
                    asked.json.write_text(json.dumps(kept))
        print(f"factor {factor}: geometric mean {np.exp(np.log(ratios).mean()):.3f}")


if __name__ == "__main__":
    main()

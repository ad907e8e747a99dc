"""How error, time and memory grow with the grid, the factor and the history, on simulated plumes.

    python benchmarks/scaling.py [--markdown FILE]

Every line is a process of its own, so that its peak memory is its own: a model of `tiny` size with
few optimiser steps learns from 300 daily maps and reconstructs the next 30 from 60 % of the coarse
cells, with 16 draws. Times are of this machine; what counts is how they grow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

BASE = {"side": 8, "factor": 4, "history": 4}
VARIED = {"side": (8, 16, 32), "factor": (2, 4, 8), "history": (2, 4, 8)}
LEARN, USE, STEPS, DRAWS = 300, 30, 40, 16
HEAD = ("coarse", "factor", "fine", "history", "fit s", "ms a step", "ms a map", "MB", "MAE",
        "prior MAE")  # fmt: skip


def main() -> None:
    """Run every line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(**json.loads(chosen.one))))
        return
    cases = [BASE] + [
        {**BASE, name: value} for name, values in VARIED.items() for value in values
        if value != BASE[name]
    ]  # fmt: skip
    lines = [" | ".join(HEAD), " | ".join("---" for _ in HEAD)]
    for case in cases:
        words = [sys.executable, __file__, "--one", json.dumps(case)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        lines.append(row(case, json.loads(done.stdout.splitlines()[-1])))
        print(lines[-1], flush=True)
    if chosen.markdown:
        chosen.markdown.write_text("\n".join(f"| {line} |" for line in lines) + "\n")


def row(case: dict[str, int], found: dict[str, float]) -> str:
    """Return one line of the table."""
    side, fine = case["side"], case["side"] * case["factor"]
    cells = [f"{side}x{side}", str(case["factor"]), f"{fine}x{fine}", str(case["history"])]
    cells += [f"{found[k]:.3g}" for k in ("fit", "step", "map")]
    return " | ".join(
        [*cells, f"{found['mb']:.0f}", f"{found['mae']:.3f}", f"{found['prior']:.3f}"]
    )


def measure(side: int, factor: int, history: int) -> dict[str, float]:
    """Fit and reconstruct once; return seconds, memory and errors."""
    from geodiffrecon.cube import make_cube
    from geodiffrecon.grid import NestedGrid
    from geodiffrecon.memory import peak_mb
    from geodiffrecon.metrics import mae
    from geodiffrecon.model import DiffRecon
    from geodiffrecon.presets import preset
    from geodiffrecon.synthetic import plumes
    from geodiffrecon.windows import observation_mask

    shape = (side, side)
    grid = NestedGrid.from_bounds((115, 39, 117, 41), crs="EPSG:4326", shape=shape, factor=factor)
    times = np.datetime64("2022-01-01", "ns") + np.arange(LEARN + USE) * np.timedelta64(24, "h")
    values = plumes(grid.fine_shape, LEARN + USE, seed=1).astype(np.float32)
    cube = make_cube(values, times, grid, value="pm25", level="fine", freq="1D")
    tiny = preset("tiny")
    few = {
        name: replace(getattr(tiny, name), steps=STEPS)
        for name in ("completion_mean", "refinement_mean")
    }
    settings = replace(tiny, history=history, diffusion=False, joint=False, gated=False, **few)
    calls = 0

    def count(done: int, total: int, message: str) -> None:
        nonlocal calls
        calls += message.startswith("mean ")

    began = time.perf_counter()
    model = DiffRecon(settings=settings, device="cpu").fit(
        cube, until=str(times[LEARN])[:10], progress=count
    )
    fitted = time.perf_counter() - began
    coarse = cube["pm25"].to_numpy().reshape(-1, side, factor, side, factor).mean((2, 4))
    seen = observation_mask("random", 0.4, len(coarse), shape, seed=0)
    sparse = make_cube(
        np.where(seen, coarse, np.nan).astype(np.float32)[LEARN - 30 :], times[LEARN - 30 :], grid,
        value="pm25", level="coarse", freq="1D",
    )  # fmt: skip
    span = (str(times[LEARN])[:10], str(times[-1])[:10])
    began = time.perf_counter()
    maps = model.reconstruct(sparse, samples=DRAWS, times=span, keep_draws=True)
    used = time.perf_counter() - began
    truth = values[LEARN:]
    return {
        "fit": fitted, "step": 1000 * fitted / max(calls, 1), "map": 1000 * used / USE,
        "mb": peak_mb(), "mae": mae(truth, maps["pm25"].to_numpy()),
        "prior": prior_error(model, sparse, truth),
    }  # fmt: skip


def prior_error(model, sparse, truth) -> float:  # noqa: ANN001
    """Return the MAE of the model's prior alone."""
    from geodiffrecon.assembly import Observations
    from geodiffrecon.forecast import of_layers
    from geodiffrecon.metrics import mae

    times = sparse["time"].to_numpy()
    values = sparse["pm25"].to_numpy().astype(np.float64)
    given = Observations(
        times, values, model.context(times, None), np.zeros((0, *values.shape[1:]), np.float32)
    )
    frames = np.arange(len(times) - USE, len(times))
    return mae(truth, of_layers(model.layers("prior"), given, frames, samples=0, seed=0).mean)


if __name__ == "__main__":
    main()

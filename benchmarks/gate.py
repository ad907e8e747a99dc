"""How often the gate keeps a worthless layer, and one that is worth one per cent of the CRPS.

Errors are simulated with the correlation in time and space of the real ones, on validation as long
as that of each record; a layer's forecasts err like those without it, up to a share of their own.

    python benchmarks/gate.py SF.nc ERA5.nc RAIN.nc [--json FILE]

The sample history of the repository is always among them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from geodiffrecon.fitting import Fitting
from geodiffrecon.gate import LENGTHS, blocks_of, correlation_length, judge
from geodiffrecon.history import open_history
from geodiffrecon.lesson import Lesson
from geodiffrecon.presets import PRESETS
from geodiffrecon.variable import Variable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SAMPLE = Path(__file__).parent.parent / "sample_data" / "truth.nc"
RECORDS: dict[str, dict[str, Any]] = {
    "sf": {
        "open": {
            "variable": "inflow", "factor": 4, "aggregation": "sum",
            "calendar_tz": "America/Los_Angeles",
        },
        "until": "2008-05-31T05:30Z",
    },
    "era5": {
        "open": {"rows": (0, 32), "cols": (8, 40), "factor": 4, "aggregation": "mean"},
        "until": "2019-03-24T06:00Z",
    },
    "rain": {
        "open": {"crs": "none", "factor": 4, "aggregation": "mean"},
        "until": "2000-01-07T17:20:00Z", "kind": "positive",
    },
    "sample": {
        "open": {
            "variable": "pm25", "factor": 4, "aggregation": "mean",
            "calendar_tz": "Asia/Shanghai",
        },
        "until": "2023-09-01", "kind": "positive",
    },
}  # fmt: skip
CASES = 400
LONGER = (1, 2, 4, 8, 16)  # times the length of validation
OWN = 0.3  # part of the standard deviation of a layer's errors that the forecast without lacks
WORTH = 0.01


@dataclass(frozen=True)
class Errors:
    """What simulates the errors of one record.

    Parameters
    ----------
    gate : array (F,) of int
        Frames of the gate.
    length : float
        Measured correlation length of the errors, in steps.
    modes : array (M, P)
        Spatial patterns times their spread; errors are sums of them.
    """

    gate: NDArray[np.int64]
    length: float
    modes: Array

    def draw(self, rng: np.random.Generator, steps: int, cases: int) -> Array:
        """Return standard errors (cases, steps, P), AR(1) in time with the measured length."""
        rho = np.exp(-1 / max(self.length, 0.1))
        found = np.empty((cases, steps, len(self.modes)))
        found[:, 0] = rng.standard_normal((cases, len(self.modes)))
        for t in range(1, steps):
            fresh = rng.standard_normal((cases, len(self.modes)))
            found[:, t] = rho * found[:, t - 1] + np.sqrt(1 - rho**2) * fresh
        return found @ self.modes


def measure(path: Path, about: dict[str, Any]) -> Errors:
    """Fit the prior to a record and return the errors of its fine maps on validation."""
    history = open_history(path, **about["open"])
    variable = Variable.of_history(history, about["open"]["aggregation"])
    lesson = Lesson.of(history, variable, kind=about.get("kind"), until=about["until"])
    fitting = Fitting(lesson, replace(PRESETS["default"], mean=False, diffusion=False))
    model, _, _ = fitting.run()
    frames = np.flatnonzero(fitting.split.gate | fitting.split.calibrate)
    span = np.arange(frames.min(), frames.max() + 1)
    trial = fitting._trials[0]
    _, predictive = model.means(*trial.run(model), span)
    errors = predictive.standardise(trial.fine[span].astype(np.float64))  # (F, H, W)
    length = correlation_length(errors[None])
    small = errors[:, ::2, ::2]  # a quarter of the cells hold the pattern
    flat = np.nan_to_num(small.reshape(len(small), -1))
    flat = flat / max(float(flat.std()), 1e-9)
    _, scale, patterns = np.linalg.svd(flat, full_matrices=False)
    modes = (scale / np.sqrt(len(flat)))[:, None] * patterns
    return Errors(np.flatnonzero(fitting.split.gate), length, modes[scale > 1e-6 * scale[0]])


def crps(error: Array, spread: float = 1.0) -> Array:
    """Return the CRPS of a Gaussian of `spread` whose mean errs by `error`."""
    z = error / spread
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return spread * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def kept(errors: Errors, worth: float, longer: int, cases: int = CASES) -> tuple[float, int]:
    """Return how often a layer worth `worth` of the CRPS is kept, and the number of blocks."""
    rng = np.random.default_rng(longer)
    gate = errors.gate - errors.gate.min()
    period = int(gate.max()) + 1
    frames = np.concatenate([gate + k * period for k in range(longer)])
    blocks = blocks_of(frames, errors.length)
    count = 0
    for _ in range(cases):
        both = errors.draw(rng, int(frames.max()) + 1, 2)[:, frames]
        own = np.sqrt(1 - OWN**2) * both[0] + OWN * both[1]
        without = crps(both[0]).mean(axis=1)
        using = (1 - worth) * crps(own).mean(axis=1)
        count += judge("layer", "CRPS", without, using, blocks).kept
    return count / cases, len(np.unique(blocks))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sf", type=Path)
    parser.add_argument("era5", type=Path)
    parser.add_argument("rain", type=Path)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    paths = {"sf": chosen.sf, "era5": chosen.era5, "rain": chosen.rain, "sample": SAMPLE}
    rows = []
    out = sys.stdout.write
    out(f"| record | length | blocks of {LENGTHS} lengths | times | null kept | 1 % kept |\n")
    out("|---|---|---|---|---|---|\n")
    for name, path in paths.items():
        errors = measure(path, RECORDS[name])
        for longer in LONGER:
            null, blocks = kept(errors, 0.0, longer, chosen.cases)
            worth, _ = kept(errors, WORTH, longer, chosen.cases)
            rows.append([name, errors.length, blocks, longer, null, worth])
            out(
                f"| {name} | {errors.length:.1f} | {blocks} | {longer} | {null:.1%} "
                f"| {worth:.0%} |\n"
            )
            sys.stdout.flush()
            if worth >= 0.8:
                break
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

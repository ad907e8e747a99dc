"""Scoring on frames the model has not seen, beside its own prior, by the protocol of the docs."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .calendar import iso
from .errors import GridMismatch, InvalidParameter, NoObservations
from .grid import NestedGrid
from .metrics import bias, coverage, fair_crps, mae, rmse
from .progress import Progress, silent
from .windows import Record, observation_mask, without_outages

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from .assembly import Observations
    from .calibration import Calibration
    from .covariates import Covariates
    from .model import DiffRecon
    from .reconstruction import Reconstructor

SCORES = ("mae", "rmse", "bias", "bias_percent", "crps", "coverage50", "coverage90")


@dataclass(frozen=True)
class Task:
    """What is scored: a stretch of record, with the history before it, and its frames.

    Parameters
    ----------
    record : Record
        Truth, history included.
    context, cells : array
        Features of every frame and of every cell.
    frames : array (F,)
        Frames of the record that are scored.
    """

    record: Record
    context: NDArray[np.float32]
    cells: NDArray[np.float32]
    frames: NDArray[np.int64]

    def observe(self, pattern: str, missing: float, mask: int) -> Observations:
        """Return what mask number `mask` of a pattern leaves."""
        from .assembly import Observations

        coarse = self.record.coarse
        seen = observation_mask(pattern, missing, len(coarse), coarse.shape[1:], mask)  # type: ignore[arg-type]
        return Observations(
            self.record.times, np.where(seen, coarse, np.nan), self.context, self.cells
        )


def evaluate(
    model: DiffRecon,
    history: xr.Dataset,
    *,
    pattern: str = "random",
    missing: float = 0.4,
    masks: int = 5,
    start: str | None = None,
    end: str | None = None,
    samples: int = 32,
    in_sample: bool = False,
    external: Covariates | None = None,
    seed: int = 0,
    progress: Progress = silent,
    log: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Score the model and its prior alone on hidden coarse cells of a complete history.

    Every method sees the same frames and masks. Scores are per fine cell in raw units, of
    unrounded conditional means; coverage is of calibrated quantiles by randomised PIT; the CRPS
    is the fair one of `samples` draws, of the prior's own calibrated ensemble as well.

    Parameters
    ----------
    model : DiffRecon
        Fitted or loaded.
    history : Dataset
        Fine-level cube.
    pattern : {"random", "fixed", "block"}
        Which cells are hidden.
    missing : float
        Ratio of hidden coarse cells.
    masks : int
        Masks 0, 1, ... of the pattern.
    start, end : str, optional
        First and last time; by default all after the end of the model's training.
    samples : int
        Draws for the CRPS; 0 leaves it out.
    in_sample : bool
        Allow frames that the model has been fitted on; the result says so.
    external : Covariates, optional
        The features that the model was fitted with.
    seed : int
        Of the draws.
    progress, log : callable
        Told of every step.

    Returns
    -------
    dict
        ``rows`` with one entry per method, and the provenance; JSON types.

    Raises
    ------
    InvalidParameter
        If frames are in the model's training and `in_sample` is not set.
    """
    task = _task(model, history, start, end, in_sample, external)
    log(
        f"{len(task.frames)} maps from {iso(task.record.times[task.frames[0]])}, {masks} masks, "
        f"{pattern} {missing:.0%} missing."
    )
    rows = []
    for name, layers, calibration in _methods(model):
        began = time.monotonic()
        scores = []
        for mask in range(masks):
            progress(mask, masks, f"scoring {name}")
            chosen = replace(layers, calibration=calibration)
            scores.append(
                _score(chosen, task, task.observe(pattern, missing, mask), samples, seed + mask)
            )
        mean = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
        rows.append(
            {"method": name, "pattern": pattern, "missing": missing, **mean,
             "seconds": round(time.monotonic() - began, 2), "peak_mb": _peak_mb()}
        )  # fmt: skip
    first, last = (iso(task.record.times[task.frames[i]]) for i in (0, -1))
    return {
        "rows": rows, "frames": len(task.frames), "first": first, "last": last,
        "masks": masks, "samples": samples, "seed": seed, "in_sample": in_sample, **model.info(),
    }  # fmt: skip


def _methods(model: DiffRecon) -> list[tuple[str, Reconstructor, Calibration]]:
    layers = model._fitted()
    found = [(model.settings.preset, layers, model._calibrations["hard"])]
    if layers.prior.completion is not None:
        prior = replace(
            layers,
            completion=[],
            refinement=[],
            completion_diffusion=None,
            refinement_diffusion=None,
        )
        found.insert(0, ("prior", prior, model.prior_calibration))
    return found


def _score(
    layers: Reconstructor, task: Task, observations: Observations, samples: int, seed: int
) -> dict[str, float]:
    truth = task.record.fine[task.frames].astype(np.float64)
    series, belief = layers.complete(
        layers.series(observations, hard=True), observations, hard=True
    )
    found: dict[str, float] = {}
    draws = None
    if samples > 1:
        draws = np.concatenate(
            [fine for _, fine in layers.draws(
                series, belief, observations.times, task.frames, range(samples), seed)], axis=1,
        )  # fmt: skip
    if layers.samples_its_mean:
        if draws is None:
            raise InvalidParameter(f"This model needs at least 2 samples, not {samples}.")
        mean, pit = draws.mean(axis=0), _rank_pit(truth, draws, seed)
    else:
        mean, predictive = layers.means(series, belief, task.frames)
        pit = layers.calibration.pit(predictive, truth, seed)
    found = {
        "mae": mae(truth, mean), "rmse": rmse(truth, mean), "bias": bias(truth, mean),
        "bias_percent": 100 * bias(truth, mean) / float(np.abs(truth).mean()),
        "coverage50": coverage(pit, 0.5), "coverage90": coverage(pit, 0.9),
    }  # fmt: skip
    if draws is not None:
        found["crps"] = float(np.mean(fair_crps(truth, draws)))
    return found


def _rank_pit(
    truth: NDArray[np.float64], draws: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return the randomised rank of the truth among draws, as a PIT value."""
    below, at = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    position = np.random.default_rng(seed).random(truth.shape)
    return np.asarray((below + position * (at + 1)) / (len(draws) + 1))


def _task(
    model: DiffRecon,
    history: xr.Dataset,
    start: str | None,
    end: str | None,
    in_sample: bool,
    external: Covariates | None,
) -> Task:
    layers = model._fitted()
    if history.attrs.get("level") != "fine":
        raise GridMismatch(
            "evaluate needs a fine-level cube; read it with open_history(path, factor=N)."
        )
    model.grid.check_same(NestedGrid.of(history), "history")
    times = history["time"].to_numpy()
    seen_until = model.variable.instant(model.trained["end"])
    first = model.variable.instant(start) if start else (times[0] if in_sample else seen_until)
    last = model.variable.instant(end) if end else times[-1]
    if first < seen_until and not in_sample:
        raise InvalidParameter(
            f"{start} lies before {model.trained['end']}, where the model's training ended; score "
            "later maps, or say --in-sample."
        )
    chosen = np.flatnonzero((times >= first) & (times <= last))
    if not len(chosen):
        raise NoObservations(
            f"The history has no map from {iso(first)} to {iso(last)}; it ends at {iso(times[-1])}."
        )
    begin = max(0, int(chosen[0]) - layers.history)
    part = history.isel(time=slice(begin, int(chosen[-1]) + 1))
    record, _ = without_outages(
        Record(
            part["time"].to_numpy(),
            model.variable.values(part),
            model.grid.factor,
            model.aggregation,
        )
    )
    context = model.context(record.times, external)
    frames = chosen - begin
    return Task(
        record, context, model.features.cells(external, model.grid),
        frames[record.complete[frames]],
    )  # fmt: skip


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

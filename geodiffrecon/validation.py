"""Scoring on frames the model has not seen, beside its own prior, by the protocol of the docs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .calendar import iso
from .cube import as_cube
from .errors import GridMismatch, InvalidParameter
from .forecast import of_layers
from .grid import NestedGrid
from .memory import peak_mb
from .metrics import bias, coverage, fair_crps, mae, rmse
from .progress import Progress, silent
from .tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from .assembly import Observations
    from .covariates import Covariates
    from .model import DiffRecon
    from .reconstruction import Reconstructor

SCORES = ("mae", "rmse", "bias", "bias_percent", "crps", "coverage50", "coverage90")


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
    task = _task(model, as_cube(history), start, end, in_sample, external)
    log(
        f"{len(task.frames)} maps from {iso(task.record.times[task.frames[0]])}, {masks} masks, "
        f"{pattern} {missing:.0%} missing."
    )
    rows = []
    for name, layers in _methods(model):
        began = time.monotonic()
        scores = []
        for mask in range(masks):
            progress(mask, masks, f"scoring {name}")
            scores.append(
                _score(layers, task, task.observe(pattern, missing, mask), samples, seed + mask)
            )
        mean = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
        rows.append(
            {"method": name, "pattern": pattern, "missing": missing, **mean,
             "seconds": round(time.monotonic() - began, 2), "peak_mb": peak_mb()}
        )  # fmt: skip
    first, last = (iso(task.record.times[task.frames[i]]) for i in (0, -1))
    return {
        "rows": rows, "frames": len(task.frames), "first": first, "last": last,
        "masks": masks, "samples": samples, "in_sample": in_sample,
        **model.info(), "seed": seed, "model_seed": model.seed,
    }  # fmt: skip


def _methods(model: DiffRecon) -> list[tuple[str, Reconstructor]]:
    found = [(model.settings.preset, model.layers("all"))]
    if found[0][1].prior.completion is not None:
        found.insert(0, ("prior", model.layers("prior")))
    return found


def _score(
    layers: Reconstructor, task: Task, observations: Observations, samples: int, seed: int
) -> dict[str, float]:
    found = of_layers(layers, observations, task.frames, samples=samples, seed=seed)
    truth, mean = task.truth, found.mean
    pit = found.pit(truth, seed)
    scores = {
        "mae": mae(truth, mean), "rmse": rmse(truth, mean), "bias": bias(truth, mean),
        "bias_percent": 100 * bias(truth, mean) / float(np.abs(truth).mean()),
        "coverage50": coverage(pit, 0.5), "coverage90": coverage(pit, 0.9),
    }  # fmt: skip
    if found.draws is not None:
        scores["crps"] = float(np.mean(fair_crps(truth, found.draws)))
    return scores


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
    return Task.of(
        history, model.variable, layers.prior.calendar, model.features, first=first, last=last,
        before=layers.history, external=external,
    )  # fmt: skip

"""What validation says: how large the errors of each layer are, and how wide they should be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .calibration import Calibration, randomised_pit
from .gate import correlation_length
from .metrics import fair_crps
from .windows import repeat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .assembly import Observations
    from .reconstruction import Belief, Reconstructor
    from .series import Series

    Array = NDArray[np.float64]
    Frames = NDArray[np.int64]

GATE_DRAWS = 16
SPREAD_DRAWS, SPREAD_FRAMES = 4, 24  # what measures the spread of draws
PATCHES = (1, 2, 4, 8)  # fine cells along one side
RHO_LIMIT = 0.98


@dataclass(frozen=True)
class Trial:
    """One validation pattern: what it observes, and the truth.

    Parameters
    ----------
    observations : Observations
        Of the whole record.
    hard : bool
        Whether observed cells are held to their value.
    coarse : array (T, I, J)
        True raw coarse maps, NaN where unknown.
    fine : array (T, N I, N J)
        True raw fine maps, NaN where unknown.
    """

    observations: Observations
    hard: bool
    coarse: Array
    fine: Array

    def run(self, model: Reconstructor) -> tuple[Series, Belief]:
        """Return the model's completion of the record."""
        series = model.series(self.observations, hard=self.hard)
        return model.complete(series, self.observations, hard=self.hard)


def completion_error(model: Reconstructor, trials: list[Trial], frames: Frames) -> Array:
    """Return the mean absolute error of cells that are not held, per frame (F,)."""
    total = np.zeros(len(frames))
    for trial in trials:
        _, belief = trial.run(model)
        error = np.abs(belief.raw[frames] - trial.coarse[frames])
        total += _known_mean(np.where(belief.fixed[frames], np.nan, error))
    return total / len(trials)


def fine_error(model: Reconstructor, trials: list[Trial], frames: Frames) -> Array:
    """Return the mean absolute error of the fine conditional mean, per frame (F,)."""
    total = np.zeros(len(frames))
    for trial in trials:
        raw, _ = model.means(*trial.run(model), frames)
        total += _known_mean(np.abs(raw - trial.fine[frames]))
    return total / len(trials)


def draw_error(model: Reconstructor, trials: list[Trial], frames: Frames) -> Array:
    """Return the fair CRPS of `GATE_DRAWS` draws, per frame (F,), over cells and over patches.

    Means of patches tell draws that hang together from draws that do not, which no score of single
    cells can.
    """
    total = np.zeros(len(frames))
    for trial in trials:
        series, belief = trial.run(model)
        drawn = model.draws(
            series, belief, trial.observations.times, frames, range(GATE_DRAWS), seed=0
        )
        scores = [patch_crps(trial.fine[part].astype(np.float64), fine) for part, fine in drawn]
        total += np.concatenate(scores)
    return total / len(trials)


def patch_crps(truth: Array, draws: Array) -> Array:
    """Return the fair CRPS (F,) of maps (F, H, W), averaged over means of square patches.

    Parameters
    ----------
    truth : array (F, H, W)
        True maps, NaN where unknown: a patch is the mean of its known cells, in draws as well.
    draws : array (K, F, H, W)
        Ensemble; sides of `PATCHES` that leave fewer than four patches are left out.
    """
    sides = [side for side in PATCHES if 2 * side <= min(truth.shape[1:])]
    draws = np.where(np.isfinite(truth), draws, np.nan)
    scores = [_known_mean(fair_crps(_patches(truth, n), _patches(draws, n))) for n in sides]
    return np.asarray(np.mean(scores, axis=0))


def _patches(maps: Array, side: int) -> Array:
    """Return means (..., h, w) of patches of `side` cells; what is left over at the edges drops."""
    rows, columns = (size // side for size in maps.shape[-2:])
    cut = maps[..., : rows * side, : columns * side]
    split = cut.reshape(*maps.shape[:-2], rows, side, columns, side)
    known = np.isfinite(split)
    count = known.sum((-3, -1))
    total = np.where(known, split, 0.0).sum((-3, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _known_mean(maps: Array) -> Array:
    """Return the mean (F,) of the known cells of maps (F, H, W); 0 where there is none."""
    known = np.isfinite(maps)
    total = np.where(known, maps, 0.0).sum((1, 2))
    return np.asarray(total / np.maximum(known.sum((1, 2)), 1))


def calibrate(model: Reconstructor, trials: list[Trial], frames: Frames) -> Calibration:
    """Return factors, levels and correlations from validation frames that nothing else used."""
    plain = replace(model, calibration=Calibration())
    runs = [trial.run(plain) for trial in trials]
    coarse = [
        _coarse_residual(plain, trial, belief)
        for trial, (_, belief) in zip(trials, runs, strict=True)
    ]
    fine = _fine_residual(plain, trials[0], frames)
    standard = np.stack([residual[frames] for residual in coarse])
    found = Calibration(
        coarse=float(np.sqrt(np.nanmean(standard**2))) if np.isfinite(standard).any() else 1.0,
        fine=float(np.sqrt(np.nanmean(fine**2))),
        rho_coarse=_persistence(standard, frames),
        rho_fine=_persistence(fine[None], frames),
    )
    found = with_spreads_of_draws(replace(model, calibration=found), trials, frames)
    calibrated = replace(model, calibration=found)
    pits = []
    for seed, (trial, run) in enumerate(zip(trials, runs, strict=True)):
        _, predictive = calibrated.means(*run, frames)
        pits.append(randomised_pit(predictive, trial.fine[frames].astype(np.float64), seed))
    return replace(found, levels=Calibration.fit_levels(np.stack(pits)))


def with_spreads_of_draws(model: Reconstructor, trials: list[Trial], frames: Frames) -> Calibration:
    """Return the model's calibration with factors that give draws the spread of the errors.

    What a diffusion was trained on is wider or narrower than the errors of use, so its draws are
    measured against the calibrated spread by themselves, for each stage that diffuses.
    """
    found = model.calibration
    if model.completion_diffusion is None and model.refinement_diffusion is None:
        return found
    few = frames[np.linspace(0, len(frames) - 1, min(len(frames), SPREAD_FRAMES)).astype(int)]
    coarse, fine = [], []
    for trial in trials[:2]:
        series, belief = trial.run(model)
        drawn = model.residuals(
            series, belief, trial.observations.times, few, range(SPREAD_DRAWS), seed=0
        )
        coarse.append(np.where(belief.spread[few] > 1e-3, drawn[0], np.nan))
        fine.append(drawn[1])
    if model.completion_diffusion is not None:
        found = replace(found, drawn_coarse=found.coarse / _rms(np.stack(coarse)))
    if model.refinement_diffusion is not None:
        found = replace(found, drawn_fine=found.fine / _rms(np.stack(fine)))
    return found


def _rms(values: Array) -> float:
    """Return the root mean square of the known values; 1 where there are none."""
    if not np.isfinite(values).any():
        return 1.0
    return max(float(np.sqrt(np.nanmean(values**2))), 1e-6)


def residual_length(model: Reconstructor, trials: list[Trial], frames: Frames) -> float:
    """Return the correlation length, in steps, of the errors of both stages over `frames`."""
    plain = replace(model, calibration=Calibration())
    span = slice(int(frames.min()), int(frames.max()) + 1)
    _, belief = trials[0].run(plain)
    coarse = _coarse_residual(plain, trials[0], belief)[span]
    fine = _fine_residual(plain, trials[0], np.arange(span.start, span.stop))
    return max(correlation_length(coarse[None]), correlation_length(fine[None]))


def _coarse_residual(model: Reconstructor, trial: Trial, belief: Belief) -> Array:
    truth = model.prior.anomalies(trial.coarse, trial.observations.times)
    standard = (truth - belief.mean) / np.maximum(belief.spread, 1e-6)
    return np.where(belief.fixed | (belief.spread < 1e-3), np.nan, standard)


def _fine_residual(model: Reconstructor, trial: Trial, frames: Frames) -> Array:
    complete = replace(
        trial, observations=replace(trial.observations, coarse=trial.coarse), hard=True
    )
    _, predictive = model.means(*complete.run(model), frames)
    held = repeat(np.isfinite(trial.coarse[frames]), model.units.factor)
    truth = np.where(held, trial.fine[frames].astype(np.float64), np.nan)
    return predictive.standardise(truth)


def _persistence(standard: Array, frames: Frames) -> float:
    """Return the correlation of residuals (V, F, H, W) between consecutive frames."""
    follows = np.flatnonzero(np.diff(frames) == 1)
    if len(follows) < 8:
        return 0.0
    before, after = standard[:, follows], standard[:, follows + 1]
    both = np.isfinite(before) & np.isfinite(after)
    if both.sum() < 50:
        return 0.0
    value = (before[both] * after[both]).mean() / max((before[both] ** 2).mean(), 1e-12)
    return float(np.clip(value, 0.0, RHO_LIMIT))

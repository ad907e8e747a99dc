"""What validation says: whether a layer earns its place, and how wide the errors really are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .calibration import Calibration, randomised_pit
from .metrics import fair_crps, paired_gain
from .windows import repeat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .assembly import Observations
    from .reconstruction import Belief, Reconstructor
    from .series import Series

    Array = NDArray[np.float64]
    Frames = NDArray[np.int64]

GATE_DRAWS = 16
PATCHES = (1, 2, 4, 8)  # fine cells along one side
RHO_LIMIT = 0.98


@dataclass(frozen=True)
class Verdict:
    """Whether a layer was kept, and the figures behind it.

    Parameters
    ----------
    layer, score : str
        What was judged, and by which score.
    before, after : float
        Mean score without and with the layer.
    error : float
        Standard error of the gain over blocks of time.
    """

    layer: str
    score: str
    before: float
    after: float
    error: float

    @property
    def kept(self) -> bool:
        """A layer is kept if it gains more than one standard error."""
        return self.before - self.after > self.error

    def sentence(self) -> str:
        """Return the verdict in words."""
        word = "kept" if self.kept else "left out"
        return (
            f"{self.layer}: {word} ({self.score} {self.before:.4g} without, {self.after:.4g} with, "
            f"standard error of the gain {self.error:.2g})"
        )


def judge(layer: str, score: str, without: Array, using: Array, block: int) -> Verdict:
    """Return the verdict on per-frame scores (F,) without and with a layer."""
    _, error = paired_gain(without, using, block)
    return Verdict(layer, score, float(without.mean()), float(using.mean()), error)


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
    calibrated = replace(model, calibration=found)
    pits = []
    for seed, (trial, run) in enumerate(zip(trials, runs, strict=True)):
        _, predictive = calibrated.means(*run, frames)
        pits.append(randomised_pit(predictive, trial.fine[frames].astype(np.float64), seed))
    return replace(found, levels=Calibration.fit_levels(np.stack(pits)))


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

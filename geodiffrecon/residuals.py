"""What the mean layer leaves unexplained, in units of its spread: the data of diffusion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from .networks.heads import block_mean, nearest_up
from .samplers import dpmpp_2m
from .stages import LIMIT, mean_completion, mean_refinement
from .training import (
    COMPLETION_WEIGHT,
    SEEN,
    Batch,
    completed_fine_case,
    residual_loss,
    true_fine_case,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from .diffusion import Diffusion
    from .networks.completion import Completion
    from .networks.refinement import Refinement
    from .reconstruction import Reconstructor
    from .series import CoarseCase, FineCase, Series
    from .stages import Range
    from .units import FineUnits

KNOWN_WEIGHT = 0.05  # of cells that are held: they have no residual to learn
CHAIN_STEPS = 6  # of the truncated chain through which the joint phase of diffusion runs


@dataclass(frozen=True)
class Residuals:
    """The series as the mean layer believes it, every frame by networks that did not train on it.

    Parameters
    ----------
    series : Series
        With the corrected belief in `mean`, `spread` and `completed`.
    belief, doubt : Tensor (T, N I, N J)
        Corrected fine belief, given the true coarse maps.
    """

    series: Series
    belief: Tensor
    doubt: Tensor


@torch.no_grad()
def cross_fitted(
    model: Reconstructor, series: Series, units: FineUnits, fit: NDArray[np.int64]
) -> Residuals:
    """Return what is left after the mean layer of `model`, block by block of `fit` (T,).

    Frames of block k are seen by member k alone, which did not train on them; later ones by all.
    """
    mean, spread = series.mean.clone(), series.spread.clone()
    belief, doubt = [], []
    variants = torch.arange(series.mean.shape[0], device=series.mean.device)
    blocks = torch.as_tensor(fit, device=series.mean.device)
    order = []
    for block in blocks.unique():
        completion = _members(model.completion, int(block))
        refinement = _members(model.refinement, int(block))
        for frames in torch.nonzero(blocks == block)[:, 0].split(64):
            for variant in variants:
                case = series.coarse_case(variant.expand_as(frames), frames, model.coarse_lags)
                case = mean_completion(completion, case, model.lattice)
                mean[variant, frames], spread[variant, frames] = case.mean, case.spread
            batch = Batch(series, units, torch.zeros_like(frames), frames, torch.Generator())
            fine, _ = true_fine_case(batch, model.fine_lags, blur=False)
            fine = mean_refinement(refinement, fine, units, model.lattice)
            belief.append(fine.belief)
            doubt.append(fine.doubt)
            order.append(frames)
    back = torch.cat(order).argsort()
    corrected = replace(series, mean=mean, spread=spread, completed=mean)
    return Residuals(corrected, torch.cat(belief)[back], torch.cat(doubt)[back])


def _members(networks: list[Completion] | list[Refinement], block: int) -> list[Any]:
    return networks[block : block + 1] or networks


def true_past(series: Series) -> Series:
    """Return the series with its true maps as the completed ones, which T-PatternNet reads.

    Pre-training of a refinement that no belief completes maps for (eq 26 on downsampled truth).
    """
    assert series.truth is not None
    truth = series.truth.nan_to_num().expand_as(series.mean)
    return replace(series, completed=truth)


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest residual that each stage is trained on.

    Clean fields are kept inside them: what no training map ever was, no draw is.
    """

    completion: Range
    refinement: Range

    @classmethod
    def of(cls, left: Residuals, units: FineUnits, frames: Tensor) -> Bounds:
        """Return the range of the residuals of `frames` (F,)."""
        series = left.series
        assert series.truth is not None
        mean, spread = series.mean[:, frames], series.spread[:, frames]
        coarse = _coarse_residual(series.truth[frames], mean, spread)
        coarse = coarse[(spread > SEEN) & coarse.isfinite()]
        fine = []
        for part in frames.split(64):
            batch = Batch(
                series, units, torch.zeros_like(part), part, torch.Generator(), left.belief,
                left.doubt,
            )  # fmt: skip
            case, truth = true_fine_case(batch, (0,), blur=False)
            known = truth.isfinite()
            residual = _fine_residual(_with_belief(case, batch), truth, units)
            fine.append(residual[known])
        return cls(_range(coarse), _range(torch.cat(fine)))


def _range(values: Tensor) -> Range:
    if not len(values):
        return -LIMIT, LIMIT
    return max(float(values.min()), -LIMIT), min(float(values.max()), LIMIT)


def _coarse_residual(truth: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return (truth - mean) / spread.clamp(min=SEEN)


def _fine_residual(case: FineCase, fine: Tensor, units: FineUnits) -> Tensor:
    truth = units.encode(fine.nan_to_num())
    return (truth - units.location(case)) / units.scale(case).clamp(min=1e-30)


@dataclass(frozen=True)
class DiffusionLoss:
    """Losses of the diffusion of both stages, apart and joint.

    Parameters
    ----------
    process : Diffusion
        Noise levels and prediction.
    bounds : Bounds
        Of the residuals of both stages.
    coarse_lags, fine_lags : tuple of int
        Frames back, oldest first.
    """

    process: Diffusion
    bounds: Bounds
    coarse_lags: tuple[int, ...]
    fine_lags: tuple[int, ...]

    def completion(self, network: Completion, batch: Batch, noises: int = 1) -> Tensor:
        """Return the loss of the completion residual, of cells that are known and not held."""
        case = batch.series.coarse_case(batch.variant, batch.frame, self.coarse_lags)
        return self._completion(network, case, batch, noises)

    def refinement(self, network: Refinement, batch: Batch, noises: int = 1) -> Tensor:
        """Return the loss of the refinement residual where known, given true coarse maps."""
        case, fine = true_fine_case(batch, self.fine_lags, blur=False)
        case = _with_belief(case, batch)
        return self._refinement(network, case, fine, batch, noises)

    def joint(self, both: nn.ModuleList, batch: Batch) -> Tensor:
        """Return the loss of refinement on a sampled completion; the gradient runs through both.

        A truncated chain: of a few steps from noise only the last keeps its gradient
        (Clark et al. 2024, DRaFT-1). The completion loss stays, so that it remains a diffusion.
        Only coarse cells that are held count for refinement: where the completion was drawn, the
        true fine map belongs to another one, and refinement would learn not to believe it.
        """
        completion, refinement = cast("tuple[Completion, Refinement]", tuple(both))
        case = batch.series.coarse_case(batch.variant, batch.frame, self.coarse_lags)
        drawn = self._drawn(completion, case, batch.generator)
        fine_case = completed_fine_case(batch, drawn, self.fine_lags)
        assert batch.series.fine is not None
        held = nearest_up(_held(case)[:, None], batch.units.factor)[:, 0]
        fine = torch.where(held, batch.series.fine[batch.frame], torch.nan)
        loss = self._refinement(refinement, fine_case, fine, batch)
        return loss + COMPLETION_WEIGHT * self._completion(completion, case, batch)

    def _completion(
        self, network: Completion, case: CoarseCase, batch: Batch, noises: int = 1
    ) -> Tensor:
        assert batch.series.truth is not None
        truth = batch.series.truth[batch.frame]
        open_cells = (case.spread > SEEN).to(case.mean.dtype)
        residual = _coarse_residual(truth, case.mean, case.spread)
        residual = residual.nan_to_num().clamp(*self.bounds.completion) * open_cells
        # In use what is observed is held, whether the belief knows of it or not.
        open_cells = open_cells * ~_held(case)
        weight = open_cells.clamp(min=KNOWN_WEIGHT) * truth.isfinite()
        return residual_loss(network, self.process, case, residual, weight, batch.generator, noises)

    def _refinement(
        self, network: Refinement, case: FineCase, fine: Tensor, batch: Batch, noises: int = 1
    ) -> Tensor:
        units = batch.units
        known, residual = fine.isfinite(), _fine_residual(case, fine, units)
        residual = _filled(residual, known, units.factor).clamp(*self.bounds.refinement)
        weight = known.to(residual.dtype)
        return residual_loss(network, self.process, case, residual, weight, batch.generator, noises)

    @torch.no_grad()
    def completed(self, network: Completion, series: Series, seed: int) -> Series:
        """Return the series with a sampled completion of every map and variant (eq 26)."""
        generator = torch.Generator().manual_seed(seed)
        completed = series.completed.clone()
        frames = torch.arange(series.mean.shape[1], device=series.mean.device)
        for variant in range(len(completed)):
            for part in frames.split(64):
                case = series.coarse_case(torch.full_like(part, variant), part, self.coarse_lags)
                completed[variant, part] = self._drawn(network, case, generator).mean
        return replace(series, completed=completed)

    def _drawn(
        self, network: Completion, case: CoarseCase, generator: torch.Generator
    ) -> CoarseCase:
        """Return the case with a sampled completion as what is known; observed cells hold."""
        start = torch.randn(case.mean.shape, generator=generator).to(case.mean)[:, None]
        features = case.encode(network)
        calls, tuned = 0, torch.is_grad_enabled()

        def denoise(x: Tensor, index: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            with torch.set_grad_enabled(tuned and calls == CHAIN_STEPS):
                x0 = self.process.denoise(
                    lambda noisy, level: case.run(network, noisy, level, features), x, index
                )
                return x0.clamp(*self.bounds.completion)

        sampled = dpmpp_2m(denoise, start, self.process.levels, steps=CHAIN_STEPS)[:, 0]
        anomaly = case.mean + case.spread * sampled
        anomaly = torch.where(_held(case), case.tokens[:, -1, 0], anomaly)
        return replace(case, mean=anomaly, spread=0 * case.spread)


def _held(case: CoarseCase) -> Tensor:
    """Return which cells (B, I, J) are observed without an error of their own."""
    return case.observed[:, -1] & (case.tokens[:, -1, 1] == 0)


def _filled(residual: Tensor, known: Tensor, factor: int) -> Tensor:
    """Give unknown residuals (B, N I, N J) the mean of the known ones of their coarse cell.

    They have no weight, but a network that always met zeros there would shrink what lies beside.
    """
    weight = known.to(residual.dtype)
    share = block_mean(weight[:, None], factor)
    mean = block_mean((weight * residual)[:, None], factor) / share.clamp(min=1e-6)
    return torch.where(known, residual, nearest_up(mean, factor)[:, 0])


def _with_belief(case: FineCase, batch: Batch) -> FineCase:
    """Replace the prior's belief by the cross-fitted one that the batch carries."""
    if batch.belief is None or batch.doubt is None:
        return case
    return batch.units.stated(case, batch.belief[batch.frame], batch.doubt[batch.frame])

"""Training of every layer: one optimiser loop, and the losses of the phases."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .networks.heads import nearest_up
from .progress import Progress, silent
from .stages import corrected_coarse
from .tiling import crop_of

if TYPE_CHECKING:
    from .diffusion import Diffusion
    from .networks.completion import Completion
    from .networks.refinement import Refinement
    from .scaling import Transform
    from .series import CoarseCase, FineCase, Series, Window
    from .tiling import WindowLattice
    from .units import FineUnits

Clock = Callable[[], float]
EMA = 0.98
WARM_UP = 20
CHECK_EVERY = 25
PATIENCE = 8  # checks without a better score, at least
TIRED = 1 / 3  # share of the steps so far without a better score
SEEN = 0.02  # prior spread below which a cell counts as known
COMPLETION_WEIGHT = 0.3  # of the completion loss in the joint phase
COMPLETED_SHARE = 0.25  # of refinement batches that start from completed coarse maps


@dataclass(frozen=True)
class Outcome:
    """How one optimisation ended.

    Parameters
    ----------
    steps : int
        Steps of the kept weights.
    score : float
        Validation score of the kept weights; NaN where there was none.
    curve : list of tuple
        ``(step, score)`` of every check.
    """

    steps: int
    score: float
    curve: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Pool:
    """Where batches come from: a series, the frames and variants to use, and a seed.

    Parameters
    ----------
    series : Series
        With truth.
    frames, variants : Tensor of int64
        Allowed frames and mask patterns.
    seed : int
        Of the order of batches.
    """

    series: Series
    frames: Tensor
    variants: Tensor
    seed: int

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return variants (B,), frames (B,) and a generator; a function of seed and step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        pick = torch.randint(len(self.frames), (size,), generator=generator)
        variant = torch.randint(len(self.variants), (size,), generator=generator)
        device = self.series.values.device
        return self.variants[variant].to(device), self.frames[pick].to(device), generator

    def whole(self, limit: int) -> list[tuple[Tensor, Tensor]]:
        """Return up to `limit` (variant, frame) pairs, evenly spread, in batches of 64."""
        device = self.series.values.device
        pairs = torch.cartesian_prod(self.variants, self.frames)
        pairs = pairs[torch.linspace(0, len(pairs) - 1, min(limit, len(pairs))).long()]
        return [(part[:, 0].to(device), part[:, 1].to(device)) for part in pairs.split(64)]


def optimise(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    rate: float,
    seed: int,
    decay_over: int | None = None,
    decay_in_time: bool = False,
    check: Callable[[], float] | None = None,
    until: float | None = None,
    clock: Clock = time.monotonic,
    progress: Progress = silent,
    label: str = "training",
) -> Outcome:
    """Train `network` in place and keep the averaged weights with the best check.

    Parameters
    ----------
    network : Module
        Trained in place; left in evaluation mode with the kept weights.
    loss : callable
        ``loss(step) -> Tensor`` of one batch.
    steps : int
        Most steps; exactly so many without `check`.
    rate : float
        Learning rate after warm-up, decaying by a cosine to a tenth.
    seed : int
        Of dropout; torch's global generator is left as it was.
    decay_over : int, optional
        Steps over which it decays; `steps` without it.
    decay_in_time : bool
        Decay by the share of the time until `until` that has passed, where that is larger.
    until : float, optional
        Value of `clock` after which training stops.
    clock : callable
        Seconds: of the day, or ``time.process_time`` for those that the processor worked.
    check : callable, optional
        Validation score of the averaged weights, less is better; stops early.
    progress : Progress
        Told of every step; may cancel by raising.
    label : str
        What the progress is called.

    Returns
    -------
    Outcome
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA), use_buffers=True)
    kept, best, curve = averaged.module.state_dict(), Outcome(0, math.inf), []
    began = clock()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(1, steps + 1):
            passed = step / (decay_over or steps)
            if decay_in_time and until is not None:
                passed = max(passed, (clock() - began) / max(until - began, 1e-9))
            _set_rate(optimiser, rate, step, min(passed, 1.0))
            _descend(network, optimiser, loss, step)
            averaged.update_parameters(network)
            progress(step, steps, label)
            last = step == steps or (until is not None and clock() > until)
            if check is not None and (last or step % CHECK_EVERY == 0):
                score = _checked(network, averaged, check)
                curve.append((step, score))
                if score < best.score:
                    kept = copy.deepcopy(averaged.module.state_dict())
                    best = Outcome(step, score)
            patience = max(PATIENCE * CHECK_EVERY, TIRED * step)
            if last or (check is not None and step - best.steps >= patience):
                break
    network.load_state_dict(kept)
    network.eval()
    return Outcome(best.steps or step, best.score if check else math.nan, curve)


def completion_loss(
    case: CoarseCase,
    raw: Tensor,
    truth: Tensor,
    centre: Tensor,
    scale: Tensor,
    transform: Transform,
) -> Tensor:
    """Return the loss of a corrected completion over the cells that are not held.

    Squared error of the raw conditional mean over the prior's raw spread, which is least for the
    conditional mean whatever the distribution, plus the likelihood of the spread. Dividing by the
    spread and not by its square keeps busy cells from counting for nothing. Cells whose `truth`
    is NaN do not count.
    """
    after = corrected_coarse(case, raw)
    open_cells = ((case.spread > SEEN) & truth.isfinite()).to(raw.dtype)
    truth = truth.nan_to_num()
    z, spread = centre + scale * after.mean, scale * after.spread
    before_z, before_spread = centre + scale * case.mean, scale * case.spread
    target = centre + scale * truth
    variance = transform.variance(before_z, before_spread**2)
    typical = (open_cells * variance).sum() / open_cells.sum().clamp(min=1)
    weight = open_cells / ((variance + 1e-3 * typical) * typical).clamp(min=1e-36).sqrt()
    raw_truth = transform.inverse(target)
    error = weight * (transform.mean(z, spread.detach() ** 2) - raw_truth) ** 2 / 2
    standard = (truth - after.mean.detach()) / after.spread.clamp(min=1e-4)
    likelihood = open_cells * (standard**2 / 2 + after.spread.clamp(min=1e-4).log())
    return (error + likelihood / 3).sum() / open_cells.sum().clamp(min=1)


@dataclass(frozen=True)
class Batch:
    """One window of the series, and the problems drawn from it.

    `belief` and `doubt` (T, N I, N J), where given, are the fine belief of the mean layer.
    """

    series: Series
    units: FineUnits
    variant: Tensor
    frame: Tensor
    generator: torch.Generator
    belief: Tensor | None = None
    doubt: Tensor | None = None


@dataclass(frozen=True)
class Phase:
    """What the losses of all phases share.

    Parameters
    ----------
    pool : Pool
        Training frames.
    units : FineUnits
        Of the fine maps.
    transform : Transform
        Of the coarse values.
    lattice : WindowLattice
        Networks train on its windows, one window a batch.
    coarse_lags, fine_lags : tuple of int
        Frames back, oldest first.
    size : int
        Problems per step.
    belief, doubt : Tensor (T, N I, N J), optional
        Fine belief of the mean layer, for the diffusion layer.
    through : bool
        Whether the joint phase carries the gradient of the fine maps into completion.
    """

    pool: Pool
    units: FineUnits
    transform: Transform
    lattice: WindowLattice
    coarse_lags: tuple[int, ...]
    fine_lags: tuple[int, ...]
    size: int
    belief: Tensor | None = None
    doubt: Tensor | None = None
    through: bool = True

    def batch(self, step: int) -> Batch:
        """Return the batch of one step."""
        variant, frame, generator = self.pool.batch(step, self.size)
        windows = self.lattice.windows
        window = windows[int(torch.randint(len(windows), (1,), generator=generator))]
        return self._window(window, variant, frame, generator)

    def checks(self, limit: int) -> list[Batch]:
        """Return validation batches, always the same; on large grids of the first window."""
        generator = torch.Generator().manual_seed(self.pool.seed)
        window = self.lattice.windows[0]
        return [self._window(window, v, f, generator) for v, f in self.pool.whole(limit)]

    def _window(
        self, window: Window, variant: Tensor, frame: Tensor, generator: torch.Generator
    ) -> Batch:
        factor = self.units.factor
        fine = [
            None if m is None else crop_of(m, window, factor) for m in (self.belief, self.doubt)
        ]
        series = self.pool.series.crop(window, factor)
        return Batch(series, self.units.crop(window), variant, frame, generator, *fine)

    def completion(self, network: Completion, batch: Batch) -> Tensor:
        """Return the loss of the completion mean."""
        case = batch.series.coarse_case(batch.variant, batch.frame, self.coarse_lags)
        raw = case.run(network, _nothing(case.mean), None, case.encode(network))
        return self._completion_loss(case, raw, batch)

    def refinement(self, network: Refinement, batch: Batch) -> Tensor:
        """Return the loss of the refinement mean, on true coarse maps or on completed ones.

        True maps are blurred half of the time, which teaches the network how far to trust its
        input (conditioning augmentation; Ho et al. 2022); completed ones are the prior's.
        """
        if float(torch.rand((), generator=batch.generator)) < COMPLETED_SHARE:
            belief = batch.series.coarse_case(batch.variant, batch.frame, self.coarse_lags)
            case = completed_fine_case(batch, belief, self.fine_lags)
            assert batch.series.fine is not None
            fine = batch.series.fine[batch.frame]
        else:
            case, fine = true_fine_case(batch, self.fine_lags, blur=True)
        return fine_loss(_refined(network, case, batch.units), case, fine, batch.units)

    def joint(self, both: nn.ModuleList, batch: Batch) -> Tensor:
        """Return the loss of both means in a row; the gradient may run through the completion."""
        completion, refinement = cast("tuple[Completion, Refinement]", tuple(both))
        series = batch.series
        case = series.coarse_case(batch.variant, batch.frame, self.coarse_lags)
        raw = case.run(completion, _nothing(case.mean), None, case.encode(completion))
        stage = self._completion_loss(case, raw, batch)
        belief = corrected_coarse(case, raw if self.through else raw.detach())
        fine_case = completed_fine_case(batch, belief, self.fine_lags)
        after = _refined(refinement, fine_case, batch.units)
        assert series.fine is not None
        loss = fine_loss(after, fine_case, series.fine[batch.frame], batch.units)
        return loss + COMPLETION_WEIGHT * stage

    def _completion_loss(self, case: CoarseCase, raw: Tensor, batch: Batch) -> Tensor:
        series = batch.series
        assert series.truth is not None
        return completion_loss(
            case, raw, series.truth[batch.frame], series.centre[batch.frame], series.scale,
            self.transform,
        )  # fmt: skip


def fine_loss(after: FineCase, before: FineCase, fine: Tensor, units: FineUnits) -> Tensor:
    """Return the loss of a corrected fine belief over the cells whose truth is known (not NaN).

    The others are made constants, which have no gradient, at the mean of the known, so that what
    the units normalise by is in proportion to their number.
    """
    known = fine.isfinite()
    count = known.sum().clamp(min=1)
    mean = fine.nan_to_num().sum() / count
    cases = [
        replace(
            case,
            belief=torch.where(known, case.belief, 0.0),
            doubt=torch.where(known, case.doubt, 1.0),
        )
        for case in (after, before)
    ]
    return units.loss(cases[0], cases[1], torch.where(known, fine, mean)) * (fine.numel() / count)


def true_fine_case(batch: Batch, lags: tuple[int, ...], *, blur: bool) -> tuple[FineCase, Tensor]:
    """Return refinement problems of the true coarse maps, and the true fine maps.

    Where a coarse value is unknown the belief about it stands in, with its spread; the fine truth
    is NaN there, for it does not tell how good the refinement is.
    """
    series, frame = batch.series, batch.frame
    assert series.truth is not None
    assert series.coarse is not None
    assert series.fine is not None
    anomaly, coarse = series.truth[frame], series.coarse[frame]
    spread = torch.zeros_like(anomaly)
    if blur:
        shape, generator = (len(frame), 1, 1), batch.generator
        strength = torch.rand(shape, generator=generator) * (
            torch.rand(shape, generator=generator) < 0.5
        )
        spread = (0.6 * strength).to(anomaly) * torch.ones_like(anomaly)
        anomaly = anomaly + spread * torch.randn(anomaly.shape, generator=generator).to(anomaly)
    known, doubt = coarse.isfinite(), series.spread[batch.variant, frame]
    anomaly = torch.where(known, anomaly, series.mean[batch.variant, frame])
    spread = torch.where(known, spread, doubt)
    z = series.centre[frame] + series.scale * anomaly
    coarse = torch.where(known, coarse, series.transform.mean(z, (series.scale * doubt) ** 2))
    case = series.fine_case(
        batch.variant, frame, lags, coarse=coarse, anomaly=anomaly, spread=spread
    )
    held = nearest_up(known[:, None], batch.units.factor)[:, 0]
    fine = torch.where(held, series.fine[frame], torch.nan)
    return batch.units.believe(case, z, series.calendar[frame]), fine


def completed_fine_case(batch: Batch, belief: CoarseCase, lags: tuple[int, ...]) -> FineCase:
    """Return refinement problems of completed coarse maps, differentiable in the completion."""
    series, frame = batch.series, batch.frame
    z = series.centre[frame] + series.scale * belief.mean
    spread = (series.scale * belief.spread).detach()
    coarse = batch.series.transform.mean(z, spread**2)
    case = series.fine_case(
        batch.variant, frame, lags,
        coarse=coarse, anomaly=belief.mean, spread=belief.spread.detach(),
    )  # fmt: skip
    return batch.units.believe(case, z, series.calendar[frame])


def residual_loss(
    network: Completion | Refinement,
    diffusion: Diffusion,
    case: CoarseCase | FineCase,
    residual: Tensor,
    weight: Tensor,
    generator: torch.Generator,
    noises: int = 1,
) -> Tensor:
    """Return the diffusion loss of standard residuals (B, H, W) under the conditions of `case`.

    Every problem is noised `noises` times for one encoding of its history, which costs more than
    the U-Net; levels are spread evenly over the batch.
    """
    features = case.encode(network)  # type: ignore[arg-type]
    if noises > 1:
        case = case.repeat(noises)
        residual, weight = (x.repeat_interleave(noises, dim=0) for x in (residual, weight))
        features = None if features is None else features.repeat_interleave(noises, dim=0)

    def denoiser(x: Tensor, level: Tensor) -> Tensor:
        return case.run(network, x, level.to(x.device), features)  # type: ignore[arg-type]

    return diffusion.loss(denoiser, residual[:, None], generator=generator, weight=weight[:, None])


def _refined(network: Refinement, case: FineCase, units: FineUnits) -> FineCase:
    raw = case.run(network, _nothing(case.belief), None, case.encode(network))
    return units.correct(case, raw)


def _nothing(like: Tensor) -> Tensor:
    return like.new_zeros(len(like), 0, *like.shape[1:])


def _descend(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Callable[[int], Tensor],
    step: int,
) -> None:
    network.train()
    value = loss(step)
    optimiser.zero_grad(set_to_none=True)
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


@torch.no_grad()
def _checked(network: nn.Module, averaged: AveragedModel, check: Callable[[], float]) -> float:
    own = copy.deepcopy(network.state_dict())
    network.load_state_dict(averaged.module.state_dict())
    network.eval()
    score = check()
    network.load_state_dict(own)
    return score


def _set_rate(optimiser: torch.optim.Optimizer, rate: float, step: int, passed: float) -> None:
    decay = 0.1 + 0.9 * (1 + math.cos(math.pi * passed)) / 2
    for group in optimiser.param_groups:
        group["lr"] = rate * min(1.0, step / WARM_UP) * decay

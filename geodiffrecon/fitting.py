"""Fitting: the layers one after the other, each on cross-fitted output of the one below."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .allocator import keep_freed_memory
from .architecture import Architecture
from .assembly import STATICS, units_of
from .calibration import Calibration
from .evidence import (
    calibrate,
    completion_error,
    draw_error,
    fine_error,
    residual_length,
    with_spreads_of_draws,
)
from .gate import LENGTHS, Verdict, blocks_of, judge
from .priors.prior import Prior, PriorSettings
from .progress import Progress, silent
from .reconstruction import Reconstructor
from .rehearsal import Rehearsal, Source, rehearse, trials
from .residuals import Bounds, DiffusionLoss, Residuals, cross_fitted, true_past
from .stages import ResidualDiffusion, process_of
from .tiling import WindowLattice
from .training import Clock, Phase, Pool, optimise

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from .lesson import Lesson
    from .networks.completion import Completion
    from .networks.refinement import Refinement
    from .presets import Layer, Settings
    from .training import Batch

CHECK_PAIRS, DIFFUSION_PAIRS = 256, 96
GATE_FRAMES = 64
SEGMENT_DAYS = 1.5
JOINT_BATCH = 32
# Shares of the time budget at whose end each phase stops.
BUDGET = {"means": 0.42, "joint": 0.46, "refit": 0.76, "completion": 0.87, "refinement": 1.0}
WITHOUT_DIFFUSION = {"means": 0.5, "joint": 0.6, "refit": 1.0}
# Without a mean layer, by what the loss of each stage still gains per second: refinement, whose
# maps have N² as many cells, learns longest.
DIFFUSION_ALONE = {"completion": 0.5, "refinement": 0.88, "joint diffusion": 1.0}
JOINT_VARIANTS = 4  # mask patterns whose completions are sampled before the joint phase
WHOLE = 0.9  # share of its steps without which a refitted network is dropped for the first one
STAGES = ("completion", "refinement")


@dataclass(frozen=True)
class Means:
    """Networks of the mean layer, one pair per member, and the steps that trained them."""

    completion: list[Completion]
    refinement: list[Refinement]
    steps: dict[str, list[int]]


@dataclass
class Fitting:
    """One fit: what goes in, and what has been decided so far.

    Parameters
    ----------
    lesson : Lesson
        History before the end of training, and its features; holes neither train nor score.
    settings : Settings
        What to train and how.
    seed : int
        Of weights, masks and batches.
    max_minutes : float, optional
        Phases stop in time for this; the result then depends on the machine.
    clock : callable
        Seconds that count for it.
    progress : Progress
        Told of every step.
    log : callable
        Takes one sentence per decision.
    device : torch.device
        Where networks train.
    """

    lesson: Lesson
    settings: Settings
    seed: int = 0
    max_minutes: float | None = None
    clock: Clock = time.monotonic
    progress: Progress = silent
    log: Callable[[str], None] = field(default=lambda sentence: None)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    verdicts: list[Verdict] = field(default_factory=list)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def run(self) -> tuple[Reconstructor, dict[str, Calibration], Calibration]:
        """Return the layers, their calibrations (hard and soft), and that of the prior alone."""
        keep_freed_memory()
        self._started = self.clock()
        self.record, self.calendar = self.lesson.record, self.lesson.calendar
        self.context, self.cells = self.lesson.context, self.lesson.cells
        self.kind = self.lesson.kind
        folds = max(2, self.settings.members)
        self.split = self.lesson.split(folds=folds, gap=self.settings.history, partly=True)
        self._chosen = self._select()
        rehearsal = self._rehearse(self.split.fold)
        bare = model = self._skeleton(rehearsal.priors[-1])
        self._trials = trials(self._source, points=False, seed=self.seed)
        if self.settings.prior or self.settings.mean:  # else nothing is judged
            self._measure_blocks(bare)
        means, joint = None, False
        if self.settings.mean:
            means = self._train_means(rehearsal, self.split.fold)
            model, joint = self._joint(self._gate_means(model, means), means, rehearsal)
        final = self._refit_means(model, means, joint)
        if self.settings.diffusion:
            model = self._diffuse(model, rehearsal)
        calibrations = self._calibrate(model)
        frames = np.flatnonzero(self.split.calibrate)
        below = calibrate(bare, self._trials, frames) if self.settings.prior else Calibration()
        return self._refit(model, final), calibrations, below

    # --- the prior -----------------------------------------------------------------------------

    def _select(self) -> PriorSettings:
        self.progress(0, 1, "choosing the prior")
        if not self.settings.prior:
            return PriorSettings()
        chosen = Prior.select(self.record, self.calendar, self.kind, self.split.fold)
        self.log(
            f"Prior: kriging over frames {', '.join(map(str, chosen.lags))} back, shrinkage "
            f"{chosen.shrinkage}, level variance {chosen.level}."
        )
        return chosen

    def _prior(self, fold: NDArray[np.int64]) -> Prior:
        if not self.settings.prior:
            return Prior.flat(self.record, self.calendar, self.kind, fold >= 0)
        prior = Prior.fit(self.record, self.calendar, self.kind, fold, self._chosen)
        return replace(prior, point_noise=self._noise)

    def _rehearse(self, fold: NDArray[np.int64]) -> Rehearsal:
        """Let every block of `fold` be believed by a prior that was fitted without it."""
        self.progress(0, 1, "rehearsing with the prior")
        blocks = np.unique(fold[fold >= 0]) if self.settings.prior else np.zeros(0, np.int64)
        priors = [self._prior(np.where(fold == k, -1, fold)) for k in blocks]
        fit = np.where(fold >= 0, fold, len(blocks)) if len(blocks) else np.zeros_like(fold)
        return rehearse(
            self._source, [*priors, self._prior(fold)], fit,
            variants=self.settings.variants,
            segment=max(4, round(SEGMENT_DAYS * self.calendar.n_slots)),
            points=self._points, seed=self.seed,
        ).to(self.device)  # fmt: skip

    @property
    def _noise(self) -> float:
        """Relative error of points: only a field with a natural zero has one."""
        return self.settings.point_noise if self.kind == "positive" else 0.0

    @property
    def _source(self) -> Source:
        return Source(self.record, self.context, self.cells, self._noise)

    @property
    def _points(self) -> bool:
        return self.record.aggregation == "mean" and self.settings.prior

    def _skeleton(self, prior: Prior) -> Reconstructor:
        units = units_of([prior]).to(self.device)
        lattice = WindowLattice(prior.shape, self.settings.window, self.settings.overlap)
        self.architecture = Architecture(
            self.settings, lattice, self.record.factor, self.context.shape[1],
            self.calendar.n_slots, units.out_channels, STATICS + len(self.cells),
        )  # fmt: skip
        return Reconstructor(
            prior, units, self.record.aggregation, self.kind, lattice,
            self.architecture.coarse_lags, self.architecture.fine_lags, self.lesson.step,
            device=self.device,
        )  # fmt: skip

    # --- the mean layer ------------------------------------------------------------------------

    def _train_means(
        self, rehearsal: Rehearsal, fold: NDArray[np.int64],
        earlier: Means | None = None, stages: tuple[str, ...] = STAGES,
    ) -> Means:  # fmt: skip
        """Train every member without its own block; `earlier` says for how many steps.

        An earlier network stays where its stage is not among `stages`, or where the time did not
        suffice to train its successor.
        """
        found = Means([], [], {stage: [] for stage in STAGES})
        phase = "refit" if earlier else "means"
        deadlines = iter(self._parts(phase, len(stages) * self.settings.members))
        for member in range(self.settings.members):
            for stage in STAGES:
                first = getattr(earlier, stage)[member] if earlier else None
                network, steps = first, 0
                if not self.settings.pretrained:
                    network = self._new(stage, noisy=False, number=member).eval()
                elif stage in stages:
                    planned = earlier.steps[stage][member] if earlier else None
                    network, steps = self._train_mean(
                        stage, member, rehearsal, fold, planned, next(deadlines)
                    )
                    network = first if first and steps < WHOLE * (planned or 0) else network
                getattr(found, stage).append(network)
                found.steps[stage].append(steps)
        return found

    def _train_mean(
        self, stage: str, member: int, rehearsal: Rehearsal, fold: NDArray[np.int64],
        planned: int | None, until: float | None,
    ) -> tuple[nn.Module, int]:  # fmt: skip
        """Return one trained network and its steps: as `planned`, or as validation says."""
        layer: Layer = getattr(self.settings, f"{stage}_mean")
        learn = self._phase(rehearsal, self._others(fold, member), member, layer.batch)
        network = self._new(stage, noisy=False, number=member)
        loss = getattr(learn, stage)
        outcome = optimise(
            network, _loss_of(loss, network, learn),
            steps=layer.steps if planned is None else planned, rate=layer.rate,
            seed=learn.pool.seed, decay_over=layer.steps,
            check=self._check(loss, network, rehearsal) if planned is None else None,
            until=until, clock=self.clock, progress=self.progress,
            label=f"mean {stage} {member + 1} of {self.settings.members}",
        )  # fmt: skip
        self.curves.setdefault(f"{stage} mean {member}", outcome.curve)
        return network, outcome.steps

    def _gate_means(self, model: Reconstructor, means: Means) -> Reconstructor:
        """Keep each stage's mean if it gains, refinement over the completion that was kept."""
        frames = self._gate_frames()
        for stage, error in (("completion", completion_error), ("refinement", fine_error)):
            tried = replace(model, **{stage: getattr(means, stage)})
            scores = [error(candidate, self._trials, frames) for candidate in (model, tried)]
            model = tried if self._kept(f"{stage} mean", "MAE", scores) else model
        return model

    def _joint(
        self, model: Reconstructor, means: Means, rehearsal: Rehearsal
    ) -> tuple[Reconstructor, bool]:
        if not (self.settings.joint and model.completion and model.refinement):
            return model, False
        tuned = self._train_joint(means, rehearsal, self.split.fold, "joint")
        tried = replace(model, completion=tuned.completion, refinement=tuned.refinement)
        frames = self._gate_frames()
        scores = [fine_error(candidate, self._trials, frames) for candidate in (model, tried)]
        kept = self._kept("joint training", "MAE", scores)
        return (tried, True) if kept else (model, False)

    def _train_joint(
        self, means: Means, rehearsal: Rehearsal, fold: NDArray[np.int64], budget: str
    ) -> Means:
        tuned = Means([], [], means.steps)
        layer = self.settings.refinement_mean
        alone = not self.settings.pretrained  # then this phase is all the training there is
        deadlines = self._parts(budget, self.settings.members)
        for member, pair in enumerate(zip(means.completion, means.refinement, strict=True)):
            both = nn.ModuleList([copy.deepcopy(network) for network in pair])
            learn = self._phase(rehearsal, self._others(fold, member), 50 + member, JOINT_BATCH)
            optimise(
                both,
                _loss_of(learn.joint, both, learn),
                steps=self.settings.joint_steps + alone * layer.steps,
                rate=layer.rate if alone else layer.rate / 10, seed=learn.pool.seed,
                until=deadlines[member], clock=self.clock, progress=self.progress,
                label=f"joint training {member + 1} of {self.settings.members}",
            )  # fmt: skip
            tuned.completion.append(both[0])  # type: ignore[arg-type]
            tuned.refinement.append(both[1])  # type: ignore[arg-type]
        return tuned

    # --- the diffusion layer -------------------------------------------------------------------

    def _diffuse(self, model: Reconstructor, rehearsal: Rehearsal) -> Reconstructor:
        units = units_of(rehearsal.priors).to(self.device)
        left = cross_fitted(model, rehearsal.series, units, rehearsal.fit)
        if model.samples_its_mean:
            left = replace(left, series=true_past(left.series))
        rehearsal = replace(rehearsal, series=left.series)
        chain, train = self.settings.chain, np.flatnonzero(self.split.train)
        bounds = Bounds.of(left, units, torch.as_tensor(train, device=self.device))
        losses = DiffusionLoss(process_of(chain), bounds, model.coarse_lags, model.fine_lags)
        together = self.settings.joint and not self.settings.mean
        apart = self.settings.pretrained or not together
        networks = nn.ModuleList(
            self._train_diffusion(stage, losses, rehearsal, left, apart=apart) for stage in STAGES
        )
        if together:
            self._joint_diffusion(networks, losses, rehearsal, left)
        layers = {
            f"{stage}_diffusion": ResidualDiffusion(
                network, losses.process, chain.sampler, chain.steps,  # type: ignore[arg-type]
                getattr(bounds, stage), model.lattice,
                1 if stage == "completion" else self.record.factor,
            )
            for stage, network in zip(STAGES, networks, strict=True)
        }  # fmt: skip
        return self._gate_diffusion(model, layers)

    def _train_diffusion(
        self, stage: str, losses: DiffusionLoss, rehearsal: Rehearsal, left: Residuals,
        *, apart: bool,
    ) -> nn.Module:  # fmt: skip
        """Return the denoiser of one stage, trained by itself if `apart`."""
        number, layer = STAGES.index(stage), getattr(self.settings, f"{stage}_diffusion")
        network = self._new(stage, noisy=True, number=number)
        if not apart:
            return network
        learn = self._phase(rehearsal, self.split.train, 70 + number, layer.batch, left)
        loss = partial(getattr(losses, stage), noises=layer.noises)
        outcome = optimise(
            network, _loss_of(loss, network, learn), steps=layer.steps, rate=layer.rate,
            seed=learn.pool.seed, decay_in_time=True,
            check=self._check(loss, network, rehearsal, left),
            until=self._until(stage), clock=self.clock, progress=self.progress,
            label=f"diffusion {stage}",
        )  # fmt: skip
        self.curves[f"{stage} diffusion"] = outcome.curve
        return network

    def _joint_diffusion(
        self, both: nn.ModuleList, losses: DiffusionLoss, rehearsal: Rehearsal, left: Residuals
    ) -> None:
        """Tune both denoisers in a row; T-PatternNet then reads sampled completions, as in use."""
        layer, alone = self.settings.refinement_diffusion, not self.settings.pretrained
        if not alone:
            few = rehearsal.series.first(JOINT_VARIANTS)
            completed = losses.completed(both[0].eval(), few, self.seed)  # type: ignore[arg-type]
            rehearsal = replace(rehearsal, series=completed)
        learn = self._phase(rehearsal, self.split.train, 90, JOINT_BATCH, left)
        outcome = optimise(
            both, _loss_of(losses.joint, both, learn),
            steps=self.settings.joint_steps + alone * layer.steps,
            rate=layer.rate if alone else layer.rate / 10, seed=learn.pool.seed,
            decay_in_time=True,
            until=self._until("joint diffusion"), clock=self.clock, progress=self.progress,
            label="joint diffusion",
        )  # fmt: skip
        self.curves["joint diffusion"] = outcome.curve

    def _gate_diffusion(
        self, model: Reconstructor, layers: dict[str, ResidualDiffusion]
    ) -> Reconstructor:
        if model.samples_its_mean:
            return replace(model, **layers)  # type: ignore[arg-type]  # nothing stands in for it
        frames = self._gate_frames()
        # Both are judged with calibrated spreads, or the wider one would win by its width.
        model = replace(model, calibration=calibrate(model, self._trials, frames))
        blocks = blocks_of(frames, self._length)
        few = np.linspace(0, len(frames) - 1, min(len(frames), GATE_FRAMES)).astype(int)
        frames, blocks = frames[few], blocks[few]
        below = draw_error(model, self._trials[:2], frames)
        for name, layer in layers.items():
            tried = replace(model, **{name: layer})  # type: ignore[arg-type]
            tried.calibration = with_spreads_of_draws(tried, self._trials, frames)
            above = draw_error(tried, self._trials[:2], frames)
            if self._kept(name.replace("_", " "), "CRPS", [below, above], blocks):
                model, below = tried, above
        return model

    # --- the end -------------------------------------------------------------------------------

    def _calibrate(self, model: Reconstructor) -> dict[str, Calibration]:
        """Calibrate for held coarse cells and, where points may come, for those."""
        if model.samples_its_mean:
            return {"hard": Calibration(), "soft": Calibration()}
        self.progress(0, 1, "calibrating")
        frames = np.flatnonzero(self.split.calibrate)
        held = calibrate(model, self._trials, frames)
        if not self._points:
            return {"hard": held, "soft": held}
        points = trials(self._source, points=True, seed=self.seed + 7)
        return {"hard": held, "soft": calibrate(model, points, frames)}

    def _refit_means(self, model: Reconstructor, means: Means | None, joint: bool) -> Means | None:
        """Train the networks of the mean layer that were kept on validation as well."""
        stages = tuple(stage for stage in STAGES if getattr(model, stage))
        if means is None or not stages:
            return None
        everything = self.split.all_folds
        rehearsal = self._rehearse(everything)
        final = self._train_means(rehearsal, everything, means, stages)
        return self._train_joint(final, rehearsal, everything, "refit") if joint else final

    def _refit(self, model: Reconstructor, final: Means | None) -> Reconstructor:
        """Return the model with the refitted networks, and its prior refitted like them."""
        if model.samples_its_mean:
            return model
        if final is not None:
            model = replace(
                model,
                completion=final.completion if model.completion else [],
                refinement=final.refinement if model.refinement else [],
            )
        prior = self._prior(self.split.all_folds)
        return replace(model, prior=prior, units=units_of([prior]).to(self.device))

    # --- shared --------------------------------------------------------------------------------

    def _phase(
        self, rehearsal: Rehearsal, frames: NDArray[np.bool_], number: int, size: int,
        left: Residuals | None = None,
    ) -> Phase:  # fmt: skip
        pool = Pool(
            rehearsal.series, torch.as_tensor(np.flatnonzero(frames)),
            torch.arange(len(rehearsal.series.mean)), self.seed * 101 + number,
        )  # fmt: skip
        return Phase(
            pool, units_of(rehearsal.priors).to(self.device), rehearsal.priors[-1].transform,
            self.architecture.lattice, self.architecture.coarse_lags, self.architecture.fine_lags,
            size, left.belief if left else None, left.doubt if left else None,
            self.settings.through,
        )  # fmt: skip

    def _check(
        self,
        loss: Callable[[Any, Batch], Tensor],
        network: nn.Module,
        rehearsal: Rehearsal,
        left: Residuals | None = None,
    ) -> Callable[[], float]:
        pairs = CHECK_PAIRS if left is None else DIFFUSION_PAIRS
        batches = self._phase(rehearsal, self.split.gate, 99, 64, left).checks(pairs)

        def check() -> float:
            total = 0.0
            for number, batch in enumerate(batches):
                batch.generator.manual_seed(number)
                total += float(loss(network, batch))
            return total / len(batches)

        return check

    def _new(self, stage: str, *, noisy: bool, number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 7919 + 2 * number + int(noisy))
            network: nn.Module = getattr(self.architecture, stage)(noisy=noisy)
        return network.to(self.device)

    @staticmethod
    def _others(fold: NDArray[np.int64], member: int) -> NDArray[np.bool_]:
        return (fold >= 0) & (fold != member)

    def _gate_frames(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.split.gate)

    def _measure_blocks(self, bare: Reconstructor) -> None:
        """Find how long errors stay alike, which says how far apart blocks of validation are."""
        frames = np.flatnonzero(self.split.gate | self.split.calibrate)
        self._length = residual_length(bare, self._trials, frames)
        self.log(
            f"Errors stay alike for {self._length:.1f} steps; layers are judged on blocks of "
            f"{LENGTHS} times that."
        )

    def _kept(
        self, layer: str, score: str, scores: list[NDArray[np.float64]],
        blocks: NDArray[np.int64] | None = None,
    ) -> bool:  # fmt: skip
        blocks = blocks_of(self._gate_frames(), self._length) if blocks is None else blocks
        verdict = judge(layer, score, scores[0], scores[1], blocks)
        self.verdicts.append(verdict)
        self.log(verdict.sentence() + ".")
        return verdict.kept or not self.settings.gated

    def _parts(self, phase: str, number: int) -> list[float | None]:
        """Return the ends of `number` equal parts of the time that `phase` has left."""
        now, end = self.clock(), self._until(phase)
        return [None if end is None else now + (end - now) * (k + 1) / number
                for k in range(number)]  # fmt: skip

    def _until(self, phase: str) -> float | None:
        if self.max_minutes is None:
            return None
        return self._started + 60 * self.max_minutes * self._shares()[phase]

    def _shares(self) -> dict[str, float]:
        """Return the shares of the time at whose end each phase stops."""
        if self.settings.mean:
            return BUDGET if self.settings.diffusion else WITHOUT_DIFFUSION
        if self.settings.joint:
            return DIFFUSION_ALONE
        last = DIFFUSION_ALONE["refinement"]
        return {stage: share / last for stage, share in DIFFUSION_ALONE.items()}


def _loss_of(
    loss: Callable[[Any, Batch], Tensor], network: nn.Module, learn: Phase
) -> Callable[[int], Tensor]:
    return lambda step: loss(network, learn.batch(step))

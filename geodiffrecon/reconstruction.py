"""From observed coarse maps to fine means, predictive distributions and draws."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .assembly import Observations, assemble
from .calibration import Calibration, CountPredictive, GammaPredictive, GaussianPredictive
from .chance import COMPLETION_NOISE, REFINEMENT_NOISE, ROUNDING, Chance
from .conditioning import Sites, reading_errors
from .consistency import match, whole_numbers
from .noise import calendar_numbers
from .progress import Progress, silent
from .scaling import censored_centre
from .stages import ResidualDiffusion, mean_completion, mean_refinement
from .units import ShareUnits
from .windows import repeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from .calibration import Predictive
    from .networks.completion import Completion
    from .networks.refinement import Refinement
    from .priors.prior import Prior
    from .samplers import StepCallback
    from .series import FineCase, Series
    from .steps import TimeStep
    from .tiling import WindowLattice
    from .units import OffsetUnits

    Array = NDArray[np.float64]

CHUNK_CELLS = 2_000_000  # fine cells x draws that are in memory at once


@dataclass(frozen=True)
class Belief:
    """Completed coarse maps: mean and spread of the anomalies, and the mean in raw units.

    Parameters
    ----------
    mean, spread : array (T, I, J)
        Of the standardised anomalies.
    raw : array (T, I, J)
        Conditional mean in raw units; the observation itself where it is held hard.
    fixed : array (T, I, J) of bool
        Cells whose value is held.
    sites : Sites, optional
        Points whose fine cells are known, which refinement still has to meet.
    """

    mean: Array
    spread: Array
    raw: Array
    fixed: NDArray[np.bool_]
    sites: Sites | None = None


@dataclass
class Reconstructor:
    """All layers of a model, whichever of them there are.

    Parameters
    ----------
    prior : Prior
        Always there.
    units : ShareUnits or OffsetUnits
        Of the fine maps.
    aggregation, kind : str
        Of the variable.
    lattice : WindowLattice
        Windows of the coarse grid.
    coarse_lags, fine_lags : tuple of int
        Frames back that the networks read, oldest first.
    step : TimeStep
        Of the maps; draws are addressed by its numbers.
    completion, refinement : list
        Networks of the mean layer; empty where it was not kept.
    completion_diffusion, refinement_diffusion : ResidualDiffusion, optional
        Diffusion layer; the Gaussian posterior and multinomial sampling stand in for it.
    calibration : Calibration
        Of the spreads and levels.
    """

    prior: Prior
    units: ShareUnits | OffsetUnits
    aggregation: str
    kind: str
    lattice: WindowLattice
    coarse_lags: tuple[int, ...]
    fine_lags: tuple[int, ...]
    step: TimeStep
    completion: list[Completion] = field(default_factory=list)
    refinement: list[Refinement] = field(default_factory=list)
    completion_diffusion: ResidualDiffusion | None = None
    refinement_diffusion: ResidualDiffusion | None = None
    calibration: Calibration = field(default_factory=Calibration)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def history(self) -> int:
        """Frames before the current one that can change its map."""
        kriging = max(self.prior.completion.lags) if self.prior.completion else 0
        return kriging + max(self.coarse_lags) + max(self.fine_lags)

    def series(self, observations: Observations, *, hard: bool) -> Series:
        """Return the observations and the prior's belief as tensors, one variant."""
        anomalies = self.prior.anomalies(observations.coarse, observations.times)
        error = None if hard else self.observation_error(observations)
        mean, spread = self.prior.complete(anomalies, error=error)
        if hard and self.prior.completion is not None:
            seen = np.isfinite(anomalies)
            mean, spread = np.where(seen, anomalies, mean), np.where(seen, 0.0, spread)
        error = np.zeros_like(mean) if error is None else error
        return assemble(
            self.prior, observations, anomalies[None], error[None], mean[None], spread[None]
        ).to(self.device)

    def observation_error(self, observations: Observations) -> Array:
        """Return the variance (T, I, J) of point observations about their cell's anomaly."""
        n_obs = observations.n_obs
        count = np.ones(observations.coarse.shape, int) if n_obs is None else n_obs
        return self.prior.point_error(observations.coarse, count)

    @torch.no_grad()
    def complete(
        self, series: Series, observations: Observations, *, hard: bool, progress: Progress = silent
    ) -> tuple[Series, Belief]:
        """Return the completed series and the belief about every frame of it."""
        frames = torch.arange(series.values.shape[1], device=self.device)
        means, spreads = [], []
        for part in frames.split(self._chunk(1)):
            case = series.coarse_case(torch.zeros_like(part), part, self.coarse_lags)
            case = mean_completion(self.completion, case, self.lattice)
            means.append(case.mean)
            spreads.append(case.spread)
            progress(int(part[-1]) + 1, len(frames), "completing coarse maps")
        belief = self._belief(torch.cat(means), torch.cat(spreads), series, observations, hard=hard)
        completed = torch.as_tensor(belief.mean, dtype=torch.float32, device=self.device)
        return replace(series, completed=completed[None]), belief

    @property
    def samples_its_mean(self) -> bool:
        """Whether there is no mean but that of draws (the `paper` preset)."""
        return self.prior.completion is None and not self.refinement

    @torch.no_grad()
    def means(
        self, series: Series, belief: Belief, frames: NDArray[np.int64], *, consistent: bool = True
    ) -> tuple[Array, Predictive]:
        """Return conditional mean (F, N I, N J) in raw units and the predictive distribution.

        Means pool to the completed coarse ones if `consistent`.
        """
        pieces = np.array_split(frames, max(1, -(-len(frames) // self._chunk(1))))
        parts = [self._mean_part(series, belief, part, consistent) for part in pieces]
        raw, centre, spread = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if not isinstance(self.units, ShareUnits):
            return raw, GaussianPredictive(centre, spread, self.units.transform)
        if self.kind == "count":
            return raw, CountPredictive(centre, spread**2)
        return raw, GammaPredictive(centre, spread**2)

    @torch.no_grad()
    def draws(
        self,
        series: Series,
        belief: Belief,
        times: NDArray[np.datetime64],
        frames: NDArray[np.int64],
        draws: range,
        seed: int,
        *,
        steps: int | None = None,
        consistent: bool = True,
        progress: Progress = silent,
    ) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """Yield frames (f,) and their draws (K, f, N I, N J), a few frames at a time.

        Draw k of a frame depends on seed, k and the frame's time only.
        """
        chance = self._chance(times, seed, draws)
        parts = np.array_split(frames, max(1, -(-len(frames) // self._chunk(len(draws)))))
        ahead = self._past_frames(frames)
        total = len(parts) * (1 + self._calls(steps)) + len(ahead) * self._calls(steps, fine=False)
        done = itertools.count(1)

        def tell(*_: object) -> None:
            progress(next(done), total, "drawing fine maps")

        if ahead:
            series = self._with_drawn_past(series, belief, ahead, chance, steps, tell)
        for part in parts:
            if ahead:
                anomaly = _numpy(series.completed[:, torch.as_tensor(part, device=self.device)])
            else:
                anomaly = self._coarse_anomalies(series, belief, part, chance, steps, tell)
            coarse = self._coarse_raw(anomaly, series, belief, part, chance)
            fine = self._fine_draws(series, belief, coarse, anomaly, part, chance, steps, tell)
            tell()
            yield part, self._matched(fine, _free(coarse, belief, part)) if consistent else fine

    @torch.no_grad()
    def residuals(
        self,
        series: Series,
        belief: Belief,
        times: NDArray[np.datetime64],
        frames: NDArray[np.int64],
        draws: range,
        seed: int,
    ) -> tuple[Array, Array]:
        """Return drawn residuals of both stages in units of their spreads, uncalibrated.

        Those of completion are (K, F, I, J), those of refinement (K, F, N I, N J).
        """
        chance = self._chance(times, seed, draws)
        coarse = self._coarse_residuals(series, belief, frames, chance, None, _untold)
        anomaly = belief.mean[frames] + self._widths[0] * coarse * belief.spread[frames]
        raw = self._coarse_raw(anomaly, series, belief, frames, chance)
        case = self._drawn_case(series, raw, anomaly, frames)
        fine = self._fine_residuals(case, frames, chance, None, _untold)
        shape = (len(frames), len(draws), *case.belief.shape[1:])
        return coarse, _numpy(fine).reshape(shape).swapaxes(0, 1)

    def _chance(self, times: NDArray[np.datetime64], seed: int, draws: range) -> Chance:
        rows, columns = self.prior.shape
        fine_shape = (rows * self.units.factor, columns * self.units.factor)
        return Chance(
            ((rows, columns), fine_shape),
            (self.calibration.rho_coarse, self.calibration.rho_fine),
            seed, calendar_numbers(times, self.step), draws,
        )  # fmt: skip

    def _past_frames(self, frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return the frames whose completions T-PatternNet reads of each draw, in parts.

        Eq 26 stacks completed maps. Where there is a belief its mean completes them; a model that
        has no mean but that of draws reads the completions of the same draw.
        """
        layer = self.refinement_diffusion
        if not self.samples_its_mean or layer is None or layer.network.history is None:
            return []
        wanted = np.unique(frames[:, None] - np.array(self.fine_lags)[None])
        wanted = wanted[wanted >= 0]
        size = self._chunk(1) * self.units.factor**2
        return list(np.array_split(wanted, max(1, -(-len(wanted) // size))))

    def _with_drawn_past(
        self,
        series: Series,
        belief: Belief,
        parts: list[NDArray[np.int64]],
        chance: Chance,
        steps: int | None,
        tell: StepCallback,
    ) -> Series:
        """Return the series with a completed past (K, T, I, J) for each draw."""
        completed = np.zeros((len(chance.draws), *belief.mean.shape), np.float32)
        for part in parts:
            completed[:, part] = self._coarse_anomalies(series, belief, part, chance, steps, tell)
        return replace(series, completed=torch.as_tensor(completed, device=self.device))

    def collect(
        self,
        series: Series,
        belief: Belief,
        times: NDArray[np.datetime64],
        frames: NDArray[np.int64],
        draws: range,
        seed: int,
        *,
        steps: int | None = None,
        consistent: bool = True,
        progress: Progress = silent,
    ) -> Array:
        """Return all draws (K, F, N I, N J) of `frames`."""
        found = [
            fine for _, fine in self.draws(
                series, belief, times, frames, draws, seed, steps=steps, consistent=consistent,
                progress=progress,
            )
        ]  # fmt: skip
        return np.concatenate(found, axis=1)

    def _belief(
        self,
        mean: Tensor,
        spread: Tensor,
        series: Series,
        observations: Observations,
        *,
        hard: bool,
    ) -> Belief:
        seen = np.isfinite(observations.coarse)
        fixed = seen if hard else np.zeros_like(seen)
        observed = self.prior.anomalies(observations.coarse, observations.times)
        anomaly = np.where(fixed, observed, _numpy(mean))
        width = np.where(fixed, 0.0, _numpy(spread))
        z = self.prior.centre(observations.times) + self.prior.spread * anomaly
        # as draws are widened, so that the mean is theirs
        doubt = self.calibration.coarse * width
        raw = self.prior.transform.mean(z, (self.prior.spread * doubt) ** 2)
        raw = raw if self.kind == "real" else np.maximum(raw, 0.0)
        raw = np.where(fixed, observations.coarse, raw)
        sites = Sites.of(
            self.prior, None if hard else observations.readings,
            reading=_numpy(series.values[0]), error=_numpy(series.error[0]),
            mean=_numpy(series.mean[0]), spread=_numpy(series.spread[0]),
        )  # fmt: skip
        return Belief(anomaly, width, raw, fixed, sites)

    def _mean_part(
        self, series: Series, belief: Belief, part: NDArray[np.int64], consistent: bool
    ) -> tuple[Array, Array, Array]:
        case = self._fine_case(
            series, part, belief.raw[part], belief.mean[part], belief.spread[part]
        )
        case = mean_refinement(self.refinement, case, self.units, self.lattice)
        location, factor = _numpy(self.units.location(case)), self.units.factor
        scale = self.calibration.fine * _numpy(self.units.scale(case))
        width = self.calibration.coarse * belief.spread[part] * self.prior.spread
        if isinstance(self.units, ShareUnits):
            z = _numpy(series.centre)[part] + self.prior.spread * belief.mean[part]
            variance = repeat(self.prior.transform.variance(z, width**2), factor)
            share = _numpy(case.belief)
            return location, location, np.sqrt(scale**2 + share**2 * variance)
        spread = np.sqrt(scale**2 + repeat(width, factor) ** 2)
        if belief.sites is not None:
            doubt = self.calibration.coarse * belief.spread[part]
            location, spread = belief.sites.condition(part, location, spread, scale, doubt)
        raw = self.units.transform.mean(location, spread**2)
        if consistent:
            raw = self._pooled(raw, _free(belief.raw[part], belief, part))
        return raw, location, spread

    def _fine_case(
        self, series: Series, part: NDArray[np.int64], raw: Array, anomaly: Array, spread: Array
    ) -> FineCase:
        repeats = len(raw) // len(part)
        frame = torch.as_tensor(part, device=self.device)
        tensors = [
            torch.as_tensor(array, dtype=torch.float32, device=self.device)
            for array in (raw, anomaly, spread)
        ]
        frame = frame.repeat_interleave(repeats)
        # draws follow each other within a frame; each reads its own past where there are several
        variant = torch.arange(repeats, device=self.device).repeat(len(part))
        case = series.fine_case(
            variant % len(series.completed), frame, self.fine_lags,
            coarse=tensors[0], anomaly=tensors[1], spread=tensors[2],
        )  # fmt: skip
        z = series.centre[frame] + series.scale * case.anomaly
        return self.units.believe(case, z, series.calendar[frame])

    def _coarse_anomalies(
        self,
        series: Series,
        belief: Belief,
        part: NDArray[np.int64],
        chance: Chance,
        steps: int | None,
        tell: StepCallback,
    ) -> Array:
        """Return drawn anomalies (K, f, I, J)."""
        residual = self._coarse_residuals(series, belief, part, chance, steps, tell)
        return np.asarray(belief.mean[part] + self._widths[0] * residual * belief.spread[part])

    def _coarse_residuals(
        self,
        series: Series,
        belief: Belief,
        part: NDArray[np.int64],
        chance: Chance,
        steps: int | None,
        tell: StepCallback,
    ) -> Array:
        """Return drawn residuals of completion (K, f, I, J) in units of the spread."""
        if self.completion_diffusion is None:
            return self._posterior_noise(series, part, chance)
        frame = torch.as_tensor(part, device=self.device)
        case = series.coarse_case(torch.zeros_like(frame), frame, self.coarse_lags)
        case = mean_completion(self.completion, case, self.lattice)
        start = chance.fields(COMPLETION_NOISE, part)  # (f, K, I, J)
        drawn = self.completion_diffusion.draw(
            case.repeat(len(chance.draws)), self._flat(start), history=case, steps=steps,
            fresh=chance.fresh(COMPLETION_NOISE, part, self.device), callback=tell,
        )  # fmt: skip
        return _numpy(drawn).reshape(start.shape).swapaxes(0, 1)  # (K, f, I, J)

    @property
    def _widths(self) -> tuple[float, float]:
        """Factors of drawn residuals of both stages."""
        found = self.calibration
        coarse = found.coarse if self.completion_diffusion is None else found.drawn_coarse
        fine = found.fine if self.refinement_diffusion is None else found.drawn_fine
        return coarse, fine

    def _posterior_noise(self, series: Series, part: NDArray[np.int64], chance: Chance) -> Array:
        """Return noise (K, f, I, J) in units of the spread."""
        kriging = self.prior.completion
        if kriging is None:  # the flat prior knows of no correlation between cells
            white = chance.fields(COMPLETION_NOISE, part)  # (f, K, I, J)
            return np.asarray(white.swapaxes(0, 1), dtype=np.float64)
        start = max(0, int(part[0]) - max(kriging.lags))
        window = slice(start, int(part[-1]) + 1)
        error = _numpy(series.error[0, window]) ** 2
        return self.prior.posterior_noise(
            series.observed[0, window].cpu().numpy(), chance.steps[window],
            chance.white(COMPLETION_NOISE, kriging.white_shape, kriging.kernel.rho),
            chance.draws, error=error if error.any() else None, frames=part - start,
        )  # fmt: skip

    def _coarse_raw(
        self,
        anomaly: Array,
        series: Series,
        belief: Belief,
        part: NDArray[np.int64],
        chance: Chance,
    ) -> Array:
        z = _numpy(series.centre)[part] + self.prior.spread * anomaly
        raw = self.prior.transform.inverse(z)
        if self.kind != "real":
            raw = np.maximum(raw, 0.0)
        if self.kind == "count":
            raw = np.floor(raw + chance.uniform(ROUNDING, part, raw.shape[2:]))
        return np.where(belief.fixed[part], belief.raw[part], raw)

    def _fine_draws(
        self,
        series: Series,
        belief: Belief,
        coarse: Array,
        anomaly: Array,
        part: NDArray[np.int64],
        chance: Chance,
        steps: int | None,
        tell: StepCallback,
    ) -> Array:
        """Return fine draws (K, f, N I, N J) of drawn coarse maps (K, f, I, J)."""
        case = self._drawn_case(series, coarse, anomaly, part)
        location, scale = self.units.location(case), self.units.scale(case)
        shape = (len(part), len(chance.draws), *location.shape[1:])
        if self.refinement_diffusion is None and isinstance(self.units, ShareUnits):
            if self.kind == "count":
                shares = _numpy(case.belief).reshape(shape)
                return chance.allocate(coarse, shares.swapaxes(0, 1), part, self.units.factor)
        residual = self._fine_residuals(case, part, chance, steps, tell)
        scale = self._widths[1] * scale
        if self.refinement_diffusion is None and isinstance(self.units, ShareUnits):
            centre = censored_centre(_numpy(location), _numpy(scale))
            location = torch.as_tensor(centre, dtype=scale.dtype, device=scale.device)
        field = (location + scale * residual).reshape(shape)
        if belief.sites is not None:
            field = self._at_sites(belief, field, scale.reshape(shape), anomaly, part, chance)
        return _numpy(self.units.decode(field)).swapaxes(0, 1)

    def _drawn_case(
        self, series: Series, coarse: Array, anomaly: Array, part: NDArray[np.int64]
    ) -> FineCase:
        """Return the refinement problems of drawn coarse maps (K, f, I, J), draws within frames."""
        flat = [array.swapaxes(0, 1).reshape(-1, *array.shape[2:]) for array in (coarse, anomaly)]
        case = self._fine_case(series, part, flat[0], flat[1], np.zeros_like(flat[1]))
        return mean_refinement(self.refinement, case, self.units, self.lattice)

    def _fine_residuals(
        self,
        case: FineCase,
        part: NDArray[np.int64],
        chance: Chance,
        steps: int | None,
        tell: StepCallback,
    ) -> Tensor:
        """Return drawn residuals of refinement (f K, N I, N J) in units of the spread."""
        start = chance.fields(REFINEMENT_NOISE, part)
        if self.refinement_diffusion is None:
            return self._flat(self.prior.coloured(start).astype(np.float32))
        # All draws of a frame share the encoding of its past unless each has a past of its own.
        shared = None if self._past_frames(part) else case.every(len(chance.draws))
        return self.refinement_diffusion.draw(
            case, self._flat(start), history=shared, steps=steps,
            fresh=chance.fresh(REFINEMENT_NOISE, part, self.device), callback=tell,
        )  # fmt: skip

    def _at_sites(
        self,
        belief: Belief,
        field: Tensor,
        scale: Tensor,
        anomaly: Array,
        part: NDArray[np.int64],
        chance: Chance,
    ) -> Tensor:
        """Return draws (f, K, N I, N J) of the field, given the points at their fine cells."""
        assert belief.sites is not None
        excess = (anomaly - belief.mean[part]).swapaxes(0, 1)
        doubt = self.calibration.coarse * belief.spread[part]
        errors = reading_errors(
            chance.white(REFINEMENT_NOISE, tuple(field.shape[2:])), chance.steps[part], chance.draws
        )
        drawn = belief.sites.condition_draws(
            part, _numpy(field), _numpy(scale), doubt, excess, errors
        )
        return torch.as_tensor(drawn, dtype=field.dtype, device=field.device)

    def _matched(self, fine: Array, coarse: Array) -> Array:
        """Return draws (K, f, N I, N J) that pool to their coarse draws (K, f, I, J)."""
        flat = fine.reshape(-1, *fine.shape[2:]), coarse.reshape(-1, *coarse.shape[2:])
        if self.kind == "count" and self.aggregation == "sum":
            whole = np.all(flat[1] == np.round(flat[1]))
            matched = whole_numbers(*flat, self.units.factor) if whole else self._pooled(*flat)
        else:
            matched = self._pooled(*flat)
        return matched.reshape(fine.shape)

    def _pooled(self, fine: Array, coarse: Array) -> Array:
        return match(fine, coarse, self.units.factor, self.aggregation, signed=self.kind == "real")

    def _flat(self, noise: NDArray[np.float32]) -> Tensor:
        return torch.as_tensor(noise.reshape(-1, *noise.shape[2:]), device=self.device)

    def _calls(self, steps: int | None, *, fine: bool = True) -> int:
        """Return how often networks are called for each draw, of both stages or completion."""
        stages = [self.completion_diffusion, self.refinement_diffusion][: 1 + fine]
        return sum(steps or stage.steps for stage in stages if stage is not None)

    def _chunk(self, draws: int) -> int:
        fine = int(np.prod(self.prior.shape)) * self.units.factor**2
        return max(1, CHUNK_CELLS // (fine * draws))


def _free(coarse: Array, belief: Belief, part: NDArray[np.int64]) -> Array:
    """Return coarse maps (..., f, I, J), NaN where fine cells know more of them than completion."""
    if belief.sites is None:
        return coarse
    return np.where(belief.sites.held(part), np.nan, coarse)


def _untold(*_: object) -> None:
    """Take the news of a step that nobody waits for."""


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()

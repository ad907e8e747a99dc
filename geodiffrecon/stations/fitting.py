"""Fitting a station model: layer on layer, each judged on hidden stations of later steps."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..networks.points import PointDenoiser, PointFormer
from ..progress import Progress, silent
from ..steps import TimeStep
from ..training import optimise
from .anomalies import Readings, UsualSteps
from .climate import Climate, PlaceEffect
from .evidence import StationSplit, per_frame, verdict
from .forecast import fit_shape, standard_quantile
from .kernel_fitting import KernelFit
from .layers import StationLayers, conditions, diffusion_process, normal_scores
from .lesson import Hidden
from .memory import ErrorMemory
from .recent import RecentErrors, mean_square
from .spread import LocalSpread, crps_of, exact_crps
from .surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from ..calendar import Calendar
    from ..gate import Verdict
    from .forecast import Power
    from .kriging import StationKriging
    from .network import StationNetwork
    from .settings import StationSettings
    from .sky import Sky

    Array = NDArray[np.float64]
    Frames = NDArray[np.int64]

JUDGED_FRAMES = 400  # frames that decide between covariances
DIFFUSION_DRAWS = 16
DIFFUSION_RATE = 2e-3
CHECK_ROWS = 20_000
LEAST_RECENT = 28  # steps whose errors recalibrate, however long they are
DAY_NS = 86_400_000_000_000


class Usual(NamedTuple):
    """What stations usually read, and the readings less that."""

    climate: Climate
    place: PlaceEffect
    readings: Readings


@dataclass
class StationFitting:
    """One fit: everything that it learns from, and what it decided.

    Parameters
    ----------
    network : StationNetwork
        Readings before the end of training.
    km : array (S, 2)
        Positions of the stations.
    terrain : array (S, C)
        Standardised covariates of their places.
    sky : Sky
        Of every step.
    calendar : Calendar
        Cycles seen in full.
    power : Power
        Between raw and transformed units.
    settings : StationSettings
        Sizes and switches.
    seed : int
        Of everything random.
    pretrained : (StationLayers, Hidden), optional
        Hidden readings of a complete history, learned from first.
    deadline : float, optional
        Of `clock`; training stops then.
    """

    network: StationNetwork
    km: Array
    terrain: Array
    sky: Sky
    calendar: Calendar
    power: Power
    settings: StationSettings
    seed: int
    pretrained: tuple[StationLayers, Hidden] | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    progress: Progress = silent
    log: Callable[[str], None] = lambda sentence: None
    verdicts: list[Verdict] = field(default_factory=list)

    def run(self) -> StationLayers:
        """Fit, judge, fit again to all frames, and calibrate on what was held back."""
        self.split = StationSplit.of(self.network.values, self.network.step_ns)
        layers, readings = self._prior(self.split.train)
        hidden = self._hidden(layers, readings, tokens=self.settings.network)
        train = hidden.only(hidden.within(self.split.train))
        gate = hidden.only(hidden.within(self.split.gate))
        layers = self._local(layers, train, gate)
        members = self._members(layers, train)
        crossed = self._crossed(layers, hidden, members)
        if members and not self._kept(
            "network", layers, gate, crossed[hidden.within(self.split.gate)]
        ):
            members, crossed = [], self._crossed(layers, hidden, [])
        layers = self._calibrated(layers, readings, hidden, crossed)
        layers = replace(layers, members=members)
        denoiser = self._denoiser(layers, train, crossed[hidden.within(self.split.train)])
        if denoiser is not None and not self._draws_better(
            replace(layers, denoiser=denoiser), gate, crossed[hidden.within(self.split.gate)]
        ):
            denoiser = None
        return self._again(layers, members, denoiser)

    # --- the layers ----------------------------------------------------------------------------

    def _prior(self, frames: Frames) -> tuple[StationLayers, Readings]:
        """Fit climate, effect of places and covariance to `frames`; choose what is read."""
        usual = self._usual(frames)
        readings = usual.readings
        fit = KernelFit(
            self.power, self.settings.kernel_steps, self.settings.kernel_frames, self.seed
        )
        alone = fit(readings, frames, (0,), wind=False, progress=self.progress)
        judged = self.split.gate
        if len(judged) > JUDGED_FRAMES:
            judged = judged[np.linspace(0, len(judged) - 1, JUDGED_FRAMES).astype(int)]
        best, score = alone, fit.score(alone, readings, judged)
        options = {f"readings of {len(self.settings.lags)} steps": False}
        if readings.sky.way is not None:
            options["readings of the past drift with the wind"] = True
        for name, wind in options.items() if max(self.settings.lags) > 0 else ():
            start = best.kernel
            found = fit(
                readings, frames, self.settings.lags, start=start, wind=wind, progress=self.progress
            )
            trial = fit.score(found, readings, judged)
            if self._judged(name, score, trial):
                best, score = found, trial
        return self._layers(usual, best), readings

    def _usual(self, frames: Frames) -> Usual:
        """Fit what stations usually read to `frames`."""
        z = self.power.forward(self.network.values)
        climate = Climate.fit(self.calendar, self.network.times[frames], z[frames])
        anomalies = z - climate.at(self.network.times)[:, None]
        places = np.concatenate([self.km, self.terrain], axis=1)
        place = PlaceEffect.none(places.shape[1])
        if self.settings.place:
            place = PlaceEffect.fit(places, anomalies[frames])
        lasting = place.at(places)
        centre = climate.at(self.network.times)
        unseen = place.hidden(places, anomalies[frames])
        readings = Readings(
            anomalies - lasting, centre, self.km, self.sky, self.terrain, lasting, unseen
        )
        return Usual(climate, place, readings)

    def _layers(self, usual: Usual, kriging: StationKriging) -> StationLayers:
        around = Surroundings.of(kriging, usual.readings, self.settings.neighbours)
        step = TimeStep.parse(self.network.freq, tz=self.network.calendar_tz)
        return StationLayers(
            self.power, usual.climate, usual.place, around, step,
            usual=UsualSteps.fit(usual.readings, self.split.all, around), reach_km=self._reach(),
            waves=self.settings.fields, chain=self.settings.chain,
        )  # fmt: skip

    def _hidden(self, layers: StationLayers, readings: Readings, *, tokens: bool) -> Hidden:
        parts = (self.split.train, self.split.gate, self.split.calibrate)
        return Hidden.of(
            layers.around, readings, self.split.all, self.power, most=self.settings.rows,
            tokens=tokens, among=parts, progress=self.progress,
        )  # fmt: skip

    def _local(self, layers: StationLayers, train: Hidden, gate: Hidden) -> StationLayers:
        found = LocalSpread.fit(train.cases, train.truth, self.power, self.seed)
        using = replace(layers, local=found)
        plain, local = (self._crps(part, gate, []) for part in (layers, using))
        return using if self._judged("local spread", plain, local) else layers

    def _members(self, layers: StationLayers, train: Hidden) -> list[PointFormer]:
        if not self.settings.network:
            return []
        return [self._member(layers, train, group) for group in range(self.settings.groups)]

    def _member(
        self, layers: StationLayers, train: Hidden, group: int, start: PointFormer | None = None
    ) -> PointFormer:
        """Train one member, on all stations but those of `group`."""
        rows = self._groups()[train.station] != group
        own = train.only(rows)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed * 1000 + group)
            network = copy.deepcopy(start) if start is not None else PointFormer(
                tokens=own.cases.tokens.shape[2], queries=own.cases.query.shape[1],
                width=self.settings.width, heads=self.settings.heads, dropout=self.settings.dropout,
            )  # fmt: skip
        if self.pretrained is not None and start is None:
            self._optimise(network, *self.pretrained, f"pre-training {group + 1}", group)
        self._optimise(network, layers, own, f"network {group + 1}", group)
        return network

    def _optimise(
        self, network: PointFormer, layers: StationLayers, own: Hidden, label: str, group: int
    ) -> None:
        scale = (own.cases.spread * layers.local.factor(own.cases.query)).float()
        mean, truth = own.cases.mean.float(), own.truth.float()
        usual = float(truth.std().clamp_min(1e-9))
        generator = torch.Generator().manual_seed(self.seed * 1000 + group)

        def loss(step: int) -> Tensor:
            rows = torch.randint(len(truth), (self.settings.batch,), generator=generator)
            part = own.cases.only(rows)
            shift, log_factor = network(part.tokens, part.seen, part.query)
            spread = scale[rows] * torch.exp(log_factor)
            location = mean[rows] + scale[rows] * shift
            return crps_of(truth[rows], location, spread, self.power).mean() / usual

        optimise(
            network, loss, steps=self.settings.steps, rate=self.settings.rate, seed=self.seed,
            until=self.deadline, clock=self.clock, progress=self.progress, label=label,
        )  # fmt: skip

    def _denoiser(
        self, layers: StationLayers, train: Hidden, moments: Array
    ) -> PointDenoiser | None:
        """Train diffusion of the standardised residuals of rows whose truth is known."""
        if not self.settings.diffusion:
            return None
        z = self.power.forward(train.truth.numpy())
        residual = np.clip((z - moments[:, 0]) / moments[:, 1], -8, 8)
        clean = torch.as_tensor(residual[:, None], dtype=torch.float32)
        known = conditions(layers.members, train.cases)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = PointDenoiser(conditions=known.shape[1])
        process, generator = diffusion_process(), torch.Generator().manual_seed(self.seed)

        def loss(step: int) -> Tensor:
            rows = torch.randint(len(clean), (self.settings.batch,), generator=generator)
            return process.loss(
                lambda x, level: network(x, level, known[rows]), clean[rows], generator=generator
            )

        optimise(
            network, loss, steps=2 * self.settings.steps, rate=DIFFUSION_RATE, seed=self.seed,
            until=self.deadline, clock=self.clock, progress=self.progress, label="diffusion",
        )  # fmt: skip
        return network

    # --- evidence ------------------------------------------------------------------------------

    def _judged(self, layer: str, without: Array, using: Array) -> bool:
        found = verdict(layer, without, using, self.split.block)
        self.verdicts.append(found)
        self.log(found.sentence())
        return found.kept or not self.settings.gated

    def _crps(self, layers: StationLayers, hidden: Hidden, members: list[PointFormer]) -> Array:
        """Return the CRPS per frame of the gate."""
        location, scale = layers.moments(hidden.cases, members)
        return self._gate_scores(hidden, np.stack([location, scale], axis=1))

    def _gate_scores(self, hidden: Hidden, moments: Array, shape: tuple[float, ...] = ()) -> Array:
        location, scale = torch.as_tensor(moments).unbind(1)
        scores = exact_crps(hidden.truth, location, scale, self.power, shape)
        return per_frame(scores.numpy(), hidden.frame, self.split.gate)

    def _kept(self, name: str, layers: StationLayers, gate: Hidden, crossed: Array) -> bool:
        without = self._crps(layers, gate, [])
        return self._judged(name, without, self._gate_scores(gate, crossed))

    def _crossed(self, layers: StationLayers, hidden: Hidden, members: list[PointFormer]) -> Array:
        """Return location and scale (n, 2), each row by the member that never saw its station."""
        found = np.stack(layers.moments(hidden.cases, []), axis=1)
        for group, member in enumerate(members):
            rows = self._groups()[hidden.station] == group
            part = hidden.only(rows)
            found[rows] = np.stack(layers.moments(part.cases, [member]), axis=1)
        return found

    def _draws_better(self, layers: StationLayers, gate: Hidden, crossed: Array) -> bool:
        """Judge draws of diffusion against draws of the calibrated distribution."""
        rng = np.random.default_rng(self.seed)
        rows = np.zeros(len(gate.truth), bool)
        rows[rng.permutation(len(rows))[:CHECK_ROWS]] = True
        part, moments = gate.only(rows), crossed[rows]
        # the same levels for both, evenly spread, so that only the shapes are compared
        level = (np.arange(DIFFUSION_DRAWS) + 0.5) / DIFFUSION_DRAWS
        standard = np.repeat(standard_quantile(level, ())[:, None], len(part.truth), axis=1)
        drawn = layers.denoised(standard.astype(np.float32), part.cases)
        plain = np.repeat(standard_quantile(level, layers.shape)[:, None], len(part.truth), axis=1)
        scores = []
        for residual in (plain, drawn):
            value = self.power.inverse(moments[:, 0] + moments[:, 1] * np.sort(residual, axis=0))
            error = part.truth.numpy() - value
            pinball = np.maximum(level[:, None] * error, (level[:, None] - 1) * error)
            scores.append(per_frame(2 * pinball.mean(axis=0), part.frame, self.split.gate))
        return self._judged("diffusion", scores[0], scores[1])

    # --- the end -------------------------------------------------------------------------------

    def _calibrated(
        self, layers: StationLayers, readings: Readings, hidden: Hidden, crossed: Array
    ) -> StationLayers:
        """Fit shape and memory of the errors of hidden stations in the calibration frames."""
        rows = hidden.within(self.split.calibrate)
        lately = self._errors(layers, readings, hidden)
        layers = self._recalibrating(layers, lately[0][rows])
        factor = self._factors(layers, hidden, lately)[rows]
        z = self.power.forward(hidden.truth.numpy()[rows])
        error = (z - crossed[rows, 0]) / (crossed[rows, 1] * factor)
        shape = fit_shape(error)
        table = self._table(hidden.only(rows), normal_scores(error, shape))
        first, last = self.split.calibrate[[0, -1]]
        return replace(layers, shape=shape, memory=ErrorMemory.fit(table[first : last + 1]))

    def _recalibrating(self, layers: StationLayers, errors: Array) -> StationLayers:
        days = self.settings.recent_days
        if not days:
            return layers
        steps = max(LEAST_RECENT, round(days / (self.network.step_ns / DAY_NS)))
        return replace(layers, recent=RecentErrors(steps, mean_square(errors)))

    def _errors(
        self, layers: StationLayers, readings: Readings, hidden: Hidden
    ) -> tuple[Array, Array]:
        """Return standardised errors (n,) of kriging with its local spread, and log spreads.

        As maps will see their own stations, whose readings are in the effect of their places.
        """
        location, scale = layers.bare().moments(hidden.cases)
        inside = readings.lasting - readings.expected
        z = self.power.forward(hidden.truth.numpy())
        return (z - location - inside[hidden.station]) / scale, np.log(scale)

    def _factors(self, layers: StationLayers, hidden: Hidden, lately: tuple[Array, Array]) -> Array:
        """Return the factor (n,) of recent errors for every row, its own station left out."""
        if not layers.recent.steps:
            return np.ones(len(hidden.truth))
        errors, size = (self._table(hidden, part) for part in lately)
        before = np.full((layers.recent.steps - 1, errors.shape[1]), np.nan)
        found = layers.recent.factor(
            np.concatenate([before, errors]), np.concatenate([before, size]),
            np.nan_to_num(size), hide_self=True,
        )  # fmt: skip
        return found[hidden.frame, hidden.station]

    def _table(self, hidden: Hidden, values: Array) -> Array:
        """Return `values` (n,) of rows as a table (T, S); NaN where there is no row."""
        table = np.full((len(self.network.times), len(self.network.names)), np.nan)
        table[hidden.frame, hidden.station] = values
        return table

    def _again(
        self, layers: StationLayers, members: list[PointFormer], denoiser: PointDenoiser | None
    ) -> StationLayers:
        """Fit what was kept to all frames; the calibration stays that of the first time."""
        frames = self.split.all
        usual = self._usual(frames)
        readings = usual.readings
        fit = KernelFit(
            self.power, self.settings.kernel_steps // 2, self.settings.kernel_frames, self.seed
        )
        before = layers.around.kriging
        drifts = bool(float(before.kernel.drift) != 0)
        kriging = fit(
            readings, frames, before.lags, start=before.kernel, wind=drifts, progress=self.progress
        )
        last = self._layers(usual, kriging)
        last = replace(last, shape=layers.shape, memory=layers.memory, recent=layers.recent)
        hidden = self._hidden(last, readings, tokens=bool(members))
        if layers.local != LocalSpread():
            local = LocalSpread.fit(hidden.cases, hidden.truth, self.power, self.seed)
            last = replace(last, local=local)
        again = [
            self._member(last, hidden, group, start=member) for group, member in enumerate(members)
        ]
        last = replace(last, members=again)
        if denoiser is not None:
            denoiser = self._denoiser(last, hidden, self._crossed(last, hidden, again))
        return replace(last, denoiser=denoiser)

    def _reach(self) -> float:
        """Return the farthest that a station stood from its nearest neighbour."""
        apart = np.linalg.norm(self.km[:, None] - self.km[None], axis=-1)
        np.fill_diagonal(apart, np.inf)
        return float(apart.min(axis=1).max())

    def _groups(self) -> NDArray[np.int64]:
        """Return the group (S,) of every station."""
        order = np.random.default_rng([self.seed, 7]).permutation(len(self.km))
        return np.asarray(order % self.settings.groups)

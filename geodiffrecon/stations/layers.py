"""The layers of a station model together: from readings to distributions and draws at spots."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from ..calendar import iso
from ..diffusion import Diffusion
from ..progress import Progress, silent
from ..samplers import dpmpp_2m
from ..schedule import noise_levels
from .anomalies import Readings, UsualSteps
from .chance import SpotNoise
from .forecast import LEVELS, Power, SiteForecast, standard_cdf, standard_quantile
from .memory import ErrorMemory
from .recent import RecentErrors
from .spread import LocalSpread
from .surroundings import MEMORY, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..networks.points import PointDenoiser, PointFormer
    from ..steps import TimeStep
    from .climate import Climate, PlaceEffect
    from .network import StationNetwork
    from .sky import Sky
    from .surroundings import Cases

    Array = NDArray[np.float64]

NOISE_LEVELS = 50
BATCH = 65_536  # spots that a network reads at once
TILE = 8192  # sites that are mapped together


@dataclass(frozen=True)
class StationLayers:
    """All layers of a model, whichever of them there are.

    Parameters
    ----------
    power : Power
        Between raw and transformed units.
    climate : Climate
        Usual level of the network.
    place : PlaceEffect
        Lasting effect of places.
    around : Surroundings
        Kriging, and how spots are described.
    step : TimeStep
        Of the readings; draws are addressed by its numbers.
    local : LocalSpread
        Of the kriging spread.
    members : list of PointFormer
        Corrections of mean and spread; empty where not kept.
    denoiser : PointDenoiser, optional
        Diffusion of the residual.
    shape : tuple of float
        Of standardised errors, see `SiteForecast`.
    memory : ErrorMemory
        Of errors from step to step.
    recent : RecentErrors
        Recalibration by what the stations that report have lately shown.
    usual : UsualSteps
        What tells steps outside the record.
    reach_km : float
        Farther from the nearest station that reported, stated errors were never checked.
    waves, chain : int
        Waves of random fields, and network calls per draw.
    """

    power: Power
    climate: Climate
    place: PlaceEffect
    around: Surroundings
    step: TimeStep
    local: LocalSpread = field(default_factory=LocalSpread)
    members: list[PointFormer] = field(default_factory=list)
    denoiser: PointDenoiser | None = None
    shape: tuple[float, ...] = ()
    memory: ErrorMemory = field(default_factory=ErrorMemory)
    recent: RecentErrors = field(default_factory=RecentErrors)
    usual: UsualSteps = field(default_factory=UsualSteps)
    reach_km: float = np.inf
    waves: int = 256
    chain: int = 8

    @property
    def history(self) -> int:
        """Steps before a map that can change it."""
        return max(self.recent.steps - 1, 0) + max(MEMORY, *self.around.kriging.lags)

    def readings(self, network: StationNetwork, km: Array, sky: Sky, terrain: Array) -> Readings:
        """Return a network in the units of the model; `km` and `terrain` are of its stations."""
        centre, lasting = self.climate.at(network.times), self.lasting(km, terrain)
        z = self.power.forward(network.values) - centre[:, None] - lasting
        return Readings(z, centre, km, sky, terrain, lasting)

    def lasting(self, km: Array, terrain: Array) -> Array:
        """Return the lasting effect (P,) of places (P, 2) with covariates (P, C)."""
        return self.place.at(np.concatenate([km, terrain], axis=1))

    @torch.no_grad()
    def moments(
        self, cases: Cases, members: list[PointFormer] | None = None
    ) -> tuple[Array, Array]:
        """Return location and scale (n,) of cases in transformed units."""
        scale = cases.spread * self.local.factor(cases.query)
        chosen = self.members if members is None else members
        if not chosen:
            return cases.mean.numpy(), scale.numpy()
        shift, log_factor = _corrections(chosen, cases)
        return (cases.mean + scale * shift).numpy(), (scale * torch.exp(log_factor)).numpy()

    def forecast(
        self,
        readings: Readings,
        times: NDArray[np.datetime64],
        frames: NDArray[np.int64],
        sites: Array,
        terrain: Array,
        *,
        draws: range = range(0),
        seed: int = 0,
        progress: Progress = silent,
        log: Callable[[str], None] = lambda sentence: None,
    ) -> SiteForecast:
        """Return the forecast of `sites` (Q, 2) in km at `frames`, with `draws` where asked for."""
        past = np.arange(max(0, int(frames[0]) - self.history), int(frames[-1]) + 1)
        readings, outside = self.usual.adapted(
            readings, past, self.around,
            sized=self.local == LocalSpread() and not self.members,
        )  # fmt: skip
        self._say_outside(times, np.intersect1d(past[outside], frames), log)
        lately = self.lately(readings, frames, progress) if self.recent.steps else None
        tiles = np.array_split(np.arange(len(sites)), max(1, -(-len(sites) // TILE)))
        found = []
        for number, tile in enumerate(tiles):

            def told(done: int, of: int, what: str, before: int = number * len(frames)) -> None:
                progress(before + done, len(tiles) * of, what)

            part = self._tile(
                readings, times, frames, sites[tile], terrain[tile], lately, draws, seed, told
            )
            found.append(part)
        location, scale, distance = (
            np.concatenate([part[index] for part in found], axis=1) for index in (0, 1, 3)
        )
        drawn = np.concatenate([part[2] for part in found], axis=2) if len(draws) else None
        return SiteForecast(
            times[frames], location, scale, self.power, self.shape, drawn, distance,
            distance <= self.reach_km,
        )  # fmt: skip

    def _say_outside(
        self, times: NDArray[np.datetime64], steps: NDArray[np.int64], log: Callable[[str], None]
    ) -> None:
        """Say which `steps` lie outside what the model has learnt."""
        if not len(steps):
            return
        which = ", ".join(map(iso, times[steps[:3]])) + (" …" if len(steps) > 3 else "")
        log(
            f"{len(steps)} of the steps mapped lie outside the record that the model has learnt "
            f"from ({which}): their level and spread are taken from their own readings."
        )

    def _tile(
        self,
        readings: Readings,
        times: NDArray[np.datetime64],
        frames: NDArray[np.int64],
        sites: Array,
        terrain: Array,
        lately: tuple[Array, Array] | None,
        draws: range,
        seed: int,
        progress: Progress,
    ) -> tuple[Array, Array, NDArray[np.float32], Array]:
        """Return location, scale, draws and distance of some sites."""
        shape = (len(frames), len(sites))
        location, scale = np.empty(shape), np.empty(shape)
        drawn = np.empty((len(draws), *shape), np.float32)
        lasting, done = self.lasting(sites, terrain), 0
        distance = nearest_km(readings, frames, sites)
        least = self._least(readings, frames, distance)

        def told(rows: int, of: int, what: str) -> None:
            progress(done + rows, len(frames), "mapping")

        for part, cases in self.around.of_sites(
            readings, frames, sites, terrain, lasting, tokens=bool(self.members), progress=told
        ):
            rows = slice(done, done + len(part))
            found = self.moments(cases)
            location[rows], scale[rows] = (array.reshape(len(part), -1) for array in found)
            if lately is not None:
                size = np.log(self.bare().moments(cases)[1]).reshape(len(part), -1)
                before = slice(part[0] - frames[0], part[-1] - frames[0] + self.recent.steps)
                errors, stated = (array[before] for array in lately)
                scale[rows] *= self.recent.factor(errors, stated, size)
            scale[rows] = np.maximum(scale[rows], least[rows])
            if len(draws):
                noise = self.noise.draw(readings, times, part, sites, draws, seed)
                drawn[:, rows] = self.drawn(noise, cases, location[rows], scale[rows])
            done += len(part)
            progress(done, len(frames), "mapping")
        return location, scale, drawn, distance

    def _least(self, readings: Readings, frames: NDArray[np.int64], distance: Array) -> Array:
        """Return the spread (m, Q) that no site falls below: far from data that of the season.

        Within `reach_km` of a station that reported hidden stations have shown the spread; beyond
        it the correlation is lost with the range of the covariance.
        """
        beyond = np.maximum(distance - self.reach_km, 0)
        lost = -np.expm1(-2 * beyond / np.exp(self.around.kriging.kernel.reach.item()))
        return np.asarray(np.sqrt(lost) * self.around.level[1] * readings.widths(frames))

    def lately(
        self, readings: Readings, frames: NDArray[np.int64], progress: Progress = silent
    ) -> tuple[Array, Array]:
        """Return standardised errors and log spreads at the stations, up to each frame.

        Rows (steps - 1 + frames[-1] - frames[0] + 1, S) begin as many steps before the first frame
        as count; of kriging with its local spread alone, each station hidden from its prediction.
        """
        first = int(frames[0]) - self.recent.steps + 1
        rows = np.arange(max(first, 0), int(frames[-1]) + 1)
        shape = (int(frames[-1]) + 1 - first, len(readings.km))
        errors, size, total = np.full(shape, np.nan), np.zeros(shape), 0

        def told(done: int, of: int, what: str) -> None:
            progress(total + done, len(rows), "recent errors")

        for part, cases in self.around.of_stations(readings, rows, tokens=False, progress=told):
            location, scale = (array.reshape(len(part), -1) for array in self.bare().moments(cases))
            z = readings.transformed(part)
            alone = cases.seen.any(dim=1).numpy().reshape(len(part), -1)
            errors[part - first] = np.where(alone, (z - location) / scale, np.nan)
            size[part - first] = np.log(scale)
            total += len(part)
            told(0, len(part), "")
        return errors, size

    @property
    def noise(self) -> SpotNoise:
        """Noise of the draws."""
        return SpotNoise(
            self.around.kriging, self.memory, self.around.unit_km, self.waves, self.step
        )

    def drawn(
        self, noise: NDArray[np.float32], cases: Cases, location: Array, scale: Array
    ) -> NDArray[np.float32]:
        """Return draws (K, m, Q) in raw units from standard normal `noise` (K, m, Q)."""
        if self.denoiser is None:
            levels = np.clip(ndtr(noise.astype(np.float64)), 1e-9, 1 - 1e-9)
            residual = standard_quantile(levels, self.shape)
        else:
            residual = self.denoised(noise.reshape(len(noise), -1), cases).reshape(noise.shape)
        return self.power.inverse(location + scale * residual).astype(np.float32)

    @torch.no_grad()
    def denoised(self, noise: NDArray[np.float32], cases: Cases) -> Array:
        """Return residuals (K, n) that diffusion makes of `noise` (K, n), in spreads."""
        assert self.denoiser is not None
        network, process = self.denoiser, diffusion_process()
        found = np.empty(noise.shape)
        spots = torch.arange(noise.shape[1]).split(max(1, BATCH // len(noise)))
        for rows in spots:
            known = conditions(self.members, cases.only(rows)).repeat(len(noise), 1)
            start = torch.as_tensor(noise[:, rows.numpy()].reshape(-1, 1))

            def denoise(x: Tensor, index: Tensor, known: Tensor = known) -> Tensor:
                return process.denoise(lambda y, level: network(y, level, known), x, index)

            clean = dpmpp_2m(denoise, start, process.levels, steps=self.chain)
            found[:, rows.numpy()] = clean.reshape(len(noise), -1).numpy()
        return found

    def bare(self) -> StationLayers:
        """Return kriging with its local spread alone."""
        return replace(self, members=[], denoiser=None)


def diffusion_process() -> Diffusion:
    """Return the diffusion of residuals."""
    return Diffusion(noise_levels(NOISE_LEVELS), "v")


@torch.no_grad()
def conditions(members: list[PointFormer], cases: Cases) -> Tensor:
    """Return what the diffusion layer knows of spots (n, C): query, and features of a member."""
    if not members:
        return cases.query
    features = members[0].encode(cases.tokens, cases.seen, cases.query)
    return torch.cat([cases.query, features], dim=1)


def _corrections(members: list[PointFormer], cases: Cases) -> tuple[Tensor, Tensor]:
    """Return the members' mean shift and log factor (n,), in batches."""
    found = []
    for rows in torch.arange(len(cases.mean)).split(BATCH // 4):
        part = cases.only(rows)
        pairs = [member(part.tokens, part.seen, part.query) for member in members]
        found.append(torch.stack([torch.stack(pair) for pair in pairs]).mean(dim=0))
    both = torch.cat(found, dim=1).double()
    return both[0], both[1]


def nearest_km(readings: Readings, frames: NDArray[np.int64], sites: Array) -> Array:
    """Return the distance (m, Q) to the nearest station that reported; infinite if none did."""
    apart = np.linalg.norm(sites[:, None] - readings.km[None], axis=-1)  # (Q, S)
    order = np.argsort(apart, axis=1, kind="stable")
    found = np.full((len(frames), len(sites)), np.inf)
    for row, frame in enumerate(frames):
        seen = np.isfinite(readings.anomalies[frame])[order]  # (Q, S), nearest first
        first = seen.argmax(axis=1)
        nearest = order[np.arange(len(sites)), first]
        found[row] = np.where(seen.any(axis=1), apart[np.arange(len(sites)), nearest], np.inf)
    return found


def normal_scores(errors: Array, shape: tuple[float, ...]) -> Array:
    """Return standardised `errors` as standard normal numbers, by their shape; NaN stays."""
    from scipy.special import ndtri

    levels = np.clip(standard_cdf(errors, shape), LEVELS[0] / 2, 1 - LEVELS[0] / 2)
    return np.where(np.isfinite(errors), ndtri(levels), np.nan)

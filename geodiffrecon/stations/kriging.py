"""Kriging from stations to any place: what this and earlier steps say, whole stations hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..progress import Progress, silent
from .kernel import Spots, StationKernel, interruptible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CELLS = 4_000_000  # numbers of one covariance that are held at once
PAIRS = 1_000_000  # of readings, for each of which a fit holds some numbers at once
WORK = 5e9  # of cubes of sizes that are inverted in one call, which no signal interrupts
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Window:
    """Readings of some frames at several lags, missing ones zero and not seen.

    Parameters
    ----------
    values, seen : Tensor, shape (n, L S)
        Anomalies and 1 or 0.
    spots : Spots
        Of the readings, those of the past moved with the wind.
    """

    values: Tensor
    seen: Tensor
    spots: Spots


@dataclass(frozen=True)
class StationKriging:
    """Conditional mean and spread at any place, given the readings of some steps.

    Kriging of anomalies whose level is unknown but for its prior variance (universal kriging in
    the limit), with the covariance of a `StationKernel`.

    Parameters
    ----------
    kernel : StationKernel
        Fitted.
    lags : tuple of int
        Steps back that are read.
    """

    kernel: StationKernel
    lags: tuple[int, ...]

    def window(
        self,
        anomalies: Array,
        km: Array,
        frames: NDArray[np.int64],
        way: Array | None,
        since: NDArray[np.int64] | None = None,
    ) -> Window:
        """Return the readings that `frames` (n,) are mapped from.

        Parameters
        ----------
        anomalies : array (T, S)
            NaN where missing.
        km : array (S, 2)
            Positions.
        way : array (T, 2), optional
            Way of the wind in each step, in km; zero where unknown.
        since : array (T,) of int, optional
            First step that is read for each step; without it all are.
        """
        rows = frames[:, None] - np.array(self.lags)[None, :]  # (n, L)
        first = 0 if since is None else since[np.maximum(frames, 0)][:, None]
        found = np.where((rows >= first)[..., None], anomalies[np.maximum(rows, 0)], np.nan)
        found = found.reshape(len(frames), -1)  # (n, L S)
        seen = np.isfinite(found)
        places = torch.as_tensor(km).repeat(len(self.lags), 1)[None]  # (1, L S, 2)
        if way is not None and max(self.lags) > 0:
            gone = torch.as_tensor(self._gone(way, frames))  # (n, L, 2)
            gone = gone.repeat_interleave(len(km), dim=1)
            places = places + self.kernel.drift * gone
        age = torch.tensor(self.lags, dtype=torch.float64).repeat_interleave(len(km))
        station = torch.arange(len(km)).repeat(len(self.lags))
        values = torch.as_tensor(np.where(seen, found, 0.0))
        return Window(
            values, torch.as_tensor(seen, dtype=torch.float64), Spots(places, age, station)
        )

    def predict(
        self,
        anomalies: Array,
        km: Array,
        frames: NDArray[np.int64],
        sites: Array,
        way: Array | None = None,
        progress: Progress = silent,
        since: NDArray[np.int64] | None = None,
    ) -> tuple[Array, Array]:
        """Return mean and spread (n, Q) of the anomalies that a station at `sites` would read.

        Parameters are those of `window`; `sites` (Q, 2) are positions in km.
        """
        rows = max(1, CELLS // (len(self.lags) * len(km) * max(len(sites), len(km))))
        parts = np.array_split(frames, max(1, -(-len(frames) // rows)))
        found, done = [], 0
        for part in parts:
            found.append(self._predicted(self.window(anomalies, km, part, way, since), sites))
            done += len(part)
            progress(done, len(frames), "kriging")
        mean, spread = (torch.cat(arrays).numpy() for arrays in zip(*found, strict=True))
        return mean, spread

    def parts(self, frames: NDArray[np.int64], stations: int) -> list[NDArray[np.int64]]:
        """Return `frames` in parts of about `PAIRS` pairs of readings, one frame at least."""
        most = max(1, PAIRS // (len(self.lags) * stations) ** 2)
        return np.array_split(frames, max(1, -(-len(frames) // most)))

    @torch.no_grad()
    def left_out(
        self,
        anomalies: Array,
        km: Array,
        frames: NDArray[np.int64],
        way: Array | None,
        progress: Progress = silent,
        since: NDArray[np.int64] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what `leave_one_out` says of `frames` (n,), a part of them at a time.

        Parameters are those of `window`.
        """
        found, done = [], 0
        for part in self.parts(frames, len(km)):
            found.append(self.leave_one_out(self.window(anomalies, km, part, way, since)))
            done += len(part)
            progress(done, len(frames), "kriging")
        mean, spread = (torch.cat(arrays) for arrays in zip(*found, strict=True))
        return mean, spread

    def leave_one_out(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return mean and spread (n, S) of each station's reading, its own whole past hidden.

        By blocks of the inverse covariance, so that no station is solved for anew.

        References
        ----------
        Dubrule, O. (1983). Cross validation of kriging in a unique neighborhood. Math. Geol. 15.
        """
        inverse, lags = self.inverse(window), len(self.lags)
        stations = window.values.shape[1] // lags
        solved = torch.einsum("npq,nq->np", inverse, window.values)
        blocks = inverse.view(-1, lags, stations, lags, stations)
        own = blocks.diagonal(dim1=2, dim2=4).permute(0, 3, 1, 2)  # (n, S, L, L)
        solved = solved.view(-1, lags, stations).transpose(1, 2)  # (n, S, L)
        conditional = torch.linalg.inv(own)
        residual = (conditional @ solved[..., None])[:, :, 0, 0]
        spread = self.kernel.scale * conditional[..., 0, 0].clamp_min(LEAST_VARIANCE).sqrt()
        return window.values[:, :stations] - residual, spread

    def inverse(self, window: Window) -> Tensor:
        """Return the inverse covariance (n, L S, L S) of the seen readings; identity elsewhere."""
        both = window.seen[:, :, None] * window.seen[:, None, :]
        covariance = self.kernel.readings(window.spots) * both
        whole = interruptible(covariance) + torch.diag_embed(1 - window.seen)
        frames = max(1, int(WORK / whole.shape[-1] ** 3))
        parts = [interruptible(torch.linalg.inv(part)) for part in whole.split(frames)]
        return torch.cat(parts)

    @torch.no_grad()
    def weights(
        self, anomalies: Array, km: Array, frames: NDArray[np.int64], sites: Array
    ) -> tuple[Tensor, Tensor]:
        """Return kriging weights (n, Q, S) of the current step alone, and variances (n, Q).

        Variances are shares of that of the local field.
        """
        alone = StationKriging(self.kernel, (0,))
        window = alone.window(anomalies, km, frames, None)
        shared = self.kernel.field(spots_of(sites), window.spots) * window.seen[:, None, :]
        weights = shared @ alone.inverse(window)  # (n, Q, S)
        variance = self.kernel.total - (weights * shared).sum(-1)
        return weights, variance.clamp_min(LEAST_VARIANCE)

    @torch.no_grad()
    def _predicted(self, window: Window, sites: Array) -> tuple[Tensor, Tensor]:
        shared = self.kernel.field(spots_of(sites), window.spots)
        shared = shared * window.seen[:, None, :]  # (n, Q, L S)
        weights = shared @ self.inverse(window)
        mean = torch.einsum("nqp,np->nq", weights, window.values)
        variance = self.kernel.total - (weights * shared).sum(-1)
        return mean, self.kernel.scale * variance.clamp_min(LEAST_VARIANCE).sqrt()

    def _gone(self, way: Array, frames: NDArray[np.int64]) -> Array:
        """Return the way (n, L, 2) of the wind from each lag to the frame."""
        total = np.concatenate([np.zeros((1, 2)), np.cumsum(way, axis=0)])
        past = np.maximum(frames[:, None] - np.array(self.lags)[None, :], 0)  # (n, L)
        return np.asarray(total[frames + 1][:, None] - total[past + 1])


def spots_of(sites: Array) -> Spots:
    """Return sites (Q, 2) of the current step, none of which is a station."""
    count = len(sites)
    return Spots(
        torch.as_tensor(sites)[None], torch.zeros(count, dtype=torch.float64),
        torch.full((count,), -1),
    )  # fmt: skip


@torch.no_grad()
def residuals_without(kriging: StationKriging, window: Window) -> Tensor:
    """Return standardised residuals (n, S, S): entry (j, i) of station i, hidden from all but j.

    Both stations are hidden from what predicts i: residuals that had seen j would carry its
    reading into its own features. `window` is of the current step alone. Zero where j is i or i
    is missing.
    """
    inverse = kriging.inverse(window)
    solved = torch.einsum("npq,nq->np", inverse, window.values)
    own = inverse.diagonal(dim1=1, dim2=2)
    # the inverse covariance without station j, by a rank-one update
    left = solved[:, None, :] - inverse * (solved / own)[:, :, None]
    width = own[:, None, :] - inverse**2 / own[:, :, None]
    residual = left / width.clamp_min(1e-9).sqrt() / kriging.kernel.scale
    apart = 1 - torch.eye(inverse.shape[-1], dtype=inverse.dtype)
    return residual * apart * window.seen[:, None, :]

"""Covariance between readings of stations in space and time, drifting with the wind."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

STARTS = {
    "reach": math.log(60.0), "nugget": math.log(0.1), "sill": 0.0, "stretch": 0.0, "turn": 0.0,
    "level": math.log(3.0), "memory": math.log(6.0), "level_memory": math.log(30.0),
    "micro_memory": 0.0, "lasting": math.log(0.02), "drift": 0.0,
}  # fmt: skip
HIDDEN_NUGGET = 1e-6


class Spots(NamedTuple):
    """Where and when readings are taken.

    Parameters
    ----------
    km : Tensor, shape (n, P, 2)
        Positions; n may be 1 where all frames share them.
    age : Tensor, shape (P,)
        Steps before the current frame.
    station : Tensor of int64, shape (P,)
        Which station; negative for sites that are none.
    """

    km: Tensor
    age: Tensor
    station: Tensor


def interruptible(values: Tensor) -> Tensor:
    """Return `values`, at which a backward pass minds signals: else it is one call of seconds."""
    if values.requires_grad:
        values.register_hook(lambda gradient: None)  # Python minds signals when it runs anything
    return values


class StationKernel(nn.Module):
    """Sum of what readings share, as shares of the variance of the local field.

    A field with an exponential correlation in space (stretched along one direction) and in time;
    the level of the whole network; what a spot has for itself, for hours (micro) and for good
    (lasting). A reading of the past stands `drift` times the way of the wind further downwind.

    Examples
    --------
    >>> kernel = StationKernel()
    >>> here = Spots(torch.zeros(1, 1, 2).double(), torch.zeros(1), torch.zeros(1).long())
    >>> bool(kernel.readings(here)[0, 0, 0] > kernel.field(here, here)[0, 0, 0])
    True
    """

    reach: nn.Parameter
    nugget: nn.Parameter
    sill: nn.Parameter
    stretch: nn.Parameter
    turn: nn.Parameter
    level: nn.Parameter
    memory: nn.Parameter
    level_memory: nn.Parameter
    micro_memory: nn.Parameter
    lasting: nn.Parameter
    drift: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        for name, start in STARTS.items():
            setattr(self, name, nn.Parameter(torch.tensor(start, dtype=torch.float64)))

    def field(self, first: Spots, second: Spots) -> Tensor:
        """Return the covariance (n, P, Q) of the smooth parts, which any two spots share."""
        apart = self.distance(first.km, second.km)
        age = (first.age[:, None] - second.age[None, :]).abs()
        local = interruptible(torch.exp(-apart - age * torch.exp(-self.memory)))
        return local + torch.exp(self.level - age * torch.exp(-self.level_memory))

    def readings(self, spots: Spots) -> Tensor:
        """Return the covariance (n, P, P) of readings: the field and each station's own."""
        age = (spots.age[:, None] - spots.age[None, :]).abs()
        own = torch.exp(self.nugget - age * torch.exp(-self.micro_memory))
        own = (own + torch.exp(self.lasting)) * (spots.station[:, None] == spots.station)
        return self.field(spots, spots) + own + HIDDEN_NUGGET * torch.eye(len(spots.age))

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Return distances (n, P, Q) between positions, in units of the range."""
        across = (first[:, :, None] - second[:, None]) * torch.exp(-self.reach)  # (n, P, Q, 2)
        east, north = across[..., 0], across[..., 1]
        turn = 2 * 0.95 * torch.tanh(self.turn)
        square = (
            torch.exp(self.stretch) * east**2
            + torch.exp(-self.stretch) * north**2
            + turn * east * north
        )
        return interruptible((interruptible(square).clamp_min(0) + 1e-12).sqrt())

    @property
    def own(self) -> Tensor:
        """Variance that a spot has for itself."""
        return torch.exp(self.nugget) + torch.exp(self.lasting)

    @property
    def total(self) -> Tensor:
        """Variance of a reading of which nothing is known."""
        return 1 + torch.exp(self.level) + self.own

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the local field, in the units of the anomalies."""
        return torch.exp(self.sill)

    def waves(self, count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return wave vectors (count, 2) per km whose mean spectrum is that of the local field.

        An exponential correlation in the plane has the spectral density (1 + w^2)^(-3/2).

        References
        ----------
        Shinozuka, M. and Jan, C.-M. (1972). Digital simulation of random processes and its
        applications. J. Sound Vib. 25.
        """
        rng = np.random.default_rng([seed, count])
        radius = np.sqrt(1 / (1 - (np.arange(count) + rng.random(count)) / count) ** 2 - 1)
        angle = rng.random(count) * 2 * np.pi
        round_waves = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(round_waves @ self._root() * math.exp(-self.reach.item()))

    def _root(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return R with |R x|^2 the square of the stretched distance of x."""
        turn = 0.95 * math.tanh(self.turn.item())
        metric = np.array(
            [[math.exp(self.stretch.item()), turn], [turn, math.exp(-self.stretch.item())]]
        )
        return np.asarray(np.linalg.cholesky(metric).T)

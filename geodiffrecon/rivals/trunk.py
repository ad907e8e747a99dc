"""What residual rivals share: their trunk, upsampling by shuffled pixels, the external branch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from .neural import squared_error

if TYPE_CHECKING:
    from .neural import Lessons
    from .views import Case

Norm = Callable[[int], nn.Module]
Skip = Literal["sum", "concat"]

HIDDEN = 128  # units of the external branch, as published


@dataclass(frozen=True)
class OneMap:
    """A recipe that reads the current map only and learns by squared error in one phase.

    Parameters
    ----------
    rate : float
        Learning rate; above the published ones, for minutes on one core and not hours on a GPU.
    steps, batch : int
        Most steps, and maps per step.
    """

    rate: float = 1e-3
    steps: int = 3000
    batch: int = 16

    def lags(self, slots: int) -> tuple[int, ...]:
        """Return that only the current map is read."""
        return (0,)

    def train(self, network: nn.Module, lessons: Lessons) -> None:
        """Train by squared error."""
        lessons.phase(
            "fine maps", network, squared_error, steps=self.steps, rate=self.rate, batch=self.batch
        )

    def fine(self, network: nn.Module, case: Case) -> Tensor:
        """Return the network's fine maps."""
        found: Tensor = network(case)
        return found


class Residual(nn.Module):
    """Two 3×3 convolutions with normalisation, added to what they read."""

    def __init__(self, width: int, norm: Norm, slope: float) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), norm(width), nn.LeakyReLU(slope),
            nn.Conv2d(width, width, 3, padding=1), norm(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Transform x (B, C, H, W)."""
        out: Tensor = x + self.change(x)
        return out


class Trunk(nn.Module):
    """A 9×9 convolution, residual blocks and a long skip around them, on the coarse grid.

    Parameters
    ----------
    channels, width : int
        Of the input and of everything after it.
    blocks : int
        Residual blocks.
    norm : callable
        ``norm(width)`` gives a normalisation.
    slope : float
        Of the activation below zero.
    skip : {"sum", "concat"}
        How the long skip is joined: added, or stacked and convolved.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        blocks: int,
        *,
        norm: Norm,
        slope: float = 0.0,
        skip: Skip = "sum",
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.LeakyReLU(slope))
        self.body = nn.Sequential(
            *(Residual(width, norm, slope) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1), norm(width),
        )  # fmt: skip
        self.join = nn.Conv2d(2 * width, width, 3, padding=1) if skip == "concat" else None

    def forward(self, x: Tensor) -> Tensor:
        """Encode x (B, channels, I, J) as (B, width, I, J)."""
        entry = self.first(x)
        deep: Tensor = self.body(entry)
        if self.join is None:
            return entry + deep
        return self.join(torch.cat([entry, deep], dim=1))


class External(nn.Module):
    """The context of a frame as a coarse map, and that map shuffled up to the fine grid.

    Parameters
    ----------
    features : int
        Length of the context vector.
    shape : tuple of int
        Coarse rows and columns.
    factor : int
        N.
    dropout : float
        Share of hidden units dropped in training.

    Notes
    -----
    Liang et al. 2019 (UrbanFM) embed day, hour and weather by their numbers. Here calendar and
    weather come as one vector of standardised numbers, cycles as sines and cosines, so the first
    linear layer takes the place of the embeddings.
    """

    def __init__(
        self, features: int, shape: tuple[int, int], factor: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.Linear(features, HIDDEN), nn.Dropout(dropout), nn.ReLU(),
            nn.Linear(HIDDEN, shape[0] * shape[1]), nn.ReLU(), nn.Unflatten(1, (1, *shape)),
        )  # fmt: skip
        self.up = shuffled_up(1, factor, norm=nn.BatchNorm2d)

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map context (B, E) to maps (B, 1, I, J) and (B, 1, N I, N J)."""
        coarse = self.coarse(context)
        return coarse, self.up(coarse)


def shuffled_up(width: int, factor: int, *, norm: Norm, slope: float = 0.0) -> nn.Sequential:
    """Return layers that enlarge maps (B, width, I, J) by `factor`, in steps of 2 where they fit.

    Examples
    --------
    >>> shuffled_up(3, 4, norm=nn.BatchNorm2d)(torch.zeros(1, 3, 2, 5)).shape
    torch.Size([1, 3, 8, 20])
    """
    layers: list[nn.Module] = []
    for step in shuffles(factor):
        wide = width * step**2
        layers += [nn.Conv2d(width, wide, 3, padding=1), norm(wide)]
        layers += [nn.PixelShuffle(step), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers)


def shuffles(factor: int) -> tuple[int, ...]:
    """Return the steps in which a map is enlarged: of 2 for powers of 2, else all at once.

    Examples
    --------
    >>> shuffles(8), shuffles(6)
    ((2, 2, 2), (6,))
    """
    doublings = factor.bit_length() - 1
    return (2,) * doublings if factor == 2**doublings else (factor,)


def channel_norm(width: int) -> nn.GroupNorm:
    """Return an instance normalisation with learnt scale and shift: one group per channel."""
    return nn.GroupNorm(width, width)

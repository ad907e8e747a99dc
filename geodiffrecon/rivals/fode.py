"""FODE: a neural ordinary differential equation as trunk, external factors in the normalisation.

Zhou et al. 2020 (IJCAI, "Enhancing urban flow maps via neural ODEs"). The affine coupling layer of
the paper is in no published code and is left out; the solver is fixed-step Runge–Kutta in place of
an Adams method of the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.heads import block_sum, nearest_up
from .head import EPSILON, upsampled
from .trunk import External, OneMap, shuffled_up
from .urbanfm import UrbanFMNetwork

if TYPE_CHECKING:
    from .neural import Size
    from .views import Case

DROPOUT = 0.5  # of the external branch, as published
GROUP = 4  # channels of a group, as 32 groups of 128 channels have


class Flow(nn.Module):
    """Solution at time 1 of ``dh/dt = derivative(h)`` that starts at its input.

    Parameters
    ----------
    derivative : Module
        Of h, any shape.
    steps : int
        Steps of the classical Runge–Kutta method; gradients go through all of them.
    """

    def __init__(self, derivative: nn.Module, steps: int) -> None:
        super().__init__()
        self.derivative = derivative
        self.steps = steps

    def forward(self, h: Tensor) -> Tensor:
        """Integrate h from time 0 to time 1."""
        size, slope = 1 / self.steps, self.derivative
        for _ in range(self.steps):
            start = slope(h)
            middle = slope(h + size / 2 * start)
            again = slope(h + size / 2 * middle)
            end = slope(h + size * again)
            h = h + size / 6 * (start + 2 * middle + 2 * again + end)
        return h


class FODENetwork(nn.Module):
    """External map and input, a 9×9 convolution, a flow, shuffled up, augmented normalisation.

    Parameters
    ----------
    size : Size
        Grid, factor and length of the context.
    width : int
        Channels.
    solver : int
        Steps of the solver.
    """

    def __init__(self, size: Size, width: int, solver: int) -> None:
        super().__init__()
        self.size = size
        columns = size.shape[1]
        self.external = External(size.features, size.shape, size.factor, dropout=DROPOUT)
        self.coarse_flow = Flow(_rows(columns), solver)
        self.fine_flow = Flow(_rows(columns * size.factor), solver)
        self.layers = nn.Sequential(
            nn.Conv2d(2, width, 9, padding=4), nn.ReLU(), Flow(_convolutions(width), solver),
            shuffled_up(width, size.factor, norm=nn.BatchNorm2d),
            nn.Conv2d(width, 1, 9, padding=4),
        )  # fmt: skip

    def forward(self, case: Case) -> Tensor:
        """Return fine maps (B, N I, N J)."""
        coarse, fine = self.external(case.context)
        raw = self.layers(torch.cat([case.now, self.coarse_flow(coarse)], dim=1)) + fine
        now, factor = case.filled[:, -1], self.size.factor
        if self.size.signed:
            return upsampled(raw, now, factor, signed=True)
        return augmented(raw[:, 0], self.fine_flow(fine)[:, 0], now, factor)


def augmented(raw: Tensor, external: Tensor, coarse: Tensor, factor: int) -> Tensor:
    """Return a fine field whose blocks average to `coarse` (AN², augmented N²-normalisation).

    Shares D of the network and E of the external map become the shares of D sigmoid(E) + D.

    Parameters
    ----------
    raw, external : Tensor (B, N I, N J)
        Outputs of the network and of its external branch, of any sign.
    coarse : Tensor (B, I, J)
        Coarse map, not negative, in scaled units.
    factor : int
        N.

    Returns
    -------
    Tensor (B, N I, N J)
    """
    shares, modulation = (_shares(F.softplus(field), factor) for field in (raw, external))
    mixed = _shares(shares * modulation.sigmoid() + shares, factor)
    return nearest_up(coarse, factor) * mixed * factor**2


def _shares(field: Tensor, factor: int) -> Tensor:
    return field / (nearest_up(block_sum(field, factor), factor) + EPSILON)


def _convolutions(width: int) -> nn.Sequential:
    groups = width // GROUP if width % GROUP == 0 else 1
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width),
    )  # fmt: skip


def _rows(columns: int) -> nn.Sequential:
    """Return the derivative of an external map, which mixes the cells of a row."""
    return nn.Sequential(
        nn.Linear(columns, 2 * columns), nn.ELU(), nn.Linear(2 * columns, 2 * columns), nn.ELU(),
        nn.Linear(2 * columns, columns),
    )  # fmt: skip


@dataclass(frozen=True)
class FODE(OneMap):
    """Recipe of FODE.

    Parameters
    ----------
    rate, steps, batch : float, int and int
        As in `OneMap`; 1e-4, 100 epochs and 16 as published.
    width : int
        Channels; 128 as published.
    solver : int
        Steps of the solver.
    ode : bool
        Whether there is an ODE. Without it the network is what a widely used comparison ran under
        this name: UrbanFM without external factors, whose long skip is stacked and convolved.
    blocks : int
        Residual blocks where there is no ODE; 16 as published.
    """

    width: int = 32
    solver: int = 2
    ode: bool = True
    blocks: int = 8

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        if self.ode:
            return FODENetwork(size, self.width, self.solver)
        return UrbanFMNetwork(size, self.width, self.blocks, external=False, skip="concat")

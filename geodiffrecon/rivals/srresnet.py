"""SRResNet in its form for urban maps: a residual trunk, upsampled by pixel shuffling.

Ledig et al. 2017 (arXiv 1609.04802); the urban form normalises by instance and not by batch, and
ends with the density of the coarse cells in place of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .head import upsampled
from .trunk import OneMap, Trunk, channel_norm, shuffled_up

if TYPE_CHECKING:
    from .neural import Size
    from .views import Case

SLOPE = 0.2  # of the activation below zero, as published


class SRResNetNetwork(nn.Module):
    """Residual trunk on the coarse grid, shuffled up, and a 9×9 convolution to the density.

    Parameters
    ----------
    size : Size
        Grid and factor.
    width, blocks : int
        Channels and residual blocks.
    """

    def __init__(self, size: Size, width: int, blocks: int) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            Trunk(1, width, blocks, norm=channel_norm, slope=SLOPE),
            shuffled_up(width, size.factor, norm=nn.Identity, slope=SLOPE),
            nn.Conv2d(width, 1, 9, padding=4),
        )

    def forward(self, case: Case) -> Tensor:
        """Return fine maps (B, N I, N J)."""
        raw = self.layers(case.now)
        return upsampled(raw, case.filled[:, -1], self.size.factor, signed=self.size.signed)


@dataclass(frozen=True)
class SRResNet(OneMap):
    """Recipe of SRResNet.

    Parameters
    ----------
    rate : float
        Learning rate; 5e-5 as published for urban maps.
    steps, batch : int
        Most steps, and maps per step; 200 epochs of batches of 32 as published.
    width, blocks : int
        Channels and residual blocks; 128 and 16 as published.
    """

    width: int = 32
    blocks: int = 8

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        return SRResNetNetwork(size, self.width, self.blocks)

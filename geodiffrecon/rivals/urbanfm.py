"""UrbanFM: a residual trunk with external factors on the coarse and on the fine grid.

Liang et al. 2019 (KDD, arXiv 1902.05377): distributional upsampling with N²-normalisation and an
external subnet of calendar and weather.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .head import upsampled
from .trunk import External, OneMap, Skip, Trunk, shuffled_up

if TYPE_CHECKING:
    from .neural import Size
    from .views import Case

DROPOUT = 0.3  # of the external branch, as published


class UrbanFMNetwork(nn.Module):
    """Residual trunk, shuffled up; external maps join the input and the last convolution.

    Parameters
    ----------
    size : Size
        Grid, factor and length of the context.
    width, blocks : int
        Channels and residual blocks.
    external : bool
        Whether there is an external branch.
    skip : {"sum", "concat"}
        How the long skip is joined.
    """

    def __init__(
        self, size: Size, width: int, blocks: int, *, external: bool, skip: Skip = "sum"
    ) -> None:
        super().__init__()
        self.size = size
        self.reads_context = external
        if external:
            self.external = External(size.features, size.shape, size.factor, dropout=DROPOUT)
            # The last convolution in two parts: an odd channel more would halve its speed.
            self.last_external = nn.Conv2d(1, 1, 9, padding=4, bias=False)
        self.trunk = Trunk(1 + external, width, blocks, norm=nn.BatchNorm2d, skip=skip)
        self.up = shuffled_up(width, size.factor, norm=nn.BatchNorm2d)
        self.last = nn.Conv2d(width, 1, 9, padding=4)

    def forward(self, case: Case) -> Tensor:
        """Return fine maps (B, N I, N J)."""
        if not self.reads_context:
            raw = self.last(self.up(self.trunk(case.now)))
        else:
            coarse, fine = self.external(case.context)
            features = self.up(self.trunk(torch.cat([case.now, coarse], dim=1)))
            raw = self.last(features) + self.last_external(fine)
        return upsampled(raw, case.filled[:, -1], self.size.factor, signed=self.size.signed)


@dataclass(frozen=True)
class UrbanFM(OneMap):
    """Recipe of UrbanFM.

    Parameters
    ----------
    rate : float
        Learning rate; 1e-4 as published.
    steps, batch : int
        Most steps, and maps per step; 100 epochs of batches of 16 as published.
    width, blocks : int
        Channels and residual blocks; 128 and 16 as published.
    external : bool
        Whether calendar and weather are read; without them it is the UrbanFM-ne of the paper.
    """

    width: int = 32
    blocks: int = 8
    external: bool = True

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        return UrbanFMNetwork(size, self.width, self.blocks, external=self.external)

"""SRCNN in its form for urban maps: three convolutions, upsampled by pixel shuffling.

Dong et al. 2014 (arXiv 1501.00092), which super-resolves an interpolated image; the urban form
keeps the layers and shuffles pixels in place of the interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .head import upsampled
from .trunk import OneMap

if TYPE_CHECKING:
    from .neural import Size
    from .views import Case


class SRCNNNetwork(nn.Module):
    """9×9 and 5×5 convolutions, shuffled up, and a 5×5 one to the density.

    Parameters
    ----------
    size : Size
        Grid and factor.
    width : int
        Channels of the first layer; the others have half.
    """

    def __init__(self, size: Size, width: int) -> None:
        super().__init__()
        self.size = size
        half, squares = width // 2, size.factor**2
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 9, padding=4), nn.ReLU(),
            nn.Conv2d(width, half, 5, padding=2), nn.ReLU(),
            nn.Conv2d(half, half * squares, 3, padding=1), nn.BatchNorm2d(half * squares),
            nn.PixelShuffle(size.factor), nn.ReLU(),
            nn.Conv2d(half, 1, 5, padding=2),
        )  # fmt: skip

    def forward(self, case: Case) -> Tensor:
        """Return fine maps (B, N I, N J)."""
        raw = self.layers(case.now)
        return upsampled(raw, case.filled[:, -1], self.size.factor, signed=self.size.signed)


@dataclass(frozen=True)
class SRCNN(OneMap):
    """Recipe of SRCNN.

    Parameters
    ----------
    width : int
        Channels of the first layer.
    rate, steps, batch
        As for `OneMap`.
    """

    width: int = 32
    steps: int = 4000
    batch: int = 64

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        return SRCNNNetwork(size, self.width)

"""The core's network: from a draw on its way, and what is known, to its velocity.

A small U-Net with attention at its lowest level, in the manner of Ho et al. (2020, NeurIPS 33);
numbers of the case and the place on the path come in by scale and shift (Perez et al. 2018, AAAI).
Its last layer is zero before training: an untrained network moves nothing.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

Layer = TypeVar("Layer", bound=nn.Module)
WAVES = 4  # of the place on the path
PATCH = 2  # cells a side that are one pixel of the network
INPUTS = 3  # of a draw: in units of the spread, as a value, a noise of its own
OUTPUTS = 2  # a velocity, and a part of it in proportion to the draw


def silent(layer: Layer) -> Layer:
    """Return a layer whose answer is zero before training."""
    for values in layer.parameters():
        nn.init.zeros_(values)
    return layer


class Block(nn.Module):
    """Two convolutions about a scale and shift by the case; zero before training."""

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.norm = nn.GroupNorm(8, width)
        self.last = silent(nn.Conv2d(width, width, 3, padding=1))
        self.film = silent(nn.Linear(told, 2 * width))

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        scale, shift = self.film(told)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.first(h)) * (1 + scale) + shift
        return h + self.last(functional.silu(inner))


class Attention(nn.Module):
    """Every pixel looks at all others; zero before training."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(8, width), heads
        self.into, self.back = nn.Linear(width, 3 * width), silent(nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        b, c, rows, cols = h.shape
        pixels = self.norm(h).flatten(2).transpose(1, 2)  # (B, HW, C)
        query, key, value = (
            self.into(pixels)
            .reshape(b, rows * cols, 3, self.heads, c // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        found = functional.scaled_dot_product_attention(query, key, value)
        found = self.back(found.transpose(1, 2).reshape(b, rows * cols, c))
        return h + found.transpose(1, 2).reshape(b, c, rows, cols)


class CoreNetwork(nn.Module):
    """Velocity of draws on a lattice.

    Parameters
    ----------
    maps, numbers : int
        What is known of a case.
    widths : sequence of int
        Of the levels, fine to low.
    told : int
        Width of the vector that the numbers become.
    """

    def __init__(
        self, maps: int, numbers: int, widths: Sequence[int] = (40, 64, 96), told: int = 96
    ) -> None:
        super().__init__()
        self.config = {
            "maps": maps, "numbers": numbers, "widths": list(widths), "told": told,
        }  # fmt: skip
        first, pixel = widths[0], PATCH**2
        self.numbers = nn.Sequential(
            nn.Linear(numbers + 2 * WAVES, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU()
        )
        self.of_maps = nn.Conv2d(maps * pixel, first, 3, padding=1)
        self.of_draw = nn.Conv2d(INPUTS * pixel, first, 3, padding=1, bias=False)
        pairs = list(pairwise(widths))
        self.inward = nn.ModuleList(Block(width, told) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.look, self.middle = Attention(widths[-1]), Block(widths[-1], told)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in pairs)
        self.outward = nn.ModuleList(Block(a, told) for a, _ in pairs)
        out = silent(nn.Conv2d(first, OUTPUTS * pixel, 3, padding=1))
        self.last = nn.Sequential(nn.GroupNorm(8, first), nn.SiLU(), out)

    def forward(self, maps: Tensor, numbers: Tensor, draws: Tensor, path: Tensor) -> Tensor:
        """Return the velocity of every draw.

        Parameters
        ----------
        maps : Tensor (B, maps, H, W)
            What is known.
        numbers : Tensor (B, numbers)
            Of the case.
        draws : Tensor (B, K, 3, H, W)
            Of each: in units of the spread, as a value, noise.
        path : Tensor (B, K)
            From 0, the belief's draw, to 1.

        Returns
        -------
        Tensor (B, K, 2, H, W)
            A velocity, and what to multiply the draw by.
        """
        b, count, _, rows, cols = draws.shape
        unit = PATCH * 2 ** len(self.up)
        extra = (0, -cols % unit, 0, -rows % unit)
        x = functional.pad(draws.flatten(0, 1), extra, mode="replicate")
        known = functional.pad(maps, extra, mode="replicate")
        told = self._told(numbers, path)  # (B·K, told)
        h = self.of_draw(functional.pixel_unshuffle(x, PATCH))
        of_maps = self.of_maps(functional.pixel_unshuffle(known, PATCH))
        h = h + of_maps.repeat_interleave(count, dim=0)
        levels = []
        for level, block in enumerate(self.inward):
            h = block(self.down[level - 1](h) if level else h, told)
            levels.append(h)
        h = self.middle(self.look(h), told)
        for level in reversed(range(len(self.up))):
            h = functional.interpolate(self.up[level](h), scale_factor=2.0, mode="nearest")
            h = self.outward[level](self.join[level](torch.cat([h, levels[level]], dim=1)), told)
        found = functional.pixel_shuffle(self.last(h), PATCH)[..., :rows, :cols]
        return found.reshape(b, count, OUTPUTS, rows, cols)

    def _told(self, numbers: Tensor, path: Tensor) -> Tensor:
        angle = path.reshape(-1, 1) * (math.pi / 2) * 2.0 ** torch.arange(WAVES, device=path.device)
        each = numbers.repeat_interleave(path.shape[1], dim=0)
        return self.numbers(torch.cat([each, angle.sin(), angle.cos()], dim=1))

"""Completion of coarse maps by attention between observed cells, over time and over space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .neural import Size
    from .views import Case


def sincos_positions(rows: int, cols: int, width: int) -> Tensor:
    """Return fixed positions (rows · cols, width) of the cells of a map: sines and cosines.

    Parameters
    ----------
    rows, cols : int
        Cells of the map.
    width : int
        Length of a token; a multiple of 4. Half of it tells the row, half the column.

    Examples
    --------
    >>> sincos_positions(1, 2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    rates = torch.exp(-math.log(1e4) * torch.arange(width // 4) / (width // 4))
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    angles = [place.reshape(-1, 1) * rates for place in (row, col)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)


class Attention(nn.Module):
    """Multi-head attention in which some keys may be barred.

    Parameters
    ----------
    width, heads : int
        Length of a token; heads that divide it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.merge = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return what x (..., q, d) finds in source (..., s, d).

        `visible` (..., q or 1, s) must leave every query a key.
        """
        key, value = self._split(self.key_value(source), 2)
        (query,) = self._split(self.query(x), 1)
        mask = None if visible is None else visible.flatten(0, -3)[:, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        merged: Tensor = self.merge(found.transpose(1, 2).reshape(x.shape))
        return merged

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        flat = x.flatten(0, -3)  # (M, s, parts · d)
        return flat.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class Feed(nn.Sequential):
    """Layer norm, then two layers with GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )


class Block(nn.Module):
    """Self-attention between all tokens, then feed-forward; both normalise first.

    Parameters
    ----------
    width, heads : int
        As in `Attention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed = Feed(width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens x (B, S, d)."""
        normed = self.norm(x)
        x = x + self.attention(normed, normed)
        mixed: Tensor = x + self.feed(x)
        return mixed


class SpaceTimeBlock(nn.Module):
    """Divided attention: each cell over time, then each map over its cells, then feed-forward.

    Only observed cells are keys. The class token is in every map, so that no map lacks a key, and
    its answers are averaged; a query over time always sees itself, which matters only for cells
    that are never observed, whose tokens nobody reads. Bertasius et al. 2021 (TimeSformer).

    Parameters
    ----------
    width, heads : int
        As in `Attention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_time, self.norm_space = nn.LayerNorm(width), nn.LayerNorm(width)
        self.time, self.space = Attention(width, heads), Attention(width, heads)
        self.feed = Feed(width)

    def forward(
        self, x: Tensor, token: Tensor, seen: Tensor, kept: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Mix tokens.

        Parameters
        ----------
        x : Tensor (B, t, P, d)
            Tokens of the cells.
        token : Tensor (B, d)
            Class token.
        seen : Tensor (B, t, P) of bool
            Which cells are observed.
        kept : sequence of int
            Frames to answer for.

        Returns
        -------
        Tensor (B, kept, P, d) and Tensor (B, d)
        """
        frames = list(kept)
        series = self.norm_time(x).transpose(1, 2)  # (B, P, t, d)
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)[frames]
        visible = seen.transpose(1, 2)[:, :, None] | itself  # (B, P, kept, t)
        x = x[:, frames] + self.time(series[:, :, frames], series, visible).transpose(1, 2)
        x = torch.cat([token[:, None, None].expand(-1, len(frames), 1, -1), x], dim=2)
        visible = F.pad(seen[:, frames], (1, 0), value=True)[:, :, None]  # (B, kept, 1, 1 + P)
        normed = self.norm_space(x)
        x = x + self.space(normed, normed, visible).view_as(x)
        x = x + self.feed(x)
        return x[:, :, 1:], x[:, :, 0].mean(dim=1)


@dataclass(frozen=True)
class Completed:
    """What the completion makes of a batch.

    Parameters
    ----------
    predicted : Tensor (B, I, J)
        Answer in every cell, of use where the cell is missing.
    decoded : Tensor (B, P, c)
        Latents of the decoder.
    latents : Tensor (B, 2, P, d)
        Latents of the encoder for the frame a day back and the current one.
    """

    predicted: Tensor
    decoded: Tensor
    latents: Tensor


class Completion(nn.Module):
    """Encoder of what is observed and decoder of the current map.

    Parameters
    ----------
    size : Size
        Grid.
    lags : tuple of int
        Frames that are read, oldest first.
    width, depth, heads : int
        Of the encoder.
    inner : int
        Width of the decoder, which is as deep.
    """

    def __init__(
        self, size: Size, lags: tuple[int, ...], *, width: int, depth: int, heads: int, inner: int
    ) -> None:
        super().__init__()
        rows, cols = size.shape
        self.ends = (lags.index(size.slots), len(lags) - 1)  # a day back, now
        self.value = nn.Linear(1, width)
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.time = nn.Parameter(0.02 * torch.randn(len(lags), width))
        self.blocks = nn.ModuleList(SpaceTimeBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, inner)
        self.missing = nn.Parameter(0.02 * torch.randn(inner))
        self.decoder = nn.Sequential(*(Block(inner, heads) for _ in range(depth)))
        self.norm_decoded = nn.LayerNorm(inner)
        self.answer = nn.Linear(inner, 1)
        self.register_buffer("place", sincos_positions(rows, cols, width), persistent=False)
        self.register_buffer("place_inner", sincos_positions(rows, cols, inner), persistent=False)

    def forward(self, case: Case) -> Completed:
        """Complete the current map of a batch."""
        latents, token = self.encode(case.filled, case.observed, self.time, self.ends)
        seen = case.observed[:, -1].flatten(1)[..., None]  # (B, P, 1)
        tokens = torch.where(seen, self.narrow(latents[:, -1]), self.missing)
        tokens = tokens + self.get_buffer("place_inner")
        tokens = torch.cat([self.narrow(token)[:, None], tokens], dim=1)
        decoded = self.norm_decoded(self.decoder(tokens)[:, 1:])
        predicted = self.answer(decoded).view(case.filled[:, -1].shape)
        return Completed(predicted, decoded, latents)

    def encode(
        self, maps: Tensor, observed: Tensor, time: Tensor, kept: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return latents (B, kept, P, d) and class token (B, d) of maps (B, t, I, J).

        What `maps` holds in missing cells reaches no latent of an observed one; latents of missing
        cells mean nothing. `time` (t, d) tells the frames apart.
        """
        seen = observed.flatten(2)
        values = (maps.flatten(2) * seen)[..., None]
        x = self.value(values) + self.get_buffer("place") + time[:, None]  # (B, t, P, d)
        token = self.token.expand(len(x), -1)
        everything = range(x.shape[1])
        for number, block in enumerate(self.blocks, start=1):
            x, token = block(x, token, seen, kept if number == len(self.blocks) else everything)
        return self.norm(x), self.norm(token)

    def turned(self, maps: Tensor, observed: Tensor, quarters: int) -> Tensor:
        """Return latents (B, P, d) of current maps (B, I, J) encoded turned, at their true cells.

        The grid must be square.
        """
        maps, observed = (torch.rot90(part, quarters, (1, 2)) for part in (maps, observed))
        latents, _ = self.encode(maps[:, None], observed[:, None], self.time[-1:], (0,))
        grid = latents[:, 0].unflatten(1, maps.shape[1:])  # (B, I, J, d)
        return torch.rot90(grid, -quarters, (1, 2)).flatten(1, 2)

"""ST-PointFormer: attention between the points of the last coarse maps (paper eq 14–25)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidParameter
from .blocks import StackCells

_CHOICES = {
    "norm": ("pre", "post"),
    "ffn": ("gelu", "paper"),
    "queries": ("all", "current"),
    "stack": ("out", "attention"),
}


@dataclass(frozen=True)
class PointFormerConfig:
    """Sizes of an `STPointFormer`.

    Parameters
    ----------
    frames : int
        Coarse maps that it reads, the current one included and last.
    token_channels : int
        Channels of a token: the value, then extras that are known everywhere.
    rows, cols : int
        Largest window in cells, the size of the position tables.
    d, heads, layers : int
        Width of a token, attention heads, and layers. On a processor few wide heads are fastest:
        attention's cost grows with the number of heads, not with their width.
    feature_channels : int
        Channels of the result.
    norm : {"pre", "post"}
        Where layers normalise; "post" is eq 21, "pre" trains more steadily.
    ffn : {"gelu", "paper"}
        "paper" is eq 22 to the letter: two ReLU layers and no residual, so everything must pass
        through units that can die; beyond two layers expect many to.
    queries : {"current", "all"}
        "current": the last layer asks for the current map's points only, about half the cost;
        "all": the points of all maps are stacked (eq 24).
    stack : {"out", "attention"}
        Which result is stacked: the last layer's (eq 23) or its attention's (eq 25).
    dropout : float
        Share of values dropped while training.

    Raises
    ------
    InvalidParameter
        For an unknown choice or heads that do not divide d.
    """

    frames: int
    rows: int
    cols: int
    token_channels: int = 1
    d: int = 32
    heads: int = 2
    layers: int = 2
    feature_channels: int = 32
    norm: str = "pre"
    ffn: str = "gelu"
    queries: str = "current"
    stack: str = "out"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidParameter(
                    f"Unknown {name} {getattr(self, name)!r} of the point former; use "
                    f"{' or '.join(map(repr, allowed))}."
                )
        if self.d % self.heads:
            raise InvalidParameter(f"A width of {self.d} cannot be split into {self.heads} heads.")


class STPointFormer(nn.Module):
    """Encode every (time, row, column) point by attention to the observed points.

    Keys and values are the observed points and one learned null point, so that maps with nothing
    observed still have an answer. What is not observed is replaced before anything reads it.

    Parameters
    ----------
    config : PointFormerConfig
        Sizes.
    context_features : int
        Length of each frame's context vector; 0 for none.
    block : int
        Side of the block of cells under one bottleneck cell of the U-Net.
    """

    def __init__(
        self, config: PointFormerConfig, *, context_features: int = 0, block: int = 1
    ) -> None:
        super().__init__()
        c = self.config = config
        self.value = nn.Linear(c.token_channels, c.d)
        self.state = nn.Parameter(0.5 * torch.randn(2, c.d))  # of a missing, an observed point
        self.external = nn.Linear(context_features, c.d, bias=False) if context_features else None
        self.time = _positions(c.frames, c.d)
        self.row = _positions(c.rows, c.d)
        self.col = _positions(c.cols, c.d)
        self.layers = nn.ModuleList(_Layer(c, last=i == c.layers - 1) for i in range(c.layers))
        self.norm = nn.LayerNorm(c.d) if c.norm == "pre" else nn.Identity()
        stacked = c.d * (c.frames if c.queries == "all" else 1)
        self.stack = StackCells(stacked, c.feature_channels, block)

    def forward(self, tokens: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Encode the last maps.

        Parameters
        ----------
        tokens : Tensor, shape (B, t, C, I, J)
            Channel 0 is the value, of any content (also NaN) where it is not observed; the other
            channels are known everywhere.
        observed : Tensor of bool, shape (B, t, I, J)
            True = seen.
        context : Tensor, shape (B, t, E), optional
            Calendar and covariates of each frame.

        Returns
        -------
        Tensor, shape (B, feature_channels, ceil(I / block), ceil(J / block))

        Raises
        ------
        InvalidParameter
            When the frames or the window are not those of the configuration.
        """
        batch, frames, _, rows, cols = tokens.shape
        c = self.config
        if frames != c.frames or rows > c.rows or cols > c.cols:
            raise InvalidParameter(
                f"The point former reads {c.frames} maps of at most {c.rows}×{c.cols} cells, not "
                f"{frames} of {rows}×{cols}."
            )
        x = self._embed(tokens, observed, context).flatten(1, 3)  # (B, t * I * J, d)
        seen = F.pad(observed.flatten(1), (0, 1), value=True)[:, None, None]  # null point last
        for layer in self.layers[:-1]:
            x = layer(x, seen)
        kept = frames if c.queries == "all" else 1
        x = self.norm(self.layers[-1](x, seen, first=(frames - kept) * rows * cols))
        maps = x.view(batch, kept, rows, cols, c.d).permute(0, 1, 4, 2, 3)  # (B, kept, d, I, J)
        stacked: Tensor = self.stack(maps.reshape(batch, kept * c.d, rows, cols))
        return stacked

    def _embed(self, tokens: Tensor, observed: Tensor, context: Tensor | None) -> Tensor:
        hidden = ~observed[:, :, None]
        value = torch.cat([tokens[:, :, :1].masked_fill(hidden, 0.0), tokens[:, :, 1:]], dim=2)
        rows, cols = tokens.shape[-2:]
        position = self.time[:, None, None] + self.row[:rows, None] + self.col[:cols]
        x = self.value(value.movedim(2, -1)) + position
        x = x + torch.where(observed[..., None], self.state[1], self.state[0])
        if self.external is not None and context is not None:
            x = x + self.external(context)[:, :, None, None]
        embedded: Tensor = x  # (B, t, I, J, d)
        return embedded


class _Layer(nn.Module):
    """Attention and feed-forward of eq 15–22."""

    def __init__(self, config: PointFormerConfig, *, last: bool) -> None:
        super().__init__()
        d = config.d
        self.config = config
        self.query = nn.Linear(d, d)
        self.key_value = nn.Linear(d, 2 * d)
        self.null = nn.Parameter(torch.randn(2, config.heads, 1, d // config.heads))
        self.merge = nn.Linear(d, d)
        self.norm_attention = nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        self.widen: nn.Linear | None = None
        if not (last and config.stack == "attention"):
            self.widen, self.narrow = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
            plain = config.ffn == "paper" and config.norm == "post"
            self.norm_feed = nn.Identity() if plain else nn.LayerNorm(d)

    def forward(self, x: Tensor, seen: Tensor, first: int = 0) -> Tensor:
        """Ask for the points from `first` on; x (B, S, d), seen (B, 1, 1, S + 1)."""
        pre = self.config.norm == "pre"
        source = self.norm_attention(x) if pre else x
        h: Tensor = x[:, first:] + self.dropout(self._attend(source[:, first:], source, seen))
        h = h if pre else self.norm_attention(h)
        if self.widen is None:
            return h
        inner = self.norm_feed(h) if pre else h
        if self.config.ffn == "paper":
            positive: Tensor = self.narrow(self.widen(inner).relu()).relu()
            return positive
        h = h + self.dropout(self.narrow(F.gelu(self.widen(inner))))
        out: Tensor = h if pre else self.norm_feed(h)
        return out

    def _attend(self, asking: Tensor, source: Tensor, seen: Tensor) -> Tensor:
        q = self._split(self.query(asking))
        keys, values = self.key_value(source).chunk(2, dim=-1)
        null = self.null.to(q.dtype)[:, None].expand(-1, q.shape[0], -1, -1, -1)
        k = torch.cat([self._split(keys), null[0]], dim=2)
        v = torch.cat([self._split(values), null[1]], dim=2)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        merged: Tensor = self.merge(mixed.transpose(1, 2).flatten(2))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        heads = self.config.heads
        return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)  # (B, heads, S, d / heads)


def _positions(count: int, d: int) -> nn.Parameter:
    # Sinusoids so that neighbours begin alike, turned at random so that rows, columns and frames
    # do not begin alike; learned from there.
    rates = torch.exp(-math.log(100.0) * torch.arange(d) / d)
    angles = torch.arange(count)[:, None] * rates + math.pi / 2 * (torch.arange(d) % 2)
    turned = torch.nn.init.orthogonal_(torch.empty(d, d))
    return nn.Parameter(0.5 * angles.sin() @ turned)

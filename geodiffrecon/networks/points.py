"""PointFormer: attention from any spot to the stations around it, at their true positions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PointFormer(nn.Module):
    """Encode a spot by attention to the stations that reported, and correct its distribution.

    The relative of `STPointFormer` (paper eq 14–25) for observations that are points: queries are
    spots instead of coarse cells, keys and values the stations around them with their
    displacement, readings and residuals of this and earlier steps. A learned null station answers
    where nothing was read. Attention falls off with distance from the start, at another rate in
    each head.

    Parameters
    ----------
    tokens, queries : int
        Columns of a token and of a query.
    width, heads : int
        Width of the attention and its heads.
    dropout : float
        Share of values dropped while training.

    Examples
    --------
    >>> net = PointFormer(tokens=5, queries=3, width=8, heads=2)
    >>> nothing = torch.zeros(1, 4, dtype=torch.bool)
    >>> shift, log_factor = net(torch.full((1, 4, 5), torch.nan), nothing, torch.zeros(1, 3))
    >>> shift.item(), log_factor.item()
    (0.0, 0.0)
    """

    DISTANCE = 2  # column of a token that holds the log distance

    def __init__(
        self, *, tokens: int, queries: int, width: int = 24, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.token = nn.Sequential(nn.Linear(tokens, width), nn.GELU(), nn.Linear(width, width))
        self.query = nn.Sequential(nn.Linear(queries, width), nn.GELU(), nn.Linear(width, width))
        self.ask, self.merge = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.null = nn.Parameter(torch.zeros(2, width))
        self.decay = nn.Parameter(torch.linspace(0, 2, heads))
        self.dropout = nn.Dropout(dropout)
        self.features = 2 * width
        self.head = nn.Sequential(
            nn.Linear(2 * width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 2)
        )
        nn.init.zeros_(self.head[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def encode(self, tokens: Tensor, seen: Tensor, query: Tensor) -> Tensor:
        """Return the features of spots.

        Parameters
        ----------
        tokens : Tensor, shape (B, K, F)
            Of any content (also NaN) where not seen.
        seen : Tensor of bool, shape (B, K)
            Stations that reported.
        query : Tensor, shape (B, G)
            What is known of the spot.

        Returns
        -------
        Tensor, shape (B, features)
        """
        known = tokens.masked_fill(~seen[..., None], 0.0)
        keys, values = self.key_value(self.dropout(self.token(known))).chunk(2, dim=-1)
        null = self.null[:, None, None].expand(-1, len(query), -1, -1)
        keys, values = torch.cat([keys, null[0]], 1), torch.cat([values, null[1]], 1)
        spot = self.query(query)
        score = self._split(self.ask(spot)[:, None]) @ self._split(keys).mT  # (B, h, 1, K + 1)
        score = score / math.sqrt(keys.shape[-1] / self.heads)
        far = F.pad(known[..., self.DISTANCE], (0, 1))[:, None, None]
        score = score - self.decay[:, None, None] * far
        hidden = F.pad(~seen, (0, 1))[:, None, None]
        share = score.masked_fill(hidden, -torch.inf).softmax(-1)
        mixed = (share @ self._split(values)).transpose(1, 2).flatten(1)  # (B, width)
        return torch.cat([spot, self.merge(mixed)], dim=-1)

    def forward(self, tokens: Tensor, seen: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shift of the mean (B,), in spreads, and the log factor of the spread (B,)."""
        shift, log_factor = self.head(self.encode(tokens, seen, query)).unbind(-1)
        return shift, log_factor

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, K, width / h)


class PointDenoiser(nn.Module):
    """Denoise the standardised residual of a spot, given what is known around it.

    Diffusion-F (paper eq 10–13) for a single spot: noise of neighbouring spots is correlated and
    the sampler deterministic, so that draws hang together though each spot is denoised by itself
    and no truth is needed between stations.

    Parameters
    ----------
    conditions : int
        Columns of the conditions.
    width : int
        Of the hidden layers.
    """

    WAVES = 6

    def __init__(self, *, conditions: int, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1 + 2 * self.WAVES + conditions, width), nn.GELU(),
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor, level: Tensor, conditions: Tensor) -> Tensor:
        """Return the raw prediction (B, 1) of noisy residuals `x` (B, 1) at `level` (B,)."""
        angle = level[:, None] * math.pi * torch.arange(1, self.WAVES + 1).to(level)
        entering = torch.cat([x, angle.sin(), angle.cos(), conditions.to(x)], dim=-1)
        out: Tensor = self.layers(entering)
        return out

"""Parts of the networks of both stages: embedding, residual block, attention, stacking."""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import IncompatibleModel

ConfigT = TypeVar("ConfigT")


def config_from_dict(cls: type[ConfigT], data: dict[str, Any]) -> ConfigT:
    """Rebuild a frozen configuration, nested ones included, from what JSON kept of it.

    Parameters
    ----------
    cls : dataclass type
        Configuration class.
    data : dict
        What ``dataclasses.asdict`` gave, tuples as lists.

    Returns
    -------
    instance of cls

    Raises
    ------
    IncompatibleModel
        When a key is unknown.

    Examples
    --------
    >>> from geodiffrecon.networks.unet import UNetConfig
    >>> config_from_dict(UNetConfig, {"widths": [8, 16], "strides": [2]}).widths
    (8, 16)
    """
    hints = get_type_hints(cls)
    unknown = set(data) - set(hints)
    if unknown:
        raise IncompatibleModel(
            f"{cls.__name__} has no setting {sorted(unknown)[0]!r}; the model was written by "
            "another version of geodiffrecon."
        )
    return cls(**{name: _restore(hints[name], value) for name, value in data.items()})


def _restore(hint: Any, value: Any) -> Any:
    nested = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
    if nested and isinstance(value, dict):
        return config_from_dict(nested[0], value)  # type: ignore[arg-type]
    return tuple(value) if isinstance(value, list) else value


class StepEmbedding(nn.Module):
    """Embed the noise level: sinusoids, then two layers with SiLU between.

    Parameters
    ----------
    size : int
        Length of the embedding; even.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        rates = torch.exp(-math.log(1e4) * torch.arange(size // 2) / (size // 2))
        self.register_buffer("rates", 1000 * rates, persistent=False)
        self.mix = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, level: Tensor) -> Tensor:
        """Embed levels (B,) in (0, 1] as (B, size)."""
        angles = level.float()[:, None] * self.get_buffer("rates")
        embedded: Tensor = self.mix(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedded


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with FiLM from the embedding between; the identity at the start."""

    def __init__(self, width: int, embedding: int, *, dropout: float, norm: str) -> None:
        super().__init__()
        self.norm_in = map_norm(width, norm)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = map_norm(width, norm)
        self.film = nn.Linear(embedding, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Transform x (B, C, H, W) under an embedding (B, E)."""
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.norm_out(self.conv_in(F.silu(self.norm_in(x))))
        h = F.silu(h * (1 + scale) + shift)
        out: Tensor = x + self.conv_out(self.dropout(h))
        return out


class CellAttention(nn.Module):
    """Self-attention between all cells of a map; the identity at the start."""

    def __init__(self, width: int, *, norm: str, heads: int = 4) -> None:
        super().__init__()
        self.heads = math.gcd(heads, width)
        self.norm = map_norm(width, norm)
        self.project = nn.Conv2d(width, 3 * width, 1)
        self.merge = zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Mix the cells of x (B, C, H, W)."""
        parts = self.project(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        q, k, v = parts.transpose(-1, -2).unbind(1)  # each (B, heads, H * W, C / heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.merge(mixed.transpose(-1, -2).reshape(x.shape))
        return out


class StackCells(nn.Module):
    """Stack the encodings of each block of cells and project them (paper eq 24–25).

    Concatenating the ``block`` × ``block`` encodings under a bottleneck cell and applying one
    linear layer is a convolution whose kernel and stride are the block.
    """

    def __init__(self, in_channels: int, out_channels: int, block: int) -> None:
        super().__init__()
        self.block = block
        self.conv = nn.Conv2d(in_channels, out_channels, block, stride=block)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, I, J) to (B, out, ceil(I / block), ceil(J / block))."""
        stacked: Tensor = self.conv(pad_to_multiple(x, self.block))
        return stacked


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of x (B, C, H, W) up to a multiple of cells.

    Examples
    --------
    >>> pad_to_multiple(torch.zeros(1, 1, 5, 7), 4).shape
    torch.Size([1, 1, 8, 8])
    """
    below, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def map_norm(width: int, norm: str) -> nn.Module:
    """Return the normalisation of a map of some channels; "none" leaves it as it is."""
    if norm == "none":
        return nn.Identity()
    # Groups of 8 channels or more: with one channel each, the level of a map would be erased.
    groups = next(g for g in range(max(1, min(8, width // 8)), 0, -1) if width % g == 0)
    return nn.GroupNorm(groups, width)


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Set a convolution to zero and return it."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv

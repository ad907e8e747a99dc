"""T-PatternNet: periods of the completed coarse series (paper eq 26–34)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidParameter
from .blocks import StackCells


@dataclass(frozen=True)
class PatternConfig:
    """Sizes of a `TPatternNet`.

    Parameters
    ----------
    frames : int
        Length t of the series, the current frame included and last.
    token_channels : int
        Channels of each cell and frame: the value, then extras that are known everywhere.
    d, d_ff, layers : int
        Width of the series, width inside a TimesBlock, and number of TimesBlocks.
    top_k : int
        Periods that each block folds the series by; at most t // 2.
    kernels : tuple of int
        Odd sizes of the parallel kernels whose average is the inception block.
    feature_channels : int
        Channels of the result.
    mode : {"per_cell", "channel_mix"}
        "per_cell": each cell is a series (the paper's text). "channel_mix": all cells are
        channels of one series (eq 26) and are told apart again by a linear layer.
    cells : tuple of int, optional
        Rows and columns of the window, needed for "channel_mix", which only fits that size.

    Raises
    ------
    InvalidParameter
        For an unknown mode, even kernels, too many periods or missing cells.
    """

    frames: int
    token_channels: int = 1
    d: int = 16
    d_ff: int = 16
    layers: int = 1
    top_k: int = 3
    kernels: tuple[int, ...] = (1, 3, 5)
    feature_channels: int = 32
    mode: str = "per_cell"
    cells: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("per_cell", "channel_mix"):
            raise InvalidParameter(
                f"Unknown mode {self.mode!r} of the pattern net; use 'per_cell' or 'channel_mix'."
            )
        if self.mode == "channel_mix" and self.cells is None:
            raise InvalidParameter("Mode 'channel_mix' needs cells=(rows, columns) of the window.")
        if not self.kernels or any(size % 2 == 0 for size in self.kernels):
            raise InvalidParameter(f"Inception kernels must be odd sizes, not {self.kernels}.")
        if not 1 <= self.top_k <= self.frames // 2:
            raise InvalidParameter(
                f"A series of {self.frames} frames has 1 to {self.frames // 2} periods, "
                f"not {self.top_k}; set top_k or a longer history."
            )


class TPatternNet(nn.Module):
    """Encode the completed coarse series by its periods.

    Parameters
    ----------
    config : PatternConfig
        Sizes.
    context_features : int
        Length of each frame's context vector; 0 for none.
    block : int
        Side of the block of coarse cells under one bottleneck cell of the U-Net.
    """

    def __init__(self, config: PatternConfig, *, context_features: int = 0, block: int = 1) -> None:
        super().__init__()
        c = self.config = config
        cells = math.prod(c.cells or (1, 1)) if c.mode == "channel_mix" else 1
        self.embed = nn.Linear((c.token_channels + 1) * cells, c.d)
        self.external = nn.Linear(context_features, c.d, bias=False) if context_features else None
        self.blocks = nn.ModuleList(
            TimesBlock(c.d, c.d_ff, top_k=c.top_k, kernels=c.kernels) for _ in range(c.layers)
        )
        self.spread = nn.Linear(2 * c.d, 2 * c.d * cells) if c.mode == "channel_mix" else None
        self.stack = StackCells(2 * c.d, c.feature_channels, block)

    def forward(self, tokens: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Encode the last maps.

        Parameters
        ----------
        tokens : Tensor, shape (B, t, C, I, J)
            Channel 0 is the completed coarse value; the others are known everywhere.
        observed : Tensor of bool, shape (B, t, I, J)
            False where a gap has no value: channel 0 counts as zero there and a flag says so.
        context : Tensor, shape (B, t, E), optional
            Context of each frame.

        Returns
        -------
        Tensor, shape (B, feature_channels, ceil(I / block), ceil(J / block))

        Raises
        ------
        InvalidParameter
            When the frames, or in mode "channel_mix" the window, are not as configured.
        """
        self._check(tokens)
        batch, _, _, rows, cols = tokens.shape
        x = self._embed(tokens, observed, context)  # (B, series, t, d)
        for block in self.blocks:
            x = block(x)
        pooled = torch.cat([x[:, :, -1], x.mean(dim=2)], dim=-1)  # (B, series, 2 * d)
        if self.spread is not None:
            pooled = self.spread(pooled)
        maps = pooled.reshape(batch, rows, cols, 2 * self.config.d).permute(0, 3, 1, 2)
        stacked: Tensor = self.stack(maps)
        return stacked

    def _embed(self, tokens: Tensor, observed: Tensor, context: Tensor | None) -> Tensor:
        gap = ~observed[:, :, None]
        value = tokens[:, :, :1].masked_fill(gap, 0.0)
        x = torch.cat([value, tokens[:, :, 1:], gap.to(value.dtype)], dim=2)
        if self.config.mode == "per_cell":
            x = x.flatten(3).permute(0, 3, 1, 2)  # (B, I * J, t, C + 1)
        else:
            x = x.flatten(2)[:, None]  # (B, 1, t, (C + 1) * I * J)
        h: Tensor = self.embed(x)
        if self.external is not None and context is not None:
            h = h + self.external(context)[:, None]
        return h

    def _check(self, tokens: Tensor) -> None:
        c, shape = self.config, tuple(tokens.shape)
        fixed = c.mode == "channel_mix"
        if shape[1] != c.frames or (fixed and c.cells and shape[-2:] != tuple(c.cells)):
            raise InvalidParameter(
                f"The pattern net reads {c.frames} maps"
                + (f" of {c.cells[0]}×{c.cells[1]} cells" if fixed and c.cells else "")
                + f", not {shape[1]} of {shape[-2]}×{shape[-1]}."
            )


class TimesBlock(nn.Module):
    """Fold series by their strongest periods, convolve in two dimensions, and merge (eq 27–34).

    As in the published TimesNet, a residual and a normalisation are added to eq 34. Rows of the
    folded series are periods and columns phases, the transpose of the paper's eq 30, which
    square kernels do not tell apart.

    Parameters
    ----------
    d, d_ff : int
        Width outside and inside.
    top_k : int
        Number of periods.
    kernels : tuple of int
        Sizes of the parallel kernels.
    """

    def __init__(self, d: int, d_ff: int, *, top_k: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.top_k = top_k
        self.widen = Inception(d, d_ff, kernels)
        self.narrow = Inception(d_ff, d, kernels)
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        """Transform series x (B, series, t, d); periods are chosen per item of the batch."""
        periods, weights = strongest_periods(x, self.top_k)
        widen, narrow = self.widen.kernel(), self.narrow.kernel()
        merged = torch.zeros_like(x)
        for period in sorted(set(periods.flatten().tolist())):
            share = (weights * (periods == period)).sum(dim=1)  # equal periods are folded once
            items = share.nonzero()[:, 0]
            folded = _fold(x[items], period)
            folded = _convolve(F.gelu(_convolve(folded, widen)), narrow)
            result = _unfold(folded, x[items].shape) * share[items, None, None, None]
            merged = merged.index_add(0, items, result.to(merged.dtype))
        out: Tensor = self.norm(x + merged)
        return out


class Inception(nn.Module):
    """Average of parallel square convolutions, applied as the one convolution it equals."""

    def __init__(self, in_channels: int, out_channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, size, padding=size // 2) for size in kernels
        )

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (out, in, K, K) and bias (out,) of the equal single convolution."""
        weights: list[Tensor] = [conv.get_parameter("weight") for conv in self.convs]
        biases: list[Tensor] = [conv.get_parameter("bias") for conv in self.convs]
        largest = max(weight.shape[-1] for weight in weights)
        margins = [(largest - weight.shape[-1]) // 2 for weight in weights]
        padded = [F.pad(w, (m, m, m, m)) for w, m in zip(weights, margins, strict=True)]
        return torch.stack(padded).mean(0), torch.stack(biases).mean(0)


def strongest_periods(x: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Find the periods that carry most amplitude, per item of the batch (eq 27–29, 33).

    Parameters
    ----------
    x : Tensor, shape (B, series, t, d)
        Series; their amplitudes are averaged over series and channels.
    top_k : int
        Number of periods.

    Returns
    -------
    periods : Tensor of int64, shape (B, k)
        ``ceil(t / f)`` for the strongest frequencies f of 1 to t // 2.
    weights : Tensor, shape (B, k)
        Softmax of their amplitudes; differentiable.

    Examples
    --------
    >>> time = torch.arange(24.0)
    >>> x = torch.sin(2 * torch.pi * time / 6).view(1, 1, 24, 1)
    >>> strongest_periods(x, 1)[0]
    tensor([[6]])
    """
    frames = x.shape[2]
    # The orthonormal transform keeps amplitudes, hence weights, comparable for any length.
    amplitude = torch.fft.rfft(x.float(), dim=2, norm="ortho").abs().mean(dim=(1, 3))
    ranked = amplitude.detach()[:, 1 : frames // 2 + 1]
    # A flat series has only rounding noise: let longer periods win there, whatever the batch.
    slope = 1e-4 * amplitude.detach().sum(dim=1, keepdim=True) / frames
    ranked = ranked - slope * torch.arange(ranked.shape[1], device=x.device) / frames
    frequencies = ranked.topk(top_k, dim=1).indices + 1
    weights = amplitude.gather(1, frequencies).softmax(dim=1)
    return (frames + frequencies - 1) // frequencies, weights


def _fold(x: Tensor, period: int) -> Tensor:
    items, series, frames, d = x.shape
    padded = F.pad(x, (0, 0, 0, -frames % period))
    return padded.reshape(items * series, -1, period, d).permute(0, 3, 1, 2)  # (n, d, rows, period)


def _unfold(folded: Tensor, shape: torch.Size) -> Tensor:
    items, series, frames, d = shape
    flat = folded.permute(0, 2, 3, 1).reshape(items, series, -1, d)
    return flat[:, :, :frames]


def _convolve(x: Tensor, kernel: tuple[Tensor, Tensor]) -> Tensor:
    return F.conv2d(x, kernel[0], kernel[1], padding=kernel[0].shape[-1] // 2)

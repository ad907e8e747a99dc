"""The one conditional U-Net of both stages, and its step and context embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidParameter
from .blocks import (
    CellAttention,
    ResidualBlock,
    StepEmbedding,
    map_norm,
    pad_to_multiple,
    zeroed,
)
from .heads import nearest_up


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a `ConditionalUNet`, the same for both stages.

    Parameters
    ----------
    widths : tuple of int
        Channels of each level, finest first; one width is a plain residual network.
    strides : tuple of int
        Factor between each level and the next; one fewer than widths.
    patch : int
        Side of the squares of cells that enter and leave the network as one.
    embedding : int
        Size of the step and context embedding; even.
    blocks_per_level : int
        Residual blocks of each level, in the encoder and again in the decoder.
    attention : bool
        Self-attention between the cells of the bottleneck.
    dropout : float
        Share of channels' values dropped inside residual blocks while training.
    norm : {"group", "none"}
        "group" trains faster and is kept from erasing the level of a map by the linear skip from
        input to output; "none" leaves that level in every layer and makes a cell depend on its
        surroundings only, not on the whole window.

    Raises
    ------
    InvalidParameter
        When the sizes do not fit together.
    """

    widths: tuple[int, ...] = (48, 96)
    strides: tuple[int, ...] = (2,)
    patch: int = 1
    embedding: int = 64
    blocks_per_level: int = 1
    attention: bool = False
    dropout: float = 0.1
    norm: str = "group"

    def __post_init__(self) -> None:
        if not self.widths or len(self.strides) != len(self.widths) - 1:
            raise InvalidParameter(
                f"A U-Net needs one stride fewer than widths, not widths {self.widths} with "
                f"strides {self.strides}."
            )
        if self.norm not in ("group", "none"):
            raise InvalidParameter(f"Unknown norm {self.norm!r}; use 'group' or 'none'.")
        if self.embedding % 2:
            raise InvalidParameter(f"The embedding size must be even, not {self.embedding}.")

    @property
    def span(self) -> int:
        """Return how many cells of the input one bottleneck cell spans."""
        return self.patch * math.prod(self.strides)


class ConditionalUNet(nn.Module):
    """U-Net with FiLM, fused at its bottleneck with features of the history (paper eq 8–13).

    Starts as the zero map: its last layer, and its linear skip from input to output, are zero.
    Nothing in it depends on the other items of a batch.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels at full size.
    config : UNetConfig
        Sizes.
    lattice_channels : int
        Channels that are constant over each patch and enter once per patch.
    feature_channels : int
        Channels of the history's features; 0 for none.
    zero_features : bool
        Start as if the history were not there; otherwise the fusing layer starts at random.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: UNetConfig,
        *,
        lattice_channels: int = 0,
        feature_channels: int = 0,
        zero_features: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.feature_channels = feature_channels
        squares = config.patch**2
        entering = in_channels * squares + lattice_channels
        widths = config.widths
        self.enter = nn.Conv2d(entering, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(self._blocks(width) for width in widths)
        steps = list(zip(widths[:-1], widths[1:], config.strides, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, s, stride=s) for a, b, s in steps)
        self.fuse = _fusion(widths[-1], feature_channels, zero=zero_features)
        self.attention = CellAttention(widths[-1], norm=config.norm) if config.attention else None
        self.decoder = nn.ModuleList(self._blocks(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b, _ in steps)
        self.merge = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _, _ in steps)
        self.norm = map_norm(widths[0], config.norm)
        self.leave = zeroed(nn.Conv2d(widths[0], out_channels * squares, 3, padding=1))
        self.skip = zeroed(nn.Conv2d(entering, out_channels * squares, 1, bias=False))

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        features: Tensor | None = None,
        lattice: Tensor | None = None,
    ) -> Tensor:
        """Map a field to a field of the same size.

        Parameters
        ----------
        x : Tensor, shape (B, in_channels, H, W)
            Any size: padded inside to a multiple of the bottleneck's span by repeating edges.
        embedding : Tensor, shape (B, E)
            Step and context.
        features : Tensor, shape (B, feature_channels, h, w), optional
            Features per bottleneck cell; left out, they count as zero.
        lattice : Tensor, shape (B, lattice_channels, H / patch, W / patch), optional
            Channels that are constant over each patch.

        Returns
        -------
        Tensor, shape (B, out_channels, H, W)
        """
        height, width = x.shape[-2:]
        entering = self._enter(x, lattice)
        embedding = F.silu(embedding)
        h = self.enter(entering)
        saved = []
        for level, blocks in enumerate(self.encoder):
            if level:
                h = self.down[level - 1](h)
            h = _run(blocks, h, embedding)
            saved.append(h)
        h = self._fused(h, features)
        for level in reversed(range(len(saved))):
            if level < len(self.up):
                # A 1×1 convolution commutes with repeating cells and is cheaper before it.
                h = nearest_up(self.up[level](h), self.config.strides[level])
                h = self.merge[level](torch.cat([h, saved[level]], dim=1))
            h = _run(self.decoder[level], h, embedding)
        out = self.leave(F.silu(self.norm(h))) + self.skip(entering)
        return F.pixel_shuffle(out, self.config.patch)[..., :height, :width]

    def _blocks(self, width: int) -> nn.ModuleList:
        c = self.config
        return nn.ModuleList(
            ResidualBlock(width, c.embedding, dropout=c.dropout, norm=c.norm)
            for _ in range(c.blocks_per_level)
        )

    def _enter(self, x: Tensor, lattice: Tensor | None) -> Tensor:
        parts = []
        if x.shape[1]:
            padded = pad_to_multiple(x, self.config.span)
            parts.append(F.pixel_unshuffle(padded, self.config.patch))
        if lattice is not None and lattice.shape[1]:
            parts.append(pad_to_multiple(lattice, self.config.span // self.config.patch))
        return torch.cat(parts, dim=1)

    def _fused(self, h: Tensor, features: Tensor | None) -> Tensor:
        if self.fuse is not None:
            if features is None:
                features = h.new_zeros(h.shape[0], self.feature_channels, *h.shape[-2:])
            h = self.fuse(torch.cat([h, features.to(h.dtype)], dim=1))
        return h if self.attention is None else self.attention(h)


class Backbone(nn.Module):
    """A `ConditionalUNet` that is told the noise level and the context.

    Parameters
    ----------
    noisy : bool
        Whether a noise level is embedded; a mean has none.
    context_features : int
        Length of the context vector; 0 for none.
    in_channels, out_channels, config, lattice_channels, feature_channels
        As for `ConditionalUNet`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: UNetConfig,
        *,
        noisy: bool,
        context_features: int = 0,
        lattice_channels: int = 0,
        feature_channels: int = 0,
    ) -> None:
        super().__init__()
        self.step = StepEmbedding(config.embedding) if noisy else None
        self.context = nn.Linear(context_features, config.embedding) if context_features else None
        self.unet = ConditionalUNet(
            in_channels,
            out_channels,
            config,
            lattice_channels=lattice_channels,
            feature_channels=feature_channels,
        )

    def forward(
        self,
        x: Tensor,
        level: Tensor | None,
        context: Tensor | None,
        features: Tensor | None,
        lattice: Tensor | None = None,
    ) -> Tensor:
        """Map a field to a field; level (B,) in (0, 1], context (B, E), the rest as the U-Net."""
        embedding = x.new_zeros(x.shape[0], self.unet.config.embedding)
        if self.step is not None and level is not None:
            embedding = embedding + self.step(level)
        if self.context is not None and context is not None:
            embedding = embedding + self.context(context)
        out: Tensor = self.unet(x, embedding, features, lattice)
        return out


def _run(blocks: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, embedding)
    return h


def _fusion(width: int, features: int, *, zero: bool) -> nn.Conv2d | None:
    if not features:
        return None
    conv = nn.Conv2d(width + features, width, 1)
    if zero:
        zeroed(conv)
        with torch.no_grad():
            conv.weight[:, :width, 0, 0] = torch.eye(width)
    return conv

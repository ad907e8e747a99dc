"""Refinement, the paper's Diffusion-F: from a complete coarse map to a fine one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import InvalidParameter
from .blocks import config_from_dict
from .heads import nearest_up
from .patterns import PatternConfig, TPatternNet
from .unet import Backbone, UNetConfig


@dataclass(frozen=True)
class RefinementConfig:
    """Every size of a `Refinement`; ``dataclasses.asdict`` gives its JSON form.

    Parameters
    ----------
    factor : int
        Fine cells along one side of a coarse cell, N.
    noisy_channels : int
        Channels of the fine field that is denoised; 0 for a mean in one forward pass.
    coarse_channels, fine_channels : int
        Channels of the conditions on the coarse and on the fine grid.
    out_channels : int
        Channels of the result.
    context_features : int
        Length of a frame's context vector; 0 for none.
    unet : UNetConfig
        Intra-encoder and decoder. ``patch = factor`` works on the coarse lattice with N² outputs
        per cell; a smaller patch needs strides that lead to a bottleneck of whole coarse cells.
    history : PatternConfig, optional
        Inter-encoder; None leaves it out.

    Raises
    ------
    InvalidParameter
        When the patch does not divide the factor, or history is given and the bottleneck's cells
        are not whole coarse cells.
    """

    factor: int
    noisy_channels: int = 1
    coarse_channels: int = 1
    fine_channels: int = 0
    out_channels: int = 1
    context_features: int = 0
    unet: UNetConfig = field(default_factory=UNetConfig)
    history: PatternConfig | None = None

    def __post_init__(self) -> None:
        if self.factor % self.unet.patch:
            raise InvalidParameter(
                f"A patch of {self.unet.patch} does not divide the factor {self.factor}."
            )
        if self.history is not None and self.unet.span % self.factor:
            raise InvalidParameter(
                f"A bottleneck cell must span whole coarse cells of {self.factor}×{self.factor} "
                f"fine ones, but spans {self.unet.span}; change patch or strides."
            )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild the configuration from its JSON form.

        Raises
        ------
        IncompatibleModel
            When a key is unknown.
        """
        return config_from_dict(cls, data)


class Refinement(nn.Module):
    """Denoiser, or mean, of the fine map, given the completed coarse maps.

    Parameters
    ----------
    config : RefinementConfig
        Sizes.
    """

    def __init__(self, config: RefinementConfig) -> None:
        super().__init__()
        self.config = config
        self.history = (
            TPatternNet(
                config.history,
                context_features=config.context_features,
                block=config.unet.span // config.factor,
            )
            if config.history
            else None
        )
        self.backbone = Backbone(
            config.noisy_channels + config.fine_channels,
            config.out_channels,
            config.unet,
            noisy=config.noisy_channels > 0,
            context_features=config.context_features,
            lattice_channels=config.coarse_channels,
            feature_channels=config.history.feature_channels if config.history else 0,
        )

    @classmethod
    def from_config(cls, config: RefinementConfig) -> Self:
        """Build the network with fresh weights."""
        return cls(config)

    def encode(
        self, tokens: Tensor, observed: Tensor, context: Tensor | None = None
    ) -> Tensor | None:
        """Encode the completed coarse series, once per map; as `Completion.encode`."""
        return None if self.history is None else self.history(tokens, observed, context)

    def forward(
        self,
        x: Tensor,
        level: Tensor | None,
        coarse: Tensor,
        maps: Tensor | None = None,
        context: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Predict from the noisy fine field and the conditions (eq 11, 13).

        Parameters
        ----------
        x : Tensor, shape (B, noisy_channels, N * I, N * J)
            Noisy field; no channels for a mean.
        level : Tensor, shape (B,), optional
            Noise level in (0, 1]; not read by a mean.
        coarse : Tensor, shape (B, coarse_channels, I, J)
            Conditions on the coarse grid.
        maps : Tensor, shape (B, fine_channels, N * I, N * J), optional
            Conditions on the fine grid.
        context : Tensor, shape (B, E), optional
            Context of the current frame.
        features : Tensor, optional
            What `encode` gave.

        Returns
        -------
        Tensor, shape (B, out_channels, N * I, N * J)
        """
        entering = x if maps is None else torch.cat([x, maps.to(x.dtype)], dim=1)
        # Repeated inside its cell, a coarse value is the same for a whole patch.
        lattice = nearest_up(coarse.to(x.dtype), self.config.factor // self.config.unet.patch)
        out: Tensor = self.backbone(entering, level, context, features, lattice)
        return out

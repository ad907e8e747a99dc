"""Completion, the paper's Diffusion-C: from an incomplete coarse map to a complete one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from .blocks import config_from_dict
from .history import PointFormerConfig, STPointFormer
from .unet import Backbone, UNetConfig


@dataclass(frozen=True)
class CompletionConfig:
    """Every size of a `Completion`; ``dataclasses.asdict`` gives its JSON form.

    Parameters
    ----------
    noisy_channels : int
        Channels of the field that is denoised; 0 for a mean in one forward pass.
    map_channels : int
        Channels of the conditions: values, missing flags, prior, statics.
    out_channels : int
        Channels of the result.
    context_features : int
        Length of a frame's context vector; 0 for none.
    unet : UNetConfig
        Intra-encoder and decoder.
    history : PointFormerConfig, optional
        Inter-encoder; None leaves it out.

    Examples
    --------
    >>> import dataclasses, json
    >>> config = CompletionConfig(history=PointFormerConfig(frames=4, rows=8, cols=8))
    >>> stored = json.loads(json.dumps(dataclasses.asdict(config)))
    >>> CompletionConfig.from_dict(stored) == config
    True
    """

    noisy_channels: int = 1
    map_channels: int = 2
    out_channels: int = 1
    context_features: int = 0
    unet: UNetConfig = field(default_factory=UNetConfig)
    history: PointFormerConfig | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild the configuration from its JSON form.

        Raises
        ------
        IncompatibleModel
            When a key is unknown.
        """
        return config_from_dict(cls, data)


class Completion(nn.Module):
    """Denoiser, or mean, of the coarse map, given what is observed of it and of its past.

    Parameters
    ----------
    config : CompletionConfig
        Sizes.
    """

    def __init__(self, config: CompletionConfig) -> None:
        super().__init__()
        self.config = config
        self.history = (
            STPointFormer(
                config.history,
                context_features=config.context_features,
                block=config.unet.span,
            )
            if config.history
            else None
        )
        self.backbone = Backbone(
            config.noisy_channels + config.map_channels,
            config.out_channels,
            config.unet,
            noisy=config.noisy_channels > 0,
            context_features=config.context_features,
            feature_channels=config.history.feature_channels if config.history else 0,
        )

    @classmethod
    def from_config(cls, config: CompletionConfig) -> Self:
        """Build the network with fresh weights."""
        return cls(config)

    def encode(
        self, tokens: Tensor, observed: Tensor, context: Tensor | None = None
    ) -> Tensor | None:
        """Encode the clean history, once per map and not once per step (eq 12).

        Parameters
        ----------
        tokens : Tensor, shape (B, t, C, I, J)
            Value and extra channels of the last coarse maps, the current one last.
        observed : Tensor of bool, shape (B, t, I, J)
            True = seen; values elsewhere are never read.
        context : Tensor, shape (B, t, E), optional
            Context of each frame.

        Returns
        -------
        Tensor, shape (B, F, h, w), or None without an inter-encoder
        """
        return None if self.history is None else self.history(tokens, observed, context)

    def forward(
        self,
        x: Tensor,
        level: Tensor | None,
        maps: Tensor,
        context: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Predict from the noisy field and the conditions (eq 11, 13).

        Parameters
        ----------
        x : Tensor, shape (B, noisy_channels, I, J)
            Noisy field; no channels for a mean.
        level : Tensor, shape (B,), optional
            Noise level in (0, 1]; not read by a mean.
        maps : Tensor, shape (B, map_channels, I, J)
            Conditions; the caller has removed what is hidden.
        context : Tensor, shape (B, E), optional
            Context of the current frame.
        features : Tensor, optional
            What `encode` gave.

        Returns
        -------
        Tensor, shape (B, out_channels, I, J)
        """
        entering = torch.cat([x, maps.to(x.dtype)], dim=1)
        out: Tensor = self.backbone(entering, level, context, features)
        return out

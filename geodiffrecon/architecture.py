"""From settings and grid to the sizes of the four networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .networks.completion import Completion, CompletionConfig
from .networks.history import PointFormerConfig
from .networks.patterns import PatternConfig
from .networks.refinement import Refinement, RefinementConfig
from .networks.unet import UNetConfig
from .series import LATTICE_MAPS, coarse_channels
from .units import FINE_MAPS

if TYPE_CHECKING:
    from .presets import Layer, Settings
    from .tiling import WindowLattice


@dataclass(frozen=True)
class Architecture:
    """Sizes that follow from the settings, the grid and the calendar.

    Parameters
    ----------
    settings : Settings
        Of the model.
    lattice : WindowLattice
        Windows of the coarse grid.
    factor : int
        Fine cells per coarse cell along one axis.
    context : int
        Length of the context vector.
    slots : int
        Time steps per day.
    fine_outputs : int
        Outputs of the refinement mean.
    statics : int
        Channels that tell coarse cells apart.
    """

    settings: Settings
    lattice: WindowLattice
    factor: int
    context: int
    slots: int
    fine_outputs: int
    statics: int

    @property
    def coarse_lags(self) -> tuple[int, ...]:
        """Frames back that completion reads, oldest first."""
        recent = tuple(range(self.settings.history - 1, -1, -1))
        daily = self.settings.daily and self.slots > self.settings.history
        return (self.slots, *recent) if daily else recent

    @property
    def fine_lags(self) -> tuple[int, ...]:
        """Frames back that refinement reads, oldest first."""
        return tuple(range(self.settings.pattern - 1, -1, -1))

    def completion(self, *, noisy: bool) -> Completion:
        """Return the network of the mean or, if `noisy`, of the diffusion layer, untrained."""
        s = self.settings
        layer = s.completion_diffusion if noisy else s.completion_mean
        return Completion.from_config(
            CompletionConfig(
                noisy_channels=int(noisy),
                map_channels=coarse_channels(len(self.coarse_lags), self.statics),
                out_channels=1 if noisy else 2,
                context_features=self.context,
                unet=_unet(layer, (2,) * (len(layer.widths) - 1), 1),
                history=self._points(layer),
            )
        )

    def refinement(self, *, noisy: bool) -> Refinement:
        """Return the network of the mean or, if `noisy`, of the diffusion layer, untrained."""
        s = self.settings
        layer = s.refinement_diffusion if noisy else s.refinement_mean
        strides = _strides(self.factor, len(layer.widths) - 1)
        return Refinement.from_config(
            RefinementConfig(
                factor=self.factor,
                noisy_channels=int(noisy),
                coarse_channels=LATTICE_MAPS + self.statics,
                fine_channels=FINE_MAPS,
                out_channels=1 if noisy else self.fine_outputs,
                context_features=self.context,
                unet=_unet(layer, strides, self.factor // math.prod(strides)),
                history=self._patterns(layer),
            )
        )

    def _points(self, layer: Layer) -> PointFormerConfig | None:
        if not layer.d:
            return None
        rows, columns = self.lattice.window_shape
        literal = self.settings.literal
        return PointFormerConfig(
            frames=len(self.coarse_lags),
            rows=rows,
            cols=columns,
            token_channels=2,
            d=layer.d,
            heads=2,
            layers=layer.layers,
            norm="post" if literal else "pre",
            ffn=self.settings.feed,
            stack=self.settings.stacked,
            queries="all" if literal else "current",
            dropout=layer.dropout,
        )

    def _patterns(self, layer: Layer) -> PatternConfig | None:
        if not layer.d:
            return None
        literal = self.settings.literal
        return PatternConfig(
            frames=self.settings.pattern,
            d=layer.d,
            d_ff=layer.d,
            layers=layer.layers,
            top_k=min(3, self.settings.pattern // 2),
            mode="channel_mix" if literal else "per_cell",
            cells=self.lattice.window_shape if literal else None,
        )


def _unet(layer: Layer, strides: tuple[int, ...], patch: int) -> UNetConfig:
    return UNetConfig(
        widths=layer.widths[-len(strides) - 1 :],
        strides=strides,
        patch=patch,
        blocks_per_level=layer.blocks,
        dropout=layer.dropout,
    )


def _strides(factor: int, levels: int) -> tuple[int, ...]:
    """Return at most `levels` prime factors of `factor`; what is left is the patch."""
    primes = []
    divisor = 2
    while factor > 1:
        while factor % divisor == 0:
            primes.append(divisor)
            factor //= divisor
        divisor += 1
    return tuple(primes[:levels])

"""All randomness of draws, addressed by seed, draw and absolute time step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .consistency import multinomial
from .noise import NoiseField

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]

COMPLETION_NOISE, REFINEMENT_NOISE, ROUNDING, ALLOCATION, SAMPLER_NOISE = range(5)


@dataclass(frozen=True)
class Chance:
    """All randomness of some draws, addressed by absolute time step.

    Parameters
    ----------
    shapes, rhos : tuple
        Shape and step-to-step correlation of the fields of completion and of refinement.
    seed : int
        The user's seed.
    steps : array (T,)
        Absolute step of each frame of the series.
    draws : range
        Numbers of the draws.
    """

    shapes: tuple[tuple[int, int], tuple[int, int]]
    rhos: tuple[float, float]
    seed: int
    steps: NDArray[np.int64]
    draws: range

    def white(self, stream: int, shape: tuple[int, ...], rho: float = 0.0) -> NoiseField:
        """Return the noise of one use."""
        return NoiseField(self.seed, shape, stream, rho)

    def fields(self, stream: int, part: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return correlated start noise (f, K, H, W) of a stage."""
        noise = self.white(stream, *self._stage(stream))
        drawn = [noise.series(draw, self.steps[part]) for draw in self.draws]
        return np.stack(drawn, axis=1)

    def fresh(
        self, stream: int, part: NDArray[np.int64], device: torch.device
    ) -> Callable[[int], Tensor]:
        """Return the noise of every sampler step, for stochastic samplers."""
        shape, _ = self._stage(stream)

        def at(step: int) -> Tensor:
            noise = self.white(SAMPLER_NOISE + 10 * stream + 100 * (step + 1), shape)
            drawn = [[noise(draw, int(s)) for draw in self.draws] for s in self.steps[part]]
            return torch.as_tensor(np.array(drawn), device=device).flatten(0, 1)[:, None]

        return at

    def uniform(self, stream: int, part: NDArray[np.int64], shape: tuple[int, ...]) -> Array:
        """Return uniform numbers (K, f, ...)."""
        noise = self.white(stream, shape)
        return np.array(
            [
                [noise.generator(draw, int(s)).random(shape) for s in self.steps[part]]
                for draw in self.draws
            ]
        )

    def allocate(self, totals: Array, shares: Array, part: NDArray[np.int64], factor: int) -> Array:
        """Return multinomial allocations (K, f, N I, N J) of whole totals (K, f, I, J)."""
        noise = self.white(ALLOCATION, ())
        return np.array(
            [
                [
                    multinomial(noise.generator(draw, int(s)), totals[k, f], shares[k, f], factor)
                    for f, s in enumerate(self.steps[part])
                ]
                for k, draw in enumerate(self.draws)
            ]
        )

    def _stage(self, stream: int) -> tuple[tuple[int, int], float]:
        stage = 0 if stream == COMPLETION_NOISE else 1
        return self.shapes[stage], self.rhos[stage]

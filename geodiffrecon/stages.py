"""The layers of both stages at work: mean corrections and residual draws, window by window."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .diffusion import Diffusion
from .samplers import SAMPLERS, StepCallback
from .schedule import noise_levels
from .tiling import WindowLattice, crop_of
from .units import MAX_LOG_SPREAD, FineUnits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .networks.completion import Completion
    from .networks.refinement import Refinement
    from .presets import Chain
    from .series import CoarseCase, FineCase

LIMIT = 12.0  # training residuals are cut at so many spreads
Range = tuple[float, float]


class Conditioned:
    """A network with its conditions, on the whole grid: called as ``(x, level) -> output``.

    The history is encoded once per map and window; steps only run the U-Net. Blending outputs is
    blending clean fields, because both are linear in each other at a given noise level.

    Parameters
    ----------
    network : Completion or Refinement
        Of either layer.
    case : CoarseCase or FineCase
        B problems on the whole grid.
    lattice : WindowLattice
        Of the coarse grid.
    factor : int
        1 for completion, fine cells per coarse cell for refinement.
    history : CoarseCase or FineCase, optional
        Problems (b) whose history is shared by B / b consecutive ones of `case`.
    """

    def __init__(
        self,
        network: Completion | Refinement,
        case: CoarseCase | FineCase,
        lattice: WindowLattice,
        factor: int = 1,
        history: CoarseCase | FineCase | None = None,
    ) -> None:
        self.network, self.lattice, self.factor = network, lattice, factor
        self.cases = [case.crop(window, factor) for window in lattice.windows]
        shared = case if history is None else history
        share = len(case.context) // len(shared.context)
        encoded = [shared.crop(window, factor).encode(network) for window in lattice.windows]  # type: ignore[arg-type]
        self.features = [
            None if features is None else features.repeat_interleave(share, dim=0)
            for features in encoded
        ]

    def __call__(self, x: Tensor, level: Tensor | None) -> Tensor:
        """Return the blended output (B, C, H, W) for noisy fields x (B, C, H, W)."""
        parts = [
            case.run(self.network, crop_of(x, window, self.factor), level, features)  # type: ignore[arg-type]
            for window, case, features in zip(
                self.lattice.windows, self.cases, self.features, strict=True
            )
        ]
        return self.lattice.blend(parts, self.factor)


def corrected_coarse(case: CoarseCase, raw: Tensor) -> CoarseCase:
    """Return the case moved by raw[:, 0] spreads and widened by exp(raw[:, 1]), (B, 2, I, J)."""
    widen = raw[:, 1].clamp(-MAX_LOG_SPREAD, MAX_LOG_SPREAD).exp()
    return replace(case, mean=case.mean + case.spread * raw[:, 0], spread=case.spread * widen)


def mean_completion(
    networks: Sequence[Completion], case: CoarseCase, lattice: WindowLattice
) -> CoarseCase:
    """Return the case with the belief corrected by the average of `networks`; none: as it is."""
    if not networks:
        return case
    nothing = case.mean.new_zeros(len(case.mean), 0, *case.mean.shape[1:])
    raw = [Conditioned(network, case, lattice)(nothing, None) for network in networks]
    return corrected_coarse(case, torch.stack(raw).mean(dim=0))


def mean_refinement(
    networks: Sequence[Refinement], case: FineCase, units: FineUnits, lattice: WindowLattice
) -> FineCase:
    """Return the case with the belief corrected by `networks`, averaged in the end."""
    if not networks:
        return case
    nothing = case.belief.new_zeros(len(case.belief), 0, *case.belief.shape[1:])
    raw = [Conditioned(network, case, lattice, units.factor)(nothing, None) for network in networks]
    return units.correct(case, torch.stack(raw).mean(dim=0))


def process_of(chain: Chain) -> Diffusion:
    """Return the diffusion process of some settings."""
    return Diffusion(noise_levels(chain.levels, schedule=chain.schedule), chain.prediction)


@dataclass
class ResidualDiffusion:
    """Diffusion of what is left around a belief, in units of its spread.

    Parameters
    ----------
    network : Completion or Refinement
        Denoiser.
    diffusion : Diffusion
        Noise levels and what the network predicts.
    sampler : str
        Name in `SAMPLERS`.
    steps : int
        Denoiser calls per draw.
    bounds : (low, high)
        Smallest and largest residual of the training: clean fields are kept between them.
    """

    network: Completion | Refinement
    diffusion: Diffusion
    sampler: str = "dpmpp_2m"
    steps: int = 8
    bounds: Range = (-LIMIT, LIMIT)
    lattice: WindowLattice = field(default_factory=lambda: WindowLattice((1, 1)))
    factor: int = 1

    def draw(
        self,
        case: CoarseCase | FineCase,
        start: Tensor,
        *,
        history: CoarseCase | FineCase | None = None,
        fresh: Callable[[int], Tensor] | None = None,
        steps: int | None = None,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Return standard residuals (B, H, W) from the noise `start` (B, H, W)."""
        conditioned = Conditioned(self.network, case, self.lattice, self.factor, history)

        def denoise(x: Tensor, index: Tensor) -> Tensor:
            # A noise estimate divided by a vanishing signal has no bound of its own.
            return self.diffusion.denoise(conditioned, x, index).clamp(*self.bounds)

        drawn = SAMPLERS[self.sampler](
            denoise,
            start[:, None],
            self.diffusion.levels,
            steps=steps or self.steps,
            noise=fresh,
            callback=callback,
        )
        return drawn[:, 0]

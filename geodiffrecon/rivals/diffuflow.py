"""A stand-in in the spirit of DiffUFlow: one conditional diffusion from holes to the fine map.

Of DiffUFlow (CIKM 2023) neither code nor the full text was available. From its abstract and from
surveys this much is known: it makes fine urban flows from noisy and incomplete coarse ones by one
denoising diffusion; STFormer, a transformer over past frames, gives a map of features that is laid
over the coarse map; semantic features (weather, holidays, land use) enter the denoiser by
cross-attention. Sizes, schedule, losses and its "improved reverse diffusion" are not known, so no
fidelity is claimed and none of its published figures should be expected of this.

What stands in for them here:

* the denoiser is an SR3 one (Saharia et al. 2021, arXiv 2104.07636), which is given the coarse
  map at the fine size beside the noisy field; SR3 has 64 channels and five levels for 128 × 128,
  here two levels of 48 and 96 channels work on patches of the fine grid;
* STFormer is `STPointFormer` over the *observed* past of the coarse map, because in practice no
  fine past exists; its map is brought to the fine size by shuffling pixels;
* the shared `ConditionalUNet` has no layer of cross-attention. The cells of its bottleneck, which
  are the coarse cells, ask semantic tokens instead with what is known of them without noise, and
  the answers are fused into the bottleneck. They are therefore computed once per map;
* the noise schedule and the samplers are those of the project, and the loss is the squared error
  of what the denoiser predicts. The field is standardised as a whole; where values have a natural
  zero its square root is diffused, and clipped there.

The fine map is generated directly: nothing ties it to the coarse values that were observed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion import Diffusion
from ..networks.heads import nearest_up
from ..networks.history import PointFormerConfig, STPointFormer
from ..networks.unet import Backbone, UNetConfig
from ..noise import NoiseField, steps_since_epoch
from ..samplers import SAMPLERS
from ..schedule import noise_levels
from .neural import AT_ONCE, NeuralMethod
from .views import Views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..assembly import Observations
    from .neural import Lessons, Size
    from .views import Case

    Array = NDArray[np.float64]

RECENT = 3  # frames before the current one that STFormer reads, besides the one a day before
MEAN_OF = 8  # draws behind a mean
STREAM = 11  # of the noise, apart from those of the model
MARGIN = 0.25  # of the range of training that a clean field may leave it by
# First and last noise of a level, times the number of levels. They leave just under a thousandth of
# the signal's variance: an estimate of the noise is divided by what is left.
BETAS = (0.1, 14.0)
SECOND_NS = 10**9


@dataclass(frozen=True)
class Conditions:
    """What the denoiser is told of B maps, the same at every noise level.

    Parameters
    ----------
    overlay : Tensor (B, C, N I / p, N J / p)
        Coarse map, mask and STFormer's map on the patches (p × p fine cells) of the fine grid.
    semantic : Tensor (B, D, I, J)
        What the cross-attention found for every coarse cell.
    """

    overlay: Tensor
    semantic: Tensor


class SemanticAttention(nn.Module):
    """Cross-attention of coarse cells to tokens of the context and of the land use.

    Parameters
    ----------
    channels : int
        Of the maps that ask.
    features : int
        Length of the context vector.
    cells : int
        Coarse cells, each with a land-use vector that is learned.
    d, heads : int
        Width and number of heads.
    """

    def __init__(self, channels: int, features: int, cells: int, *, d: int, heads: int) -> None:
        super().__init__()
        self.land_use = nn.Parameter(0.5 * torch.randn(cells, d))
        self.context = nn.Linear(features, d)
        self.token = nn.Sequential(nn.GELU(), nn.Linear(d, d), nn.LayerNorm(d))
        self.ask = nn.Linear(channels, d)
        self.norm = nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, heads, batch_first=True)

    def forward(self, maps: Tensor, context: Tensor) -> Tensor:
        """Return (B, d, I, J) for maps (B, C, I, J) and context vectors (B, E)."""
        tokens = self.token(self.land_use + self.context(context)[:, None])  # (B, I J, d)
        asking = self.ask(maps.flatten(2).transpose(1, 2)) + self.land_use
        found, _ = self.attention(self.norm(asking), tokens, tokens, need_weights=False)
        mixed: Tensor = (asking + found).transpose(1, 2).unflatten(2, maps.shape[-2:])
        return mixed


class DiffUFlowNetwork(nn.Module):
    """STFormer, the semantic cross-attention and the denoiser that both condition.

    Parameters
    ----------
    size : Size
        Grid, factor and context.
    frames : int
        Coarse maps that are read.
    widths : tuple of int
        Channels of the two levels of the denoiser.
    d : int
        Width of the tokens.
    """

    centre: Tensor
    spread: Tensor
    bounds: Tensor

    def __init__(self, size: Size, frames: int, *, widths: tuple[int, int], d: int) -> None:
        super().__init__()
        self.size = size
        rows, cols = size.shape
        self.stride = min((n for n in range(2, size.factor + 1) if size.factor % n == 0), default=1)
        overlaid = d // 2
        former = PointFormerConfig(
            frames, rows, cols, d=d, heads=1, layers=1, feature_channels=overlaid * self.stride**2
        )
        self.stformer = STPointFormer(former)
        self.semantic = SemanticAttention(
            2 + former.feature_channels, size.features, rows * cols, d=d, heads=2
        )
        self.denoiser = Backbone(
            1, 1, UNetConfig(widths, (self.stride,), size.factor // self.stride),
            noisy=True, lattice_channels=2 + overlaid, feature_channels=d,
        )  # fmt: skip
        # Buffers, so that they are stored with the weights.
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("bounds", torch.tensor([-1.0, 1.0]))

    def measure(self, fine: Tensor) -> None:
        """Learn centre, spread and bounds of fine maps (T, N I, N J) in scaled units."""
        rooted = self._rooted(fine)
        self.centre.copy_(rooted.mean())
        self.spread.copy_(rooted.std().clamp(min=1e-6))
        low, high = rooted.min(), rooted.max()
        room = MARGIN * (high - low)
        low = low - room if self.size.signed else torch.zeros_like(low)
        self.bounds.copy_((torch.stack([low, high + room]) - self.centre) / self.spread)

    def standard(self, fine: Tensor) -> Tensor:
        """Return scaled fine maps as they are diffused."""
        return (self._rooted(fine) - self.centre) / self.spread

    def scaled(self, standard: Tensor) -> Tensor:
        """Return diffused maps in scaled units."""
        z = standard * self.spread + self.centre
        return z if self.size.signed else z.clamp(min=0).square()

    def encode(self, case: Case) -> Conditions:
        """Return what the denoiser is told of every map; holes are zero."""
        values = self._rooted(case.filled).masked_fill(~case.observed, 0.0)
        former = self.stformer(values[:, :, None], case.observed)  # (B, c s s, I, J)
        now = torch.stack([values[:, -1], case.observed[:, -1].to(values.dtype)], dim=1)
        overlay = [nearest_up(now, self.stride), F.pixel_shuffle(former, self.stride)]
        semantic = self.semantic(torch.cat([now, former], dim=1), case.context)
        return Conditions(torch.cat(overlay, dim=1), semantic)

    def forward(self, x: Tensor, level: Tensor, told: Conditions) -> Tensor:
        """Return what is predicted of x (B, 1, N I, N J), noised to level (B,) in (0, 1]."""
        noise: Tensor = self.denoiser(x, level, None, told.semantic, told.overlay)
        return noise

    def _rooted(self, values: Tensor) -> Tensor:
        return values if self.size.signed else values.clamp(min=0).sqrt()


@dataclass(frozen=True)
class DiffUFlowLike:
    """Recipe of a diffusion in the spirit of DiffUFlow.

    Parameters
    ----------
    widths : tuple of int
        Channels of the two levels of the denoiser.
    d : int
        Width of the tokens of STFormer and of the cross-attention; even.
    rate : float
        Learning rate; SR3 has 1e-4 for a million steps.
    steps, batch : int
        Most steps, and maps per step.
    levels : int
        Noise levels of a linear schedule, as in SR3.
    prediction : {"v", "eps"}
        What the denoiser predicts. SR3 has the noise, "eps"; in the same few minutes the velocity
        came further on a history of traffic.
    sampler : {"ddim", "dpmpp_2m"}
        Deterministic sampler.
    calls : int
        Calls of the denoiser per draw.
    """

    widths: tuple[int, int] = (48, 96)
    d: int = 24
    rate: float = 1e-3
    steps: int = 2000
    batch: int = 16
    levels: int = 200
    prediction: str = "v"
    sampler: str = "dpmpp_2m"
    calls: int = 10

    @property
    def process(self) -> Diffusion:
        """The diffusion in use."""
        first, last = (beta / self.levels for beta in BETAS)
        levels = noise_levels(self.levels, schedule="linear", betas=(first, last))
        return Diffusion(levels, self.prediction)

    def lags(self, slots: int) -> tuple[int, ...]:
        """Return the last frames and, where days have more, the one a day before."""
        recent = tuple(range(RECENT, -1, -1))
        return (slots, *recent) if slots > RECENT else recent

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        frames = len(self.lags(size.slots))
        return DiffUFlowNetwork(size, frames, widths=self.widths, d=self.d)

    def train(self, network: nn.Module, lessons: Lessons) -> None:
        """Train by the squared error of what the denoiser predicts."""
        fine = lessons.views.fine
        assert fine is not None
        cast("DiffUFlowNetwork", network).measure(fine[torch.as_tensor(lessons.course.frames)])
        lessons.phase(
            "denoiser", network, self._loss, steps=self.steps, rate=self.rate, batch=self.batch
        )

    def fine(self, network: nn.Module, case: Case) -> Tensor:
        """Return means (B, N I, N J) of a few draws that start alike for every map."""
        return self.draws(network, case, MEAN_OF, 0, np.zeros(len(case.context), int)).mean(dim=0)

    @torch.no_grad()
    def draws(
        self, network: nn.Module, case: Case, count: int, seed: int, numbers: NDArray[np.int64]
    ) -> Tensor:
        """Return K draws (K, B, N I, N J) in scaled units.

        Parameters
        ----------
        network : Module
            Trained.
        case : Case
            B problems.
        count : int
            K.
        seed : int
            The user's seed.
        numbers : array (B,) of int
            What tells the maps apart: draw k of a map starts from noise that is a function of
            `seed`, k and its number.
        """
        own = cast("DiffUFlowNetwork", network)
        told, size = own.encode(case), own.size
        rows, cols = (size.factor * cells for cells in size.shape)
        noise, process = NoiseField(seed, (rows, cols), STREAM), self.process
        low, high = own.bounds

        def denoise(x: Tensor, index: Tensor) -> Tensor:
            # A noise estimate divided by a vanishing signal has no bound of its own.
            clean = process.denoise(lambda noisy, level: own(noisy, level, told), x, index)
            return clean.clamp(low, high)

        found = []
        for draw in range(count):
            start = torch.as_tensor(noise.series(draw, numbers))[:, None]
            found.append(SAMPLERS[self.sampler](denoise, start, process.levels, steps=self.calls))
        return own.scaled(torch.stack(found)[:, :, 0])

    def _loss(self, network: nn.Module, case: Case) -> Tensor:
        own = cast("DiffUFlowNetwork", network)
        told, clean = own.encode(case), own.standard(case.truth[1])[:, None]
        return self.process.loss(
            lambda x, level: own(x, level, told), clean, generator=case.generator
        )


@dataclass
class DiffUFlowMethod(NeuralMethod):
    """`DiffUFlowLike` as a method that can also be asked for draws.

    Parameters
    ----------
    recipe : DiffUFlowLike
        Sizes and training.
    masks : callable, optional
        As for `NeuralMethod`.
    """

    recipe: DiffUFlowLike = field(default_factory=DiffUFlowLike)
    slow = True  # the mean is one of draws, which are costly

    def predict(self, given: Observations, frames: NDArray[np.int64]) -> Array:
        """Return fine means (F, N I, N J) of a few draws, in raw units."""
        return np.asarray(self.draws(given, frames, MEAN_OF, 0).mean(axis=0))

    @torch.no_grad()
    def draws(
        self, given: Observations, frames: NDArray[np.int64], samples: int, seed: int
    ) -> Array:
        """Return draws (K, F, N I, N J) in raw units; draw k depends on seed, k and the time.

        Parameters
        ----------
        given : Observations
            NaN where not observed.
        frames : array (F,) of int
            Frames of `given` to draw.
        samples : int
            K.
        seed : int
            Of the noise.
        """
        views = Views.of_observations(given, self._scale, self._level)
        numbers = steps_since_epoch(given.times[frames], SECOND_NS)
        found = []
        for start in range(0, len(frames), AT_ONCE):
            part = torch.as_tensor(frames[start : start + AT_ONCE])
            case = views.case(torch.zeros_like(part), part, self._lags)
            drawn = self.recipe.draws(
                self._network, case, samples, seed, numbers[start : start + AT_ONCE]
            )
            found.append(self._scale.raw_fine(drawn.numpy()))
        return np.concatenate(found, axis=1)

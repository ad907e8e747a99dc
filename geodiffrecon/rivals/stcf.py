"""STCF: encoders that learn by contrast over space and over time, then together refine a map.

Xu et al. 2023, "Spatial-Temporal Contrasting for Fine-Grained Urban Flow Inference", IEEE
Transactions on Big Data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .head import upsampled
from .neural import squared_error

if TYPE_CHECKING:
    from .neural import Lessons, Size
    from .views import Case


def contrast(one: Tensor, other: Tensor, frames: Tensor, temperature: float = 0.1) -> Tensor:
    """Return InfoNCE between two views of the same items, all other items being negatives.

    Parameters
    ----------
    one, other : Tensor (B, d)
        Embeddings; row i of one belongs to row i of the other.
    frames : Tensor (2 B,) of int
        Frame behind each row of `one`, then of `other`. Two rows of the same frame, as sampling
        with replacement gives, are never each other's negatives.
    temperature : float
        Divides the cosines.

    Returns
    -------
    Tensor, scalar
        Mean over both directions.

    Examples
    --------
    >>> far = 9 * torch.eye(2)
    >>> contrast(far, far, torch.tensor([0, 1, 0, 1])).item()
    0.00009
    """
    size = len(one)
    both = F.normalize(torch.cat([one, other]), dim=1)
    partner = torch.arange(2 * size).roll(size)
    barred = frames[:, None] == frames[None]
    barred[torch.arange(2 * size), partner] = False
    barred.fill_diagonal_(True)
    logits = (both @ both.T / temperature).masked_fill(barred, float("-inf"))
    return F.cross_entropy(logits, partner)


def encoder(channels: int, width: int) -> nn.Sequential:
    """Return 9×9 and 3×3 convolutions of `width` channels, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 9, padding=4), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def projection(width: int, out: int) -> nn.Sequential:
    """Return what makes one vector (B, out) of encoded maps (B, width, H, W) to be contrasted."""
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.Conv2d(width, out, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(out, out), nn.ReLU(),
    )  # fmt: skip


class SpatialContrast(nn.Module):
    """A coarse encoder to be trained, and the fine encoder that it must agree with.

    Parameters
    ----------
    coarse : Module
        Trained in place.
    width, out : int
        Channels of the encoders, length of what is contrasted.
    """

    def __init__(self, coarse: nn.Module, width: int, out: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(coarse, projection(width, out))
        self.fine = nn.Sequential(encoder(1, width), projection(width, out))

    def forward(self, case: Case) -> tuple[Tensor, Tensor]:
        """Return the embeddings (B, out) of the coarse maps and of the true fine ones."""
        _, fine = case.truth
        return self.coarse(case.now), self.fine(fine[:, None])


@dataclass(frozen=True)
class Neighbours:
    """Coarse maps next to those of a batch in time; none outside the frames of the course.

    Parameters
    ----------
    filled : Tensor (R, T, I, J)
        Views of the record.
    group : Tensor (T,) of int
        1 for frames to learn from, 2 for those of early stopping, 0 for all others.
    """

    filled: Tensor
    group: Tensor

    @classmethod
    def of(cls, lessons: Lessons) -> Neighbours:
        """Return those that a course allows: a training frame never meets one of early stopping."""
        course = lessons.course
        group = torch.as_tensor(course.frames).long()
        if course.stop is not None:
            group = group + 2 * (torch.as_tensor(course.stop) & (group == 0))
        return cls(lessons.views.filled, group)

    def beside(self, case: Case, shift: int) -> tuple[Tensor, Tensor]:
        """Return maps (B, 1, I, J) `shift` frames on, each in any view, and which may be used."""
        assert case.index is not None
        frame = case.index + shift
        inside = (frame >= 0) & (frame < len(self.group))
        frame = frame.clamp(0, len(self.group) - 1)
        variant = torch.randint(len(self.filled), frame.shape, generator=case.generator)
        return self.filled[variant, frame][:, None], inside & (
            self.group[frame] == self.group[case.index]
        )


def spatial_loss(network: SpatialContrast, case: Case, *, temperature: float) -> Tensor:
    """Return the contrast between coarse and fine maps of the same frames."""
    assert case.index is not None
    coarse, fine = network(case)
    return contrast(coarse, fine, case.index.repeat(2), temperature)


def temporal_loss(
    network: nn.Module, case: Case, *, neighbours: Neighbours, temperature: float
) -> Tensor:
    """Return the mean contrast of each map with the one before and the one after it."""
    assert case.index is not None
    anchor = network(case.now)
    total = 0.0 * anchor.sum()
    for shift in (-1, 1):
        maps, usable = neighbours.beside(case, shift)
        if int(usable.sum()) < 2:
            continue
        frames = case.index[usable]
        other = network(maps[usable])
        total = total + contrast(
            anchor[usable], other, torch.cat([frames, frames + shift]), temperature
        )
    return total / 2


class STCFNetwork(nn.Module):
    """Three encoders of the current coarse map, fused and shuffled up to the density.

    Parameters
    ----------
    size : Size
        Grid, factor and context.
    width : int
        Channels.
    noise : float
        Spread of what is added to the input of the third encoder in training, in scaled units.
    dropout : float
        Share of fused values dropped in training.
    """

    def __init__(self, size: Size, width: int, *, noise: float, dropout: float) -> None:
        super().__init__()
        self.size, self.noise, self.tiles = size, noise, width // 2
        self.spatial, self.temporal = encoder(1, width), encoder(1, width)
        self.tuned = encoder(2 * self.tiles, width)
        self.external = nn.Sequential(
            nn.Linear(size.features, width), nn.ReLU(), nn.Dropout(dropout / 2),
            nn.Linear(width, self.tiles), nn.ReLU(),
        )  # fmt: skip
        self.fuse = nn.Sequential(
            nn.Conv2d(3 * width, width, 3, padding=1), nn.ReLU(), nn.Dropout(dropout),
            nn.Conv2d(width, width * size.factor**2, 3, padding=1), nn.ReLU(),
            nn.PixelShuffle(size.factor), nn.Conv2d(width, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, case: Case) -> Tensor:
        """Return fine maps (B, N I, N J)."""
        tiled = case.now.expand(-1, self.tiles, -1, -1)
        if self.training:
            tiled = tiled + self.noise * torch.randn_like(tiled)
        outside = self.external(case.context)[:, :, None, None].expand_as(tiled)
        encoded = [
            self.spatial(case.now),
            self.temporal(case.now),
            self.tuned(torch.cat([tiled, outside], dim=1)),
        ]
        raw = self.fuse(torch.cat(encoded, dim=1))
        return upsampled(raw, case.filled[:, -1], self.size.factor, signed=self.size.signed)


@dataclass(frozen=True)
class STCF:
    """Recipe of STCF: contrast over space, contrast over time, then fine-tuning on fine maps.

    Published: 128 channels, 512 in the projections, batches of 32 in the contrasts and 16 after
    them, noise of 1 in raw units, Adam at 1e-4 with a patience of 100 epochs. Here networks are
    narrower and learn ten times as fast, to be done in minutes; noise is a share of the spread of
    the data. A frame may come with holes, filled from next door, and its neighbours in time with
    other holes.

    Parameters
    ----------
    width : int
        Channels of the encoders.
    out : int
        Length of what is contrasted.
    temperature : float
        Of the contrast.
    noise, dropout : float
        As in `STCFNetwork`.
    rate : float
        Learning rate of every phase.
    contrast_steps, steps : int
        Most steps of each contrast and of the fine-tuning.
    contrast_batch, batch : int
        Maps per step.
    """

    width: int = 32
    out: int = 32
    temperature: float = 0.1
    noise: float = 0.05
    dropout: float = 0.5
    rate: float = 1e-3
    contrast_steps: int = 400
    steps: int = 2500
    contrast_batch: int = 16
    batch: int = 32

    def lags(self, slots: int) -> tuple[int, ...]:
        """Return that only the current map is read; neighbours in time serve training alone."""
        return (0,)

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        return STCFNetwork(size, self.width, noise=self.noise, dropout=self.dropout)

    def train(self, network: nn.Module, lessons: Lessons) -> None:
        """Train two encoders by contrast, then everything by squared error."""
        assert isinstance(network, STCFNetwork)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lessons.course.seed * 7919 + 12)
            spatial = SpatialContrast(network.spatial, self.width, self.out)
            temporal = nn.Sequential(network.temporal, projection(self.width, self.out))
        over_space = partial(spatial_loss, temperature=self.temperature)
        over_time = partial(
            temporal_loss, neighbours=Neighbours.of(lessons), temperature=self.temperature
        )
        few = {"steps": self.contrast_steps, "batch": self.contrast_batch}
        lessons.phase("spatial contrast", spatial, over_space, rate=self.rate, share=0.15, **few)
        lessons.phase("temporal contrast", temporal, over_time, rate=self.rate, share=0.3, **few)
        lessons.phase(
            "fine maps", network, squared_error, steps=self.steps, rate=self.rate, batch=self.batch
        )

    def fine(self, network: nn.Module, case: Case) -> Tensor:
        """Return the network's fine maps."""
        found: Tensor = network(case)
        return found

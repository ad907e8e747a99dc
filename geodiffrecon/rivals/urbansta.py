"""UrbanSTA: masked space-time attention completes the coarse map, a second transformer refines it.

Published at ICDM 2023 as spatial-temporal attention for fine-grained inference from incomplete
observations. The published code drops the tokens of missing cells by one index set that all frames
share, so that it only works where the same cells are missing always; here every frame has its own
set, by barring missing cells as keys, and random masks work too. `one_mask` gives the published
way: one training for each fixed mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import GridMismatch
from ..networks.blocks import pad_to_multiple
from .head import upsampled
from .masked_attention import Block, Completed, Completion, sincos_positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..lesson import Lesson
    from .neural import Lessons, Size
    from .views import Case

TURNED = 4  # every fourth problem of a batch is also encoded turned
PATCH = 4  # coarse cells along the side of a patch of the fine inference


class FineInference(nn.Module):
    """Patches of coarse cells, each expanded to its cells by mask tokens and then to fine cells.

    Parameters
    ----------
    size : Size
        Grid and factor.
    channels : int
        Of the decoded latents.
    width, depth, heads : int
        Of the transformer, which all patches share and none sees beyond.
    """

    def __init__(self, size: Size, channels: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.size = size
        self.patches = nn.Conv2d(channels + 1, width, PATCH, stride=PATCH)
        self.missing = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.pixels = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size.factor**2))
        self.register_buffer("place", sincos_positions(PATCH, PATCH, width), persistent=False)

    def forward(self, decoded: Tensor, coarse: Tensor) -> Tensor:
        """Return raw fine maps (B, 1, N I, N J) of latents (B, P, c) and maps (B, I, J)."""
        rows, cols = self.size.shape
        latents = decoded.transpose(1, 2).unflatten(2, (rows, cols))
        maps = torch.cat([latents, coarse[:, None]], dim=1)
        patches = self.patches(pad_to_multiple(maps, PATCH))  # (B, d, I / 4, J / 4)
        batch, _, down, across = patches.shape
        first = patches.permute(0, 2, 3, 1).reshape(-1, 1, patches.shape[1])
        cells = (self.missing + self.get_buffer("place")).expand(len(first), -1, -1)
        tokens = self.blocks(torch.cat([first, cells], dim=1))[:, 1:]
        pixels = self.pixels(tokens).view(batch, down, across, PATCH, PATCH, -1)
        grid = pixels.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, PATCH * down, PATCH * across)
        return F.pixel_shuffle(grid[..., :rows, :cols], self.size.factor)


class UrbanSTANetwork(nn.Module):
    """Completion, then fine inference on the completed map.

    Parameters
    ----------
    size : Size
        Grid and factor.
    completion : Completion
        First part.
    inference : FineInference
        Second part.
    """

    def __init__(self, size: Size, completion: Completion, inference: FineInference) -> None:
        super().__init__()
        self.size, self.completion, self.inference = size, completion, inference

    def forward(self, case: Case) -> tuple[Tensor, Completed]:
        """Return fine maps (B, N I, N J) and what was completed on the way."""
        found = self.completion(case)
        answer = found.predicted if self.size.signed else found.predicted.clamp(min=0)
        coarse = torch.where(case.observed[:, -1], case.filled[:, -1], answer)
        raw = self.inference(found.decoded, coarse)
        return upsampled(raw, coarse, self.size.factor, signed=self.size.signed), found


@dataclass(frozen=True)
class Weights:
    """How much each loss counts, in scaled units.

    Published are 0.01, 100 for fine cells, 10 and 1, in counts. Squared errors of coarse cells are
    of sums of N² cells and so N⁴ times as large there, which makes 0.03 of 0.01 beside 100; the
    latents have no unit and count for next to nothing there, for little here.

    Parameters
    ----------
    masked : float
        Squared error of missing coarse cells, beside that of fine cells.
    space, time : float
        Agreement of latents with those of the turned map and of the day before.
    """

    masked: float = 0.03
    space: float = 0.01
    time: float = 0.001


@dataclass(frozen=True)
class Past:
    """Which earlier frames training may read: those of its course.

    Parameters
    ----------
    lags : tuple of int
        Frames back that a problem holds.
    known : Tensor (T,) of bool
        Frames of the course.
    """

    lags: tuple[int, ...]
    known: Tensor

    @classmethod
    def of(cls, lessons: Lessons) -> Past:
        """Return the frames to learn from and those of early stopping."""
        course = lessons.course
        known = course.frames if course.stop is None else course.frames | course.stop
        return cls(lessons.lags, torch.as_tensor(known))

    def within(self, case: Case) -> Case:
        """Return the problems with nothing observed in frames that are not known."""
        assert case.index is not None
        frames = (case.index[:, None] - torch.tensor(self.lags)).clamp(min=0)  # (B, t)
        return replace(case, observed=case.observed & self.known[frames][..., None, None])


def masked_error(found: Completed, case: Case) -> Tensor:
    """Return the mean squared error of the completion over missing cells; 0 without any."""
    coarse, _ = case.truth
    hidden = ~case.observed[:, -1]
    return _mean_where((found.predicted - coarse).square(), hidden)


def agreement(completion: Completion, found: Completed, case: Case, weights: Weights) -> Tensor:
    """Return the weighted disagreement of latents over time and over space.

    Over time: of cells observed now and a day back. Over space: of the current map and of itself
    turned by a random number of quarters, on square grids only and in part of the batch. Positions
    stay where they are when the map turns.
    """
    past, now = completion.ends
    observed = case.observed[:, now]
    both = (observed & case.observed[:, past]).flatten(1)
    total = weights.time * _disagreement(found.latents[:, -1], found.latents[:, 0], both)
    rows, cols = case.filled.shape[-2:]
    if rows == cols and weights.space:
        quarters = int(torch.randint(1, 4, (1,), generator=case.generator))
        turned = completion.turned(case.filled[::TURNED, now], observed[::TURNED], quarters)
        latents, seen = found.latents[::TURNED, -1], observed[::TURNED].flatten(1)
        total = total + weights.space * _disagreement(latents, turned, seen)
    return total


def completion_loss(completion: Completion, case: Case, *, past: Past, weights: Weights) -> Tensor:
    """Return the loss of the pre-training."""
    case = past.within(case)
    found = completion(case)
    return masked_error(found, case) + agreement(completion, found, case, weights)


def joint_loss(network: UrbanSTANetwork, case: Case, *, past: Past, weights: Weights) -> Tensor:
    """Return the loss of both parts together."""
    case = past.within(case)
    fine, found = network(case)
    error = (fine - case.truth[1]).square().mean() + weights.masked * masked_error(found, case)
    return error + agreement(network.completion, found, case, weights)


def one_mask(seen: NDArray[np.bool_]) -> Callable[[Lesson, int, int], NDArray[np.bool_]]:
    """Return training masks that are all `seen` (I, J): the published way, for `NeuralMethod`.

    Raises
    ------
    GridMismatch
        In training, if the mask does not have the shape of the coarse grid.
    """

    def masks(lesson: Lesson, views: int, seed: int) -> NDArray[np.bool_]:
        if seen.shape != lesson.shape:
            raise GridMismatch(
                f"A mask of {seen.shape} cells does not fit a coarse grid of {lesson.shape}; give "
                "one value per coarse cell."
            )
        return np.broadcast_to(seen, (views, len(lesson.record.times), *lesson.shape)).copy()

    return masks


@dataclass(frozen=True)
class UrbanSTA:
    """Recipe of UrbanSTA: completion first, then both parts together.

    Published: an encoder 64 wide with 4 heads, of this depth; a fine inference 96 wide, 12 deep
    with 8 heads that reads latents only; AdamW, 1000 epochs of each phase, the second at 1e-4, in
    batches of 128 or more. Here networks are smaller and rates higher, to be done in minutes; the
    fine inference reads the completed map as well; the class token stands in every map and is
    decoded with it. Contrast with points of interest is left out: there are none.

    Parameters
    ----------
    width, depth, heads : int
        Of the encoder; the decoder is as deep.
    inner : int
        Width of the decoder.
    fine_width, fine_depth : int
        Of the fine inference.
    weights : Weights
        Of the losses.
    rate, joint_rate : float
        Learning rates of the phases.
    completion_steps, steps : int
        Most steps of the phases.
    batch : int
        Problems per step.
    """

    width: int = 48
    depth: int = 2
    heads: int = 2
    inner: int = 32
    fine_width: int = 64
    fine_depth: int = 2
    weights: Weights = Weights()
    rate: float = 3e-3
    joint_rate: float = 3e-3
    completion_steps: int = 600
    steps: int = 1400
    batch: int = 16

    def lags(self, slots: int) -> tuple[int, ...]:
        """Return a week and a day back, the last two frames and the current one."""
        return tuple(sorted({7 * slots, slots, 2, 1, 0}, reverse=True))

    def build(self, size: Size) -> nn.Module:
        """Return a new network."""
        completion = Completion(
            size, self.lags(size.slots),
            width=self.width, depth=self.depth, heads=self.heads, inner=self.inner,
        )  # fmt: skip
        inference = FineInference(
            size, self.inner, width=self.fine_width, depth=self.fine_depth, heads=self.heads
        )
        return UrbanSTANetwork(size, completion, inference)

    def train(self, network: nn.Module, lessons: Lessons) -> None:
        """Train the completion, then everything."""
        assert isinstance(network, UrbanSTANetwork)
        past = Past.of(lessons)
        lessons.phase(
            "completion", network.completion,
            partial(completion_loss, past=past, weights=self.weights),
            steps=self.completion_steps, rate=self.rate, batch=self.batch, share=0.35,
        )  # fmt: skip
        lessons.phase(
            "joint", network, partial(joint_loss, past=past, weights=self.weights),
            steps=self.steps, rate=self.joint_rate, batch=self.batch,
        )  # fmt: skip

    def fine(self, network: nn.Module, case: Case) -> Tensor:
        """Return the network's fine maps."""
        found: Tensor = network(case)[0]
        return found


def _disagreement(one: Tensor, other: Tensor, where: Tensor) -> Tensor:
    return _mean_where((one - other).square().mean(dim=-1), where)


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp(min=1)

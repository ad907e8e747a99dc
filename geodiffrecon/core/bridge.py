"""The path from the belief's draws to better ones, and the losses that teach it.

In units of the belief's spread a draw r₀ turns into the truth r₁ along
``x = cos θ r₀ + sin θ r₁``, θ from 0 to π/2, at the velocity ``v = -sin θ r₀ + cos θ r₁``: the
v-diffusion of Salimans & Ho (2022, ICLR) with the belief's draw in the place of white noise. Where
the belief is right and Gaussian, the best velocity is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor

from .context import MAPS, NUMBERS

if TYPE_CHECKING:
    from .network import CoreNetwork

STEPS = 2
MOST = 8.0  # spreads that a draw may be from its mean
SEEN = MAPS.index("seen")
CURVE = (-8.0, 8.0)  # working units between which `Cases.curve` is known
TAUGHT = 3  # draws of the CRPS
BLOCK = 4  # cells a side, of the means that are scored
IN_MEANS, IN_WORK = 0.25, 0.3  # weights of the CRPS of block means, and of working units
BOUND, NO_BOUND = NUMBERS.index("bound"), 2.0  # its place, and what says that there is none
MOST_TIMES = 10.0  # that amounts of a block are multiplied by, to have its mean
HELD = 0.05  # floor of a spread, in working units, that a velocity may act on


@dataclass(frozen=True, eq=False)
class Cases:
    """A batch of maps as the network meets them.

    Parameters
    ----------
    maps : Tensor (B, maps, H, W)
        What is known.
    numbers : Tensor (B, numbers)
        Of the case.
    location, scale : Tensor (B, H, W)
        Of the belief; a scale of 0 holds the cell.
    """

    maps: Tensor
    numbers: Tensor
    location: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class Lessons(Cases):
    """Cases whose truth is known.

    Parameters
    ----------
    draws : Tensor (B, K, H, W)
        Of the belief, in working units.
    truth : Tensor (B, H, W)
        In working units.
    curve : Tensor (B, knots)
        Raw values at even steps of the working units from -8 to 8; it rises everywhere a little.
    raw : Tensor (B, H, W)
        The truth in raw units.
    blocks : Tensor (B, H, W), optional
        Where readings are means of blocks: the number of each cell's; -1 for none.
    """

    draws: Tensor
    truth: Tensor
    curve: Tensor
    raw: Tensor
    blocks: Tensor | None = None

    @property
    def bounded(self) -> Tensor:
        """Which cases (B,) have a least value."""
        return self.numbers[:, BOUND] < NO_BOUND


def velocity(network: CoreNetwork, cases: Cases, r: Tensor, path: Tensor, noise: Tensor) -> Tensor:
    """Return the velocity (B, K, H, W) of draws `r` in units of the spread; 0 in held cells."""
    value = cases.location[:, None] + cases.scale[:, None] * r
    three = torch.stack([r.clamp(-6, 6), value.clamp(-6, 6), noise], dim=2)
    shift, rate = network(cases.maps, cases.numbers, three, path).float().unbind(dim=2)
    free = (cases.scale > 0)[:, None]
    return (shift + 0.5 * rate * r.clamp(-4, 4)) * free


def standard(cases: Cases, draws: Tensor) -> Tensor:
    """Return draws (B, K, H, W) in working units as multiples of the spread about the mean."""
    scale = cases.scale.clamp_min(1e-4)[:, None]
    return ((draws - cases.location[:, None]) / scale).clamp(-MOST, MOST) * (scale > 1e-4)


def moved(network: CoreNetwork, cases: Cases, r: Tensor, noise: Tensor) -> Tensor:
    """Return the draws (B, K, H, W) at the end of the path that begins at `r`.

    Parameters
    ----------
    network : CoreNetwork
        Of the velocity.
    cases : Cases
        What is known.
    r : Tensor (B, K, H, W)
        Draws of the belief in units of its spread.
    noise : Tensor (STEPS, B, K, H, W)
        Standard normal.
    """
    for step in range(STEPS):
        path = torch.full(r.shape[:2], step / STEPS, device=r.device)
        r = r + velocity(network, cases, r, path, noise[step]) * (math.pi / 2 / STEPS)
    return r


def velocity_loss(network: CoreNetwork, lessons: Lessons) -> Tensor:
    """Return the weighted squared error of the velocity at random places of the path."""
    start = standard(lessons, lessons.draws)[:, :2]
    end = standard(lessons, lessons.truth[:, None]).expand_as(start)
    path = torch.rand(start.shape[:2], device=start.device)
    angle = (path * math.pi / 2)[..., None, None]
    x = angle.cos() * start + angle.sin() * end
    right = angle.cos() * end - angle.sin() * start
    hidden = _hidden(lessons)[:, None]
    miss = velocity(network, lessons, x, path, torch.randn_like(x)) - right
    size = (end[:, :1].square() * hidden).mean(dim=(2, 3), keepdim=True)
    return (miss.square() * hidden / (size + 0.5)).mean()


def score_loss(network: CoreNetwork, lessons: Lessons) -> Tensor:
    """Return the fair CRPS of a few moved draws over that of the belief's, case by case.

    At cells and at block means in raw units, and at cells in working units.
    """
    chosen = torch.randperm(lessons.draws.shape[1])[:TAUGHT]
    r = standard(lessons, lessons.draws[:, chosen])
    noise = torch.randn(STEPS, *r.shape, device=r.device)
    r = moved(network, lessons, r, noise)
    work = lessons.location[:, None] + lessons.scale[:, None] * r
    hidden, truth, raw = _hidden(lessons), lessons.truth, lessons.raw
    value = raw_of(lessons, work)
    with torch.no_grad():
        before = raw_of(lessons, lessons.draws)
        size = (raw - raw.mean(dim=(1, 2), keepdim=True)).abs().mean(dim=(1, 2))
        cells = _mean(fair_crps(before, raw), hidden).clamp_min(0) + 0.03 * size + 1e-6
        blocks = _block_score(before, raw).clamp_min(0) + 0.05 * size + 1e-6
        worked = _mean(fair_crps(lessons.draws, truth), hidden).clamp_min(0) + 0.05
    loss = (_mean(fair_crps(value, raw), hidden) / cells).clamp(-3, 6)
    loss = loss + IN_MEANS * (_block_score(value, raw) / blocks).clamp(-3, 6)
    near = fair_crps(work.clamp(-9, 9), truth.clamp(-9, 9))
    return (loss + IN_WORK * _mean(near, hidden) / worked).mean()


def fair_crps(draws: Tensor, truth: Tensor) -> Tensor:
    """Return the CRPS (B, H, W) of draws (B, K, H, W), fair to their number (Ferro 2014)."""
    count = draws.shape[1]
    rank = 2 * torch.arange(1, count + 1, device=draws.device) - count - 1.0
    weight = (rank / (count * (count - 1)))[None, :, None, None]
    apart = (weight * draws.sort(dim=1).values).sum(dim=1)
    return (draws - truth[:, None]).abs().mean(dim=1) - apart


def from_work(curve: Tensor, work: Tensor) -> Tensor:
    """Return raw values of working units (B, K, H, W), by straight lines between the knots."""
    low, high = CURVE
    knots = curve.shape[1]
    place = ((work - low) * ((knots - 1) / (high - low))).clamp(0, knots - 1.001)
    left = place.detach().floor()
    index = left.long().flatten(1)
    a = curve.gather(1, index).reshape(work.shape)
    b = curve.gather(1, index + 1).reshape(work.shape)
    return a + (b - a) * (place - left)


def raw_of(lessons: Lessons, work: Tensor) -> Tensor:
    """Return raw values (B, K, H, W) of working units, whose blocks have their means."""
    values = from_work(lessons.curve, work)
    if lessons.blocks is None:
        return values
    index = lessons.blocks.long().flatten(1)  # (B, H·W)
    count = int(index.max()) + 1
    index = torch.where(index < 0, count, index)
    right = _block_means(lessons.raw[:, None], index, count)
    means = _block_means(values, index, count)
    bounded = lessons.bounded[:, None, None]
    times = (right / means.clamp_min(1e-6)).clamp(1 / MOST_TIMES, MOST_TIMES)
    times = torch.where(bounded & (means > 1e-6), times, 1.0)
    times[..., count] = 1.0
    shift = right - means * times
    shift[..., count] = 0.0
    index = index[:, None].expand(-1, values.shape[1], -1)
    moved_ = values.flatten(2) * times.gather(2, index) + shift.gather(2, index)
    return moved_.reshape(values.shape)


def _block_means(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Return the mean (B, K, count + 1) of every block; the last one is of cells without."""
    flat = values.flatten(2)
    index = index[:, None].expand(-1, flat.shape[1], -1)
    sums = flat.new_zeros(*flat.shape[:2], count + 1).scatter_add(2, index, flat)
    cells = torch.zeros_like(sums).scatter_add(2, index, torch.ones_like(flat))
    return sums / cells.clamp_min(1)


def _hidden(cases: Cases) -> Tensor:
    return 1 - cases.maps[:, SEEN]


def _mean(score: Tensor, hidden: Tensor) -> Tensor:
    return (score * hidden).sum(dim=(1, 2)) / hidden.sum(dim=(1, 2))


def _block_score(draws: Tensor, truth: Tensor) -> Tensor:
    mean, right = functional.avg_pool2d(draws, BLOCK), functional.avg_pool2d(truth, BLOCK)
    return fair_crps(mean, right).mean(dim=(1, 2))

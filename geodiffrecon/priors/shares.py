"""Fine shares of each coarse total, smoothed over the slots of the day (sum aggregation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..windows import pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BANDWIDTHS_H = (0.75, 1.5, 3.0, 6.0)
STRENGTHS = (3.0, 10.0, 30.0, 100.0)
UNIFORM_COUNT = 0.5  # grains spread evenly, so that no share is exactly zero


@dataclass(frozen=True)
class ShareRefinement:
    """Share of every fine cell in its coarse cell, per slot of the day.

    Parameters
    ----------
    shares : array (S, P, N*N)
        Sums to 1 over the last axis; ``S = 1`` where the slot of the day is not used.
    dispersion : float
        Variance of fine values about coarse x share, in units of the binomial variance.
    """

    shares: NDArray[np.float32]
    dispersion: float = 1.0

    @classmethod
    def fit(
        cls,
        blocks: NDArray[np.float64],
        slots: NDArray[np.int64],
        n_slots: int,
        *,
        bandwidth: float = 3.0,
        strength: float = 10.0,
        grain: float = 1.0,
    ) -> ShareRefinement:
        """Fit to fine `blocks` (T, P, N*N), NaN = unknown, at `slots` (T,) of the day.

        `bandwidth` is in slots; `strength` is how many grains the all-day share weighs, of the
        size `grain` in raw units: 1 for counts.
        Values of coarse cells that are not known (`windows.pooled`) take no part.
        """
        coarse = np.broadcast_to(pooled(blocks, "sum")[..., None], blocks.shape)
        inside = np.isfinite(coarse)
        known = inside & np.isfinite(blocks)
        sums, whole, part = (np.zeros((n_slots, *blocks.shape[1:])) for _ in range(3))
        np.add.at(sums, slots, np.where(known, blocks, 0.0))
        np.add.at(whole, slots, np.where(inside, coarse, 0.0))
        np.add.at(part, slots, np.where(known, coarse, 0.0))
        total = _scaled_up(sums.sum(axis=0), whole.sum(axis=0), part.sum(axis=0))  # (P, N*N)
        uniform = np.full_like(total, 1.0 / total.shape[-1])
        overall = _normalise(total + UNIFORM_COUNT * grain * uniform)
        kernel = _circular_kernel(n_slots, bandwidth)
        smooth = _scaled_up(*(np.einsum("sr,rpn->spn", kernel, a) for a in (sums, whole, part)))
        shares = _normalise(smooth + strength * grain * overall)
        return cls(shares.astype(np.float32))

    @classmethod
    def select(
        cls,
        blocks: NDArray[np.float64],
        slots: NDArray[np.int64],
        n_slots: int,
        folds: NDArray[np.int64],
        grain: float = 1.0,
    ) -> dict[str, float]:
        """Return bandwidth and strength with the best multinomial likelihood on `folds` (T,)."""
        bandwidths: Sequence[float] = [hours * n_slots / 24 for hours in BANDWIDTHS_H]
        grid = [(b, s) for b in (bandwidths if n_slots > 1 else [1.0]) for s in STRENGTHS]
        losses = [_loss(cls, blocks, slots, n_slots, folds, b, s, grain) for b, s in grid]
        bandwidth, strength = grid[int(np.argmin(losses))]
        return {"bandwidth": bandwidth, "strength": strength}

    def predict(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the shares (T, P, N*N) at `slots` (T,)."""
        return self.shares[slots if len(self.shares) > 1 else np.zeros_like(slots)]


def grain_of(blocks: NDArray[np.float64]) -> float:
    """Return the size of what sums in `blocks` (T, P, N*N) are made of, from how they vary.

    The variance about lasting shares is that of a multinomial of so large grains.
    """
    total = np.nansum(blocks, axis=0)
    shares = total / np.where(total.sum(-1, keepdims=True) > 0, total.sum(-1, keepdims=True), 1)
    return dispersion_of(blocks, pooled(blocks, "sum")[..., None] * shares) or 1.0


def dispersion_of(blocks: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    """Return the variance of `blocks` about `fitted` ones in units of the multinomial one."""
    total = fitted.sum(-1, keepdims=True)
    binomial = fitted * (1 - fitted / np.where(total > 0, total, 1.0))
    binomial[np.isnan(blocks)] = np.nan
    expected = float(np.nansum(binomial))
    return float(np.nansum((blocks - fitted) ** 2)) / expected if expected > 0 else 0.0


def _loss(
    cls: type[ShareRefinement],
    blocks: NDArray[np.float64],
    slots: NDArray[np.int64],
    n_slots: int,
    folds: NDArray[np.int64],
    bandwidth: float,
    strength: float,
    grain: float,
) -> float:
    loss = 0.0
    for fold in np.unique(folds[folds >= 0]):
        learn, held = (folds >= 0) & (folds != fold), folds == fold
        model = cls.fit(
            blocks[learn], slots[learn], n_slots, bandwidth=bandwidth, strength=strength,
            grain=grain,
        )  # fmt: skip
        shares, seen = model.predict(slots[held]), np.isfinite(blocks[held])
        loss -= float(np.nansum(blocks[held] * np.log(shares + 1e-12)))
        # Of a block with holes the share among its known cells counts.
        part = np.where(seen.all(-1), 1.0, np.where(seen, shares, 0.0).sum(-1))
        loss += float((np.nansum(blocks[held], axis=-1) * np.log(np.maximum(part, 1e-12))).sum())
    return loss


def _scaled_up(
    sums: NDArray[np.float64], whole: NDArray[np.float64], part: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `sums` (..., N*N) as if every cell had been known whenever its coarse cell was.

    `whole` is the coarse total, `part` that of the frames in which the cell is known; one that
    never is gets the mean of the cells beside it.
    """
    never = (part <= 0) & (whole > 0)
    scaled = sums * np.where(part > 0, whole / np.where(part > 0, part, 1.0), 1.0)
    others = np.maximum((~never).sum(-1, keepdims=True), 1)
    mean = np.where(never, 0.0, scaled).sum(-1, keepdims=True) / others
    return np.where(never, mean, scaled)


def _circular_kernel(size: int, bandwidth: float) -> NDArray[np.float64]:
    step = np.abs(np.arange(size)[:, None] - np.arange(size)[None, :])
    step = np.minimum(step, size - step)
    return np.exp(-0.5 * (step / max(bandwidth, 1e-6)) ** 2)


def _normalise(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights / weights.sum(axis=-1, keepdims=True)

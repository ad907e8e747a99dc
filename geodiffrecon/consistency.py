"""Fine maps that add up to their coarse cells, as real or as whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .windows import from_blocks, to_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TINY = 1e-12  # a block with so little of what it has to hold has no shape to keep


def match(fine: Array, coarse: Array, factor: int, aggregation: str, *, signed: bool) -> Array:
    """Return `fine` (F, N I, N J) changed so that its blocks pool to `coarse` (F, I, J).

    Positive fields are scaled, after values below zero are made zero, signed ones shifted; cells
    of a block that is zero throughout share a positive total evenly. NaN in `coarse` leaves its
    block alone.

    Examples
    --------
    >>> match(np.array([[[1.0, 3.0], [0.0, 0.0]]]), np.array([[[8.0]]]), 2, "sum", signed=False)
    array([[[2., 6.],
            [0., 0.]]])
    """
    blocks = to_blocks(fine.astype(np.float64), factor)  # (F, P, N N)
    if not signed:  # or a block of both signs with a mean near zero would be blown up
        blocks = np.maximum(blocks, 0.0)
    cells = blocks.shape[-1]
    target = coarse.reshape(len(coarse), -1, 1).astype(np.float64)
    mean = target / cells if aggregation == "sum" else target
    own = blocks.mean(-1, keepdims=True)
    if signed:
        changed = blocks + (mean - own)
    else:
        empty = own <= TINY * mean
        changed = np.where(empty, mean, blocks * (mean / np.where(empty, 1.0, own)))
    changed = np.where(np.isfinite(target), changed, blocks)
    return np.asarray(from_blocks(changed, factor, (coarse.shape[1], coarse.shape[2])))


def whole_numbers(fine: Array, totals: Array, factor: int) -> Array:
    """Return whole numbers near `fine` (F, N I, N J) whose blocks sum to whole `totals` (F, I, J).

    Largest-remainder allocation: every cell is rounded down, and what is left of the total goes
    to the cells with the largest remainders.

    Examples
    --------
    >>> whole_numbers(np.array([[[1.4, 1.8], [0.3, 0.5]]]), np.array([[[4.0]]]), 2)
    array([[[1., 2.],
            [0., 1.]]])
    """
    scaled = match(fine, totals, factor, "sum", signed=False)
    blocks = to_blocks(scaled, factor)
    floor = np.floor(blocks + 1e-9)
    left = totals.reshape(len(totals), -1, 1) - floor.sum(-1, keepdims=True)
    rank = (floor - blocks).argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return np.asarray(
        from_blocks(floor + (rank < np.round(left)), factor, (totals.shape[1], totals.shape[2]))
    )


def multinomial(rng: np.random.Generator, totals: Array, shares: Array, factor: int) -> Array:
    """Return one multinomial allocation (N I, N J) of whole `totals` (I, J) by `shares`."""
    weights = to_blocks(shares[None].astype(np.float64), factor)[0]
    weights = weights / weights.sum(-1, keepdims=True)
    counts = rng.multinomial(np.round(totals.ravel()).astype(np.int64), weights)
    return np.asarray(from_blocks(counts[None].astype(np.float64), factor, totals.shape)[0])

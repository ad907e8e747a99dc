"""Fine fields whose readings are means of blocks of cells: area-to-point kriging, and its draws.

Draws are conditioned on the block means in working units by kriging (Kyriakidis 2004, Geographical
Analysis 36), then moved until their means in raw units are the readings as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .circulant import lattice_draws
from .predictive import parts_of_draws, shaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .covariance import Sites
    from .field import Field
    from .predictive import Predictive

    Array = NDArray[np.float64]

ROUNDS = 30  # of moving block means in raw units to their readings
NEAR = 1e-7  # of the spread of the readings, at which means are held


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which cells of a lattice the readings are means of.

    Parameters
    ----------
    shape : (rows, cols)
        Of the lattice of m cells.
    step : (dy, dx)
        Between its rows and its columns, in km; rows may go either way.
    index : array of int (m,)
        The reading of each cell; -1 where there is none.
    readings : array (n,)
        Raw means.
    """

    shape: tuple[int, int]
    step: tuple[float, float]
    index: NDArray[np.int64]
    readings: Array

    @cached_property
    def _counts(self) -> Array:
        return np.bincount(self.index[self._seen], minlength=len(self.readings)).astype(float)

    @cached_property
    def _seen(self) -> NDArray[np.bool_]:
        return self.index >= 0

    def means(self, cells: Array) -> Array:
        """Return the means (K, n) of blocks of cells (K, m)."""
        own, count = self.index[self._seen], len(self.readings)
        sums = [np.bincount(own, row[self._seen], count) for row in cells]
        return np.stack(sums) / self._counts

    def fixed(self, cells: Array, floor: float) -> Array:
        """Return cells (K, m) whose blocks have the readings as their means, exactly.

        By a factor where values are amounts, by a shift where they are not: the last touch on
        means that are right to some digits.
        """
        found, right = cells.copy(), self.readings
        own = self.index[self._seen]
        means = self.means(found)
        if np.isfinite(floor):
            above = means - floor
            factor = np.divide(right - floor, above, out=np.zeros_like(above), where=above > 0)
            found[:, self._seen] = floor + (found[:, self._seen] - floor) * factor[:, own]
            means = self.means(found)  # a block at the floor throughout has nothing to multiply
        found[:, self._seen] += (right - means)[:, own]
        return found


def block_draws(
    field: Field,
    blocks: Blocks,
    sites: Sites,
    told: Predictive,
    rngs: Sequence[np.random.Generator],
) -> tuple[Array, Array]:
    """Return joint draws (K, m) in raw units: given the means in working units, and in raw ones.

    Parameters
    ----------
    field : Field
        Of one date, whose readings are block means.
    blocks : Blocks
        Of the lattice.
    sites : Sites
        Its m cells.
    told : Predictive
        What `field` predicts of them.
    rngs : sequence of Generator
        One for each draw.
    """
    before = np.empty((len(rngs), len(sites)))
    after = np.empty_like(before)
    rows_of = parts_of_draws([weight for weight, _ in field.parts], len(rngs))
    for (_, factor), rows in zip(field.parts, rows_of, strict=True):
        if not len(rows):
            continue
        free = lattice_draws(
            factor.known, [rngs[k] for k in rows], blocks.shape, blocks.step, sites.features
        )
        scale = float(np.sqrt((factor.sill or 1.0) * factor.variances[0]))
        weights = factor.weights(sites)  # (m, n)
        there = blocks.means(free)
        noise = factor.readings.noise
        if noise is not None:
            spread = np.sqrt(noise) / scale
            there = there + spread * np.stack([rngs[k].standard_normal(len(noise)) for k in rows])
        work = scale * free + (factor.values[:, 0] - scale * there) @ weights.T
        before[rows] = told.raw(shaped(work, told))
        after[rows] = before[rows] if noise is not None else _held(work, weights, blocks, told)
    return before, after


def _held(work: Array, weights: Array, blocks: Blocks, told: Predictive) -> Array:
    """Return raw draws (K, m) whose block means are the readings, moved as smoothly as kriging."""
    target = told.transform.forward(blocks.readings)
    raw = told.raw(shaped(work, told))
    near = NEAR * max(float(np.std(blocks.readings)), float(np.abs(blocks.readings).max()) * 1e-6)
    for _ in range(ROUNDS):
        means = blocks.means(raw)
        if np.abs(means - blocks.readings).max() <= near:
            break
        # the shape widens a step in working units, so a full one could overshoot
        gap = (target - told.transform.forward(means)) / max(told.shape.width, 1.0)
        work = work + gap @ weights.T
        raw = told.raw(shaped(work, told))
    return blocks.fixed(raw, told.transform.floor)

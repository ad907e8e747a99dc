"""Fine fields whose readings are means of blocks of cells: area-to-point kriging, and its draws.

Draws are conditioned on the block means in working units by kriging (Kyriakidis 2004, Geographical
Analysis 36), then moved until their means in raw units are the readings as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

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

WITHIN = 4  # places a side that stand for the cells of a block
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


@dataclass(frozen=True, eq=False)
class BlockDraws:
    """Joint draws of cells whose block means are known, as errors in units of a scale.

    Parameters
    ----------
    blocks : Blocks
        Whose means are known.
    told : Predictive
        Of each cell; its scale is the unit.
    errors : array (K, m)
        Given the means in working units.
    parts : list of (rows, array (m, n))
        For each covariance its draws, and the weights of the readings.
    noisy : bool
        Whether readings have errors of their own, so that none is held.
    """

    blocks: Blocks
    told: Predictive
    errors: Array
    parts: list[tuple[Any, Array]]
    noisy: bool

    def held(self, errors: Array) -> Array:
        """Return errors (K, m) whose block means in raw units are the readings, to some digits.

        Moved as smoothly as kriging moves a field to new readings.
        """
        if self.noisy:
            return errors
        blocks, told, readings = self.blocks, self.told, self.blocks.readings
        forward, target = told.transform.forward, told.transform.forward(readings)
        near = NEAR * max(float(np.std(readings)), float(np.abs(readings).max()) * 1e-6)
        found = errors.copy()
        for rows, weights in self.parts:
            scores = told.shape.scores(errors[rows])  # Gaussian, as kriging is
            steps = weights.T / (told.scale * max(told.shape.width, 1.0))  # (n, m), no overshoot
            for _ in range(ROUNDS):
                means = blocks.means(told.raw(found[rows]))
                if np.abs(means - readings).max() <= near:
                    break
                scores = scores + (target - forward(means)) @ steps
                found[rows] = told.shape.of(scores)
        return found

    def raw(self, errors: Array) -> Array:
        """Return raw draws (K, m); their block means are the readings exactly."""
        raw = self.told.raw(errors)
        return raw if self.noisy else self.blocks.fixed(raw, self.told.transform.floor)


def block_draws(
    field: Field,
    blocks: Blocks,
    sites: Sites,
    told: Predictive,
    rngs: Sequence[np.random.Generator],
) -> BlockDraws:
    """Return joint draws of cells given block means.

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
    errors = np.empty((len(rngs), len(sites)))
    rows_of = parts_of_draws([weight for weight, _ in field.parts], len(rngs))
    parts: list[tuple[Any, Array]] = []
    noisy = field.raw.error is not None
    for (_, factor), rows in zip(field.parts, rows_of, strict=True):
        if not len(rows):
            continue
        free = lattice_draws(
            factor.known, [rngs[k] for k in rows], blocks.shape, blocks.step, sites.features
        )
        scale = float(np.sqrt((factor.sill or 1.0) * factor.variances[0]))
        weights = factor.weights(sites)  # (m, n)
        there = blocks.means(free)
        if factor.readings.noise is not None:
            spread = np.sqrt(factor.readings.noise) / scale
            there = there + spread * np.stack([rngs[k].standard_normal(len(spread)) for k in rows])
        work = scale * free + (factor.values[:, 0] - scale * there) @ weights.T
        errors[rows] = shaped(work, told)
        parts.append((rows, weights))
    return BlockDraws(blocks, told, errors, parts, noisy)

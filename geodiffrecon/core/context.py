"""What the core's network is told of one map: maps of the lattice and numbers of the case.

Everything is in the working units of the belief's transform, except distances: in cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ..field.choice import mixture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..field.covariance import Sites
    from ..field.field import Field

    Array = NDArray[np.float64]

MAPS = (
    "value", "seen", "mean", "spread", "log spread", "distance", "nearest", "left-out score",
    "left-out error", "above the bound", "disagreement", "roughness", "zeros", "misfit",
    "highest", "lowest", "error around", "covariate 1", "covariate 2", "covariate 3",
)  # fmt: skip
# What a map whose readings are means of blocks of cells has besides.
BLOCK_MAPS = (*MAPS, "mean of its block", "in a block", "middle of its block")
# Maps and numbers that change their sign with the field's; "highest" and "lowest" change places.
ODD_MAPS = (
    "value", "mean", "nearest", "left-out score", "left-out error", "error around",
    "mean of its block",
)  # fmt: skip
NUMBERS = (
    "log count", "log range", "nugget", "smoothness", "log sill", "skewness", "kurtosis",
    "log misfit", "misfit kurtosis", "log error", "root", "logarithm", "scores", "bound", "zeros",
    "unlike", "anisotropy", "doubt", "spread with value", "misfit skewness", "width", "tail",
    "direction cos", "direction sin", "other dates", "memory",
)  # fmt: skip
BLOCK_NUMBERS = (*NUMBERS, "cells of a block")
STAGES = {"completion": (MAPS, NUMBERS), "refinement": (BLOCK_MAPS, BLOCK_NUMBERS)}
ODD_NUMBERS = ("skewness", "spread with value", "misfit skewness")
COVARIATES = 3  # the first ones; 0 where there are fewer
NEIGHBOURS = 6
FAR = 99.0  # of a bound that is not there
CLIP = 5.0  # of numbers


@dataclass(frozen=True, eq=False)
class Lattice:
    """The cells of a map and which of them hold a reading, or belong to one.

    Parameters
    ----------
    shape : (rows, cols)
        Of the lattice.
    sites : Sites
        rows · cols places, row by row.
    cell : float
        Side of a cell in km.
    seen : array of int (n,)
        Flat index of the cell of each reading; several readings may share one. Empty where
        readings are means of blocks.
    rows : array of int (n,)
        Which readings of the field these are.
    blocks : array of int (rows · cols,), optional
        Where readings are means of blocks: which of `rows` each cell belongs to; -1 for none.
    factor : int
        Cells along a side of a block.
    """

    shape: tuple[int, int]
    sites: Sites
    cell: float
    seen: NDArray[np.int64]
    rows: NDArray[np.int64]
    blocks: NDArray[np.int64] | None = None
    factor: int = 1

    @property
    def cells(self) -> Array:
        """Row and column (rows · cols, 2) of each cell."""
        return np.indices(self.shape).reshape(2, -1).T.astype(np.float64)

    @property
    def middles(self) -> Array:
        """Row and column (n, 2) of each reading, of a block those of its middle."""
        if self.blocks is None:
            return self.cells[self.seen]
        inside = self.blocks >= 0
        own, count = self.blocks[inside], len(self.rows)
        sums = [np.bincount(own, line, count) for line in self.cells[inside].T]
        return np.stack(sums, axis=1) / np.bincount(own, minlength=count)[:, None]


@dataclass(frozen=True, eq=False)
class Context:
    """One case as the network sees it.

    Parameters
    ----------
    maps : array (maps, rows, cols)
        As `MAPS` or `BLOCK_MAPS` name them.
    numbers : array (numbers,)
        As `NUMBERS` or `BLOCK_NUMBERS` name them.
    location, scale : array (rows · cols,)
        Of the belief, in working units; the scale is calibrated, and 0 where there is a reading.
    """

    maps: NDArray[np.float32]
    numbers: NDArray[np.float32]
    location: Array
    scale: Array


def context_of(field: Field, lattice: Lattice) -> Context:
    """Return what is known of a map before any draw.

    Parameters
    ----------
    field : Field
        Of the date that is mapped.
    lattice : Lattice
        Where.
    """
    choice, rows = field.choice, lattice.rows
    z = choice.transform.forward(field.raw.values[rows])
    score, error = _left_out(field, rows, z)
    floor = choice.transform.floor
    zero = (field.raw.values[rows] <= floor).astype(np.float64)
    bound = (
        FAR if not np.isfinite(floor) else -float(choice.transform.forward(np.array([floor]))[0])
    )
    numbers = _numbers(field, lattice, z, score, error, bound, zero)
    own, seen = lattice.middles, lattice.seen
    if lattice.blocks is None:  # readings of one cell are one
        seen, group = np.unique(seen, return_inverse=True)
        many = np.bincount(group)
        z, score, error, zero = (np.bincount(group, v) / many for v in (z, score, error, zero))
        own = lattice.cells[seen]

    found = [(w, *factor.predict(lattice.sites, 0)) for w, factor in field.parts]
    mean, variance = mixture(found)
    between = np.sqrt(sum(w * (m - mean) ** 2 for w, m, _ in found))
    scale = np.sqrt(variance) * choice.shape.width
    location, held = mean.copy(), np.zeros(len(mean))
    location[seen], scale[seen], held[seen] = z[: len(seen)], 0.0, 1.0

    size = len(held)
    far, near = cKDTree(own).query(lattice.cells, min(NEIGHBOURS, len(own)))
    far, near = far.reshape(size, -1), near.reshape(size, -1)
    share = 1 / (far + 1.0)
    share /= share.sum(axis=1, keepdims=True)

    def in_place(values: Array) -> Array:
        if lattice.blocks is not None:
            return np.where(lattice.blocks >= 0, values[lattice.blocks], 0.0)
        full = np.zeros(size)
        full[seen] = values
        return full

    around = z[near]
    layers = [
        location * held, held, location, scale,
        np.log(np.maximum(scale, 0.05)), np.log1p(far[:, 0]) - 1, around[:, 0],
        in_place(score) / 2, in_place(error), np.clip(location + bound, -1, 6) / 3,
        np.where(held > 0, 0, between) * 2, around.std(axis=1),
        (share * zero[near]).sum(axis=1), np.log((share * score[near] ** 2).sum(axis=1) + 0.05) / 2,
        (around.max(axis=1) - mean) / 2, (around.min(axis=1) - mean) / 2,
        (share * error[near]).sum(axis=1), *_covariates(lattice.sites),
    ]  # fmt: skip
    if lattice.blocks is not None:
        inside = (lattice.blocks >= 0).astype(np.float64)
        off = np.abs(lattice.cells - own[lattice.blocks]).max(axis=1)
        layers += [in_place(z), inside, inside * (1 - 2 * off / lattice.factor)]
        numbers = np.append(numbers, np.float32(math.log2(lattice.factor) / 2))
    maps = np.clip(np.nan_to_num(np.stack(layers)), -6, 6).astype(np.float32)
    return Context(maps.reshape(-1, *lattice.shape), numbers, location, scale)


def _left_out(field: Field, rows: NDArray[np.int64], z: Array) -> tuple[Array, Array]:
    """Return standard score and error of each reading, told by the others; 0 where not tried."""
    told = field.choice.left_out
    place = np.full(len(field.raw.values), -1)
    place[field.checked] = np.arange(len(field.checked))
    where = place[rows]
    tried = where >= 0
    error = np.where(tried, z - told.location[where], 0.0)
    scale = np.where(tried, told.scale[where] * told.shape.width, 1.0)
    return np.clip(error / scale, -6, 6), np.clip(error, -6, 6)


def _numbers(
    field: Field, lattice: Lattice, z: Array, score: Array, error: Array, bound: float, zero: Array
) -> NDArray[np.float32]:
    choice = field.choice
    parts = [(weight, factor.known, factor.sill or 1.0) for weight, factor in field.parts]
    sills = [
        sill * float(factor.variances[0])
        for (_, factor), (_, _, sill) in zip(field.parts, parts, strict=True)
    ]

    def average(values: list[float]) -> float:
        return float(sum(w * v for (w, _, _), v in zip(parts, values, strict=True)))

    square = float((score**2).mean()) + 1e-3
    direction = _direction(lattice, z)
    kinds = [float(choice.transform.kind == kind) for kind in ("sqrt", "log", "scores")]
    numbers = [
        math.log(len(z)) / 3 - 1.2,
        average([math.log(known.range_km / lattice.cell) for _, known, _ in parts]) / 2 - 1.5,
        average([known.nugget for _, known, _ in parts]),
        average([known.nu for _, known, _ in parts]) - 1,
        average([math.log(sill + 1e-6) for sill in sills]),
        float((z**3).mean()) / 2,
        float((z**4).mean() - 3) / 4,
        math.log(square),
        (float((score**4).mean()) / square**2 - 3) / 4,
        math.log(float((error**2).mean()) + 1e-3),
        *kinds,
        min(bound, 6.0) / 3,
        float(zero.mean()),
        math.log(len(np.unique(z)) / len(z) + 0.05),
        average([math.log(known.ratio) for _, known, _ in parts]),
        -float(sum(w * math.log(w) for w, _, _ in parts)),
        _correlation(z, np.abs(score)),
        float((score**3).mean()) / square**1.5 / 2,
        choice.shape.width - 1,
        choice.shape.tail * 5,
        *direction,
        *_of_dates(field, lattice),
    ]
    return np.clip(np.nan_to_num(numbers), -CLIP, CLIP).astype(np.float32)


def _covariates(sites: Sites) -> Array:
    """Return the first covariates (COVARIATES, cells) of the trend; 0 for those there are not."""
    found = np.zeros((COVARIATES, len(sites)))
    given = sites.features[:, sites.xy.shape[1] :][:, :COVARIATES].T  # after the coordinates
    found[: len(given)] = given
    return found


def _of_dates(field: Field, lattice: Lattice) -> tuple[float, float]:
    """Return how many readings other dates have, and how alike the nearest date is; 0 for none."""
    days, here = field.raw.sites.days, lattice.sites.days
    if days is None or here is None or len(days) == len(lattice.rows):
        return 0.0, 0.0
    gap = np.abs(days - here[0])
    nearest = float(gap[gap > 0].min())
    alike = [
        weight
        * (
            known.memory.lasting
            + (1 - known.memory.lasting) * math.exp(-nearest / known.memory.days)
        )
        for weight, known in ((w, factor.known) for w, factor in field.parts)
        if known.memory is not None
    ]
    return math.log(len(days) / len(lattice.rows)) / 2, float(sum(alike))


def _direction(lattice: Lattice, z: Array) -> tuple[float, float]:
    """Return in which direction neighbours differ most: cos and sin of twice the angle."""
    if len(z) < 4:
        return 0.0, 0.0
    own = lattice.middles
    _, near = cKDTree(own).query(own, min(NEIGHBOURS, len(z)))
    gap = own[near[:, 1:]] - own[:, None]  # (n, k, 2)
    twice = 2 * np.arctan2(gap[..., 0], gap[..., 1])
    rise = (z[near[:, 1:]] - z[:, None]) ** 2 / (np.hypot(gap[..., 0], gap[..., 1]) + 0.5)
    rise = np.minimum(rise, np.quantile(rise, 0.95) + 1e-6)
    rise /= rise.mean() + 1e-6
    cos, sin = np.cos(twice), np.sin(twice)
    return float((rise * cos).mean() - cos.mean()), float((rise * sin).mean() - sin.mean())


def _correlation(a: Array, b: Array) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])

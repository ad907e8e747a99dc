"""Which cells of a simulated field are seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidParameter
from .textures import streets

Array = NDArray[np.float64]

#: How often each kind of pattern is drawn.
KINDS: dict[str, float] = {
    "random": 0.45,
    "clusters": 0.20,
    "empty side": 0.15,
    "near regular": 0.06,
    "preferential": 0.07,
    "along roads": 0.07,
}

#: Fewest points of a pattern, and the largest share of the cells.
FEWEST, LARGEST_SHARE = 3, 0.6


def draw_count(rng: np.random.Generator, cells: int) -> int:
    """Draw how many cells are seen: from 3 to 60 %, few as often as many.

    Parameters
    ----------
    rng : numpy.random.Generator
        What it is drawn from.
    cells : int
        Cells of the raster.

    Returns
    -------
    int
        The number of points.
    """
    return int(np.exp(rng.uniform(np.log(FEWEST), np.log(LARGEST_SHARE * cells))))


def pattern(
    rng: np.random.Generator, values: Array, count: int, kind: str | None = None
) -> NDArray[np.int64]:
    """Draw the cells of a field that are seen.

    Parameters
    ----------
    rng : numpy.random.Generator
        What it is drawn from.
    values : numpy.ndarray
        The field (rows, columns): for its shape, and for points that prefer high or low values.
    count : int
        How many cells.
    kind : str, optional
        One of :data:`KINDS`; drawn by their shares if not given.

    Returns
    -------
    numpy.ndarray
        Flat indices of `count` different cells, ascending.

    Raises
    ------
    InvalidParameter
        For a kind that there is not, or a count that is not from 1 to the number of cells.

    Examples
    --------
    >>> seen = pattern(np.random.default_rng(1), np.zeros((32, 32)), 5, "clusters")
    >>> len(seen), bool((seen < 32 * 32).all())
    (5, True)
    """
    if not 1 <= count <= values.size:
        raise InvalidParameter(f"a pattern has from 1 to {values.size} cells, not {count}")
    if kind is None:
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    elif kind not in KINDS:
        raise InvalidParameter(f"no pattern is called {kind!r}; there are {', '.join(KINDS)}")
    weight = _weight(rng, values, count, kind)
    # The largest of log weights with Gumbel noise are a draw without replacement by weight.
    order = np.log(weight).ravel() + rng.gumbel(size=values.size)
    return np.sort(np.argpartition(-order, count - 1)[:count]).astype(np.int64)


def _weight(rng: np.random.Generator, values: Array, count: int, kind: str) -> Array:
    """How likely each cell is to be seen, relative to the others; above zero."""
    rows, columns = values.shape
    if kind == "clusters":
        return _clusters(rng, rows, columns)
    if kind == "empty side":
        return _empty_side(rng, rows, columns, count)
    if kind == "near regular":
        return _near_regular(rng, rows, columns, count)
    if kind == "preferential":
        score = (values - values.mean()) / (values.std() + 1e-9)
        sign = 1.0 if rng.random() < 2.0 / 3.0 else -1.0
        return np.clip(np.exp(sign * score), 0.05, 8.0)
    if kind == "along roads":
        count_of_streets = int(np.exp(rng.uniform(np.log(4.0), np.log(20.0))))
        network = streets(rng, max(rows, columns), count_of_streets)[:rows, :columns]
        return np.where(network > 0.0, 1.0, 0.02)
    return np.ones(values.shape)


def _from(rows: int, columns: int, row: float, column: float) -> tuple[Array, Array]:
    """Rows and columns of every cell, counted from a place."""
    return (
        np.arange(rows, dtype=np.float64)[:, None] - row,
        np.arange(columns, dtype=np.float64)[None, :] - column,
    )


def _clusters(rng: np.random.Generator, rows: int, columns: int) -> Array:
    weight = np.full((rows, columns), 0.02)
    for _ in range(rng.integers(2, 6)):
        down, right = _from(rows, columns, rng.uniform(0, rows), rng.uniform(0, columns))
        width = rng.uniform(2.0, 5.0)
        weight += np.exp(-(down**2 + right**2) / (2.0 * width**2))
    return weight


def _empty_side(rng: np.random.Generator, rows: int, columns: int, count: int) -> Array:
    """Return a side without points: about half, less where the points need the room."""
    down, right = _from(rows, columns, rows / 2, columns / 2)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    along = np.cos(angle) * right / columns + np.sin(angle) * down / rows
    room = np.quantile(along, max(0.0, 1.0 - count / 0.7 / along.size))
    return np.where(along >= min(rng.uniform(-0.1, 0.15), room), 1.0, 1e-9)


def _near_regular(rng: np.random.Generator, rows: int, columns: int, count: int) -> Array:
    """Return a lattice, exact or shaken, of about as many points as asked for."""
    spacing = max(1.0, np.sqrt(rows * columns / count))
    down, right = np.meshgrid(
        np.arange(rng.uniform(0.0, spacing), rows, spacing),
        np.arange(rng.uniform(0.0, spacing), columns, spacing),
        indexing="ij",
    )
    if rng.random() < 0.5:  # stations stand where there was room
        down = down + rng.uniform(-0.3, 0.3, down.shape) * spacing
        right = right + rng.uniform(-0.3, 0.3, right.shape) * spacing
    row = np.clip(down, 0, rows - 1).astype(np.intp)
    column = np.clip(right, 0, columns - 1).astype(np.intp)
    weight = np.full((rows, columns), 1e-9)
    weight[row, column] = 1.0
    return weight


# ---- coarse rasters


def coarse_pattern(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the blocks of a coarse raster that are seen.

    Parameters
    ----------
    rng : numpy.random.Generator
        What it is drawn from.
    shape : tuple of int
        Rows and columns of blocks.

    Returns
    -------
    numpy.ndarray
        True for the blocks that are seen, at least one: all, a random share, all but under
        clouds, or all but a side.
    """
    kind = rng.random()
    if kind < 0.4:
        return np.ones(shape, dtype=bool)
    if kind < 0.6:
        score = rng.random(shape)
    elif kind < 0.8:
        score = _clouds(rng, shape)
    else:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        down, right = _from(*shape, shape[0] / 2, shape[1] / 2)
        score = np.cos(angle) * right / shape[1] + np.sin(angle) * down / shape[0]
    hidden = rng.uniform(0.05, 0.85)
    return np.asarray(score >= min(np.quantile(score, hidden), score.max()))


def _clouds(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """How clear the sky is: round clouds that overlap, with frayed borders."""
    score = 0.3 * rng.random(shape)
    for _ in range(rng.integers(1, 7)):
        down, right = _from(*shape, rng.uniform(0, shape[0]), rng.uniform(0, shape[1]))
        width = rng.uniform(0.1, 0.35) * max(shape)
        score -= np.exp(-(down**2 + right**2) / (2.0 * width**2))
    return score

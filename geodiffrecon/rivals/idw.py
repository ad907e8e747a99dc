"""Inverse distance weighting from points straight to fine cells: what a GIS would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..points import PointTable

    Array = NDArray[np.float64]


def idw(
    places: Array, values: Array, targets: Array, *, power: float = 2.0, neighbours: int = 12
) -> Array:
    """Return the mean of the nearest `values`, weighted by distance to the minus `power`.

    Parameters
    ----------
    places : float64, (n, 2)
        Positions of the values, in a unit that is the same along both axes.
    values : float64, (n,)
        Known values, n >= 1.
    targets : float64, (m, 2)
        Where to interpolate. A target on a place gets that place's value.
    power : float
        Exponent of the distance.
    neighbours : int
        Nearest values that count.

    Returns
    -------
    float64, (m,)

    Examples
    --------
    >>> idw(np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([1.0, 5.0]), np.array([[1.0, 0.0]]))
    array([1.8])
    """
    count = min(neighbours, len(values))
    distance, index = cKDTree(places).query(targets, k=np.arange(1, count + 1))  # (m, k)
    weight = 1.0 / np.maximum(distance, 1e-12) ** power
    weighted = (weight * values[index]).sum(axis=1) / weight.sum(axis=1)
    return np.asarray(weighted)


def idw_maps(
    table: PointTable, grid: NestedGrid, bounds: NDArray[np.datetime64], *, power: float = 2.0
) -> NDArray[np.float32]:
    """Return fine maps by inverse distance weighting of the points of each time step.

    Parameters
    ----------
    table : PointTable
        Points with values, in the CRS of the grid.
    grid : NestedGrid
        Its fine cells are mapped.
    bounds : datetime64, (T, 2)
        Start and end of each step, UTC.
    power : float
        Exponent of the distance.

    Returns
    -------
    float32, (T, N·I, N·J)
        NaN in steps without points.
    """
    scale = _scale(grid)
    targets = _centres(grid) * scale
    rows, cols = grid.fine_shape
    maps = np.full((len(bounds), rows, cols), np.nan, dtype=np.float32)
    if table.value is None:
        return maps
    order = np.flatnonzero(~table.missing)
    order = order[np.argsort(table.time[order], kind="stable")]
    ends = np.searchsorted(table.time[order], bounds.astype("datetime64[ns]"))
    for step, (low, high) in enumerate(ends):
        part = order[low:high]
        if len(part):
            places = np.stack([table.x[part], table.y[part]], axis=1) * scale
            found = idw(places, table.value[part], targets, power=power)
            maps[step] = found.reshape(rows, cols)
    return maps


def _scale(grid: NestedGrid) -> Array:
    """Return factors that make both axes equally long: degrees of longitude are shorter."""
    if not grid.geographic:
        return np.ones(2)
    _, south, _, north = grid.bounds
    return np.array([np.cos(np.radians((south + north) / 2)), 1.0])


def _centres(grid: NestedGrid) -> Array:
    coords = grid.coords("fine")
    name_y, name_x = grid.dims
    x, y = np.meshgrid(coords[name_x][1], coords[name_y][1])
    return np.stack([x.ravel(), y.ravel()], axis=1)

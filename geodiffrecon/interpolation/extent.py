"""The grid that a person would choose for some points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ..errors import InvalidParameter
from ..grid import NestedGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    Array = NDArray[np.float64]

MARGIN = 0.1  # of the extent, on every side
MOST_CELLS, FEWEST_CELLS = 256, 32  # of the longer side, unless asked
MOST_ASKED = 20_000  # of the longer side, whatever is asked


def grid_of(
    x: Array,
    y: Array,
    crs: CRS | None,
    *,
    resolution: float | None = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> tuple[NestedGrid, str]:
    """Return a grid for points (n,) and the sentence that describes it.

    Parameters
    ----------
    x, y : array (n,)
        In `crs`.
    crs : CRS or None
        Of points and grid.
    resolution : float, optional
        Size of a cell; by default half the usual distance between neighbours, as 1, 2 or 5 times
        a power of ten, in at most 256 cells a side.
    bounds : (west, south, east, north), optional
        Edges; by default the extent of the points and a tenth of it on every side.

    Raises
    ------
    InvalidParameter
        If `resolution` makes no grid that can be had.
    """
    edges = _padded(x, y) if bounds is None else bounds
    longest = max(edges[2] - edges[0], edges[3] - edges[1])
    why = "as asked"
    size = resolution
    if size is None:
        half = 0.5 * _spacing(x, y)
        size = rounded(half)
        why = "half the usual distance between points"
        if longest / size > MOST_CELLS:
            size, why = rounded(longest / MOST_CELLS, up=True), f"at most {MOST_CELLS} a side"
        elif longest / size < FEWEST_CELLS:
            size, why = rounded(longest / FEWEST_CELLS), f"at least {FEWEST_CELLS} a side"
        why += "; change it with --resolution"
    if not (np.isfinite(size) and size > 0) or longest / size > MOST_ASKED:
        raise InvalidParameter(
            f"Cells of {size:g} on an extent of {longest:g} make no grid of at most {MOST_ASKED} "
            "cells a side; give another --resolution, in units of the CRS."
        )
    grid = NestedGrid.from_bounds(edges, crs=crs, resolution=size)
    rows, cols = grid.shape
    unit = "°" if grid.geographic else f" {grid._axis_attrs('X')['units']}"
    return grid, f"Cells of {size:g}{unit}, {rows} × {cols} ({why})."


def rounded(size: float, *, up: bool = False) -> float:
    """Return the nearest of 1, 2 and 5 times a power of ten that is not above `size`.

    Examples
    --------
    >>> rounded(530.0), rounded(0.3), rounded(530.0, up=True)
    (500.0, 0.2, 1000.0)
    """
    power = 10.0 ** math.floor(math.log10(size))
    steps = [f * power for f in (1, 2, 5, 10)]
    if up:
        return float(f"{next(s for s in steps if s >= size * (1 - 1e-9)):.6g}")
    return float(f"{max(s for s in steps if s <= size * (1 + 1e-9)):.6g}")


def _padded(x: Array, y: Array) -> tuple[float, float, float, float]:
    spans = np.array([np.ptp(x), np.ptp(y)])
    pad = MARGIN * np.maximum(spans, spans.max() / 2)
    return (
        float(x.min() - pad[0]), float(y.min() - pad[1]),
        float(x.max() + pad[0]), float(y.max() + pad[1]),
    )  # fmt: skip


def _spacing(x: Array, y: Array) -> float:
    places = np.unique(np.column_stack([x, y]), axis=0)
    near = cKDTree(places).query(places, 2)[0][:, 1]
    return float(np.median(near))

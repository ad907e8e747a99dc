"""Kilometres on a plane about the grid's centre, where distances between stations are true."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    from ..grid import Level, NestedGrid

METRES_PER_KM = 1000.0


@dataclass(frozen=True)
class Places:
    """From coordinates of a grid to kilometres east and north of its centre.

    Parameters
    ----------
    crs : odc.geo.crs.CRS or None
        The grid's CRS. Degrees go to an azimuthal equidistant plane about the centre; units of a
        projected CRS are only scaled; None means local metres.
    centre : (x, y)
        Centre of the grid in `crs`.

    Examples
    --------
    >>> places = Places(None, (0.0, 0.0))
    >>> places.km([3000.0], [-500.0]).tolist()
    [[3.0, -0.5]]
    """

    crs: CRS | None
    centre: tuple[float, float]

    @classmethod
    def of(cls, grid: NestedGrid) -> Places:
        """Return the plane about the centre of `grid`."""
        west, south, east, north = grid.bounds
        return cls(grid.crs, ((west + east) / 2, (south + north) / 2))

    def km(self, x: Any, y: Any) -> NDArray[np.float64]:
        """Return kilometres east and north of the centre, (n, 2).

        Parameters
        ----------
        x, y : array of float, (n,)
            Coordinates in the grid's CRS.
        """
        along, up = (np.atleast_1d(np.asarray(part, dtype=np.float64)) for part in (x, y))
        if self._plane is not None:
            along, up = self._plane.transform(along, up)
            return np.stack([along, up], axis=1) / METRES_PER_KM
        offsets = np.stack([along - self.centre[0], up - self.centre[1]], axis=1)
        return offsets * (self._unit_metres / METRES_PER_KM)

    def cells_km(self, grid: NestedGrid, level: Level = "fine") -> NDArray[np.float64]:
        """Return the cell centres of a level, (rows·cols, 2), row by row from the north."""
        return self.km(*centres(grid, level))

    @cached_property
    def _plane(self) -> Any:
        if self.crs is None or not self.crs.geographic:
            return None
        from pyproj import CRS as ProjCRS
        from pyproj import Transformer

        spheroid = self.crs.proj.ellipsoid
        plane = ProjCRS.from_dict(
            {
                "proj": "aeqd",
                "lon_0": self.centre[0],
                "lat_0": self.centre[1],
                "a": spheroid.semi_major_metre,
                "b": spheroid.semi_minor_metre,
                "units": "m",
            }
        )
        # From the geodetic coordinates of the plane itself: a shift of datum would move stations.
        return Transformer.from_crs(plane.geodetic_crs, plane, always_xy=True)

    @property
    def _unit_metres(self) -> float:
        """Metres in one unit of the CRS."""
        if self.crs is None:
            return 1.0
        return float(self.crs.proj.axis_info[0].unit_conversion_factor)


def centres(
    grid: NestedGrid, level: Level = "fine"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y (rows·cols,) of the cell centres of a level, row by row from the north."""
    a, _, c, _, e, f = grid.box(level).affine[:6]
    rows, cols = grid.box(level).shape
    x = c + a * (np.arange(cols) + 0.5)
    y = f + e * (np.arange(rows) + 0.5)
    return np.tile(x, rows), np.repeat(y, cols)

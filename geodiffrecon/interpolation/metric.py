"""True distances: places of any CRS in kilometres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    Array = NDArray[np.float64]

EARTH_KM = 6371.0
PLANE_KM = 4000.0  # extent up to which a plane about the middle is near enough
SCALE_ERROR = 0.01  # of a projection, up to which its own metres are taken


@dataclass(frozen=True, eq=False)
class Metric:
    """Kilometres about the middle of some places.

    Projected coordinates are taken as they are where the projection keeps lengths to one per cent
    there (feet become metres). Otherwise, and for degrees, places are projected about their
    middle; on more than 4000 km they become points of the sphere, whose chords are measured.

    Parameters
    ----------
    crs : CRS or None
        Of the coordinates; None means local metres.
    factor : float, optional
        Kilometres of a unit, where coordinates are taken as they are.
    project : Transformer, optional
        To metres about the middle, else.
    sphere : bool
        Whether places are points of the sphere.
    """

    crs: CRS | None
    factor: float | None
    project: Any = None
    sphere: bool = False

    @classmethod
    def about(cls, x: Array, y: Array, crs: CRS | None) -> Metric:
        """Return the metric about the middle of places (n,)."""
        if crs is None:
            return cls(None, 1e-3)
        from pyproj import Proj, Transformer

        to_degrees = Transformer.from_crs(crs.proj, crs.proj.geodetic_crs, always_xy=True)
        lon, lat = to_degrees.transform(x, y)
        turn = np.exp(1j * np.radians(lon)).mean()
        middle = float(np.degrees(np.angle(turn))), float(np.median(lat))
        if not crs.geographic:
            factors = Proj(crs.proj).get_factors(*middle)
            scales = np.array([factors.meridional_scale, factors.parallel_scale])
            if np.all(np.abs(scales - 1) < SCALE_ERROR):
                unit = float(crs.proj.axis_info[0].unit_conversion_factor)
                return cls(crs, unit / 1000)
        east = np.abs((lon - middle[0] + 180) % 360 - 180).max() * np.cos(np.radians(middle[1]))
        wide = max(float(east), float(np.abs(lat - middle[1]).max())) * np.pi / 180 * EARTH_KM
        if 2 * wide > PLANE_KM:
            return cls(crs, None, to_degrees, sphere=True)
        plane = f"+proj=aeqd +lon_0={middle[0]!r} +lat_0={middle[1]!r} +units=m"
        return cls(crs, None, Transformer.from_crs(crs.proj, plane, always_xy=True))

    def km(self, x: Array, y: Array) -> Array:
        """Return places as (n, 2) kilometres, or (n, 3) on the sphere."""
        if self.factor is not None:
            return np.column_stack([x, y]) * self.factor
        a, b = self.project.transform(x, y)
        if not self.sphere:
            return np.column_stack([a, b]) / 1000
        lon, lat = np.radians(a), np.radians(b)
        flat = np.cos(lat)
        unit = np.column_stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)])
        return np.asarray(EARTH_KM * unit)


def unwrapped(x: Array, crs: CRS | None) -> Array:
    """Return longitudes without the jump at 180° where places lie on both sides of it.

    Examples
    --------
    >>> from geodiffrecon.axes import parse_crs
    >>> unwrapped(np.array([179.0, -179.0]), parse_crs("EPSG:4326")).tolist()
    [179.0, 181.0]
    """
    if crs is None or not crs.geographic or np.ptp(x) <= 180:
        return x
    around = np.sort(x % 360)
    gaps = np.diff(np.append(around, around[0] + 360))
    if gaps.max() < 360 - np.ptp(x) + 1e-9:
        return x
    cut = around[(int(gaps.argmax()) + 1) % len(x)]
    moved = (x - cut) % 360 + cut
    return np.asarray(moved if moved.max() <= 360 + 180 else moved - 360)

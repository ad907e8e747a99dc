"""Axes, coordinate system and GeoBox of a file, and what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GridMismatch, InvalidParameter, MissingColumn, MissingCRS, UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

X_NAMES = {"x", "lon", "long", "longitude", "easting", "rlon"}
Y_NAMES = {"y", "lat", "latitude", "northing", "rlat"}
X_STANDARD = {"longitude", "projection_x_coordinate", "grid_longitude"}
Y_STANDARD = {"latitude", "projection_y_coordinate", "grid_latitude"}
EAST_UNITS = {"degrees_east", "degree_east", "degrees_e", "degree_e"}
NORTH_UNITS = {"degrees_north", "degree_north", "degrees_n", "degree_n"}
STEP_TOLERANCE = 1e-3
ASSUMED_GEOGRAPHIC = "Axes are in degrees north and east without a grid mapping: EPSG:4326 is used."


@dataclass(frozen=True)
class CFAxes:
    """Names of the horizontal and time dimensions of one variable; `time` may be absent."""

    x: str
    y: str
    time: str | None

    @classmethod
    def of(cls, dataset: xr.Dataset, variable: str) -> CFAxes:
        """Find the axes of `variable` from CF attributes, then from usual names.

        Raises
        ------
        UnreadableFile
            If the horizontal axes cannot be told.
        """
        dims = [str(dim) for dim in dataset[variable].dims]
        x = next((dim for dim in dims if _is_axis(dataset, dim, "X")), None)
        y = next((dim for dim in dims if _is_axis(dataset, dim, "Y")), None)
        if x is None or y is None:
            raise UnreadableFile(
                f"Variable {variable!r} with dimensions {tuple(dims)} has no x and y coordinates; "
                "name them x and y, or longitude and latitude."
            )
        return cls(x, y, next((dim for dim in dims if _is_time(dataset, dim)), None))


def parse_crs(crs: Any) -> CRS | None:
    """Return `crs` (EPSG code, WKT, PROJ text, any CRS object) as odc CRS; ``none`` is None.

    Raises
    ------
    InvalidParameter
        If the text is no coordinate reference system.

    Examples
    --------
    >>> parse_crs("EPSG:4326").geographic, parse_crs("none")
    (True, None)
    """
    from odc.geo.crs import CRS
    from pyproj.exceptions import CRSError

    if crs is None or (isinstance(crs, str) and crs.strip().lower() == "none"):
        return None
    try:
        parsed = CRS(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)
        epsg = parsed.proj.to_epsg()
    except (CRSError, TypeError, ValueError) as error:
        raise InvalidParameter(
            f"{str(crs)[:60]!r} is not a coordinate reference system; give one such as EPSG:4326, "
            "or none for local metres."
        ) from error
    return parsed if epsg is None else CRS(f"EPSG:{epsg}")


def crs_of(dataset: xr.Dataset, variable: str, axes: CFAxes) -> tuple[CRS | None, list[str]]:
    """Return the CRS of `variable` and a sentence for what had to be assumed."""
    mapping = _grid_mapping(dataset, variable)
    if mapping is not None:
        text = mapping.get("crs_wkt") or mapping.get("spatial_ref")
        if text is None and "grid_mapping_name" in mapping:
            text = _crs_from_cf(mapping)
        if text is not None:
            return parse_crs(text), []
    units = (_attr(dataset, axes.x, "units"), _attr(dataset, axes.y, "units"))
    if units[0] in EAST_UNITS and units[1] in NORTH_UNITS:
        return parse_crs("EPSG:4326"), [ASSUMED_GEOGRAPHIC]
    return None, []


def transform_of(dataset: xr.Dataset, variable: str) -> tuple[float, ...] | None:
    """Return the six numbers (a, b, c, d, e, f) of a stored GeoTransform, if there is one."""
    text = (_grid_mapping(dataset, variable) or {}).get("GeoTransform")
    if not isinstance(text, str):
        return None
    c, a, b, f, d, e = (float(part) for part in text.split())
    return a, b, c, d, e, f


def edges(centres: NDArray[np.float64], what: str) -> tuple[float, float]:
    """Return the first edge and the signed cell size of regularly spaced `centres` (n >= 2).

    Both are rounded to the shortest decimals within 1e-5 of a cell, because a file that says
    -122.46859375 means a grid that begins at -122.47.

    Raises
    ------
    GridMismatch
        If there is one cell only, or the spacing is not regular.
    """
    values = np.asarray(centres, dtype=np.float64)
    rounding = 2.0 * np.finfo(np.float32).eps * np.abs(values).max(initial=0)
    rounding = rounding if np.asarray(centres).dtype == np.float32 else 0.0
    if len(values) < 2:
        raise GridMismatch(
            f"Axis {what!r} has {len(values)} cell, so its cell size cannot be told; "
            "use a raster with at least two rows and columns or a stored GeoTransform."
        )
    size = (values[-1] - values[0]) / (len(values) - 1)
    if size == 0 or np.abs(np.diff(values) - size).max() > STEP_TOLERANCE * abs(size) + rounding:
        raise GridMismatch(
            f"Axis {what!r} is not regularly spaced (steps from {np.diff(values).min():g} to "
            f"{np.diff(values).max():g}); resample the file to a regular grid first."
        )
    tolerance = 1e-5 * abs(size) + rounding
    size = _shortest(size, tolerance / len(values))
    return _shortest(float(values[0]) - size / 2, tolerance), size


def dataset_box(dataset: xr.Dataset, variable: str) -> tuple[GeoBox, list[str]]:
    """Return the north-up GeoBox of a CF variable (CRS may be None) and what was assumed."""
    axes = CFAxes.of(dataset, variable)
    crs, notes = crs_of(dataset, variable, axes)
    x, y = dataset[axes.x].values, dataset[axes.y].values
    stored = transform_of(dataset, variable)
    if stored is None or not _agrees(stored, x, y):
        west, size_x = edges(np.sort(x), axes.x)
        south, size_y = edges(np.sort(y), axes.y)
        stored = (size_x, 0.0, west, 0.0, -size_y, _north(south, size_y, len(y)))
    return geobox((len(y), len(x)), stored, crs), notes


def raster_box(path: Path) -> GeoBox:
    """Return the GeoBox of a raster file, or raise UnreadableFile or MissingCRS."""
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with rasterio.open(path) as source:
            crs, shape, transform = source.crs, source.shape, tuple(source.transform)[:6]
    except RasterioIOError as error:
        raise UnreadableFile(f"{path} cannot be read as a raster ({error}).") from error
    if crs is None:
        raise MissingCRS(f"{path.name} has no CRS; give the grid by bounds and --grid-crs.")
    return geobox(shape, transform, parse_crs(crs))


def crop_box(box: GeoBox, rows: tuple[int, int], cols: tuple[int, int]) -> GeoBox:
    """Return the part of `box` in half-open `rows` and `cols`, or raise InvalidParameter."""
    for (low, high), size, what in ((rows, box.shape[0], "Rows"), (cols, box.shape[1], "Columns")):
        if not 0 <= low < high <= size:
            raise InvalidParameter(
                f"{what} {low}:{high} are not inside the grid; use a range within 0:{size}."
            )
    a, b, c, d, e, f = box.affine[:6]
    transform = (a, b, c + a * cols[0], d, e, f + e * rows[0])
    return geobox((rows[1] - rows[0], cols[1] - cols[0]), transform, box.crs)


def geobox(shape: tuple[int, int], transform: Sequence[float], crs: CRS | None) -> GeoBox:
    """Return the GeoBox of a shape (rows, columns) and transform (a, b, c, d, e, f)."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, Affine(*transform), crs)


def pick_variable(dataset: xr.Dataset, variable: str | None, path: Path) -> str:
    """Return the map variable to read: the named one, the stored main one or the only one.

    Raises
    ------
    MissingColumn
        If the name does not exist, or several variables could be meant.
    """
    maps = [
        str(name)
        for name, array in dataset.data_vars.items()
        if array.ndim >= 2 and not str(name).endswith("_n_obs") and "bnds" not in str(name)
    ]
    wanted = variable or dataset.attrs.get("value")
    if wanted is None and len(maps) == 1:
        return maps[0]
    if wanted in dataset.data_vars:
        return str(wanted)
    problem = f"has no variable {wanted!r}" if wanted else "has more than one or no map variable"
    listed = ", ".join(maps) or "none"
    raise MissingColumn(
        f"{path.name} {problem} (map variables: {listed}); name one with --variable."
    )


def _is_axis(dataset: xr.Dataset, dim: str, axis: str) -> bool:
    if dim not in dataset.coords:
        return False
    names, standard, units = (
        (X_NAMES, X_STANDARD, EAST_UNITS) if axis == "X" else (Y_NAMES, Y_STANDARD, NORTH_UNITS)
    )
    return (
        _attr(dataset, dim, "axis").upper() == axis
        or _attr(dataset, dim, "standard_name") in standard
        or _attr(dataset, dim, "units") in units
        or dim.lower() in names
    )


def _is_time(dataset: xr.Dataset, dim: str) -> bool:
    if dim not in dataset.coords:
        return dim.lower() == "time"
    is_datetime = np.issubdtype(dataset[dim].dtype, np.datetime64)
    return is_datetime or dim.lower() == "time" or _attr(dataset, dim, "axis").upper() == "T"


def _attr(dataset: xr.Dataset, name: str, key: str) -> str:
    return str(dataset[name].attrs.get(key, ""))


def _grid_mapping(dataset: xr.Dataset, variable: str) -> dict[str, Any] | None:
    array = dataset[variable]
    name = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping") or "spatial_ref"
    name = str(name).split(":")[0].strip()
    return dict(dataset[name].attrs) if name in dataset.variables else None


def _crs_from_cf(mapping: dict[str, Any]) -> str | None:
    from pyproj import CRS as ProjCRS
    from pyproj.exceptions import CRSError

    try:
        return str(ProjCRS.from_cf(mapping).to_wkt())
    except (CRSError, KeyError):
        return None


def _shortest(value: float, tolerance: float) -> float:
    for digits in range(13):
        if abs(round(value, digits) - value) <= tolerance:
            return round(value, digits)
    return value


def _agrees(transform: Sequence[float], x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Tell whether a stored transform still describes the coordinates (crops may have moved)."""
    a, _, c, _, e, f = transform
    ends_x = c + a * (np.array([0, len(x) - 1]) + 0.5) - x[[0, -1]]
    ends_y = f + e * (np.array([0, len(y) - 1]) + 0.5) - y[[0, -1]]
    return e < 0 < a and bool(np.all(np.abs([*ends_x / a, *ends_y / e]) < 1e-3))


def _north(south: float, size: float, rows: int) -> float:
    return float(f"{south + size * rows:.14g}")

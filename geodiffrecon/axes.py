"""Axes, coordinate system and GeoBox of a file, and what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GridMismatch, InvalidParameter, MissingCRS, UnreadableFile
from .words import agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

X_NAMES = {"x", "xc", "lon", "long", "longitude", "easting", "rlon", "projection_x_coordinate"}
Y_NAMES = {"y", "yc", "lat", "latitude", "northing", "rlat", "projection_y_coordinate"}
LONGITUDES, LATITUDES = {"lon", "long", "longitude", "nav_lon"}, {"lat", "latitude", "nav_lat"}
TIME_NAMES = {"time", "valid_time", "t"}
X_STANDARD = {"longitude", "projection_x_coordinate", "grid_longitude"}
Y_STANDARD = {"latitude", "projection_y_coordinate", "grid_latitude"}
EAST_UNITS = {"degrees_east", "degree_east", "degrees_e", "degree_e"}
NORTH_UNITS = {"degrees_north", "degree_north", "degrees_n", "degree_n"}
METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "km": 1e3, "kilometre": 1e3, "kilometer": 1e3,
          "cm": 0.01, "ft": 0.3048, "foot": 0.3048, "us_survey_foot": 1200 / 3937}  # fmt: skip
FIGURES = {"semi_major_axis", "earth_radius", "reference_ellipsoid_name", "geographic_crs_name",
           "horizontal_datum_name"}  # fmt: skip
STEP_TOLERANCE = 1e-3
POLE = 90.0 + 1e-6  # degrees, of a cell's centre
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
        time = next((dim for dim in dims if _is_time(dataset, dim)), None)
        beside = (dim for dim in dims if dim not in (x, y) and time_along(dataset, dim))
        return cls(x, y, time or next(beside, None))


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
        epsg, known = parsed.proj.to_epsg(), parsed.proj
    except (CRSError, TypeError, ValueError) as error:
        raise InvalidParameter(
            f"{str(crs)[:60]!r} is not a coordinate reference system; give one such as EPSG:4326, "
            "or none for local metres."
        ) from error
    if known.is_geocentric:
        raise InvalidParameter(
            f"{known.name} is geocentric (x, y and z from the centre of the Earth), which has no "
            "maps; transform the data to a geographic or projected CRS first."
        )
    if not (known.is_geographic or known.is_projected):
        return None  # an engineering CRS: metres of a site that nothing ties to the Earth
    return parsed if epsg is None else CRS(f"EPSG:{epsg}")


def crs_of(dataset: xr.Dataset, variable: str, axes: CFAxes) -> tuple[CRS | None, list[str]]:
    """Return the CRS of `variable` and a sentence for what had to be assumed.

    Raises
    ------
    MissingCRS
        If the file has a CRS that cannot be read.
    """
    mapping = _grid_mapping(dataset, variable)
    if mapping is not None:
        text = mapping.get("crs_wkt") or mapping.get("spatial_ref")
        # A mapping that names no figure of the Earth says no more than axes in degrees do.
        plain = mapping.get("grid_mapping_name") == "latitude_longitude" and not FIGURES & set(
            mapping
        )
        if text is None and "grid_mapping_name" in mapping and not plain:
            text = _crs_from_cf(mapping)
        if text is not None:
            return _readable_crs(text), []
    units = (_attr(dataset, axes.x, "units"), _attr(dataset, axes.y, "units"))
    if units[0] in EAST_UNITS and units[1] in NORTH_UNITS:
        return parse_crs("EPSG:4326"), [ASSUMED_GEOGRAPHIC]
    named = mapping is None or mapping.get("grid_mapping_name") == "latitude_longitude"
    if named and _named_in_degrees(dataset, axes, units):
        note = f"Axes {axes.y!r} and {axes.x!r} are taken as degrees: EPSG:4326 is used."
        return parse_crs("EPSG:4326"), [note]
    return None, []


def _named_in_degrees(dataset: xr.Dataset, axes: CFAxes, units: tuple[str, str]) -> bool:
    """Tell whether axes are latitude and longitude by their names, and no unit denies it."""
    east = axes.x.lower() in LONGITUDES or _attr(dataset, axes.x, "standard_name") == "longitude"
    north = axes.y.lower() in LATITUDES or _attr(dataset, axes.y, "standard_name") == "latitude"
    return east and north and set(units) <= {"", "degree", "degrees", "deg", "°", *EAST_UNITS,
                                             *NORTH_UNITS}  # fmt: skip


def transform_of(dataset: xr.Dataset, variable: str) -> tuple[float, ...] | None:
    """Return the six numbers (a, b, c, d, e, f) of a stored GeoTransform, if there is one."""
    stored = (_grid_mapping(dataset, variable) or {}).get("GeoTransform", "")
    try:
        c, a, b, f, d, e = (float(part) for part in np.atleast_1d(stored.split()
                            if isinstance(stored, str) else stored))  # fmt: skip
    except (TypeError, ValueError):
        return None  # some publish five numbers, or commas: the axes say the same
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
            f"{np.diff(values).max():g}); warp the file to a regular grid first (gdalwarp, or "
            "cdo remapbil)."
        )
    tolerance = 1e-5 * abs(size) + rounding
    size = _shortest(size, tolerance / len(values))
    return _shortest(float(values[0]) - size / 2, tolerance), size


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where the cells of a file lie once its maps are north-up and west to east.

    Parameters
    ----------
    rows, cols : array of int
        Indices into the file's axes, from the north and from the west.
    x, y : array of float
        Centres in that order, in units of the CRS.
    notes : tuple of str
        What was turned or converted.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def lattice(dataset: xr.Dataset, axes: CFAxes, crs: CRS | None, variable: str) -> Lattice:
    """Return how the axes of a variable become a north-up grid in `crs`.

    Raises
    ------
    GridMismatch
        If a coordinate is missing, or the axes cannot be those of `crs`.
    """
    places, notes = {}, []
    mapping = _grid_mapping(dataset, variable) or {}
    for axis in (axes.x, axes.y):
        values = np.asarray(dataset[axis].values, dtype=np.float64)
        if dataset[axis].dtype == np.float32:
            values = dataset[axis].values
        if not np.isfinite(values).all():
            gone = int((~np.isfinite(values)).sum())
            told = agreed(gone, f"{gone} coordinates that are missing")
            raise GridMismatch(f"Axis {axis!r} has {told}; drop those rows or columns first.")
        places[axis], told = _in_units_of(values, _attr(dataset, axis, "units"), crs, mapping)
        notes += [f"Axis {axis!r} is {told}."] if told else []
    x, y = places[axes.x], places[axes.y]
    check_degrees(x, y, crs, f"{axes.x} and {axes.y}")
    cols, x = order_east(x, geographic=crs is not None and bool(crs.geographic))
    if len(x) and abs(x[0] - places[axes.x][cols[0]]) > 1:
        notes.append(_turned(places[axes.x], x))
    rows = np.argsort(-y, kind="stable")
    return Lattice(rows, cols, x, y[rows], tuple(notes))


def order_east(x: NDArray[Any], *, geographic: bool) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the order of columns from west to east, and the centres in that order.

    Longitudes are the same modulo 360: they are turned to -180 … 180 where the grid fits in it,
    and unrolled where they cross 180 degrees.

    Examples
    --------
    >>> order_east(np.array([0.0, 90.0, 180.0, 270.0]), geographic=True)
    (array([2, 3, 0, 1]), array([-180.,  -90.,    0.,   90.]))
    >>> order_east(np.array([179.0, 180.0, -179.0]), geographic=True)[1]
    array([179., 180., 181.])
    """
    own = np.argsort(x, kind="stable")
    if not geographic or len(x) < 2:
        return own, x[own]
    east = x[own]
    step = abs(float(np.median(np.diff(east))))
    if _regular(east) and east[0] >= -180 - step / 2 and east[-1] <= 180 + step / 2:
        return own, east
    for low in (-180.0, 0.0):
        turned = np.mod(x - low, 360) + low
        order = np.argsort(turned, kind="stable")
        centres = turned[order]
        if _regular(centres) and (low == -180.0 or not _regular(east)):
            return order, centres
    return own, east


def check_degrees(x: Any, y: Any, crs: CRS | None, what: str) -> None:
    """Raise GridMismatch where places in degrees lie beyond a pole or more than a turn away.

    Parameters
    ----------
    x, y : array of float
        Longitudes and latitudes where `crs` is geographic; NaN is no place.
    crs : CRS or None
        Nothing is checked unless it is geographic.
    what : str
        What holds the places, such as ``lon and lat``.
    """
    if crs is None or not crs.geographic or not np.size(x) or not np.isfinite(y).any():
        return
    far_x, far_y = float(np.nanmax(np.abs(x))), float(np.nanmax(np.abs(y)))
    if far_y <= POLE and far_x <= 540:
        return
    if far_y > POLE and far_x <= 90 and far_y <= 360:
        raise GridMismatch(
            f"Latitudes of {what} reach {far_y:.6g}, beyond 90 degrees; x and y seem exchanged: "
            "exchange them first."
        )
    raise GridMismatch(
        f"Coordinates of {what} reach {max(far_x, far_y):.6g}, but {str(crs)[:40]} is in degrees; "
        "they are of another CRS: give it with --crs."
    )


def dataset_box(dataset: xr.Dataset, variable: str, crs: Any = None) -> tuple[GeoBox, list[str]]:
    """Return the north-up GeoBox of a CF variable (CRS may be None) and what was assumed.

    A `crs` that is given takes the place of the file's own.
    """
    axes = CFAxes.of(dataset, variable)
    known, notes = crs_of(dataset, variable, axes) if crs is None else (parse_crs(crs), [])
    found = lattice(dataset, axes, known, variable)
    stored = transform_of(dataset, variable)
    if stored is None or not _agrees(stored, found.x, found.y):
        west, size_x = edges(found.x, axes.x)
        south, size_y = edges(found.y[::-1], axes.y)
        stored = (size_x, 0.0, west, 0.0, -size_y, _north(south, size_y, len(found.y)))
    return geobox((len(found.y), len(found.x)), stored, known), [*notes, *found.notes]


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
        return dim.lower() in ("time", "valid_time")
    return is_time(dataset, dim)


def time_along(dataset: xr.Dataset, dim: str) -> str | None:
    """Return the coordinate of the times along a dimension: its own, or one beside it.

    Forecasts have hours ahead as their dimension, and the times that they are of beside it.
    """
    if dim in dataset.coords and _is_time(dataset, dim):
        return dim
    beside = (str(n) for n, a in dataset.coords.items() if a.dims == (dim,) and str(n) != dim)
    return next((name for name in beside if is_time(dataset, name)), None)


def is_time(dataset: xr.Dataset, name: str) -> bool:
    """Tell whether a coordinate is the time of the maps, by its type, attributes or name."""
    units = _attr(dataset, name, "units") or str(dataset[name].encoding.get("units", ""))
    return (
        np.issubdtype(dataset[name].dtype, np.datetime64)
        or name.lower() in TIME_NAMES
        or _attr(dataset, name, "axis").upper() == "T"
        or _attr(dataset, name, "standard_name") == "time"
        or " since " in units
    )


def _attr(dataset: xr.Dataset, name: str, key: str) -> str:
    return str(dataset[name].attrs.get(key, ""))


def _grid_mapping(dataset: xr.Dataset, variable: str) -> dict[str, Any] | None:
    array = dataset[variable]
    name = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping") or "spatial_ref"
    name = str(name).split(":")[0].strip()
    return dict(dataset[name].attrs) if name in dataset.variables else None


def _readable_crs(text: Any) -> CRS | None:
    try:
        return parse_crs(text)
    except InvalidParameter as error:
        if "geocentric" in str(error):
            raise
        raise MissingCRS(
            f"The CRS that the file stores, {str(text)[:40]!r}, cannot be read; give it with "
            "--crs, for example --crs EPSG:4326."
        ) from error


def _in_units_of(
    values: NDArray[Any], units: str, crs: CRS | None, mapping: dict[str, Any]
) -> tuple[NDArray[Any], str]:
    """Return coordinates in units of the CRS, and what was converted."""
    unit = units.strip().lower().removesuffix("s") if units != "us_survey_feet" else units
    if crs is not None and crs.geographic:
        return values, ""  # degrees, whatever the file calls them
    if units in EAST_UNITS | NORTH_UNITS and crs is not None:
        raise GridMismatch(
            f"The axes are in {units}, but the file's CRS {str(crs)[:40]!r} is projected; give "
            "the CRS of the axes with --crs, for example --crs EPSG:4326."
        )
    if unit in ("rad", "radian") and "perspective_point_height" in mapping:
        height = float(mapping["perspective_point_height"])
        return values.astype(np.float64) * height, "in radians and is turned to metres"
    own = 1.0 if crs is None else float(crs.proj.axis_info[0].unit_conversion_factor)
    factor = METRES.get(unit, own) / own
    if abs(factor - 1) < 1e-9:
        return values, ""
    name = "metres" if crs is None else str(crs.proj.axis_info[0].unit_name)
    return values.astype(np.float64) * factor, f"in {units} and is turned to {name}"


def _turned(before: NDArray[Any], after: NDArray[Any]) -> str:
    return (
        f"Longitudes of {before.min():.6g} to {before.max():.6g} are turned by 360 degrees to "
        f"{after[0]:.6g} to {after[-1]:.6g}."
    )


def _regular(centres: NDArray[Any]) -> bool:
    try:
        edges(centres, "")
    except GridMismatch:
        return False
    return True


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
    if not a or not e:
        return False
    ends_x = c + a * (np.array([0, len(x) - 1]) + 0.5) - x[[0, -1]]
    ends_y = f + e * (np.array([0, len(y) - 1]) + 0.5) - y[[0, -1]]
    return e < 0 < a and bool(np.all(np.abs([*ends_x / a, *ends_y / e]) < 1e-3))


def _north(south: float, size: float, rows: int) -> float:
    return float(f"{south + size * rows:.14g}")

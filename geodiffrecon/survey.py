"""Observations of any form for one map: points, a data frame, a file, a raster with holes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import parse_crs
from .errors import (
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    MissingCRS,
    NoObservations,
    UnreadableFile,
)
from .grid import NestedGrid
from .metric import unwrapped
from .points import NAMED_COLUMNS, _numbers, _points_crs, missing_column
from .sources import open_source
from .stamps import utc_stamps
from .tables import CSV_SUFFIXES, JSON_SUFFIXES, PARQUET_SUFFIXES, read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    Array = NDArray[np.float64]

VECTOR_SUFFIXES = {".gpkg", ".shp", ".fgb", ".gml", ".kml", ".sqlite"}
POINTS = CSV_SUFFIXES | JSON_SUFFIXES | PARQUET_SUFFIXES | VECTOR_SUFFIXES
NO_DATE = "2000-01-01"
TIME_NAMES = {"time", "date", "datetime", "timestamp"}


@dataclass(frozen=True, eq=False)
class Survey:
    """Readings (n,) with nothing missing.

    Parameters
    ----------
    x, y : float64, (n,)
        In `crs`.
    value : float64, (n,)
        In raw units.
    crs : CRS or None
        None means local metres.
    name : str
        Of the variable.
    time : datetime64[ns], (n,), optional
        UTC; None where there are no dates.
    error : float64, (n,), optional
        Standard error of each reading.
    units : str
        As the file says.
    grid : NestedGrid, optional
        Of a raster; its cells without a value are what is to be filled.
    notes : tuple of str
        What was assumed or left out.
    """

    x: Array
    y: Array
    value: Array
    crs: CRS | None
    name: str
    time: NDArray[np.datetime64] | None = None
    error: Array | None = None
    units: str = ""
    grid: NestedGrid | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True)
class Columns:
    """How observations are read; all but the value may be left out.

    Parameters
    ----------
    value : str or None
        Value column, or variable of a raster.
    time : str, optional
        Time column.
    tz : str, optional
        Zone of stamps without one.
    x, y : str, optional
        Coordinate columns.
    crs : optional
        Where the data have none; "none" for local metres.
    error : str or float, optional
        Column of the readings' standard errors, or one for all.
    """

    value: str | None = None
    time: str | None = None
    tz: str | None = None
    x: str | None = None
    y: str | None = None
    crs: Any = None
    error: str | float | None = None

    @property
    def error_column(self) -> str | None:
        """Name of the column of errors, None where one number serves all."""
        return self.error if isinstance(self.error, str) and not _is_number(self.error) else None

    @property
    def wanted(self) -> list[str]:
        """Columns to read."""
        return [c for c in (self.value, self.time, self.error_column) if c is not None]


def read_survey(data: Any, columns: Columns) -> Survey:
    """Return observations of any form.

    Parameters
    ----------
    data : GeoDataFrame, DataFrame, str or Path
        Points, or a file of points or a raster.
    columns : Columns
        Which columns.

    Raises
    ------
    GeoDiffReconError
        One sentence that says what to do.
    """
    if isinstance(data, str | Path):
        path = Path(data)
        if not path.exists():
            raise UnreadableFile(f"{path} does not exist; check the path of the file.")
        suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
        return _of_file(path, columns) if suffixes & POINTS else _of_raster(path, columns)
    if hasattr(data, "geometry") and hasattr(data, "crs"):
        return _of_frame(data, columns)
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return _of_table(data, columns)
    raise InvalidParameter(
        f"Observations are a {type(data).__name__}; give a GeoDataFrame, a DataFrame with "
        "coordinates, or the path of a points file or raster."
    )


def _of_file(path: Path, columns: Columns) -> Survey:
    if columns.value is None:
        raise InvalidParameter(f"Say which column of {path.name} to map with --value.")
    if (columns.x is None) != (columns.y is None):
        raise InvalidParameter("Give both --x and --y, or neither.")
    pair = None if columns.x is None or columns.y is None else (columns.x, columns.y)
    table = read_table(path, columns=columns.wanted, xy=pair, guesses=NAMED_COLUMNS)
    crs, notes = _points_crs(table, columns.crs, path)
    return _finished(table.x, table.y, table.columns, crs, columns, notes)


def _of_frame(frame: Any, columns: Columns) -> Survey:
    import shapely

    _check_columns(frame, columns)
    if frame.crs is None and columns.crs is None:
        raise MissingCRS("Points have no CRS; pass crs=… or set it with gdf.set_crs('EPSG:4326').")
    shapes = np.asarray(frame.geometry.values)
    kinds = shapely.get_type_id(shapes)
    if np.any(kinds > 0):
        found = frame.geometry.geom_type[kinds > 0].iloc[0]
        raise InvalidParameter(f"Geometry must be points, found a {found}; use its centroid.")
    crs = parse_crs(frame.crs if columns.crs is None else columns.crs)
    read = {name: frame[name] for name in columns.wanted}
    return _finished(shapely.get_x(shapes), shapely.get_y(shapes), read, crs, columns, [])


def _of_table(frame: Any, columns: Columns) -> Survey:
    _check_columns(frame, columns)
    lower = {str(name).lower(): str(name) for name in frame.columns}
    pair = (columns.x, columns.y)
    if None in pair:
        pairs = ((lower.get(a), lower.get(b)) for a, b in NAMED_COLUMNS)
        pair = next((p for p in pairs if None not in p), (None, None))
    if None in pair or not {*pair} <= {str(c) for c in frame.columns}:
        raise MissingColumn(
            f"The frame has no columns of coordinates (columns: {', '.join(lower.values())}); "
            "name them with x=… and y=…."
        )
    degrees = tuple(str(p).lower() for p in pair) in (("lon", "lat"), ("longitude", "latitude"))
    notes = []
    crs = columns.crs
    if crs is None:
        if not degrees:
            raise MissingCRS("The frame has no CRS; pass crs=…, or crs='none' for local metres.")
        crs = "EPSG:4326"
        notes = [f"Columns {pair[0]} and {pair[1]} are taken as EPSG:4326."]
    read = {name: frame[name] for name in columns.wanted}
    x, y = (_numbers(frame[name], str(name))[0] for name in pair)
    return _finished(x, y, read, parse_crs(crs), columns, notes)


def _check_columns(frame: Any, columns: Columns) -> None:
    if columns.value is None:
        raise InvalidParameter("Say which column to map: interpolate(data, value='zinc').")
    for name in columns.wanted:
        if name not in frame.columns:
            raise MissingColumn(missing_column(name, [str(c) for c in frame.columns], "The frame"))


def _finished(
    x: Array, y: Array, read: dict[str, Any], crs: CRS | None, columns: Columns, notes: list[str]
) -> Survey:
    """Return complete rows; those with something missing are left out and said."""
    assert columns.value is not None
    value, told = _numbers(read[columns.value], columns.value)
    notes = [*notes, *told]
    x, y = np.asarray(x, float), np.asarray(y, float)
    known = np.isfinite(value) & np.isfinite(x) & np.isfinite(y)
    _say(notes, len(known) - int(known.sum()), "no value or no position")
    time, error = None, None
    if columns.time is not None:
        time, told = utc_stamps(read[columns.time], tz=columns.tz, what=columns.time)
        notes += told
        _say(notes, int((known & np.isnat(time)).sum()), "no date")
        known &= ~np.isnat(time)
    if columns.error is not None:
        error = _errors(read, columns, len(value))
        _say(notes, int((known & ~np.isfinite(error)).sum()), "no error")
        known &= np.isfinite(error)
        if np.any(error[known] < 0):
            raise InvalidParameter(
                f"Errors of readings go down to {error[known].min():g}; they must be 0 or more."
            )
    if not known.any():
        raise NoObservations(
            f"No row of {columns.value!r} has a value and a position; check the column."
        )
    return Survey(
        unwrapped(x[known], crs), y[known], value[known], crs, columns.value,
        None if time is None else time[known], None if error is None else error[known],
        notes=tuple(notes),
    )  # fmt: skip


def _errors(read: dict[str, Any], columns: Columns, count: int) -> Array:
    name = columns.error_column
    if name is None:
        return np.full(count, float(columns.error or 0.0))
    return np.asarray(_numbers(read[name], name)[0])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _say(notes: list[str], count: int, what: str) -> None:
    if count:
        notes.append(f"{count} {'row has' if count == 1 else 'rows have'} {what}: left out.")


def _of_raster(path: Path, columns: Columns) -> Survey:
    if columns.error_column is not None:
        raise InvalidParameter("Cells of a raster have no columns; give their error as a number.")
    try:
        source = open_source(path, variable=columns.value)
        times = source.times
    except InvalidTime:
        try:
            source, times = open_source(path, variable=columns.value, times=[NO_DATE]), None
        except InvalidTime as reason:
            raise InvalidTime(
                f"{path.name} has several maps without dates; give a raster of one band, or "
                "describe each band by its date."
            ) from reason
    box = source.box
    if columns.crs is not None:
        box = replace_crs(box, columns.crs)
    grid = NestedGrid(box, 1)
    rows, cols = grid.shape
    maps = source.read(slice(0, rows), slice(0, cols)).astype(np.float64)  # (T, rows, cols)
    step, row, col = np.nonzero(np.isfinite(maps))
    if not len(step):
        raise NoObservations(f"{path.name} has no cell with a value; check its nodata value.")
    a, _, west, _, e, north = box.affine[:6]
    error = None if columns.error is None else np.full(len(step), float(columns.error))
    many = times is not None and len(times) > 1
    return Survey(
        west + a * (col + 0.5), north + e * (row + 0.5), maps[step, row, col], box.crs,
        source.name, times[step] if many and times is not None else None, error,
        str(source.value_attrs.get("units", "")), grid, source.notes,
    )  # fmt: skip


def replace_crs(box: Any, crs: Any) -> Any:
    """Return a GeoBox with another CRS; "none" for local metres."""
    from .axes import geobox

    return geobox(box.shape, box.affine[:6], parse_crs(crs))

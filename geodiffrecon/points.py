"""Point observations as plain columns: positions, UTC times, values; no object per point."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import parse_crs
from .errors import InvalidParameter, MissingColumn, MissingCRS, UnreadableFile
from .stamps import MISSING, utc_stamps
from .tables import Positions, floats, read_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

MISSING_CODES = (-999.0, -9999.0)
LON_LAT = ({"lon", "longitude"}, {"lat", "latitude"})
NAMED_COLUMNS = (("lon", "lat"), ("longitude", "latitude"), ("x", "y"))


@dataclass(frozen=True, eq=False)
class PointTable:
    """Columns of n point observations; rows with anything missing stay and are counted.

    Parameters
    ----------
    x, y : float64, (n,)
        Position in `crs`; NaN where missing.
    time : datetime64[ns], (n,)
        UTC; NaT where missing.
    value : float64, (n,), or None
        NaN where missing; None where points are only counted.
    crs : odc.geo.crs.CRS or None
        None means local metres.
    value_name : str, optional
        Name of the value column.
    notes : tuple of str
        Sentences on what was assumed, for the log.
    station : str, (n,), or None
        Name of the station of each row, empty where missing; None where the file names none.

    Examples
    --------
    >>> table = PointTable(np.array([0.5]), np.array([0.5]),
    ...                    np.array(["2024-01-01"], "M8[ns]"), np.array([np.nan]), crs=None)
    >>> table.n_rows, table.n_missing_value
    (1, 1)
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    time: NDArray[np.datetime64]
    value: NDArray[np.float64] | None
    crs: CRS | None
    value_name: str | None = None
    notes: tuple[str, ...] = field(default=())
    station: NDArray[np.str_] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows, complete or not."""
        return len(self.x)

    @cached_property
    def missing_place(self) -> NDArray[np.bool_]:
        """Rows without a time or a position, (n,)."""
        return np.isnan(self.x) | np.isnan(self.y) | np.isnat(self.time)

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """Rows without a value, a time or a position, (n,)."""
        return (
            self.missing_place if self.value is None else self.missing_place | np.isnan(self.value)
        )

    @property
    def n_missing_value(self) -> int:
        """Rows without a value."""
        return 0 if self.value is None else int(np.isnan(self.value).sum())

    @property
    def n_missing_time(self) -> int:
        """Rows without a time."""
        return int(np.isnat(self.time).sum())

    @property
    def n_missing_position(self) -> int:
        """Rows without a position."""
        return int((np.isnan(self.x) | np.isnan(self.y)).sum())


def read_points(
    path: str | Path,
    *,
    value: str | None,
    time: str,
    tz: str | None = None,
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    station: str | None = None,
) -> PointTable:
    """Read CSV, Parquet, GeoParquet, GeoPackage, Shapefile or GeoJSON points.

    Only the columns named are read. Empty cells, NaN, NULL and the codes -999 and -9999 are
    missing values, never zeros.

    Parameters
    ----------
    path : str or Path
        The file; CSV may be compressed and separated by commas, semicolons or tabs.
    value : str or None
        Value column; None to count points.
    time : str
        Time column: typed or ISO 8601.
    tz : str, optional
        Zone of time stamps that have none.
    x, y : str, optional
        Coordinate columns of a file without geometry; ``lon/lat``, ``longitude/latitude`` and
        ``x/y`` are found by themselves.
    crs : optional
        CRS of the points; "none" for local metres. Without it the file's own is used, or
        EPSG:4326 (with a note) where the columns are literally named lon/lat.
    station : str, optional
        Column that names the station of each row, text or whole numbers.

    Returns
    -------
    PointTable

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, InvalidTime
        One sentence that says what to do.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of the points file.")
    if (x is None) != (y is None):
        raise InvalidParameter("Give both --x and --y, or neither.")
    wanted = [name for name in (time, value, station) if name is not None]
    pair = None if x is None or y is None else (x, y)
    table = read_table(path, columns=wanted, xy=pair, guesses=NAMED_COLUMNS)
    times, notes = utc_stamps(table.columns[time], tz=tz, what=time)
    known, assumed = _points_crs(table, crs, path)
    values, coded = (None, []) if value is None else _numbers(table.columns[value], value)
    named = None if station is None else _names(table.columns[station])
    told = (*assumed, *notes, *coded)
    return PointTable(table.x, table.y, times, values, known, value, told, named)


def from_geodataframe(
    gdf: gpd.GeoDataFrame,
    *,
    value: str | None,
    time: str,
    tz: str | None = None,
    crs: Any = None,
    station: str | None = None,
) -> PointTable:
    """Return the table of a GeoDataFrame of points; parameters as in `read_points`.

    Raises
    ------
    MissingCRS
        If the frame has no CRS and `crs` is None.
    MissingColumn
        If a column does not exist.
    InvalidParameter
        If a geometry is not a point.
    """
    import shapely

    for name in (time, value, station):
        if name is not None and name not in gdf.columns:
            raise MissingColumn(missing_column(name, [str(c) for c in gdf.columns], "The frame"))
    if gdf.crs is None and crs is None:
        raise MissingCRS("Points have no CRS; pass crs=… or set it with gdf.set_crs('EPSG:4326').")
    shapes = np.asarray(gdf.geometry.values)
    kinds = shapely.get_type_id(shapes)
    if np.any(kinds > 0):  # -1 is a missing geometry, 0 a point
        found = gdf.geometry.geom_type[kinds > 0].iloc[0]
        raise InvalidParameter(f"Geometry must be points, found a {found}; use its centroid.")
    times, notes = utc_stamps(gdf[time], tz=tz, what=time)
    values, coded = (None, []) if value is None else _numbers(gdf[value], value)
    position = shapely.get_x(shapes), shapely.get_y(shapes)
    known = parse_crs(gdf.crs if crs is None else crs)
    named = None if station is None else _names(gdf[station])
    return PointTable(*position, times, values, known, value, (*notes, *coded), named)


def missing_column(name: str, existing: list[str], where: str) -> str:
    """Return the sentence for a column that does not exist."""
    listed = ", ".join(existing[:12]) + (", …" if len(existing) > 12 else "")
    return f"{where} has no column {name!r}; its columns are {listed}."


def _points_crs(table: Positions, crs: Any, path: Path) -> tuple[CRS | None, list[str]]:
    if crs is not None:
        return parse_crs(crs), []
    if table.crs is not None:
        return parse_crs(table.crs), []
    named = table.names is not None and all(
        name.lower() in allowed for name, allowed in zip(table.names, LON_LAT, strict=True)
    )
    if not named:
        raise MissingCRS(
            f"{path.name} has no CRS; give it with --crs, for example --crs EPSG:4326, "
            "or --crs none for local metres."
        )
    return parse_crs("EPSG:4326"), [
        f"Columns {' and '.join(table.names or ())} are taken as EPSG:4326; change it with --crs."
    ]


def _names(column: Any) -> NDArray[np.str_]:
    """Return a column as text (n,), trimmed, empty where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column, pa.Array | pa.ChunkedArray):
        column = pa.Array.from_pandas(column)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    # Few names stand on many rows: each is turned into text once.
    coded = pc.fill_null(text, "").dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    kinds = np.array(coded.dictionary.to_pylist() or [""], dtype=np.str_)
    return kinds[coded.indices.to_numpy(zero_copy_only=False)]


def _numbers(column: Any, name: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return a column as float64 with NaN where missing, and a note on missing-value codes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column, pa.Array | pa.ChunkedArray):
        column = pa.Array.from_pandas(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        blank = pc.is_in(pc.utf8_lower(column), pa.array(sorted(MISSING), column.type))
        column = pc.if_else(blank, None, column)
    numbers: NDArray[np.float64] = floats(column, f"Values of {name!r}", "--value")
    codes = np.isin(numbers, MISSING_CODES)
    if not codes.any():
        return numbers, []
    note = f"{int(codes.sum())} values of -999 or -9999 in {name!r} are taken as missing."
    return np.where(codes, np.nan, numbers), [note]

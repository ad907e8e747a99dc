"""Columns and positions of a points file, read column by column through Arrow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from .columns import floats, require
from .delimited import WKT_NAMES, TextTable
from .errors import InvalidParameter, MissingColumn, UnreadableFile
from .frames import FrameTable
from .geometries import positions, text_positions
from .vectors import VectorTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


CSV_SUFFIXES = {".csv", ".tsv", ".txt", ".dat"}
PARQUET_SUFFIXES = {".parquet", ".geoparquet", ".pq"}
LON_LAT = (
    ("lon", "lat"),
    ("longitude", "latitude"),
    ("long", "lat"),
    ("lng", "lat"),
    ("decimallongitude", "decimallatitude"),
    ("station_longitude_deg", "station_latitude_deg"),
    ("site_longitude", "site_latitude"),
    ("station_longitude", "station_latitude"),
    ("stationlon", "stationlat"),
    ("lon_deg", "lat_deg"),
    ("longitude_deg", "latitude_deg"),
    ("coordinates_longitude", "coordinates_latitude"),
    ("coordinates.longitude", "coordinates.latitude"),
)
X_Y = (
    ("x", "y"),
    ("x_coord", "y_coord"),
    ("xcoord", "ycoord"),
    ("coord_x", "coord_y"),
    ("x_centroid", "y_centroid"),
    ("x_m", "y_m"),
    ("easting", "northing"),
    ("utm_x", "utm_y"),
    ("point_x", "point_y"),
    ("xkoord", "ykoord"),
)
PAIRS = (*LON_LAT, *X_Y)


class Table(Protocol):
    """A file of rows, whatever its format."""

    @property
    def label(self) -> str:
        """How sentences call it."""
        ...

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        ...

    @property
    def geometry(self) -> str | None:
        """The column of positions, if there is one."""
        ...

    @property
    def comma(self) -> bool:
        """Whether a comma can only be a decimal one."""
        ...

    def columns(self, wanted: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Any]:
        """Return columns (n,) as Arrow arrays, text or typed."""
        ...


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions (n,) of a file, its other columns as Arrow arrays, and what says its CRS."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    columns: dict[str, Any]
    crs: Any
    names: tuple[str, str] | None


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet or GeoParquet file."""

    path: Path
    comma = False

    @property
    def label(self) -> str:
        """How sentences call it."""
        return self.path.name

    @cached_property
    def schema(self) -> Any:
        """Types and metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(self.path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(error) from error

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @property
    def geometry(self) -> str | None:
        """The column of positions."""
        return self._geo[0] if self._geo else None

    @property
    def crs(self) -> Any:
        """CRS of the positions."""
        return self._geo[1] if self._geo else None

    @cached_property
    def _geo(self) -> tuple[str, Any] | None:
        """The geometry column and the CRS of a GeoParquet file; CRS84 where it is not said."""
        raw = (self.schema.metadata or {}).get(b"geo")
        if raw is None:
            return None
        try:
            described = json.loads(raw)
            name = str(described["primary_column"])
            crs = described["columns"][name].get("crs", "OGC:CRS84")
            code = crs.get("id", {}).get("code") if isinstance(crs, dict) else crs
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableFile(
                f"{self.label} has damaged GeoParquet metadata ({type(error).__name__}); write it "
                "anew, for example with geopandas."
            ) from error
        if name not in self.names:
            raise UnreadableFile(
                f"{self.label} has no column {name!r}, which its metadata call the geometry."
            )
        if code in ("CRS84", "OGC:CRS84"):
            return name, "EPSG:4326"
        return name, json.dumps(crs) if isinstance(crs, dict) else crs

    def columns(self, wanted: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Any]:
        """Return columns as Arrow arrays."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path, columns=list(wanted))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(error) from error
        return {name: table[name] for name in wanted}

    def _unreadable(self, error: BaseException) -> UnreadableFile:
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        return UnreadableFile(f"{self.path} is no readable Parquet ({first}).")


def open_table(path: Path, layer: str | None = None) -> Table:
    """Return the table of a file.

    Raises
    ------
    UnreadableFile
        If it does not exist or cannot be read.
    InvalidParameter
        If the file has layers and none is named, or none and one is named.
    """
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of the points file.")
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    flat = bool(suffixes & (PARQUET_SUFFIXES | CSV_SUFFIXES))
    if flat and layer is not None:
        raise InvalidParameter(f"{path.name} has no layers; leave out --layer.")
    try:
        if suffixes & PARQUET_SUFFIXES:
            return ParquetTable(path)
        return TextTable(path) if suffixes & CSV_SUFFIXES else VectorTable(path, layer)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise UnreadableFile(f"{path} cannot be read ({first}).") from error


def read_positions(
    table: Table,
    *,
    columns: Sequence[str],
    xy: tuple[str, str] | None,
    guesses: Sequence[tuple[str, str]] = PAIRS,
) -> Positions:
    """Read `columns` and the positions of a table.

    Parameters
    ----------
    table : Table
        Of `open_table`.
    columns : sequence of str
        Columns to read.
    xy : (x, y) or None
        Coordinate columns; None to use the geometry, or the first pair of `guesses` that exists.
    guesses : sequence of (x, y)
        Names (case-insensitive) of coordinate columns to look for.

    Raises
    ------
    UnreadableFile
        If the file cannot be read.
    MissingColumn
        If a column does not exist.
    """
    pair, wanted = xy, list(dict.fromkeys(columns))
    require(wanted, table.names, table.label)
    text = isinstance(table, TextTable)
    if pair is None and (text or table.geometry is None):
        pair = _guess(table.names, guesses)
    if pair is not None:
        require(pair, table.names, table.label)
        read = table.columns(list(dict.fromkeys([*wanted, *pair])), pair)
        x, y = (
            floats(read[name], f"Coordinates {name!r}", "--x and --y", comma=table.comma)
            for name in pair
        )
        return Positions(x, y, {name: read[name] for name in wanted}, None, pair)
    if isinstance(table, FrameTable) or (
        isinstance(table, VectorTable) and table.geometry is not None
    ):
        (x, y), crs, read = table.places(wanted)
        return Positions(x, y, read, crs, None)
    name = table.geometry or next((n for n in table.names if n.lower() in WKT_NAMES), None)
    if name is None:
        raise MissingColumn(_no_places(table))
    read = table.columns(list(dict.fromkeys([*wanted, name])))
    kept = {column: read[column] for column in wanted}
    if isinstance(table, ParquetTable) and table.geometry is not None:
        x, y = positions(read[name])
        return Positions(x, y, kept, table.crs, None)
    (x, y), crs = text_positions(read[name], name)
    return Positions(x, y, kept, crs, None)


def _guess(names: Sequence[str], guesses: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    lower = {name.lower(): name for name in reversed(names)}
    return next(((lower[x], lower[y]) for x, y in guesses if x in lower and y in lower), None)


def _no_places(table: Table) -> str:
    listed = ", ".join(table.names[:12])
    return (
        f"{table.label} has no geometry and no lon/lat columns (columns: {listed}); name the "
        "coordinate columns with --x and --y, or the file of the stations with --sites."
    )

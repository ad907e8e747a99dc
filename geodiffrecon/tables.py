"""Columns and positions of a points file, read column by column through Arrow."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from .columns import floats, require
from .delimited import WKT_NAMES, TextTable
from .errors import InvalidParameter, MissingColumn, UnreadableFile
from .frames import FrameTable
from .geometries import positions, text_positions
from .local import local_file
from .vectors import VectorTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


CSV_SUFFIXES = {".csv", ".tsv", ".txt", ".dat"}
FEATHER_SUFFIXES = {".feather", ".arrow", ".ipc"}
ARROW_SUFFIXES = {".parquet", ".geoparquet", ".pq", *FEATHER_SUFFIXES}
X_Y = (
    ("x", "y"),
    ("xcoord", "ycoord"),
    ("coordx", "coordy"),
    ("xcentroid", "ycentroid"),
    ("xm", "ym"),
    ("easting", "northing"),
    ("eastings", "northings"),
    ("utmx", "utmy"),
    ("utmeasting", "utmnorthing"),
    ("pointx", "pointy"),
    ("xkoord", "ykoord"),
    ("rechtswert", "hochwert"),
)
LONGITUDE = re.compile(r"(?P<before>[a-z]*?)(?:decimal)?"
                       r"(?P<name>longitudine|longitude|longitud|long|lng|lon)"
                       r"(?P<after>deg|degrees|dd|decdeg|wgs|wgs84|epsg4326)?")  # fmt: skip
LATITUDES = {
    "longitudine": "latitudine",
    "longitud": "latitud",
    "longitude": "latitude",
    "long": "lat",
    "lng": "lat",
    "lon": "lat",
}


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
class ArrowTable:
    """A Parquet, GeoParquet or Feather file."""

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
            if self._feather:
                with pa.ipc.open_file(self.path) as opened:
                    return opened.schema
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
        import pyarrow.feather as pf
        import pyarrow.parquet as pq

        read = pf.read_table if self._feather else pq.read_table
        try:
            table = read(self.path, columns=list(wanted))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(error) from error
        return {name: table[name] for name in wanted}

    @property
    def _feather(self) -> bool:
        return self.path.suffix.lower() in FEATHER_SUFFIXES

    def _unreadable(self, error: BaseException) -> UnreadableFile:
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        form = "Feather" if self._feather else "Parquet"
        return UnreadableFile(f"{self.path} is no readable {form} ({first}).")


def open_table(path: Path, layer: str | None = None) -> Table:
    """Return the table of a file.

    Raises
    ------
    UnreadableFile
        If it does not exist or cannot be read.
    InvalidParameter
        If the file has layers and none is named, or none and one is named.
    """
    path = local_file(path, "the points file")
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    if is_flat(path) and layer is not None:
        raise InvalidParameter(f"{path.name} has no layers; leave out --layer.")
    try:
        if suffixes & ARROW_SUFFIXES:
            return ArrowTable(path)
        return TextTable(path) if suffixes & CSV_SUFFIXES else VectorTable(path, layer)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise UnreadableFile(f"{path} cannot be read ({first}).") from error


def is_flat(path: Path) -> bool:
    """Tell by its name whether a file is one table that GDAL is not asked about."""
    return bool({suffix.lower() for suffix in path.suffixes[-2:]} & (ARROW_SUFFIXES | CSV_SUFFIXES))


def read_positions(
    table: Table,
    *,
    columns: Sequence[str],
    xy: tuple[str, str] | None,
) -> Positions:
    """Read `columns` and the positions of a table.

    Parameters
    ----------
    table : Table
        Of `open_table`.
    columns : sequence of str
        Columns to read.
    xy : (x, y) or None
        Coordinate columns; None to use the geometry, or columns of usual names.

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
        pair = usual_pair(table.names, table.label)
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
    if isinstance(table, ArrowTable) and _is_binary(read[name]):
        x, y = positions(read[name])
        return Positions(x, y, kept, table.crs, None)
    (x, y), crs = text_positions(read[name], name)
    return Positions(x, y, kept, crs, None)


def _is_binary(column: Any) -> bool:
    """Tell whether a column holds geometries rather than text of them."""
    import pyarrow as pa

    return not any(kind(column.type) for kind in (pa.types.is_string, pa.types.is_large_string))


def usual_pair(names: Sequence[str], label: str) -> tuple[str, str] | None:
    """Return the columns of x and y by their usual names, longitudes first, or None.

    Raises
    ------
    InvalidParameter
        If there are several pairs, such as those of a start and of an end.

    Examples
    --------
    >>> usual_pair(["id", "Site Latitude", "Site Longitude"], "a.csv")
    ('Site Longitude', 'Site Latitude')
    """
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(simple(name), name)
    pairs = {}
    for name, own in by_name.items():
        match = LONGITUDE.fullmatch(name)
        other = None if match is None else by_name.get(
            name[: match.start("name")] + LATITUDES[match["name"]] + name[match.end("name") :]
        )  # fmt: skip
        if match is not None and other is not None:
            pairs[match["before"]] = (own, other)
    if "" in pairs or len(pairs) == 1:
        return pairs.get("", next(iter(pairs.values())))
    if pairs:
        listed = " and ".join("/".join(pair) for pair in list(pairs.values())[:3])
        raise InvalidParameter(
            f"{label} has several places a row, {listed}; choose one with --x and --y."
        )
    return next(((by_name[x], by_name[y]) for x, y in X_Y if x in by_name and y in by_name), None)


def in_degrees(pair: tuple[str, str]) -> bool:
    """Tell whether the names of columns say longitude and latitude."""
    match = LONGITUDE.fullmatch(simple(pair[0]))
    return match is not None and LATITUDES[match["name"]] in simple(pair[1])


def simple(name: str) -> str:
    """Return a name in small letters and figures only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _no_places(table: Table) -> str:
    listed = ", ".join(table.names[:12])
    return (
        f"{table.label} has no geometry and no lon/lat columns (columns: {listed}); name the "
        "coordinate columns with --x and --y, or the file of the stations with --sites and --on, "
        "and --melt where each column is a station."
    )

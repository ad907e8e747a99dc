"""Columns and positions of a points file, read column by column through Arrow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidParameter, MissingColumn, UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CSV_SUFFIXES = {".csv", ".tsv", ".txt"}
JSON_SUFFIXES = {".geojson", ".json"}
PARQUET_SUFFIXES = {".parquet", ".geoparquet", ".pq"}
WKB_LENGTHS = {21: 2, 29: 3, 37: 4}  # bytes of one WKB point by number of coordinates
WKB_POINT_CODES = {1, 1001, 2001, 3001, 0x80000001, 0x40000001, 0xC0000001}


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions (n,) of a file, its other columns as Arrow arrays, and what says its CRS."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    columns: dict[str, Any]
    crs: Any
    names: tuple[str, str] | None


def read_table(
    path: Path,
    *,
    columns: Sequence[str],
    xy: tuple[str, str] | None,
    guesses: Sequence[tuple[str, str]],
) -> Positions:
    """Read `columns` and the positions of a points file.

    Parameters
    ----------
    path : Path
        CSV, Parquet, GeoParquet, or any vector file that GDAL reads.
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
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    try:
        if suffixes & PARQUET_SUFFIXES:
            return _read_parquet(path, columns, xy, guesses)
        if suffixes & CSV_SUFFIXES:
            return _read_csv(path, columns, xy, guesses)
        return _read_vector(path, columns, xy)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path} cannot be read ({_first_line(error)}).") from error


def _read_parquet(
    path: Path,
    columns: Sequence[str],
    xy: tuple[str, str] | None,
    guesses: Sequence[tuple[str, str]],
) -> Positions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        geometry = None if xy else _geoparquet(schema.metadata or {})
        pair = None if geometry else _pair(xy, schema.names, guesses, path)
        wanted = [*columns, *([geometry[0]] if geometry else pair or ())]
        _require(wanted, schema.names, path)
        table = pq.read_table(path, columns=list(dict.fromkeys(wanted)))
    except pa.ArrowInvalid as error:
        raise UnreadableFile(f"{path} is no readable Parquet ({_first_line(error)}).") from error
    read = {name: table[name] for name in columns}
    if geometry:
        x, y = _positions(table[geometry[0]])
        return Positions(x, y, read, geometry[1], None)
    assert pair is not None
    return Positions(floats(table[pair[0]]), floats(table[pair[1]]), read, None, pair)


def _read_csv(
    path: Path,
    columns: Sequence[str],
    xy: tuple[str, str] | None,
    guesses: Sequence[tuple[str, str]],
) -> Positions:
    import pyarrow as pa
    from pyarrow import csv

    with pa.input_stream(str(path), compression="detect") as stream:
        head = stream.read(1 << 14).decode("utf-8-sig", errors="replace").splitlines()
    if not head or not head[0].strip():
        raise UnreadableFile(f"{path} is empty; a CSV needs a header line with column names.")
    delimiter = max(",;\t", key=head[0].count)
    names = [name.strip().strip('"') for name in head[0].split(delimiter)]
    pair = _pair(xy, names, guesses, path)
    wanted = list(dict.fromkeys([*columns, *pair]))
    _require(wanted, names, path)
    options = csv.ConvertOptions(
        include_columns=wanted,
        column_types=dict.fromkeys(wanted, pa.string()) | dict.fromkeys(pair, pa.float64()),
        null_values=["", "NaN", "nan", "NULL", "null", "NA", "N/A", "None"],
        strings_can_be_null=True,
        decimal_point="," if delimiter == ";" and _decimal_comma(head) else ".",
    )
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=csv.ParseOptions(delimiter=delimiter),
            convert_options=options,
        )
    except pa.ArrowInvalid as error:
        raise UnreadableFile(f"{path} is no readable CSV ({_first_line(error)}).") from error
    read = {name: table[name] for name in columns}
    if options.decimal_point == ",":
        import pyarrow.compute as pc

        read = {name: pc.replace_substring(column, ",", ".") for name, column in read.items()}
    return Positions(floats(table[pair[0]]), floats(table[pair[1]]), read, None, pair)


def _read_vector(path: Path, columns: Sequence[str], xy: tuple[str, str] | None) -> Positions:
    import pyogrio
    from pyogrio.errors import DataSourceError

    try:
        existing = [str(name) for name in pyogrio.read_info(path)["fields"]]
        wanted = list(dict.fromkeys([*columns, *(xy or ())]))
        _require(wanted, existing, path)
        # GDAL drops the Z of stamps in a GeoJSON whose offsets differ, unless they stay text.
        as_text = {"DATE_AS_STRING": "YES"} if path.suffix.lower() in JSON_SUFFIXES else {}
        meta, table = pyogrio.read_arrow(
            path, columns=wanted, read_geometry=xy is None, datetime_as_string=True, **as_text
        )
    except DataSourceError as error:
        raise UnreadableFile(f"{path} cannot be read ({_first_line(error)}).") from error
    read = {name: table[name] for name in columns}
    if xy is not None:
        return Positions(floats(table[xy[0]]), floats(table[xy[1]]), read, None, xy)
    geometry = meta.get("geometry_name") or "wkb_geometry"
    if meta.get("geometry_type") is None or geometry not in table.column_names:
        raise MissingColumn(f"{path.name} has no geometry; name coordinate columns by --x and --y.")
    x, y = _positions(table[geometry])
    return Positions(x, y, read, meta.get("crs"), None)


def _geoparquet(metadata: dict[bytes, bytes]) -> tuple[str, Any] | None:
    """Return the geometry column and the CRS of a GeoParquet file; CRS84 where it is not said."""
    if b"geo" not in metadata:
        return None
    described = json.loads(metadata[b"geo"])
    name = described["primary_column"]
    crs = described["columns"][name].get("crs", "OGC:CRS84")
    if crs == "OGC:CRS84" or (isinstance(crs, dict) and crs.get("id", {}).get("code") == "CRS84"):
        return name, "EPSG:4326"
    return name, json.dumps(crs) if isinstance(crs, dict) else crs


def _positions(column: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of a WKB or native point column, (n,); NaN where there is no point."""
    import pyarrow as pa

    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if pa.types.is_struct(column.type):
        return floats(column.field("x")), floats(column.field("y"))
    column = column.cast(pa.large_binary())
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int64)
    offsets = offsets[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    size = int(lengths.max(initial=0))
    if size not in WKB_LENGTHS or not np.isin(lengths, (0, size)).all():
        return _positions_one_by_one(column)
    raw = np.frombuffer(column.buffers()[2], dtype=np.uint8)
    raw = raw[offsets[0] : offsets[-1]].reshape(-1, size)
    codes = np.ascontiguousarray(raw[:, 1:5]).view("<u4")
    if not (raw[:, 0] == 1).all() or not np.isin(codes, list(WKB_POINT_CODES)).all():
        return _positions_one_by_one(column)
    places = np.full((len(column), 2), np.nan)
    places[lengths > 0] = np.ascontiguousarray(raw[:, 5:21]).view("<f8")
    return places[:, 0].copy(), places[:, 1].copy()


def _positions_one_by_one(column: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import shapely

    shapes = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    kinds = shapely.get_type_id(shapes)
    if np.any(kinds > 0):
        found = shapes[np.argmax(kinds > 0)].geom_type
        raise InvalidParameter(
            f"Geometry must be points, found a {found}; make points of it (centroids) first."
        )
    return shapely.get_x(shapes), shapely.get_y(shapes)


def _pair(
    xy: tuple[str, str] | None,
    names: Sequence[str],
    guesses: Sequence[tuple[str, str]],
    path: Path,
) -> tuple[str, str]:
    if xy is not None:
        return xy
    lower = {name.lower(): name for name in names}
    for x, y in guesses:
        if x in lower and y in lower:
            return lower[x], lower[y]
    raise MissingColumn(
        f"{path.name} has no geometry and no lon/lat columns (columns: {', '.join(names[:12])}); "
        "name the coordinate columns with --x and --y."
    )


def _require(wanted: Sequence[str], existing: Sequence[str], path: Path) -> None:
    for name in wanted:
        if name not in existing:
            listed = ", ".join(existing[:12]) + (", …" if len(existing) > 12 else "")
            raise MissingColumn(f"{path.name} has no column {name!r}; its columns are {listed}.")


def floats(column: Any, what: str = "Coordinates", remedy: str = "--x and --y") -> Any:
    """Return an Arrow column as float64 (n,), NaN where missing, or raise InvalidParameter."""
    import pyarrow as pa

    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidParameter(
            f"{what} are not numbers ({_first_line(error)}); name others with {remedy}."
        ) from error
    if isinstance(numbers, pa.ChunkedArray):
        return np.asarray(numbers.to_numpy())
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _decimal_comma(head: Sequence[str]) -> bool:
    return any(part.strip().count(",") == 1 for part in ";".join(head[1:2]).split(";"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else repr(error)

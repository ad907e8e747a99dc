"""Positions of points in any encoding: WKB, GeoArrow's own, and text (WKT, hexadecimal WKB)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import as_arrow, floats
from .errors import InvalidParameter, UnreadableFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = tuple[NDArray[np.float64], NDArray[np.float64]]

WKB_LENGTHS = (21, 29, 37)  # bytes of one WKB point of two, three and four coordinates
WKB_POINT_CODES = (1, 1001, 2001, 3001, 0x80000001, 0x40000001, 0xC0000001)
SRID = re.compile(r"SRID=(\d+);(.*)", re.IGNORECASE | re.DOTALL)


def positions(column: Any) -> Places:
    """Return x and y of a WKB or native point column, (n,); NaN where there is no point."""
    import pyarrow as pa

    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if pa.types.is_struct(column.type):
        # A missing struct has children too, which hold anything.
        gone = column.is_null().to_numpy(zero_copy_only=False)
        x, y = (floats(column.field(axis), "Coordinates", "--x and --y") for axis in "xy")
        return np.where(gone, np.nan, x), np.where(gone, np.nan, y)
    if pa.types.is_fixed_size_list(column.type):
        flat = floats(pa.array(column.to_numpy(zero_copy_only=False).tolist()).flatten(), "", "")
        gone = column.is_null().to_numpy(zero_copy_only=False)
        both = np.full((len(column), 2), np.nan)
        both[~gone] = flat.reshape(-1, column.type.list_size)[:, :2]
        return both[:, 0], both[:, 1]
    column = column.cast(pa.large_binary())
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int64)
    offsets = offsets[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    size = int(lengths.max(initial=0))
    if size not in WKB_LENGTHS or not np.isin(lengths, (0, size)).all():
        return _one_by_one(column)
    raw = np.frombuffer(column.buffers()[2], dtype=np.uint8)
    raw = raw[offsets[0] : offsets[-1]].reshape(-1, size)
    codes = np.ascontiguousarray(raw[:, 1:5]).view("<u4")
    if not (raw[:, 0] == 1).all() or not np.isin(codes, WKB_POINT_CODES).all():
        return _one_by_one(column)
    places = np.full((len(column), 2), np.nan)
    places[lengths > 0] = np.ascontiguousarray(raw[:, 5:21]).view("<f8")
    return places[:, 0].copy(), places[:, 1].copy()


def places_of(shapes: NDArray[Any]) -> Places:
    """Return x and y of shapely points (n,); NaN where one is missing or empty.

    Raises
    ------
    InvalidParameter
        If a geometry is not a point.
    """
    import shapely

    kinds = shapely.get_type_id(shapes)
    single = (kinds == 4) & (shapely.get_num_geometries(shapes) == 1)
    if single.any():  # files of multipoints hold single points more often than not
        shapes = np.where(single, shapely.get_geometry(shapes, 0), shapes)
        kinds = shapely.get_type_id(shapes)
    if np.any(kinds > 0):  # -1 is a missing geometry, 0 a point
        found = shapes[np.argmax(kinds > 0)].geom_type
        raise InvalidParameter(
            f"Geometry must be points, found a {found}; make points of it (centroids) first."
        )
    known = (kinds == 0) & ~shapely.is_empty(shapes)
    x, y = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    x[known], y[known] = shapely.get_x(shapes[known]), shapely.get_y(shapes[known])
    return x, y


def text_positions(column: Any, name: str) -> tuple[Places, str | None]:
    """Return x and y of WKT, EWKT or hexadecimal WKB (n,), and the CRS where the text tells it."""
    import pyarrow.compute as pc
    import shapely

    coded = pc.dictionary_encode(as_arrow(column))
    texts = [(text or "").strip() for text in coded.dictionary.to_pylist()]
    parts = [SRID.fullmatch(text) for text in texts]
    known = {part[1] for part in parts if part is not None}
    plain = [text if part is None else part[2] for text, part in zip(texts, parts, strict=True)]
    try:
        shapes = [_shape(text) for text in plain]
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise UnreadableFile(
            f"Column {name!r} holds no readable WKT ({str(error).splitlines()[0]}); write points "
            "as POINT (116.4 39.9)."
        ) from error
    srids = {int(shapely.get_srid(shape)) for shape in shapes if shape is not None} - {0}
    known |= {str(srid) for srid in srids}
    if len(known) > 1:
        raise InvalidParameter(f"Column {name!r} has several CRSs (EPSG {', '.join(known)}).")
    x, y = places_of(np.array([*shapes, None], dtype=object))
    index = pc.fill_null(coded.indices, len(shapes)).to_numpy()
    return (x[index], y[index]), f"EPSG:{known.pop()}" if known else None


def _shape(text: str) -> Any:
    import shapely

    if not text:
        return None
    return shapely.from_wkb(text) if text[:2] in ("00", "01") else shapely.from_wkt(text)


def _one_by_one(column: Any) -> Places:
    import shapely

    try:
        shapes = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
        return places_of(shapes)
    except NotImplementedError as error:
        raise InvalidParameter(
            "Geometry must be points, found curves; make points of them (centroids) first."
        ) from error
    except shapely.errors.ShapelyError as error:
        raise UnreadableFile(
            f"The geometry cannot be read as WKB ({str(error).splitlines()[0]}); write it anew."
        ) from error

"""Observations of any form for one map: points, a data frame, a file, a raster with holes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..columns import floats
from ..errors import InvalidParameter, NoObservations
from ..files.kinds import holds_points
from ..files.quality import blank_codes
from ..files.sources import needs_crs, needs_times, open_source
from ..frames import FrameTable
from ..grid import NestedGrid
from ..local import local_file
from ..memory import check_read
from ..points import points_of
from ..rows import RowChoice, read_rows
from ..tables import open_table
from ..words import agreed
from .metric import unwrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    from ..tables import Table

    Array = NDArray[np.float64]


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
    zone : str
        In which days are cut: the zone that all stamps share, else UTC.
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
    zone: str = "UTC"
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
    choice : RowChoice
        Which rows of a table are read.
    maps : mapping
        How a raster is read: `select`, `times` and `time_from` of `open_source`.
    """

    value: str | None = None
    time: str | None = None
    tz: str | None = None
    x: str | None = None
    y: str | None = None
    crs: Any = None
    error: str | float | None = None
    choice: RowChoice = field(default_factory=RowChoice)
    maps: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error_column(self) -> str | None:
        """Name of the column of errors, None where one number serves all."""
        return self.error if isinstance(self.error, str) and not _is_number(self.error) else None


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
        path = local_file(data)
        if not holds_points(path):
            return _of_raster(path, columns)
        return _of_points(open_table(path, columns.choice.layer), columns)
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return _of_points(FrameTable(data), columns)
    raise InvalidParameter(
        f"Observations are a {type(data).__name__}; give a GeoDataFrame, a DataFrame with "
        "coordinates, or the path of a points file or raster."
    )


def _of_points(table: Table, columns: Columns) -> Survey:
    """Return the complete rows of a table; those with something missing are left out and said."""
    if columns.value is None:
        raise InvalidParameter(
            f"Say which column to map with --value; the columns are {', '.join(table.names[:12])}."
        )
    if (columns.x is None) != (columns.y is None):
        raise InvalidParameter("Give both --x and --y, or neither.")
    pair = None if columns.x is None or columns.y is None else (columns.x, columns.y)
    also = [] if columns.error_column is None else [columns.error_column]
    read = read_rows(
        table, value=columns.value, time=columns.time, station=None, xy=pair,
        choice=columns.choice,
        also=also,
    )  # fmt: skip
    points = points_of(table, read, columns.value, columns.tz, columns.crs)
    value, time = points.value, None
    assert value is not None
    notes = list(points.notes)
    known = np.isfinite(value) & np.isfinite(points.x) & np.isfinite(points.y)
    _say(notes, len(known) - int(known.sum()), "no value or no position")
    if columns.time is not None:
        time = points.time
        _say(notes, int((known & np.isnat(time)).sum()), "no date")
        known &= ~np.isnat(time)
    error = _errors(read.columns, columns, len(value), comma=table.comma)
    if error is not None:
        _say(notes, int((known & ~np.isfinite(error)).sum()), "no error")
        known &= np.isfinite(error)
        if np.any(error[known] < 0):
            raise InvalidParameter(
                f"Errors of readings go down to {error[known].min():g}; they must be 0 or more."
            )
    if not known.any():
        raise NoObservations(
            f"No row of {columns.value!r} has all that a map needs ({'; '.join(notes)})."
        )
    return Survey(
        unwrapped(points.x[known], points.crs), points.y[known], value[known], points.crs,
        str(columns.value), None if time is None else time[known],
        None if error is None else error[known], zone=points.clock.zone or "UTC",
        notes=tuple(notes),
    )  # fmt: skip


def _errors(read: dict[str, Any], columns: Columns, count: int, *, comma: bool) -> Array | None:
    if columns.error is None:
        return None
    name = columns.error_column
    if name is None:
        return np.full(count, float(columns.error))
    return floats(read[name], f"Errors of {name!r}", "--error", comma=comma)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _say(notes: list[str], count: int, what: str) -> None:
    if count:
        notes.append(agreed(count, f"{count} rows have {what}: left out."))


def _of_raster(path: Path, columns: Columns) -> Survey:
    if columns.error_column is not None:
        raise InvalidParameter("Cells of a raster have no columns; give their error as a number.")
    source = open_source(
        path, variable=columns.value, crs=columns.crs, calendar_tz=columns.tz, **columns.maps
    )
    needs_crs(source, columns.crs)
    times, box = source.times, source.box
    if times is None and source.count > 1:
        needs_times(source, path)
    grid = NestedGrid(box, 1)
    rows, cols = grid.shape
    check_read(source.name, source.count, (rows, cols))
    maps = source.read(slice(0, rows), slice(0, cols)).astype(np.float64)  # (T, rows, cols)
    coded = blank_codes(maps, source.name, packing=source.packing)
    step, row, col = np.nonzero(np.isfinite(maps))
    if not len(step):
        raise NoObservations(f"{path.name} has no cell with a value; check its nodata value.")
    a, _, west, _, e, north = box.affine[:6]
    error = None if columns.error is None else np.full(len(step), float(columns.error))
    many = times is not None and len(times) > 1
    return Survey(
        west + a * (col + 0.5), north + e * (row + 0.5), maps[step, row, col], box.crs,
        source.name, times[step] if many and times is not None else None, error,
        str(source.value_attrs.get("units", "")), grid, notes=(*source.notes, *coded),
    )  # fmt: skip

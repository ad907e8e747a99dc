"""Point observations as plain columns: positions, UTC times, values; no object per point."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .axes import parse_crs
from .columns import floats, names
from .errors import InvalidParameter, MissingCRS
from .files.quality import blank_codes
from .frames import FrameTable
from .rows import Read, RowChoice, read_rows
from .stamps import Clock, joined, read_stamps
from .tables import Table, in_degrees, open_table
from .words import agreed

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    from .tables import Positions

    Array = NDArray[np.float64]

MOST_LATITUDE = 90.0
COVERAGE = 0.75  # of its readings that a station's day needs, as agencies ask


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
    clock : Clock
        What the stamps say of themselves: how fine they are, and their zone.
    length : timedelta64[ns], (n,), or None
        Length of the period of each row, where the file tells its end.

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
    clock: Clock = field(default_factory=Clock)
    length: NDArray[np.timedelta64] | None = None

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


@dataclass(frozen=True)
class PointColumns:
    """Which columns of a stations file hold what, kept in the model for later files.

    Parameters
    ----------
    value, time : str
        Value and time columns.
    x, y : str or None
        Coordinate columns; None where the file has a geometry or names them itself.
    crs, tz : str or None
        CRS of the positions, zone of stamps without one.
    station : str or None
        Column of station names.
    units : str or None
        Unit of the values, which files of points do not say.
    choice : RowChoice
        Which rows are read.
    coverage : float
        Share of a station's own readings that a longer step needs.
    """

    value: str
    time: str = "time"
    x: str | None = None
    y: str | None = None
    crs: str | None = None
    tz: str | None = None
    station: str | None = None
    units: str | None = None
    choice: RowChoice = field(default_factory=RowChoice)
    coverage: float = COVERAGE

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Rebuild columns from their JSON form, of this version or an earlier one."""
        return cls(**{**stored, "choice": RowChoice(**stored.get("choice", {}))})

    def read(self, path: Path, **changed: Any) -> PointTable:
        """Return the points of a file, with some parameters of `read_points` `changed`."""
        usual = {name: getattr(self, name) for name in
                 ("value", "time", "tz", "x", "y", "crs", "station")}  # fmt: skip
        return read_points(path, **{**usual, **vars(self.choice), **changed})


def read_points(
    path: str | Path,
    *,
    value: str | None,
    time: str = "time",
    tz: str | None = None,
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    station: str | None = None,
    layer: str | None = None,
    where: str | None = None,
    end: str | None = None,
    sites: str | Path | None = None,
    on: str | None = None,
    melt: bool = False,
) -> PointTable:
    """Read CSV, Parquet, GeoParquet, GeoPackage, Shapefile, GeoJSON and other points.

    Only the columns named are read. Empty cells, NaN, NULL, infinite values and codes such as
    -999 far outside the other values are missing, never zeros.

    Parameters
    ----------
    path : str or Path
        The file; text may be compressed, and separated by commas, semicolons, tabs, bars or
        blanks.
    value : str or None
        Value column; None to count points.
    time : str
        Time column: typed or ISO 8601. Several, with commas between them, are joined: a date and
        its hour, or year, month, day and hour.
    tz : str, optional
        Zone of time stamps that have none; dates without an hour need none.
    x, y : str, optional
        Coordinate columns of a file without geometry; usual names are found by themselves.
    crs : optional
        CRS of the points; "none" for local metres. Without it the file's own is used, or
        EPSG:4326 (with a note) where the columns are longitude and latitude by name.
    station : str, optional
        Column that names the station of each row, text or whole numbers.
    layer : str, optional
        Layer of a file that has several.
    where : str, optional
        Condition on the rows, such as ``parameter == 'pm25' and Validity > 0``.
    end : str, optional
        Column of the end of each row's period, where rows of several lengths are mixed.
    sites : str or Path, optional
        Table of the stations' positions, joined by the column `on` of both.
    on : str, optional
        Column that both files have; ``a=b`` where it is `a` here and `b` there.
    melt : bool
        Every column but the time is a station, named as in `sites`.

    Returns
    -------
    PointTable

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, InvalidTime, InvalidParameter
        One sentence that says what to do.
    """
    choice = RowChoice(layer, where, end, None if sites is None else str(sites), on, melt)
    if (x is None) != (y is None):
        raise InvalidParameter("Give both --x and --y, or neither.")
    pair = None if x is None or y is None else (x, y)
    table = open_table(Path(path), layer)
    read = read_rows(table, value=value, time=time, station=station, xy=pair, choice=choice)
    return points_of(table, read, value, tz, crs)


def from_geodataframe(
    gdf: gpd.GeoDataFrame,
    *,
    value: str | None,
    time: str,
    tz: str | None = None,
    crs: Any = None,
    station: str | None = None,
    where: str | None = None,
    end: str | None = None,
) -> PointTable:
    """Return the table of a GeoDataFrame of points; parameters as in `read_points`.

    Raises
    ------
    MissingCRS
        If the frame has no CRS and `crs` is None.
    MissingColumn
        If a column does not exist.
    InvalidParameter
        If a geometry is not a point, or a column exists twice.
    """
    table = FrameTable(gdf)
    choice = RowChoice(where=where, end=end)
    read = read_rows(table, value=value, time=time, station=station, xy=None, choice=choice)
    if read.at.crs is None and crs is None and read.at.names is None:
        raise MissingCRS("Points have no CRS; pass crs=… or set it with gdf.set_crs('EPSG:4326').")
    return points_of(table, read, value, tz, crs)


def points_of(table: Table, read: Read, value: str | None, tz: str | None, crs: Any) -> PointTable:
    """Return the rows of any file as points; where no column of times was read they have none."""
    value = None if value is None else str(value)
    known, notes = points_crs(read.at, crs, table.label)
    x, y, placed = plausible(read.at.x, read.at.y, known)
    named = None if read.station is None else names(read.columns[read.station])

    def series() -> NDArray[np.int64]:
        return _series(named, x, y)

    def stamps(columns: tuple[str, ...]) -> tuple[NDArray[np.datetime64], list[str], Clock]:
        if not columns:
            return np.full(len(x), np.datetime64("NaT", "ns")), [], Clock()
        held = [read.columns[name] for name in columns]
        column = held[0] if len(held) == 1 else joined(held)
        return read_stamps(column, tz=tz, what=",".join(columns), series=series)

    times, told, clock = stamps(read.time)
    length = None if read.end is None else stamps((read.end,))[0] - times
    values, coded = None, []
    if value is not None:
        column = read.columns[read.value or value]
        values = floats(column, f"Values of {value!r}", "--value", comma=table.comma)
        values = np.array(values)  # not the file's own memory
        coded = blank_codes(values, value, noun="values")
    notes = [*read.notes, *notes, *placed, *told, *coded]
    return PointTable(x, y, times, values, known, value, tuple(notes), named, clock, length)


def _series(named: NDArray[np.str_] | None, x: Array, y: Array) -> NDArray[np.int64]:
    """Return the station, or else the place, of each row; one for all where points move."""
    import pandas as pd

    if named is not None:
        return np.asarray(pd.factorize(named)[0], dtype=np.int64)
    code, places = pd.factorize(pd.MultiIndex.from_arrays([x, y]))
    moving = 2 * len(places) > len(x) > 2
    return np.zeros(len(x), dtype=np.int64) if moving else np.asarray(code, dtype=np.int64)


def plausible(x: Array, y: Array, crs: CRS | None) -> tuple[Array, Array, list[str]]:
    """Return positions with NaN where 0, 0 stands for none, and what is said of them.

    Raises
    ------
    InvalidParameter
        If most latitudes lie beyond the poles.
    """
    if crs is None or not crs.geographic or not len(x):
        return x, y, []
    number, known, worst = 0, 0, 0.0
    if np.fmax.reduce(y) > MOST_LATITUDE or np.fmin.reduce(y) < -MOST_LATITUDE:
        beyond = np.abs(y) > MOST_LATITUDE
        number, known = int(beyond.sum()), int((~np.isnan(y)).sum())
        worst = float(y[int(np.argmax(beyond))])
    if number and 2 * number > known:
        if np.nanmax(np.abs(x)) <= MOST_LATITUDE:
            remedy = "exchange x and y? (--x and --y name their columns)"
        else:
            remedy = "degrees they are not, so give their CRS with --crs, or exchange x and y?"
        raise InvalidParameter(f"Latitudes of the points lie beyond 90 ({worst:.7g}); {remedy}")
    notes = []
    if number:
        told = f"{number} rows have latitudes beyond 90 ({worst:.7g}) and lie nowhere."
        notes.append(agreed(number, told))
    nowhere = x == 0
    if nowhere.any():
        nowhere &= y == 0
    if nowhere.any():
        x, y = np.where(nowhere, np.nan, x), np.where(nowhere, np.nan, y)
        count = int(nowhere.sum())
        told = (
            f"{count} rows stand at exactly 0, 0, which means no place; they are taken as missing."
        )
        notes.append(agreed(count, told))
    return x, y, notes


def points_crs(table: Positions, crs: Any, label: str) -> tuple[CRS | None, list[str]]:
    """Return the CRS of positions and what was assumed of it.

    Raises
    ------
    MissingCRS
        If nothing tells it.
    """
    if crs is not None:
        return parse_crs(crs), []
    if table.crs is not None:
        return parse_crs(table.crs), []
    found = "" if table.names is None else " and ".join(table.names)
    if table.names is None or not in_degrees(table.names):
        columns = f" (columns {found})" if found else ""
        raise MissingCRS(
            f"{label} has no CRS{columns}; give it with --crs, for example --crs EPSG:4326, "
            "or --crs none for local metres."
        )
    return parse_crs("EPSG:4326"), [
        f"Columns {found} are taken as EPSG:4326; change it with --crs."
    ]

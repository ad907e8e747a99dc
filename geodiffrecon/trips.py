"""Trip tables as flows: how many leave and how many enter each cell in each step."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import Counter
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from .axes import parse_crs
from .cube import make_cube
from .errors import (
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    MissingCRS,
    NoObservations,
    UnreadableFile,
)
from .files.netcdf import damaged
from .progress import silent
from .stamps import utc_stamp, utc_stamps
from .steps import TimeStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    import xarray as xr
    from numpy.typing import NDArray

    from .grid import Level, NestedGrid
    from .progress import Progress

    Cells = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.int64]]

CHUNK_ROWS = 250_000
CLOCKS = ("ISO8601", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M")
DAMAGE = (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError)


@dataclass(frozen=True)
class TripColumns:
    """Names of the six columns of a trip table; case, spaces and underscores do not matter.

    Parameters
    ----------
    start_time, end_time : str
        When a trip starts and ends: ISO 8601, or month/day/year.
    start_x, start_y, end_x, end_y : str
        Where, in the CRS of the trips (x is the longitude).
    """

    start_time: str
    end_time: str
    start_x: str
    start_y: str
    end_x: str
    end_y: str

    def found_in(self, names: Sequence[str]) -> dict[str, str] | None:
        """Return the fields of this class by column of `names`, or None if any is absent."""
        plain = {_plain(name): name for name in names}
        pairs = {_plain(column): key for key, column in vars(self).items()}
        return {plain[c]: key for c, key in pairs.items()} if pairs.keys() <= plain.keys() else None


CITI_BIKE = TripColumns(
    "starttime",
    "stoptime",
    "start station longitude",
    "start station latitude",
    "end station longitude",
    "end station latitude",
)
CITI_BIKE_2021 = TripColumns(
    "started_at", "ended_at", "start_lng", "start_lat", "end_lng", "end_lat"
)
FIELDS = tuple(vars(CITI_BIKE))


class Flows(NamedTuple):
    """Two count cubes on the same grid and steps: arrivals (inflow) and departures (outflow)."""

    inflow: xr.Dataset
    outflow: xr.Dataset


def flows(
    trips: Any,
    grid: NestedGrid,
    *,
    freq: str,
    columns: TripColumns | None = None,
    crs: Any = "EPSG:4326",
    tz: str | None = None,
    calendar_tz: str = "UTC",
    level: Level = "fine",
    empty: Literal["auto", "zero"] = "auto",
    start: Any = None,
    end: Any = None,
    progress: Progress = silent,
) -> Flows:
    """Count the trips that leave and that enter each cell in each step.

    A trip is one departure in the cell and step where it starts and one arrival where it ends.
    CSV files are read in pieces; only the counts are kept.

    Parameters
    ----------
    trips : path, sequence of paths, or pandas.DataFrame
        Trip tables: CSV, compressed CSV, or ZIP archives of CSV files.
    grid : NestedGrid
        The grid; positions are projected to its CRS.
    freq : str
        Pandas frequency of the step.
    columns : TripColumns, optional
        Columns to read; the headers of Citi Bike before and since 2021 are known.
    crs : optional
        CRS of the positions; "none" for local metres.
    tz : str, optional
        Zone of time stamps that have none.
    calendar_tz : str
        Zone in which days are cut.
    level : {"fine", "coarse"}
        Which cells.
    empty : {"auto", "zero"}
        ``auto`` makes a step in which no trip starts or ends anywhere a gap, ``zero`` zeros.
    start, end : str or datetime, optional
        First and one past the last time, in `calendar_tz` if they have no zone; the departures'
        by default.

    Returns
    -------
    Flows
        Cubes ``inflow`` and ``outflow`` of aggregation ``sum``. Their attributes
        ``points_used``, ``points_outside``, ``points_outside_time`` and ``points_missing`` add
        up to all trips; ``notes`` says so in words.

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, InvalidTime, NoObservations
        One sentence that says what to do.
    """
    if empty not in ("auto", "zero"):
        raise InvalidParameter(f"empty must be 'auto' or 'zero', got {empty!r}.")
    step = TimeStep.parse(freq, tz=calendar_tz)
    cells, size = _locator(grid, level, parse_crs(crs)), int(np.prod(grid.box(level).shape))
    arrivals, departures = _Side("end", "arrival"), _Side("start", "departure")
    for table in _tables(trips, columns, progress):
        for side in (arrivals, departures):
            side.add(table, step, cells, size, tz)
    first, last = _axis(step, departures.steps, start, end)
    sides = arrivals.cut(first, last), departures.cut(first, last)
    _check_used(sides, departures.rows, grid, start, end)
    known = np.array([n in arrivals.steps or n in departures.steps for n in range(first, last + 1)])
    known |= empty == "zero"
    times = step.start(np.arange(first, last + 1))
    inflow, outflow = (
        make_cube(
            _dense(side, first, known, grid, level),
            times,
            grid,
            value=name,
            level=level,
            freq=step.freq,
            aggregation="sum",
            calendar_tz=calendar_tz,
            value_attrs={"units": "1", "long_name": f"trips that {side.what} in the cell"},
            attrs={**side.tally(), "empty": empty, **side.notes()},
        )
        for name, side in zip(("inflow", "outflow"), sides, strict=True)
    )
    return Flows(inflow, outflow)


@dataclass
class _Side:
    """What is counted of one end of the trips: maps of counts by number of the step."""

    what: str
    noun: str
    maps: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)
    rows: int = 0
    missing: int = 0
    outside: int = 0
    clock: Counter[str] = field(default_factory=Counter)

    def add(
        self, table: pd.DataFrame, step: TimeStep, cells: Cells, size: int, tz: str | None
    ) -> None:
        """Count the rows of one piece of a table."""
        times, notes = _stamps(table[f"{self.what}_time"], tz, f"{self.what}_time")
        for note in notes:
            number, _, text = note.partition(" ")
            self.clock[text] += int(number)
        x, y = (_numbers(table[f"{self.what}_{axis}"]) for axis in "xy")
        whole = np.isfinite(x) & np.isfinite(y) & ~np.isnat(times)
        place = cells(x[whole], y[whole])
        numbers = step.number(times[whole])
        self.rows += len(table)
        self.missing += int((~whole).sum())
        self.outside += int((place < 0).sum())
        self.steps.update(np.unique(numbers).tolist())
        inside = place >= 0
        codes, counts = np.unique(numbers[inside] * size + place[inside], return_counts=True)
        for number in np.unique(codes // size):
            part = slice(*np.searchsorted(codes, [number * size, (number + 1) * size]))
            seen = self.maps.setdefault(int(number), np.zeros(size, dtype=np.int64))
            seen[codes[part] - number * size] += counts[part]

    def cut(self, first: int, last: int) -> _Side:
        """Return the side with its maps cut to the steps of the cube."""
        return replace(self, maps={n: c for n, c in self.maps.items() if first <= n <= last})

    def tally(self) -> dict[str, int]:
        """Return where all trips went; the four numbers add up to the rows read."""
        used = sum(int(counts.sum()) for counts in self.maps.values())
        return {
            "points_used": used,
            "points_outside": self.outside,
            "points_outside_time": self.rows - self.missing - self.outside - used,
            "points_missing": self.missing,
        }

    def notes(self) -> dict[str, list[str]]:
        """Return the attribute ``notes``: a sentence for every kind of trip not in the cube."""
        counts = self.tally()
        kinds = {
            "points_missing": f"have no {self.what} time or position",
            "points_outside": f"{self.what} outside the grid",
            "points_outside_time": f"{self.what} outside the period",
        }
        left_out = [
            f"{counts[key]} of {self.rows} trips {text} and count as no {self.noun}."
            for key, text in kinds.items()
            if counts[key]
        ]
        said = [*left_out, *(f"{number} {text}" for text, number in self.clock.items())]
        return {"notes": said} if said else {}


def _locator(grid: NestedGrid, level: Level, crs: Any) -> Cells:
    """Return the function from positions to flat cell numbers, -1 outside."""
    project, own = None, grid.crs
    if (crs is None) != (own is None):
        raise MissingCRS("Only one of trips and grid has a CRS; give both one, or both none.")
    if crs is not None and own is not None and crs != own:
        from pyproj import Transformer

        project = Transformer.from_crs(crs.proj, own.proj, always_xy=True)
    width = int(grid.box(level).shape[1])

    def cells(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        if project is not None:
            x, y = project.transform(x, y)
        row, col, inside = grid.cell_of(x, y, level=level)
        return np.where(inside, row * width + col, -1)

    return cells


def _axis(step: TimeStep, departures: set[int], start: Any, end: Any) -> tuple[int, int]:
    """Return the first and the last step of the cube."""
    if not departures:
        raise NoObservations("No trip has a start time and a start position; check the columns.")
    stamps = [
        None if start is None else utc_stamp(start, step.tz),
        None if end is None else utc_stamp(end, step.tz) - np.timedelta64(1, "ns"),
    ]
    first, last = (
        default if stamp is None else int(step.number(np.array([stamp]))[0])
        for stamp, default in zip(stamps, (min(departures), max(departures)), strict=True)
    )
    if last < first:
        raise InvalidParameter(f"The period from {start} to {end} is empty; swap start and end.")
    return first, last


def _check_used(
    sides: tuple[_Side, _Side], trips: int, grid: NestedGrid, start: Any, end: Any
) -> None:
    if any(side.maps for side in sides):
        return
    if all(side.outside + side.missing == side.rows for side in sides):
        raise NoObservations(
            f"None of {trips} trips starts or ends inside the grid {grid}; check the bounds, the "
            "CRS and the order of x and y."
        )
    raise NoObservations(f"None of {trips} trips lies between {start} and {end}; widen the period.")


def _dense(
    side: _Side, first: int, known: NDArray[np.bool_], grid: NestedGrid, level: Level
) -> NDArray[np.float32]:
    """Return the counts (T, rows, cols), NaN in steps that nothing is known of."""
    shape = grid.box(level).shape
    values = np.zeros((len(known), *shape), dtype=np.float32)
    for number, counts in side.maps.items():
        values[number - first] = counts.reshape(shape)
    values[~known] = np.nan
    return values


def _tables(trips: Any, columns: TripColumns | None, progress: Progress) -> Iterator[pd.DataFrame]:
    """Yield pieces of all tables with columns named as the fields of `TripColumns`."""
    if isinstance(trips, pd.DataFrame):
        yield _renamed(trips, columns, "The table of trips")
        return
    paths = [Path(trips)] if isinstance(trips, str | Path) else [Path(path) for path in trips]
    if not paths:
        raise NoObservations("No file of trips is given; give CSV or ZIP files.")
    begins: dict[tuple[str, ...], str] = {}
    for done, path in enumerate(paths):
        progress(done, len(paths), "reading trips")
        if not path.exists():
            raise UnreadableFile(f"{path} does not exist; check the path of the trips.")
        try:
            for name, stream in _members(path.name, path):
                yield from _pieces(name, stream, columns, begins)
        except DAMAGE as error:
            raise damaged(path, error) from error
    progress(len(paths), len(paths), "reading trips")


def _pieces(
    name: str, stream: Any, columns: TripColumns | None, begins: dict[tuple[str, ...], str]
) -> Iterator[pd.DataFrame]:
    wanted = {_plain(c) for known in _schemes(columns) for c in astuple(known)}
    reader = pd.read_csv(
        stream,
        usecols=lambda column: _plain(column) in wanted,
        dtype=str,
        chunksize=CHUNK_ROWS,
        encoding="utf-8-sig",
    )
    with reader:
        for number, piece in enumerate(reader):
            table = _renamed(piece, columns, name)
            if number == 0 and len(table):
                trip = tuple(str(value) for value in table.iloc[0])
                # Archives hold some months both whole and in parts: those would count twice.
                if trip in begins:
                    raise InvalidTime(
                        f"{begins[trip]} and {name} begin with the same trip; keep one of them."
                    )
                begins[trip] = name
            yield table


def _members(name: str, source: Path | IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the names and streams of all CSV files in `source`, archives within included."""
    if not name.lower().endswith(".zip"):
        yield name, source
        return
    with zipfile.ZipFile(source) as archive:
        inside = [
            member
            for member in sorted(archive.namelist())
            if member.lower().endswith((".csv", ".zip")) and "__MACOSX" not in member
        ]
        if not inside:
            raise UnreadableFile(f"{name} holds no CSV file; give an archive of trip tables.")
        for member in inside:
            with archive.open(member) as stream:
                yield from _members(member.rsplit("/", 1)[-1], stream)


def _schemes(columns: TripColumns | None) -> tuple[TripColumns, ...]:
    return (CITI_BIKE, CITI_BIKE_2021) if columns is None else (columns,)


def _renamed(table: pd.DataFrame, columns: TripColumns | None, where: str) -> pd.DataFrame:
    names = [str(name) for name in table.columns]
    for scheme in _schemes(columns):
        found = scheme.found_in(names)
        if found is not None:
            return table.set_axis(names, axis=1)[list(found)].rename(columns=found)[list(FIELDS)]
    wanted = " or ".join(", ".join(astuple(scheme)) for scheme in _schemes(columns))
    raise MissingColumn(f"{where} lacks columns of trips ({wanted}); name them with columns=….")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _stamps(
    column: pd.Series[Any], tz: str | None, what: str
) -> tuple[NDArray[np.datetime64], list[str]]:
    """Return UTC times (n,) of a column of texts, NaT where missing."""
    for clock in CLOCKS:
        try:
            return utc_stamps(pd.to_datetime(column, format=clock), tz=tz, what=what)
        except (ValueError, TypeError):
            continue
    return utc_stamps(column.astype("string"), tz=tz, what=what)


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)

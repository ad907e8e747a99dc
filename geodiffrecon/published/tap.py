"""TAP: daily PM2.5 maps as tables of cell centres, averaged or cropped to one grid."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..cube import make_cube
from ..errors import (
    GridMismatch,
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    NoObservations,
    UnreadableFile,
)
from ..files.netcdf import damaged
from ..progress import silent
from ..steps import TimeStep
from .folder import FACTOR, SIDE, area, files, with_split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..progress import Progress
    from .folder import Bounds, Period

    Places = tuple[NDArray[np.float64], ...]  # longitude, latitude and value, each (n,)

ZONE = "Asia/Shanghai"
BOUNDS: Bounds = (115.4, 39.4, 117.5, 41.1)
PERIOD: Period = ("2014-01-01", "2018-01-01")
COLUMNS = {
    "x": ("xlon", "lon", "longitude", "x"),
    "y": ("ylat", "lat", "latitude", "y"),
    "value": ("pm25",),
    "date": ("date", "day", "time"),
}
DATE = re.compile(r"(?<!\d)(\d{4})([-_.]?)(\d{2})\2(\d{2})(?!\d)")
MISSING = (-999.0, -9999.0)
OFF_LATTICE = 0.1  # of a cell
CHUNK_ROWS = 500_000


def open_tap(
    maps: str | Path | Sequence[str | Path],
    *,
    bounds: Bounds = BOUNDS,
    shape: tuple[int, int] = (SIDE, SIDE),
    period: Period | None = PERIOD,
    progress: Progress = silent,
) -> xr.Dataset:
    """Open daily PM2.5 maps of Tracking Air Pollution in China (the paper's TAPBJ).

    Parameters
    ----------
    maps : path, or sequence of paths
        CSV files, or one folder of them, with longitude and latitude of cell centres and PM2.5
        (``X_Lon``, ``Y_Lat``, ``PM2.5``); the date is in a column ``date`` or in the file's name.
    bounds : (west, south, east, north)
        The paper's area of Beijing by default.
    shape : (rows, columns)
        Fine cells within `bounds`. Where the lattice of the files is coarser than these cells, as
        TAP's 0.1° is, the cube holds as many cells of the lattice around the centre of `bounds`
        instead; a finer lattice is averaged.
    period : (first, one past the last), optional
        Local dates, 2014 to 2017 by default; None for all of the files.

    Returns
    -------
    xarray.Dataset
        A daily fine cube ``pm25``; missing cells and days are NaN.

    Raises
    ------
    GridMismatch
        If positions are not on one regular lattice.
    InvalidTime
        If a file has no date, or two files have the same.
    UnreadableFile, MissingColumn, NoObservations
        One sentence that says what to do.
    """
    if any(size % FACTOR or size < 1 for size in shape):
        raise InvalidParameter(f"Shape must be multiples of {FACTOR}, got {shape}.")
    paths, days = files(maps, (".csv", ".csv.gz")), None
    for done, path in enumerate(paths):
        progress(done, len(paths), "reading maps")
        for day, places in _pieces(path, period):
            days = days or _Days.of(places, path.name, bounds, shape)
            days.add(day, places, path.name)
    progress(len(paths), len(paths), "reading maps")
    if days is None:
        first, end = period or ("", "")
        raise NoObservations(f"No map lies between {first} and {end}; check files and period.")
    return with_split(days.cube())


@dataclass(frozen=True)
class _Lattice:
    """One axis of regular cell centres, in degrees."""

    what: str
    first: float
    step: float

    @classmethod
    def of(cls, places: NDArray[np.float64], what: str, name: str) -> _Lattice:
        """Return the lattice of places (n,), which may leave gaps."""
        centres = np.unique(np.round(places[np.isfinite(places)], 6))
        if len(centres) < 2:
            raise GridMismatch(f"{name} has {len(centres)} {what}, so no lattice can be told.")
        span = float(centres[-1] - centres[0])
        lattice = cls(what, float(centres[0]), span / round(span / np.diff(centres).min()))
        lattice.check(centres, name)
        return lattice

    def check(self, places: NDArray[np.float64], name: str) -> None:
        """Refuse places (n,) off the lattice by more than a tenth of a cell."""
        cells = (places - self.first) / self.step
        off = np.abs(cells - np.round(cells)) > OFF_LATTICE
        if off.any():
            raise GridMismatch(
                f"The {self.what} {places[np.argmax(off)]:g} in {name} is off the regular lattice "
                f"of {self.step:g}° from {self.first:g}; resample the maps to one lattice first."
            )

    def around(self, centre: float, cells: int) -> tuple[float, float]:
        """Return the edges of `cells` cells of the lattice around `centre`."""
        index = round((centre - self.first) / self.step - (cells - 1) / 2)
        low = self.first + self.step * (index - 0.5)
        return round(low, 6), round(low + self.step * cells, 6)


@dataclass(eq=False)
class _Days:
    """Sums and numbers of the values in each cell of each day."""

    grid: NestedGrid
    lattice: tuple[_Lattice, _Lattice]
    notes: list[str]
    sums: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    source: dict[int, str] = field(default_factory=dict)
    coded: int = 0

    @classmethod
    def of(cls, places: Places, name: str, bounds: Bounds, shape: tuple[int, int]) -> _Days:
        """Return no days yet, on the grid that suits the lattice of the first map."""
        lattice = (
            _Lattice.of(places[0], "longitude", name),
            _Lattice.of(places[1], "latitude", name),
        )
        grid, notes = _grid(lattice, bounds, shape)
        return cls(grid, lattice, notes)

    def add(self, day: np.datetime64, places: Places, name: str) -> None:
        """Add values (n,) of one day from the file `name`."""
        number, (x, y, value) = int(day.astype(np.int64)), places
        for axis, along in zip(self.lattice, (x, y), strict=True):
            axis.check(along, name)
        if self.source.setdefault(number, name) != name:
            raise InvalidTime(f"{self.source[number]} and {name} both hold {day}; keep one.")
        row, col, inside = self.grid.cell_of(x, y, level="fine")
        coded = np.isin(value, MISSING)
        self.coded += int((inside & coded).sum())
        used = inside & np.isfinite(value) & ~coded
        size, flat = self._size, row[used] * self.grid.fine_shape[1] + col[used]
        self.sums.setdefault(number, np.zeros(size))[:] += np.bincount(flat, value[used], size)
        self.counts.setdefault(number, np.zeros(size, dtype=np.int64))[:] += np.bincount(
            flat, minlength=size
        )

    @property
    def _size(self) -> int:
        return self.grid.fine_shape[0] * self.grid.fine_shape[1]

    def cube(self) -> xr.Dataset:
        """Return the cube of all days added, NaN in cells and days without a value."""
        numbers = np.arange(min(self.sums), max(self.sums) + 1)
        values = np.full((len(numbers), self._size), np.nan)
        for number, total in self.sums.items():
            count, frame = self.counts[number], values[number - numbers[0]]
            np.divide(total, count, out=frame, where=count > 0)
        if not np.isfinite(values).any():
            raise NoObservations(f"No PM2.5 value lies inside {self.grid}; check the bounds.")
        said = [f"{len(self.sums)} of {len(numbers)} days have a map, the others are gaps."]
        if self.coded:
            said.append(f"{self.coded} values of -999 or -9999 are taken as missing.")
        return make_cube(
            values.reshape(-1, *self.grid.fine_shape),
            TimeStep.parse("1D", tz=ZONE).start(numbers),
            self.grid,
            value="pm25",
            level="fine",
            freq="1D",
            aggregation="mean",
            calendar_tz=ZONE,
            value_attrs={"units": "ug m-3", "long_name": "PM2.5"},
            attrs={"notes": [*self.notes, *said]},
        )


def _grid(
    lattice: tuple[_Lattice, _Lattice], bounds: Bounds, shape: tuple[int, int]
) -> tuple[NestedGrid, list[str]]:
    """Return `bounds` in `shape` cells, or as many cells of a coarser lattice, and say so."""
    west, south, east, north = bounds
    size = (east - west) / shape[1], (north - south) / shape[0]
    steps = [axis.step for axis in lattice]
    if all(step <= cell * (1 + 1e-6) for step, cell in zip(steps, size, strict=True)):
        return area(bounds, shape), []
    west, east = lattice[0].around((west + east) / 2, shape[1])
    south, north = lattice[1].around((south + north) / 2, shape[0])
    return area((west, south, east, north), shape), [
        f"The lattice of {steps[0]:g}° × {steps[1]:g}° is coarser than cells of {size[0]:.3g}° × "
        f"{size[1]:.3g}°: the cube holds {shape[0]} × {shape[1]} cells of the lattice, "
        f"{west:g}–{east:g} E, {south:g}–{north:g} N."
    ]


def _pieces(path: Path, period: Period | None) -> Iterator[tuple[np.datetime64, Places]]:
    """Yield days of `period` and their longitudes, latitudes and values (n,) from one file."""
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of the PM2.5 maps.")
    named = _date(path.name)
    try:
        found = _columns(path)
        if "date" not in found and named is None:
            raise InvalidTime(
                f"{path.name} has no date in its name, such as 20140131, and no column 'date'."
            )
        if "date" not in found and not _within(named, period):
            return
        with pd.read_csv(path, usecols=list(found.values()), chunksize=CHUNK_ROWS) as reader:
            for table in reader:
                yield from _by_day(table, found, named, period)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error


def _by_day(
    table: pd.DataFrame, found: dict[str, str], named: Any, period: Period | None
) -> Iterator[tuple[np.datetime64, Places]]:
    places = tuple(
        pd.to_numeric(table[found[key]], errors="coerce").to_numpy(dtype=np.float64)
        for key in ("x", "y", "value")
    )
    if "date" not in found:
        yield named, places
        return
    code, texts = pd.factorize(table[found["date"]].astype(str))
    for number, text in enumerate(texts):
        day = _date(text)
        if day is None:
            raise InvalidTime(f"Date {text!r} cannot be read; write it as 2014-01-31.")
        if _within(day, period):
            yield day, tuple(part[code == number] for part in places)


def _columns(path: Path) -> dict[str, str]:
    """Return the columns of a file by what they are: x, y, value, and date where there is one."""
    names = [str(name) for name in pd.read_csv(path, nrows=0).columns]
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in names}
    found = {
        key: plain[next(name for name in known if name in plain)]
        for key, known in COLUMNS.items()
        if any(name in plain for name in known)
    }
    for key in ("x", "y", "value"):
        if key not in found:
            wanted = {"x": "X_Lon", "y": "Y_Lat", "value": "PM2.5"}[key]
            raise MissingColumn(
                f"{path.name} has no column {wanted}; its columns are {', '.join(names[:12])}."
            )
    return found


def _date(text: str) -> np.datetime64 | None:
    """Return the first date in `text`, or None."""
    for match in DATE.finditer(text):
        year, _, month, day = match.groups()
        try:
            return np.datetime64(f"{year}-{month}-{day}", "D")
        except ValueError:
            continue
    return None


def _within(day: Any, period: Period | None) -> bool:
    if period is None:
        return True
    first, end = (np.datetime64(edge, "D") for edge in period)
    return bool(first <= day < end)

"""The network: what fixed stations measured, step by step, each at its true position."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from ..calendar import iso
from ..cube import as_cube, observed
from ..errors import GridMismatch, InvalidParameter, NoObservations
from ..grid import NestedGrid, level_of
from ..points import COVERAGE
from ..steps import TimeStep
from .findings import counted, joined
from .readings import Readings
from .sites import Sites, check_fixed

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from ..points import PointTable

LEAST_STATIONS = 3


@dataclass(frozen=True, eq=False)
class StationNetwork:
    """Readings of S fixed stations at T regular steps.

    Parameters
    ----------
    names : tuple of str, (S,)
        Distinct station names; "x, y" texts where the file has no names.
    x, y : float64, (S,)
        Positions in the grid's CRS; stations may stand outside the grid.
    times : datetime64[ns], (T,)
        UTC starts of consecutive steps.
    values : float64, (T, S)
        Mean of a station's readings within each step; NaN where it has none.
    value : str
        Name of what is measured.
    freq, calendar_tz : str
        Step, and the zone in which days are cut.
    units : str
        Units of the values, where known.
    counts : dict of str to int
        ``points_used``, ``points_outside``, ``points_outside_time`` and ``points_missing``: where
        all rows of the file went. A repeated row counts as used. A part of a network (`only`,
        `between`) keeps the counts of the whole.
    notes : tuple of str
        Sentences on what was assumed, for the log.

    Examples
    --------
    >>> hours = np.arange("2024-01-01T00", "2024-01-01T03", dtype="M8[h]").astype("M8[ns]")
    >>> network = StationNetwork(("a", "b"), np.zeros(2), np.ones(2), hours, np.ones((3, 2)),
    ...                          value="pm25", freq="1h")
    >>> network.without(np.array([True, False])).names
    ('b',)
    >>> network.between(hours[1], hours[2]).values.shape
    (1, 2)
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    times: NDArray[np.datetime64]
    values: NDArray[np.float64]
    value: str
    freq: str
    calendar_tz: str = "UTC"
    units: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        table: PointTable,
        grid: NestedGrid,
        *,
        freq: str,
        calendar_tz: str = "UTC",
        label: Literal["start", "end"] = "start",
        least: int = LEAST_STATIONS,
        coverage: float = COVERAGE,
    ) -> Self:
        """Return the network of a table of station readings.

        A station is a name at a place: without names each position is a station, and a station
        that moved is as many stations as it had places. Exact repeats of a row count once,
        different rows of one step are averaged, stations that never report are left out.

        Parameters
        ----------
        table : PointTable
            Rows of stations in any order.
        grid : NestedGrid
            Stations are kept up to the grid's own width and height away from it.
        freq : str
            Pandas frequency; days and longer steps are cut at midnight of `calendar_tz`.
        label : {"start", "end"}
            Whether stamps mark the start of their interval, ``[start, end)``, or its end,
            ``(start, end]``.
        least : int
            Stations with values that there must be.
        coverage : float
            Share of a station's own readings that a longer step needs, such as 18 hours of a day.

        Raises
        ------
        NoObservations
            If fewer than `least` stations have values, or no row has a time near the grid.
        InvalidParameter
            If the points move, have no value column, or `label` is unknown.
        MissingCRS, MemoryEstimateExceeded
            If only one of points and grid has a CRS, or the steps do not fit in memory.
        """
        sites = Sites.of(table, grid)
        read = Readings.of(
            table, sites, grid, freq=freq, calendar_tz=calendar_tz, label=label, coverage=coverage
        )
        check_fixed(read.rows[sites.near], read.busy)
        kept: NDArray[np.bool_] = np.asarray(np.isfinite(read.values).any(axis=0))
        if int(kept.sum()) < least:
            raise NoObservations(_too_few(int(kept.sum()), least))
        return cls(
            tuple(name for name, keep in zip(sites.names, kept, strict=True) if keep),
            sites.x[kept],
            sites.y[kept],
            read.times,
            read.values[:, kept],
            value=table.value_name or "value",
            freq=TimeStep.parse(freq, tz=calendar_tz).freq,
            calendar_tz=calendar_tz,
            counts=read.counts,
            notes=(*table.notes, *sites.notes, *read.notes, *_notes(sites, kept, read.repeats)),
        )

    @classmethod
    def of_cube(cls, cube: xr.Dataset) -> Self:
        """Return each fine cell that was ever observed as a station at its centre.

        Parameters
        ----------
        cube : xarray.Dataset
            A fine cube with few observed cells; stations are named ``row,column``.

        Raises
        ------
        GridMismatch
            If the cube is not of level ``fine``.
        NoObservations, InvalidParameter
            If fewer than three cells were observed, or cells are hardly ever seen again.
        """
        cube = as_cube(cube)
        if level_of(cube) != "fine":
            raise GridMismatch(
                f"Stations need a fine cube, but this one has level {cube.attrs.get('level')!r}; "
                "bin the points with --level fine."
            )
        value, box = str(cube.attrs["value"]), NestedGrid.of(cube).fine
        seen = observed(cube)
        row, col = np.nonzero(seen.any(axis=0))
        if len(row) < LEAST_STATIONS:
            raise NoObservations(_too_few(len(row), LEAST_STATIONS))
        values = cube[value].values[:, row, col].astype(np.float64)
        known = np.isfinite(values)
        check_fixed(known.sum(axis=0), int(known.any(axis=1).sum()))
        a, _, c, _, e, f = box.affine[:6]
        return cls(
            tuple(f"{i},{j}" for i, j in zip(row, col, strict=True)),
            c + a * (col + 0.5),
            f + e * (row + 0.5),
            cube["time"].values.astype("datetime64[ns]"),
            np.where(known, values, np.nan),
            value=value,
            freq=str(cube.attrs["freq"]),
            calendar_tz=str(cube.attrs["calendar_tz"]),
            units=str(cube[value].attrs.get("units", "")),
            counts={
                "points_used": int(known.sum()),
                "points_outside": 0,
                "points_outside_time": 0,
                "points_missing": int((~known).sum()),
            },
        )

    @property
    def step_ns(self) -> int:
        """Length of a step in nanoseconds; of days and months the usual one."""
        step = TimeStep.parse(self.freq, tz=self.calendar_tz)
        first = int(step.number(self.times[:1])[0]) if len(self.times) else 0
        return int(np.median(np.diff(step.start(np.arange(first, first + 13)).astype(np.int64))))

    def only(self, keep: NDArray[np.bool_]) -> Self:
        """Return the network of the stations where `keep` (S,) is True."""
        chosen = np.asarray(keep, dtype=bool)
        if chosen.shape != (len(self.names),):
            raise InvalidParameter(
                f"The choice of stations has shape {chosen.shape}, but there are "
                f"{len(self.names)} stations."
            )
        return replace(
            self,
            names=tuple(name for name, take in zip(self.names, chosen, strict=True) if take),
            x=self.x[chosen],
            y=self.y[chosen],
            values=self.values[:, chosen],
        )

    def without(self, drop: NDArray[np.bool_]) -> Self:
        """Return the network of the stations where `drop` (S,) is False."""
        return self.only(~np.asarray(drop, dtype=bool))

    def between(self, first: np.datetime64, last_exclusive: np.datetime64) -> Self:
        """Return the steps that start in ``[first, last_exclusive)``, UTC."""
        chosen = (self.times >= first) & (self.times < last_exclusive)
        return replace(self, times=self.times[chosen], values=self.values[chosen])

    def before(self, end: np.datetime64) -> Self:
        """Return the steps that start before `end`, UTC.

        Raises
        ------
        NoObservations
            If none of them has a value.
        """
        found = self.between(self.times[0], end)
        if not np.isfinite(found.values).any():
            raise NoObservations(
                f"No station has a value before {iso(end)}, where training ends; the readings "
                f"begin at {iso(self.times[0])}, so give a later --until."
            )
        return found

    def canonical(self) -> Self:
        """Return the stations that ever report, ordered by position: the same whatever the file.

        A network in which none reports keeps one silent station, so that there is a network.
        """
        kept = np.isfinite(self.values).any(axis=0)
        chosen = np.flatnonzero(kept)
        if not len(chosen):
            return replace(
                self, names=("none",), x=np.zeros(1), y=np.zeros(1),
                values=np.full((len(self.times), 1), np.nan),
            )  # fmt: skip
        order = chosen[np.lexsort((self.y[chosen], self.x[chosen]))]
        return replace(
            self, names=tuple(self.names[i] for i in order), x=self.x[order], y=self.y[order],
            values=self.values[:, order],
        )  # fmt: skip

    def fingerprint(self) -> str:
        """Return a short hash of steps, positions and readings."""
        digest = hashlib.sha256()
        for array in (self.times.astype(np.int64), self.x, self.y, self.values):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def _too_few(found: int, least: int) -> str:
    return (
        f"Only {found} stations on or near the grid have values and {least} are needed; check the "
        "value column, the bounds and the period."
    )


def _notes(sites: Sites, kept: NDArray[np.bool_], repeats: int) -> list[str]:
    notes = []
    for name, held in sites.moved:
        if not sites.near[list(held)].any():
            continue
        spots = [f"{sites.names[i]} at {sites.x[i]:.7g}, {sites.y[i]:.7g}" for i in held]
        notes.append(
            f"Station {name} stands at {len(held)} places and is as many stations: {joined(spots)}."
        )
    silent = [
        name for name, keep, near in zip(sites.names, kept, sites.near, strict=True)
        if near and not keep
    ]  # fmt: skip
    if silent:
        notes.append(f"Stations without any value are left out: {joined(silent)}.")
    if repeats:
        notes.append(f"{counted(repeats, 'row')} that repeat another exactly count once.")
    return notes

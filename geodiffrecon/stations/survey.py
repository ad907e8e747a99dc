"""What the checks of a stations file look at: its rows, stations and readings, and their times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..errors import NoObservations
from ..points import COVERAGE
from .readings import Readings
from .sites import Sites

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..points import PointTable

Negative = Literal["keep", "zero", "drop"]


@dataclass(frozen=True, eq=False)
class Survey:
    """A stations file beside its grid.

    Parameters
    ----------
    table : PointTable
        The rows (n).
    grid : NestedGrid
        Where maps are wanted.
    sites : Sites
        The stations (S).
    readings : Readings or None
        Means per step (T, S); None where no row has a time and a station near the grid.
    calendar_tz : str
        Zone in which days are cut and times are told.
    kind : str or None
        ``real``, ``positive`` or ``count`` where it is known.
    negative : {"keep", "zero", "drop"}
        What is made of readings below zero of a field that has none.
    """

    table: PointTable
    grid: NestedGrid
    sites: Sites
    readings: Readings | None
    calendar_tz: str
    kind: str | None = None
    negative: Negative = "keep"

    @classmethod
    def of(
        cls,
        table: PointTable,
        grid: NestedGrid,
        *,
        freq: str,
        calendar_tz: str,
        label: str,
        kind: str | None = None,
        coverage: float = COVERAGE,
        negative: Negative = "keep",
    ) -> Survey:
        """Return the survey of `table`."""
        sites = Sites.of(table, grid)
        try:
            readings = Readings.of(
                table, sites, grid, freq=freq, calendar_tz=calendar_tz, label=label,
                coverage=coverage,
            )  # fmt: skip
        except NoObservations:
            readings = None
        return cls(table, grid, sites, readings, calendar_tz, kind, negative)

    @property
    def name(self) -> str:
        """Name of what is measured."""
        return self.table.value_name or "value"

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of each station, (S,)."""
        code = self.sites.code
        return np.bincount(code[code >= 0], minlength=len(self.sites.names))

    def spot(self, station: int) -> str:
        """Return a station's position, as the file has it, for a sentence."""
        x, y = self.sites.given
        return f"{x[station]:.7g}, {y[station]:.7g}"

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Stations on the grid, (S,)."""
        return self.grid.cell_of(self.sites.x, self.sites.y, level="fine")[2]

    @cached_property
    def near(self) -> NDArray[np.int64]:
        """Numbers of the stations whose readings count."""
        return np.flatnonzero(self.sites.near)

    @property
    def times(self) -> NDArray[np.datetime64]:
        """Starts of the steps, UTC (T,)."""
        return self._read.times

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Readings of the stations in `near`, (T, S')."""
        return self._read.values[:, self.near]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the stations in `near`."""
        return tuple(self.sites.names[station] for station in self.near)

    @property
    def _read(self) -> Readings:
        assert self.readings is not None
        return self.readings

    def when(self, time: Any) -> str:
        """Return a UTC time as ISO 8601 with the offset of the calendar zone."""
        return told(time, self.calendar_tz)


def told(time: Any, tz: str) -> str:
    """Return a UTC time as ISO 8601 with the offset of `tz`.

    Examples
    --------
    >>> told(np.datetime64("2024-01-01T00:00"), "Asia/Shanghai")
    '2024-01-01T08:00+08:00'
    """
    return pd.Timestamp(time).tz_localize("UTC").tz_convert(tz).isoformat(timespec="minutes")

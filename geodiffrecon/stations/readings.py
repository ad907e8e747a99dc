"""Readings: the rows of a stations file as one mean per step and station, each row counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidParameter, MemoryEstimateExceeded, NoObservations
from ..memory import free_memory
from ..periods import suited
from ..points import COVERAGE
from ..steps import TimeStep
from ..words import agreed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..points import PointTable
    from .sites import Sites

BYTES_PER_VALUE = 32  # sums, counts, the means and one temporary


@dataclass(frozen=True, eq=False)
class Readings:
    """What S stations measured at T consecutive steps, and what became of n rows.

    Parameters
    ----------
    times : datetime64[ns], (T,)
        UTC starts, from the first to the last step with any row near the grid.
    values : float64, (T, S)
        Means; NaN where a station has no value, and in columns of stations far from the grid.
    used : bool, (n,)
        Rows that have a time, a finite value and a station near the grid.
    rows : int64, (S,)
        Rows with a time near the grid, with or without a value.
    busy : int
        Steps that have any row.
    repeats : int
        Rows that repeat another exactly; they count once in `values`.
    counts : dict of str to int
        ``points_used``, ``points_outside``, ``points_outside_time``, ``points_missing``; their
        sum is n.
    notes : tuple of str
        Sentences on rows that do not suit the step.
    """

    times: NDArray[np.datetime64]
    values: NDArray[np.float64]
    used: NDArray[np.bool_]
    rows: NDArray[np.int64]
    busy: int
    repeats: int
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        table: PointTable,
        sites: Sites,
        grid: NestedGrid,
        *,
        freq: str,
        calendar_tz: str = "UTC",
        label: str = "start",
        coverage: float = COVERAGE,
    ) -> Readings:
        """Return the readings of the stations of `table`.

        Raises
        ------
        InvalidParameter
            If the table has no value column or `label` is unknown.
        NoObservations
            If no row has a time and a station near the grid.
        MemoryEstimateExceeded
            If the steps do not fit in memory.
        """
        if table.value is None:
            raise InvalidParameter("Stations need a value column; name it with --value.")
        if label not in ("start", "end"):
            raise InvalidParameter(f"label must be one of start, end, got {label!r}.")
        step = TimeStep.parse(freq, tz=calendar_tz)
        told = len(table.notes)
        table = suited(table, step, coverage=coverage, label=label)
        assert table.value is not None
        near = np.append(sites.near, False)[sites.code]  # code -1: no position
        timed = near & ~np.isnat(table.time)
        _check_rows(table, timed, grid)
        numbers = step.number(table.time[timed] - np.timedelta64(int(label == "end"), "ns"))
        first, last = int(numbers.min()), int(numbers.max())
        shape = (last - first + 1, len(sites.names))
        _check_memory(shape)
        known = np.isfinite(table.value) & ~table.missing_place
        used = known & near
        cell = (numbers[used[timed]] - first) * shape[1] + sites.code[used]
        values, repeats = _means(cell, table.time[used], table.value[used], shape)
        return cls(
            step.start(np.arange(first, last + 1)),
            values,
            used,
            np.bincount(sites.code[timed], minlength=shape[1]),
            len(np.unique(numbers)),
            repeats,
            _counts(known, near),
            table.notes[told:],
        )


def _counts(known: NDArray[np.bool_], near: NDArray[np.bool_]) -> dict[str, int]:
    return {
        "points_used": int((known & near).sum()),
        "points_outside": int((known & ~near).sum()),
        "points_outside_time": 0,
        "points_missing": int((~known).sum()),
    }


def _means(
    cell: NDArray[np.int64],
    time: NDArray[np.datetime64],
    value: NDArray[np.float64],
    shape: tuple[int, int],
) -> tuple[NDArray[np.float64], int]:
    """Return the means (T, S) of rows in each cell, exact repeats once, and their number."""
    size = shape[0] * shape[1]
    crowded = np.bincount(cell, minlength=size)[cell] > 1
    # Sums in the order of the values: the order of the rows does not matter, not even in a bit.
    order = np.lexsort((value[crowded], time[crowded], cell[crowded]))
    shared = np.flatnonzero(crowded)[order]
    repeated = np.zeros(len(shared), dtype=bool)
    repeated[1:] = True
    for column in (cell, time, value):
        repeated[1:] &= column[shared[1:]] == column[shared[:-1]]
    taken = np.concatenate([np.flatnonzero(~crowded), shared[~repeated]])
    total = np.bincount(cell[taken], value[taken], minlength=size)
    with np.errstate(invalid="ignore"):
        means = total / np.bincount(cell[taken], minlength=size)
    return means.reshape(shape), int(repeated.sum())


def _check_rows(table: PointTable, timed: NDArray[np.bool_], grid: NestedGrid) -> None:
    if timed.any():
        return
    if table.n_rows == 0:
        raise NoObservations("The points file has no rows; check that it is the right file.")
    placed = ~table.missing_place
    if not placed.any():
        raise NoObservations(
            agreed(
                table.n_rows,
                f"All {table.n_rows} rows lack a time or a position; check the column names.",
            )
        )
    spans = [f"{part[placed].min():.6g} to {part[placed].max():.6g}" for part in (table.x, table.y)]
    raise NoObservations(
        f"No station stands on or near the grid {grid}: x spans {spans[0]} and y spans {spans[1]} "
        f"in {table.crs or 'local metres'}; check the bounds, the CRS and the order of x and y."
    )


def _check_memory(shape: tuple[int, int]) -> None:
    needed, free = float(shape[0]) * shape[1] * BYTES_PER_VALUE, free_memory()
    if free and needed > free:
        raise MemoryEstimateExceeded(
            f"{shape[0]} steps of {shape[1]} stations need about {needed / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} GiB are free; check the first and the last time stamp, or use a "
            "longer step."
        )

"""Points into cells and time steps; every row is used or counted as left out."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .cube import make_cube
from .errors import InvalidParameter, MemoryEstimateExceeded, MissingCRS, NoObservations
from .periods import calendar_zone, suited
from .points import COVERAGE, PointTable, from_geodataframe
from .progress import silent
from .stamps import utc_stamp
from .steps import TimeStep
from .words import agreed

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from .grid import Level, NestedGrid
    from .progress import Progress

PointAggregation = Literal["mean", "sum", "count"]
Empty = Literal["auto", "zero", "missing"]
CHUNK_ROWS = 1 << 20
BYTES_PER_CELL = 40  # two float64 accumulators, one count, the float32 result and its mask


def bin_points(
    points: Any,
    grid: NestedGrid,
    *,
    freq: str,
    agg: PointAggregation = "mean",
    value: str | None = None,
    time: str | None = None,
    level: Level = "coarse",
    empty: Empty = "auto",
    label: Literal["start", "end"] = "start",
    calendar_tz: str | None = None,
    tz: str | None = None,
    start: Any = None,
    end: Any = None,
    coverage: float = COVERAGE,
    progress: Progress = silent,
) -> xr.Dataset:
    """Bin points into cells and time steps; nothing is dropped without being counted.

    Parameters
    ----------
    points : PointTable or geopandas.GeoDataFrame
        Point observations; of a GeoDataFrame, `value` and `time` name its columns.
    grid : NestedGrid
        The grid; points are projected to its CRS.
    freq : str
        Pandas frequency. Days and longer steps are cut at midnight of `calendar_tz`: by default
        the zone of the stamps, or where they have none the zone of the grid's place.
    agg : {"mean", "sum", "count"}
        What a cell holds; ``count`` needs no value and makes a sum cube of ones.
    level : {"coarse", "fine"}
        Which cells.
    empty : {"auto", "zero", "missing"}
        Cells without points. ``auto``: missing for ``mean``; for ``sum`` and ``count`` zero in a
        step that has any point on the grid, and missing in a step that has none.
    label : {"start", "end"}
        Whether stamps mark the start of their interval, ``[start, end)``, or its end,
        ``(start, end]``.
    tz : str, optional
        Zone of time stamps without one (GeoDataFrame only).
    start, end : str or datetime, optional
        First and one past the last time, in `calendar_tz` if they have no zone.
    coverage : float
        Share of a station's own readings that a mean of a longer step needs: three quarters of
        the hours of a day by default. Points that move need none.

    Returns
    -------
    xarray.Dataset
        A cube with `<value>_n_obs` and attributes ``points_used``, ``points_outside``,
        ``points_outside_time`` and ``points_missing``, which add up to all rows.

    Raises
    ------
    NoObservations
        If no point with value, time and position lies inside grid and period.
    MissingCRS
        If only one of points and grid has a CRS.
    InvalidParameter, MemoryEstimateExceeded
        If an option is unknown, or the cube would not fit in memory.
    """
    _check_options(agg, empty, label)
    table = _as_table(points, value=value, time=time, tz=tz, agg=agg)
    if calendar_tz is None:
        calendar_tz, told = calendar_zone(table.clock, grid.bounds, grid.crs)
        table = replace(table, notes=(*table.notes, told))
    step = TimeStep.parse(freq, tz=calendar_tz)
    table = suited(table, step, coverage=coverage if agg == "mean" else 0.0, label=label)
    missing = table.missing if agg != "count" else table.missing_place
    cells = _cells(table, grid, level, progress)
    on_grid = (cells >= 0) & ~missing
    _check_any(table, missing, on_grid, grid)
    inside = table.time - np.timedelta64(1, "ns") if label == "end" else table.time
    numbers = step.number(inside)
    chosen, used = numbers[on_grid], on_grid
    first, last = _range(step, chosen, start, end)
    if start is not None or end is not None:
        used = on_grid & (numbers >= first) & (numbers <= last)
        chosen = numbers[used]
    _check_used(used, on_grid, start, end)
    shape = (last - first + 1, *(int(size) for size in grid.box(level).shape))
    _check_memory(shape)
    flat = chosen  # in place: temporaries of millions of rows cost as much as the sums
    flat -= first
    flat *= shape[1] * shape[2]
    flat += cells[used]
    n_obs = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    weights = table.value[used] if agg != "count" and table.value is not None else None
    return make_cube(
        _pooled(flat, weights, n_obs, agg, empty),
        step.start(np.arange(first, last + 1)),
        grid,
        value="count" if agg == "count" else table.value_name or "value",
        level=level,
        freq=step.freq,
        aggregation="mean" if agg == "mean" else "sum",
        calendar_tz=calendar_tz,
        n_obs=n_obs,
        value_attrs={"units": "1", "long_name": "number of points"} if agg == "count" else {},
        attrs={
            **_tally(cells, missing, used),
            "empty": empty,
            "point_aggregation": agg,
            **({"notes": list(table.notes)} if table.notes else {}),
        },
    )


def _tally(
    cells: NDArray[np.int32], missing: NDArray[np.bool_], used: NDArray[np.bool_]
) -> dict[str, int]:
    """Return where all rows went; the four numbers add up to the rows of the table."""
    outside = cells < 0
    return {
        "points_used": int(np.count_nonzero(used)),
        "points_outside": int(np.count_nonzero(outside & ~missing)),
        "points_outside_time": int(np.count_nonzero(~outside & ~missing & ~used)),
        "points_missing": int(np.count_nonzero(missing)),
    }


def _as_table(
    points: Any, *, value: str | None, time: str | None, tz: str | None, agg: str
) -> PointTable:
    if isinstance(points, PointTable):
        table = points
    elif time is None:
        raise InvalidParameter("Name the time column of the GeoDataFrame with time=….")
    else:
        table = from_geodataframe(points, value=value, time=time, tz=tz)
    if agg != "count" and table.value is None:
        raise InvalidParameter(f"agg={agg!r} needs a value column; name it, or use agg='count'.")
    return table


def _check_options(agg: str, empty: str, label: str) -> None:
    allowed = {
        "agg": (agg, ("mean", "sum", "count")),
        "empty": (empty, ("auto", "zero", "missing")),
        "label": (label, ("start", "end")),
    }
    for name, (given, choices) in allowed.items():
        if given not in choices:
            raise InvalidParameter(f"{name} must be one of {', '.join(choices)}, got {given!r}.")


def _cells(
    table: PointTable, grid: NestedGrid, level: Level, progress: Progress
) -> NDArray[np.int32]:
    """Return the flat cell index of each point, -1 outside; chunks keep temporaries small."""
    project = _projection(table, grid)
    columns = int(grid.box(level).shape[1])
    cells = np.empty(table.n_rows, dtype=np.int32)
    for low in range(0, table.n_rows, CHUNK_ROWS):
        part = slice(low, low + CHUNK_ROWS)
        x, y = table.x[part], table.y[part]
        if project is not None:
            x, y = project.transform(x, y)
        row, col, inside = grid.cell_of(x, y, level=level)
        cells[part] = np.where(inside, row * columns + col, -1)
        progress(min(low + CHUNK_ROWS, table.n_rows), table.n_rows, "binning points")
    return cells


def _projection(table: PointTable, grid: NestedGrid) -> Any:
    if (table.crs is None) != (grid.crs is None):
        which, other = ("Points", "grid") if table.crs is None else ("The grid", "points")
        raise MissingCRS(
            f"{which} have local metres without a CRS, but the {other} do not; "
            "give both a CRS, or both none."
        )
    if table.crs is None or grid.crs is None or table.crs == grid.crs:
        return None
    from pyproj import Transformer

    return Transformer.from_crs(table.crs.proj, grid.crs.proj, always_xy=True)


def _check_any(
    table: PointTable, missing: NDArray[np.bool_], on_grid: NDArray[np.bool_], grid: NestedGrid
) -> None:
    if on_grid.any():
        return
    if table.n_rows == 0:
        raise NoObservations("The points file has no rows; check that it is the right file.")
    if missing.all():
        raise NoObservations(
            agreed(
                table.n_rows,
                f"All {table.n_rows} rows lack a value, a time or a position; "
                "check the column names.",
            )
        )
    place = ~missing
    spans = [f"{table.x[place].min():.6g} to {table.x[place].max():.6g}"]
    spans.append(f"{table.y[place].min():.6g} to {table.y[place].max():.6g}")
    raise NoObservations(
        f"No point lies inside the grid {grid}: x spans {spans[0]} and y spans {spans[1]} in "
        f"{table.crs or 'local metres'}; check the bounds, the CRS and the order of x and y."
    )


def _check_used(used: NDArray[np.bool_], on_grid: NDArray[np.bool_], start: Any, end: Any) -> None:
    if not used.any():
        raise NoObservations(
            f"None of the {int(on_grid.sum())} points inside the grid lies between {start} and "
            f"{end}; widen the period."
        )


def _range(step: TimeStep, numbers: NDArray[np.int64], start: Any, end: Any) -> tuple[int, int]:
    first = int(numbers.min()) if start is None else _number(step, utc_stamp(start, step.tz))
    # `end` is one past the last time, so a step that begins at `end` is left out.
    last = int(numbers.max()) if end is None else _number(step, utc_stamp(end, step.tz) - 1)
    if last < first:
        raise InvalidParameter(f"The period from {start} to {end} is empty; swap start and end.")
    return first, last


def _number(step: TimeStep, stamp: np.datetime64) -> int:
    return int(step.number(np.array([stamp], dtype="datetime64[ns]"))[0])


def _check_memory(shape: tuple[int, ...]) -> None:
    needed = float(np.prod([float(size) for size in shape])) * BYTES_PER_CELL
    if not hasattr(os, "sysconf"):  # Windows does not say
        return
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise MemoryEstimateExceeded(
            f"A cube of {shape[0]} steps × {shape[1]} × {shape[2]} cells needs about "
            f"{needed / 1e9:.0f} GB, this machine has {available / 1e9:.0f} GB; use a longer "
            "step, larger cells or a shorter period."
        )


def _pooled(
    flat: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
    n_obs: NDArray[np.int64],
    agg: str,
    empty: str,
) -> NDArray[np.float32]:
    """Return the cell values (T, rows, cols) with the rule for empty cells applied."""
    sums = n_obs.ravel() if weights is None else np.bincount(flat, weights, n_obs.size)
    total = sums.astype(np.float64).reshape(n_obs.shape)
    seen = n_obs > 0
    if agg == "mean":
        np.divide(total, n_obs, out=total, where=seen)
    if empty == "missing" or (empty == "auto" and agg == "mean"):
        total[~seen] = np.nan
    elif empty == "auto":
        total[~seen.any(axis=(1, 2))] = np.nan
    return total.astype(np.float32)

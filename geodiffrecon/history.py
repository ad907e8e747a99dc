"""Gridded maps of the past, or coarse maps with holes, from files into the cube form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .axes import crop_box
from .calendar import known_zone
from .cube import make_cube, outages
from .errors import GridMismatch, InvalidParameter, NoObservations
from .files.quality import blank_codes
from .files.record import record_of
from .files.sources import MapSource, needs_crs, needs_times, open_source
from .grid import NestedGrid
from .memory import check_read
from .progress import silent
from .words import agreed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from .files.record import Label
    from .grid import Level
    from .progress import Progress

    Range = tuple[int, int]

Empty = Literal["auto", "zero"]
ALIGNMENT = 1e-3  # of a cell


def open_history(
    path: str | Path,
    *,
    variable: str | None = None,
    factor: int | None = None,
    grid: NestedGrid | None = None,
    crs: Any = None,
    bounds: Sequence[float] | None = None,
    rows: Range | None = None,
    cols: Range | None = None,
    trim: bool = False,
    aggregation: str | None = None,
    calendar_tz: str | None = None,
    select: Mapping[str, Any] | None = None,
    times: Any = None,
    time_from: str | None = None,
    freq: str | None = None,
    label: Label | None = None,
    empty: Empty = "auto",
    progress: Progress = silent,
) -> xr.Dataset:
    """Open complete fine maps of the past: CF NetCDF or a multi-band GeoTIFF.

    Nodata, scale and offset are applied; maps are turned north-up; the regular step is inferred
    and absent steps become frames of NaN. What was assumed is listed in ``attrs["notes"]``.

    Parameters
    ----------
    path : str or Path
        The file.
    variable : str, optional
        Variable to read, needed where a NetCDF file has several.
    factor : int, optional
        Fine cells per coarse cell and direction; from `grid` or the file's own by default.
    grid : NestedGrid, optional
        Grid to cut out; the file's cells must be its fine cells.
    crs : optional
        CRS where the file has none; "none" means local metres.
    bounds : (west, south, east, north), optional
        Keep cells whose centres lie inside.
    rows, cols : (first, one past the last), optional
        Keep these rows (from the north) and columns (from the west).
    trim : bool
        Drop last rows and columns that the factor leaves over.
    aggregation : {"mean", "sum"}, optional
        What pooling means; the file's own or "mean" by default.
    calendar_tz : str, optional
        Zone in which days are cut; the file's own or UTC by default.
    select : mapping, optional
        Which value of each further dimension, such as ``{"level": 1000}``, or which ``band``.
    times : sequence of times, optional
        Times of the maps, where the file has none.
    time_from : str, optional
        Pattern of the time in the names of bands or of the file, such as ``lst_%Y%m%d``.
    freq : str, optional
        The step; needed only where a file holds one map or the dates are unequal, which then
        become a record with gaps.
    label : {"start", "middle", "end"}, optional
        Which point of its interval a stamp marks; told from the stamps by default.
    empty : {"auto", "zero"}
        ``auto`` turns frames of zeros only into gaps where counts are summed and no other frame
        comes near zero: an outage is not a zero. ``zero``, or a file that says so, keeps them.

    Returns
    -------
    xarray.Dataset
        A cube of level ``fine``.

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, InvalidTime, GridMismatch, NoObservations
        One sentence that says what to do.
    """
    source = open_source(
        path, variable=variable, crs=crs, select=select, times=times, time_from=time_from,
        calendar_tz=calendar_tz,
    )  # fmt: skip
    needs_crs(source, crs)
    stamps, box, notes = needs_times(source, Path(path)), source.box, list(source.notes)
    n = factor or (grid.factor if grid is not None else int(source.attrs.get("factor", 0)))
    if not n:
        raise InvalidParameter("Give the factor: fine cells per coarse cell, such as --factor 4.")
    window = _window(box, grid.fine if grid is not None else None, bounds, rows, cols)
    if trim:
        window = _trimmed(window, n)
    nested = NestedGrid.from_fine(crop_box(box, *window), n)
    return _cube(
        source,
        stamps,
        grid or nested,
        level="fine",
        window=window,
        notes=notes,
        aggregation=aggregation,
        calendar_tz=calendar_tz,
        freq=freq,
        label=label,
        empty=empty,
        progress=progress,
    )


def open_cube(
    path: str | Path,
    *,
    variable: str | None = None,
    factor: int | None = None,
    grid: NestedGrid | None = None,
    crs: Any = None,
    bounds: Sequence[float] | None = None,
    rows: Range | None = None,
    cols: Range | None = None,
    aggregation: str | None = None,
    calendar_tz: str | None = None,
    select: Mapping[str, Any] | None = None,
    times: Any = None,
    time_from: str | None = None,
    freq: str | None = None,
    label: Label | None = None,
    empty: Empty = "auto",
    progress: Progress = silent,
) -> xr.Dataset:
    """Open coarse maps with holes, or a cube written by this library, to be reconstructed.

    Parameters are those of `open_history`, but the file's cells are coarse cells (unless it is
    a cube of level ``fine``), and `factor` says into how many fine cells they shall be split
    (1 if neither given nor known).

    Returns
    -------
    xarray.Dataset
        A cube of the file's level, ``coarse`` for foreign files.

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, InvalidTime, GridMismatch, NoObservations
        One sentence that says what to do.
    """
    source = open_source(
        path, variable=variable, crs=crs, select=select, times=times, time_from=time_from,
        calendar_tz=calendar_tz,
    )  # fmt: skip
    needs_crs(source, crs)
    stamps, box, notes = needs_times(source, Path(path)), source.box, list(source.notes)
    level: Level = "fine" if source.attrs.get("level") == "fine" else "coarse"
    n = factor or (grid.factor if grid is not None else int(source.attrs.get("factor", 1)))
    target = None if grid is None else grid.box(level)
    window = _window(box, target, bounds, rows, cols)
    cut = crop_box(box, *window)
    nested = grid or (NestedGrid.from_fine(cut, n) if level == "fine" else NestedGrid(cut, n))
    return _cube(
        source,
        stamps,
        nested,
        level=level,
        window=window,
        notes=notes,
        aggregation=aggregation,
        calendar_tz=calendar_tz,
        freq=freq,
        label=label,
        empty=empty,
        progress=progress,
    )


def _window(
    box: GeoBox,
    target: GeoBox | None,
    bounds: Sequence[float] | None,
    rows: Range | None,
    cols: Range | None,
) -> tuple[Range, Range]:
    """Return the rows and columns to read."""
    chosen = [target is not None, bounds is not None, rows is not None or cols is not None]
    if sum(chosen) > 1:
        raise InvalidParameter("Choose the part by one of grid, bounds, or rows and cols.")
    if target is not None:
        return _aligned(box, target)
    if bounds is None:
        return rows or (0, int(box.shape[0])), cols or (0, int(box.shape[1]))
    west, south, east, north = _turned(bounds, box)
    a, _, c, _, e, f = box.affine[:6]
    x, y = c + a * (np.arange(box.shape[1]) + 0.5), f + e * (np.arange(box.shape[0]) + 0.5)
    in_rows, in_cols = (
        np.flatnonzero((y > south) & (y < north)),
        np.flatnonzero((x > west) & (x < east)),
    )
    if not len(in_rows) or not len(in_cols):
        raise NoObservations(
            f"No cell of the file lies inside the bounds {tuple(bounds)}; the file spans "
            f"{x[0]:.6g} to {x[-1]:.6g} and {y[-1]:.6g} to {y[0]:.6g}."
        )
    return (int(in_rows[0]), int(in_rows[-1]) + 1), (int(in_cols[0]), int(in_cols[-1]) + 1)


def _aligned(box: GeoBox, target: GeoBox) -> tuple[Range, Range]:
    """Return where `target` lies in `box`, whose cells must be the same."""
    a, _, c, _, e, f = box.affine[:6]
    ta, _, tc, _, te, tf = target.affine[:6]
    rows, cols = target.shape
    tc = _turned((tc, 0, tc + ta * cols, 0), box)[0]
    offset = np.array([(tf - f) / e, (tc - c) / a])
    first = np.round(offset).astype(int)
    drift = max(abs(ta / a - 1) * cols, abs(te / e - 1) * rows, *np.abs(offset - first))
    inside = np.all(first >= 0) and np.all(first + np.array([rows, cols]) <= box.shape)
    if drift > ALIGNMENT or not inside or box.crs != target.crs:
        raise GridMismatch(
            f"The cells of the file ({box.shape[0]} × {box.shape[1]} of {a:.6g} × {-e:.6g} from "
            f"{c:.6g}, {f:.6g}) do not hold the grid ({rows} × {cols} of {ta:.6g} × {-te:.6g} "
            f"from {tc:.6g}, {tf:.6g}); warp the file to the grid first (gdalwarp -te -tr)."
        )
    row, col = int(first[0]), int(first[1])
    return (row, row + int(rows)), (col, col + int(cols))


def _turned(bounds: Sequence[float], box: GeoBox) -> Sequence[float]:
    """Return bounds in degrees turned by 360 to where the grid of the file has them."""
    west, south, east, north = bounds
    if box.crs is None or not box.crs.geographic:
        return bounds
    first = box.affine.c
    last = first + box.affine.a * box.shape[1]
    shifts = (0.0, 360.0, -360.0)
    shared = [min(east + turn, last) - max(west + turn, first) for turn in shifts]
    best = shifts[int(np.argmax(shared))]
    return west + best, south, east + best, north


def _trimmed(window: tuple[Range, Range], factor: int) -> tuple[Range, Range]:
    kept = [(low, high - (high - low) % factor) for low, high in window]
    if any(low == high for low, high in kept):
        return window  # nothing would be left: the factor itself is the error
    return kept[0], kept[1]


def _cube(
    source: MapSource,
    stamps: NDArray[np.datetime64],
    grid: NestedGrid,
    *,
    level: Level,
    window: tuple[Range, Range],
    notes: list[str],
    aggregation: str | None,
    calendar_tz: str | None,
    freq: str | None,
    label: Label | None,
    empty: Empty,
    progress: Progress,
) -> xr.Dataset:
    tz = known_zone(calendar_tz or str(source.attrs.get("calendar_tz", "UTC")))
    how = aggregation or str(source.attrs.get("aggregation", "mean"))
    record = record_of(
        stamps, tz=tz, freq=freq or source.attrs.get("freq"), label=label, starts=source.starts
    )
    order, numbers, step = record.order, record.numbers, record.step
    notes.extend(record.notes)
    progress(0, 1, "reading maps")
    rows, cols = (slice(*part) for part in window)
    steps = max(int(numbers[-1] - numbers[0]) + 1, len(numbers))
    check_read(source.name, steps, (rows.stop - rows.start, cols.stop - cols.start))
    values = source.read(rows, cols)
    n_obs = None if source.read_n_obs is None else source.read_n_obs(rows, cols)
    notes.extend(blank_codes(values, source.name, packing=source.packing))
    if not np.isfinite(values).any():
        raise NoObservations(f"All values of {source.name!r} are missing in the part read.")
    empty = "zero" if source.attrs.get("empty") == "zero" else empty
    if how == "sum" and empty == "auto":
        notes.extend(_drop_outages(values, source.name))
    # a file of ours comes back as it was: what nobody declared is not written into it
    declared = {"empty": empty} if empty != "auto" or "empty" in source.attrs else {}
    progress(1, 1, "reading maps")
    return make_cube(
        _spread(values[order], numbers, np.nan),
        step.start(np.arange(numbers[0], numbers[-1] + 1)),
        grid,
        value=source.name,
        level=level,
        freq=step.freq,
        aggregation=how,
        calendar_tz=tz,
        n_obs=None if n_obs is None else _spread(n_obs[order], numbers, 0),
        value_attrs=source.value_attrs,
        attrs={**declared, **({"notes": notes} if notes else {})},
    )


def _drop_outages(values: NDArray[np.float32], name: str) -> list[str]:
    """Turn frames that are `outages` into gaps, in place, and say so."""
    silent_frames = outages(values)
    if not silent_frames.any():
        return []
    values[silent_frames] = np.nan
    count = int(silent_frames.sum())
    told = (
        f"{count} frames of {name!r} are zero in every cell and are taken as outages (missing); "
        "empty='zero' keeps them."
    )
    return [agreed(count, told)]


def _spread(values: NDArray[Any], numbers: NDArray[np.int64], missing: float) -> NDArray[Any]:
    """Return `values` (T, rows, cols) on consecutive steps, `missing` in the gaps."""
    steps = int(numbers[-1] - numbers[0]) + 1
    if steps == len(values):
        return values
    full = np.full((steps, *values.shape[1:]), missing, dtype=values.dtype)
    full[numbers - numbers[0]] = values
    return full

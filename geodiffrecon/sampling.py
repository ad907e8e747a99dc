"""Maps and forecasts at points: the rows of a table with the statistics of their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .columns import missing_column
from .cube import as_cube
from .delimited import TextTable
from .errors import InvalidParameter, MissingColumn, MissingCRS, UnreadableFile
from .grid import NestedGrid, level_of
from .points import plausible, points_crs
from .stamps import utc_stamps
from .tables import CSV_SUFFIXES, read_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

    from .stations.forecast import SiteForecast
    from .steps import TimeStep

    Predict = Callable[[NDArray[np.float64], NDArray[np.float64]], SiteForecast]

STATISTICS = {
    "": "mean", "_std": "std", "_q05": "q05", "_q25": "q25", "_q50": "q50", "_q75": "q75",
    "_q95": "q95",
}  # fmt: skip
LEVELS = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
VALUES_AT_ONCE = 1 << 20  # of one statistic, steps times places


@dataclass(frozen=True, eq=False)
class Places:
    """Rows of a table (n,) and where they are.

    Parameters
    ----------
    rows : pandas.DataFrame
        All columns as text, as the file has them.
    x, y : float64, (n,)
        Position in `crs`; NaN where missing.
    crs : odc.geo.crs.CRS or None
        None means local metres.
    notes : tuple of str
        Sentences on what was assumed.
    """

    rows: pd.DataFrame
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    crs: CRS | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps that are mapped, and how rows of a table find theirs.

    Parameters
    ----------
    times : datetime64[ns], (F,)
        UTC starts of consecutive steps.
    step : TimeStep
        Their length.
    calendar_tz : str
        Zone of the times that are written.
    label : {"start", "end"}
        Which end of its interval a time stamp of a row marks.
    column : str, optional
        Time column of the rows; without one every row comes once for each step.
    tz : str, optional
        Zone of time stamps that have none.
    """

    times: NDArray[np.datetime64]
    step: TimeStep
    calendar_tz: str = "UTC"
    label: str = "start"
    column: str | None = None
    tz: str | None = None

    def of(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Return the index in `times` of each row (n,); -1 where it has none of them.

        Raises
        ------
        MissingColumn, InvalidTime
            If the time column does not exist or cannot be read.
        """
        name = str(self.column)
        if name not in rows:
            raise MissingColumn(missing_column(name, [str(n) for n in rows.columns], "--at"))
        stamps, _ = utc_stamps(rows[name].tolist(), tz=self.tz, what=name)
        known = ~np.isnat(stamps)
        shift = np.timedelta64(int(self.label == "end"), "ns")
        index = np.full(len(rows), -1)
        index[known] = self.step.number(stamps[known] - shift) - self.step.number(self.times[:1])
        return np.where((index >= 0) & (index < len(self.times)), index, -1)


def read_places(
    path: Path,
    *,
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    usual: tuple[str, str] | None = None,
    usual_crs: Any = None,
) -> Places:
    """Read the rows of a CSV of points; coordinates and CRS as in `read_points`.

    Parameters
    ----------
    path : Path
        The file.
    x, y, crs : optional
        Coordinate columns and CRS.
    usual : (x, y), optional
        Coordinate columns to look for first where none are named; `usual_crs` is their CRS.

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, InvalidParameter
        One sentence that says what to do.
    """
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of the points file.")
    if not {suffix.lower() for suffix in path.suffixes[-2:]} & CSV_SUFFIXES:
        raise InvalidParameter(f"--at needs a CSV file, got {path.name}.")
    if (x is None) != (y is None):
        raise InvalidParameter("Give both --x and --y, or neither.")
    pair = None if x is None or y is None else (x, y)
    text = TextTable(path)
    named = {name.lower(): name for name in reversed(text.names)}
    if pair is None and usual is not None and set(_lower(usual)) <= set(named):
        pair = named[usual[0].lower()], named[usual[1].lower()]
    table = read_positions(text, columns=[], xy=pair)
    if crs is None and usual is not None and table.names and _lower(table.names) == _lower(usual):
        crs = usual_crs
    known, notes = points_crs(table, crs, path.name)
    east, north, told = plausible(table.x, table.y, known)
    rows = pd.read_csv(
        path, sep=text.separator, dtype=str, keep_default_na=False, skiprows=text.above,
        encoding="utf-8-sig" if text.encoding == "utf-8" else text.encoding,
    )  # fmt: skip
    return Places(rows, east, north, known, (*notes, *told))


def _lower(pair: tuple[str, str]) -> tuple[str, str]:
    return pair[0].lower(), pair[1].lower()


def values_at(maps: xr.Dataset, places: Places) -> tuple[pd.DataFrame, int]:
    """Return the rows at every time with the statistics of their cells, and how many lie outside.

    Parameters
    ----------
    maps : xarray.Dataset
        The maps of `DiffRecon.reconstruct`, T times.
    places : Places
        The rows, n.

    Returns
    -------
    table : pandas.DataFrame, (T · n rows)
        The columns of the rows, the local start of the time step, and ``<value>_mean``,
        ``_std``, ``_q05``, ``_q50`` and ``_q95``, empty for rows outside the grid. A column that
        the rows have already is called ``map_…``.
    outside : int
        Rows that lie outside the grid.

    Raises
    ------
    MissingCRS
        If only one of maps and rows has a CRS.
    """
    maps = as_cube(maps)
    grid, level = NestedGrid.of(maps), level_of(maps)
    x, y = _in_grid(places, grid)
    row, col, inside = grid.cell_of(x, y, level=level)
    stamps = _local(maps["time"].values, str(maps.attrs["calendar_tz"]))
    number, steps = len(places.rows), len(stamps)
    columns: dict[str, Any] = {"time": np.repeat(stamps, number)}
    name = str(maps.attrs["value"])
    for suffix, statistic in STATISTICS.items():
        if f"{name}{suffix}" in maps:
            values = maps[f"{name}{suffix}"].values[:, row, col]  # (T, n)
            columns[f"{name}_{statistic}"] = np.where(inside, values, np.nan).ravel()
    taken = set(places.rows.columns)
    added = {f"map_{key}" if key in taken else key: found for key, found in columns.items()}
    return _repeated(places.rows, steps, added), int((~inside).sum())


def forecasts_at(
    places: Places,
    grid: NestedGrid,
    predict: Predict,
    steps: Steps,
    *,
    exceed: Mapping[str, float] | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows with the distribution at their true positions.

    Parameters
    ----------
    places : Places
        The rows, n.
    grid : NestedGrid
        Rows outside it get empty values.
    predict : callable
        ``predict(x, y)`` returns the `SiteForecast` of the mapped steps at positions (P,) in the
        grid's CRS.
    steps : Steps
        The mapped steps, and the time column of the rows, if they have one.
    exceed : mapping of str to float, optional
        Names and thresholds (raw units) of exceedance probabilities.

    Returns
    -------
    table : pandas.DataFrame
        The rows in their order with ``mean``, ``std``, ``q05``, ``q25``, ``q50``, ``q75`` and
        ``q95``, the exceedances, ``distance_km`` and ``information``. Rows without a time column
        come once for each step, with the local start of the step in ``time`` if there are
        several.
    counts : dict
        ``outside``: rows outside the grid; ``untimed``: rows with none of the mapped steps.

    Raises
    ------
    InvalidParameter
        If a column that would be added exists already.
    MissingCRS, MissingColumn, InvalidTime
        One sentence that says what to do.
    """
    exceed = exceed or {}
    number, count = len(places.rows), len(steps.times)
    blocks = steps.column is None and count > 1
    names = ["mean", "std", *LEVELS, *exceed, "distance_km", "information"]
    _check_free([*(["time"] if blocks else []), *names], places.rows)
    x, y = _in_grid(places, grid)
    inside = grid.cell_of(x, y, level="fine")[2]
    spots, spot = np.unique(np.stack([x, y], axis=1)[inside], axis=0, return_inverse=True)
    where = np.full(number, -1)
    where[inside] = spot.ravel()
    if steps.column is None:
        index, where = np.repeat(np.arange(count), number), np.tile(where, count)
    else:
        index = steps.of(places.rows)
    found = _read_off(predict, spots, index, where, exceed)
    found = {name: found.get(name, np.full(len(index), np.nan)) for name in names}
    added: dict[str, Any] = {name: _column(name, values) for name, values in found.items()}
    if blocks:
        added = {"time": np.repeat(_local(steps.times, steps.calendar_tz), number), **added}
    table = _repeated(places.rows, count if blocks else 1, added)
    return table, {"outside": int((~inside).sum()), "untimed": int((index < 0).sum())}


def _read_off(
    predict: Predict,
    spots: NDArray[np.float64],
    index: NDArray[np.int64],
    where: NDArray[np.int64],
    exceed: Mapping[str, float],
) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of each row, at step `index` and spot `where`; NaN where one is -1."""
    found: dict[str, NDArray[np.float64]] = {}
    wanted = (index >= 0) & (where >= 0)
    size = max(1, VALUES_AT_ONCE // (int(index.max(initial=0)) + 1))
    for low in range(0, len(spots), size):
        part = np.flatnonzero(wanted & (where >= low) & (where < low + size))
        if not len(part):
            continue
        forecast = predict(spots[low : low + size, 0], spots[low : low + size, 1])
        for name, values in _statistics(forecast, exceed).items():
            column = found.setdefault(name, np.full(len(index), np.nan))
            column[part] = values[index[part], where[part] - low]
    return found


def _statistics(
    forecast: SiteForecast, exceed: Mapping[str, float]
) -> dict[str, NDArray[np.float64]]:
    """Return everything that is written, each (F, P)."""
    found = {"mean": forecast.mean, "std": forecast.std}
    found |= {name: forecast.quantile(level) for name, level in LEVELS.items()}
    found |= {name: forecast.exceedance(limit) for name, limit in exceed.items()}
    if forecast.distance_km is not None:
        far = forecast.distance_km
        found["distance_km"] = np.where(np.isfinite(far), far, np.nan)
    if forecast.information is not None:
        found["information"] = forecast.information.astype(np.float64)
    return found


def _column(name: str, values: NDArray[np.float64]) -> Any:
    return pd.array(values).astype("Int64") if name == "information" else values


def _check_free(names: list[str], rows: pd.DataFrame) -> None:
    taken = [name for name in names if name in rows]
    if taken:
        raise InvalidParameter(
            f"The points of --at have a column {taken[0]!r}, which the result adds; rename it."
        )


def _local(times: NDArray[np.datetime64], zone: str) -> list[str]:
    """Return UTC times as ISO texts with the offset of `zone`."""
    local = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone)
    return [stamp.isoformat(timespec="minutes") for stamp in local]


def _repeated(rows: pd.DataFrame, times: int, added: Mapping[str, Any]) -> pd.DataFrame:
    repeated = rows.iloc[np.tile(np.arange(len(rows)), times)].reset_index(drop=True)
    return pd.concat([repeated, pd.DataFrame(added)], axis=1)


def _in_grid(places: Places, grid: NestedGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if (places.crs is None) != (grid.crs is None):
        raise MissingCRS(
            f"The grid is in {grid.crs or 'local metres'}, the points in "
            f"{places.crs or 'local metres'}; give the CRS of the points with --crs."
        )
    if places.crs is None or grid.crs is None or places.crs == grid.crs:
        return places.x, places.y
    from pyproj import Transformer

    project = Transformer.from_crs(places.crs.proj, grid.crs.proj, always_xy=True)
    x, y = project.transform(places.x, places.y)
    return np.asarray(x), np.asarray(y)

"""Maps read off at points: the rows of a table with the statistics of their cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .axes import parse_crs
from .errors import InvalidParameter, MissingCRS, UnreadableFile
from .grid import NestedGrid, level_of
from .points import NAMED_COLUMNS, _points_crs
from .tables import CSV_SUFFIXES, read_table

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.crs import CRS

STATISTICS = {"": "mean", "_std": "std", "_q05": "q05", "_q50": "q50", "_q95": "q95"}


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


def read_places(
    path: Path, *, x: str | None = None, y: str | None = None, crs: Any = None
) -> Places:
    """Read the rows of a CSV of points; coordinates and CRS as in `read_points`.

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
    table = read_table(path, columns=[], xy=pair, guesses=NAMED_COLUMNS)
    known, notes = _points_crs(table, crs, path)
    rows = pd.read_csv(
        path, sep=_separator(path), dtype=str, keep_default_na=False, encoding="utf-8-sig"
    )
    return Places(rows, table.x, table.y, parse_crs(known), tuple(notes))


def _separator(path: Path) -> str:
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as stream:
        head = stream.read(1 << 14).decode("utf-8", errors="replace").split("\n")[0]
    return max(",;\t", key=head.count)


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
    grid, level = NestedGrid.of(maps), level_of(maps)
    x, y = _in_grid(places, grid)
    row, col, inside = grid.cell_of(x, y, level=level)
    times = pd.DatetimeIndex(maps["time"].values).tz_localize("UTC")
    stamps = [stamp.isoformat(timespec="minutes")
              for stamp in times.tz_convert(str(maps.attrs["calendar_tz"]))]  # fmt: skip
    number, steps = len(places.rows), len(times)
    columns: dict[str, Any] = {"time": np.repeat(stamps, number)}
    name = str(maps.attrs["value"])
    for suffix, statistic in STATISTICS.items():
        if f"{name}{suffix}" in maps:
            values = maps[f"{name}{suffix}"].values[:, row, col]  # (T, n)
            columns[f"{name}_{statistic}"] = np.where(inside, values, np.nan).ravel()
    taken = set(places.rows.columns)
    added = {f"map_{key}" if key in taken else key: found for key, found in columns.items()}
    repeated = places.rows.iloc[np.tile(np.arange(number), steps)].reset_index(drop=True)
    return pd.concat([repeated, pd.DataFrame(added)], axis=1), int((~inside).sum())


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

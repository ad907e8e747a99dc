"""Citi Bike: monthly trip histories as hourly flows (BikeNYC in the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..errors import InvalidParameter, NoObservations
from ..progress import silent
from ..trips import flows
from .folder import area, files, with_split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from ..grid import NestedGrid
    from ..progress import Progress
    from .folder import Bounds, Period

ZONE = "America/New_York"
BOUNDS: Bounds = (-74.01, 40.71, -73.972, 40.765)
PERIOD: Period = ("2016-01-01", "2016-05-01")


def open_citibike(
    trips: str | Path | Sequence[str | Path],
    *,
    flow: Literal["in", "out"] = "in",
    grid: NestedGrid | None = None,
    period: Period | None = PERIOD,
    progress: Progress = silent,
) -> xr.Dataset:
    """Open monthly trip histories of Citi Bike as hourly flows (the paper's BikeNYC).

    Parameters
    ----------
    trips : path, or sequence of paths
        CSV files, ZIP archives of them, or one folder of both.
    flow : {"in", "out"}
        Arrivals or departures; the paper does not say which it uses.
    grid : NestedGrid, optional
        By default the paper's area, 40.71–40.765 N, 74.01–73.972 W, in 32 × 32 cells.
    period : (first, one past the last), optional
        Local dates, 1 January to 30 April 2016 by default; None for all of the files.

    Returns
    -------
    xarray.Dataset
        A fine cube ``inflow`` or ``outflow``; an hour without any trip in the city is a gap.

    Raises
    ------
    NoObservations
        If a month of the period has no trip.
    UnreadableFile, MissingColumn, InvalidTime
        As `flows` does.
    """
    if flow not in ("in", "out"):
        raise InvalidParameter(f"flow must be 'in' or 'out', got {flow!r}.")
    first, end = period or (None, None)
    both = flows(
        files(trips, (".csv", ".csv.gz", ".zip")),
        grid or area(BOUNDS),
        freq="1h",
        tz=ZONE,
        calendar_tz=ZONE,
        start=first,
        end=end,
        progress=progress,
    )
    cube = both.inflow if flow == "in" else both.outflow
    _check_months(cube)
    return with_split(cube)


def _check_months(cube: xr.Dataset) -> None:
    index = pd.DatetimeIndex(cube["time"].values).tz_localize("UTC").tz_convert(ZONE)
    known = np.isfinite(cube[str(cube.attrs["value"])].values[:, 0, 0])
    for month in pd.unique(index.strftime("%Y-%m")):
        if not known[index.strftime("%Y-%m") == month].any():
            raise NoObservations(
                f"No trip of {month} is in the files; add that month's, or give another period."
            )

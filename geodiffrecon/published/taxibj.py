"""TaxiBJ: arrays of frames without dates, put on a half-hourly axis with every gap explicit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..calendar import iso
from ..covariates import Covariates
from ..cube import make_cube
from ..errors import GridMismatch, InvalidTime, UnreadableFile
from ..files.netcdf import damaged
from ..grid import NestedGrid
from .folder import FACTOR, SIDE

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

SPLITS = ("train", "valid", "test")
ZONE = "Asia/Shanghai"
START = np.datetime64("2013-07-01", "D")  # a Monday
LONGEST_DAYS = 184  # frames in order of time cannot seem to span more
CELL_M = (654.0, 613.0)  # table I: 116.2498–116.4950 E, 39.8200–39.9966 N by 32
HALF_HOUR = np.timedelta64(30, "m")
# Number of Monday, told from the weekday numbers that the weekend column flags.
MONDAYS: dict[tuple[int, ...], int] = {(6, 7): 1, (1, 7): 2, (5, 6): 0, (0, 6): 1}


def open_taxibj(
    folder: str | Path, *, grid: NestedGrid | None = None
) -> tuple[xr.Dataset, Covariates]:
    """Open TaxiBJ P1 (1 July to 31 October 2013) as published with UrbanFM.

    Parameters
    ----------
    folder : str or Path
        Holds ``train``, ``valid`` and ``test``, each with ``X.npy`` (n, 32, 32), taxi flow in
        half an hour, and ``ext.npy`` (n, 7): temperature, wind speed, holiday, weekend, day of
        week, hour, weather code. X is the fine map here; its sums over 4 × 4 are the coarse one.
    grid : NestedGrid, optional
        Where the maps lie (8 × 8, factor 4). Without it they have local metres with cells of the
        size of table I: no georeference is published.

    Returns
    -------
    cube : xarray.Dataset
        Half-hourly, with a gap every night and on skipped days. The files have no dates: a day
        ends where the hour falls or the weekday changes, and skipped days are told from the
        weekday, at least that many. ``attrs["train_end"]`` and ``attrs["valid_end"]`` are
        the published split, ``attrs["notes"]`` what was assumed.
    covariates : Covariates
        Temperature, wind speed, holiday, and one column for each weather code of ``train``.

    Raises
    ------
    UnreadableFile
        If a part is missing or damaged.
    GridMismatch
        If an array has another shape.
    InvalidTime
        If the hours and weekdays are not those of consecutive frames.
    """
    parts = [_part(Path(folder), split) for split in SPLITS]
    maps, ext = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    local, notes = _times(ext)
    times = pd.DatetimeIndex(local).tz_localize(ZONE).tz_convert("UTC").tz_localize(None)
    stamps = times.to_numpy().astype("datetime64[ns]")
    numbers = (stamps - stamps[0]) // HALF_HOUR
    values = np.full((numbers[-1] + 1, SIDE, SIDE), np.nan, dtype=np.float32)
    values[numbers] = maps
    if grid is None:
        grid, said = _grid()
        notes.append(said)
    train = len(parts[0][0])
    cube = make_cube(
        values,
        stamps[0] + np.arange(len(values)) * HALF_HOUR,
        grid,
        value="flow",
        level="fine",
        freq="30min",
        aggregation="sum",
        calendar_tz=ZONE,
        value_attrs={"units": "1", "long_name": "taxi flow in half an hour"},
        attrs={
            "train_end": iso(stamps[train]),
            "valid_end": iso(stamps[train + len(parts[1][0])]),
            "notes": notes,
        },
    )
    return cube, _covariates(ext, train, stamps)


def _part(folder: Path, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the maps (n, 32, 32) and the external features (n, 7) of one split."""
    arrays = []
    for name, shape in (("X", (SIDE, SIDE)), ("ext", (7,))):
        path = folder / split / f"{name}.npy"
        if not path.exists():
            raise UnreadableFile(
                f"{path} does not exist; the folder of TaxiBJ needs X.npy and ext.npy in each of "
                "train, valid and test."
            )
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise damaged(path, error) from error
        if array.shape[1:] != shape or len(array) == 0:
            expected = ", ".join(str(size) for size in ("n", *shape))
            raise GridMismatch(f"{path} has shape {array.shape}, but TaxiBJ has ({expected}).")
        arrays.append(array)
    maps, ext = arrays
    if len(maps) != len(ext):
        raise GridMismatch(f"{folder / split} has {len(maps)} maps but {len(ext)} rows of ext.npy.")
    return maps, ext


def _times(ext: NDArray[Any]) -> tuple[NDArray[np.datetime64], list[str]]:
    """Return the local time of each frame (n,) from its weekday and hour."""
    weekday, hour = ext[:, 4], ext[:, 5]
    if np.any(ext[:, 4:6] % 1) or weekday.min() < 0 or weekday.max() > 7 or hour.max() > 23:
        raise InvalidTime(
            "Columns 5 and 6 of ext.npy must be the day of week and the hour as whole numbers."
        )
    weekday, hour = weekday.astype(np.int64), hour.astype(np.int64)
    begins = np.append(True, (np.diff(hour) < 0) | (np.diff(weekday) != 0))
    day = np.cumsum(begins) - 1
    dates, notes = _dates(weekday[begins], _monday(ext))
    half, alone = _halves(day, hour)
    if alone:
        notes.append(f"{alone} hours hold one frame, which is taken as their first half.")
    clock = dates[day].astype("datetime64[m]") + (2 * hour + half) * HALF_HOUR
    return clock.astype("datetime64[ns]"), notes


def _dates(weekday: NDArray[np.int64], monday: int) -> tuple[NDArray[Any], list[str]]:
    """Return the date of each day (D,) and what was assumed, from the days' weekdays."""
    ahead = (weekday - monday) % 7
    # The same weekday again is at least one week later; more weeks leave no trace.
    jumps = (np.diff(ahead) - 1) % 7 + 1
    first = START + int(ahead[0])
    dates = first + np.append(0, np.cumsum(jumps)).astype("timedelta64[D]")
    span = int((dates[-1] - dates[0]).astype(int)) + 1
    if span > LONGEST_DAYS:
        raise InvalidTime(
            f"By their hours and weekdays the frames span {span} days, more than the "
            f"{LONGEST_DAYS} that a period of TaxiBJ can; they are not in order of time."
        )
    notes = [
        f"Dates of TaxiBJ are inferred from its weekdays and hours: {len(dates)} days from "
        f"{dates[0]} to {dates[-1]}, {span - len(dates)} days skipped; whole skipped weeks "
        "cannot be seen."
    ]
    if first != START:
        notes.append(f"The first frame is not of a Monday: {first} is the first date that fits.")
    return dates, notes


def _monday(ext: NDArray[Any]) -> int:
    """Return the number of Monday in the weekday column, told from the weekend column."""
    weekday = ext[:, 4].astype(np.int64)
    flagged = [int(day) for day in np.unique(weekday) if ext[weekday == day, 3].mean() > 0.5]
    return MONDAYS.get(tuple(flagged), 1)


def _halves(day: NDArray[np.int64], hour: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return which half of its hour each frame is (n,), and how many hours have one frame."""
    _, first, size = np.unique(day * 24 + hour, return_index=True, return_counts=True)
    if size.max() > 2:
        at = int(np.argmax(size))
        raise InvalidTime(
            f"Hour {hour[first[at]]} of day {day[first[at]] + 1} has {size[at]} frames; "
            "half-hourly maps have at most two."
        )
    half = np.arange(len(hour)) - np.repeat(first, size)
    return half, int((size == 1).sum())


def _grid() -> tuple[NestedGrid, str]:
    width, height = CELL_M
    bounds = (0.0, 0.0, SIDE * width, SIDE * height)
    grid = NestedGrid.from_bounds(bounds, crs=None, shape=(SIDE // FACTOR,) * 2, factor=FACTOR)
    return grid, (
        "No georeference of TaxiBJ is published: its maps have local metres with cells of "
        f"{width:g} m × {height:g} m, by the paper's 116.2498–116.4950 E, 39.8200–39.9966 N; "
        "the first row is taken as the northernmost."
    )


def _covariates(ext: NDArray[Any], train: int, times: NDArray[np.datetime64]) -> Covariates:
    features = {"temperature": ext[:, 0], "wind_speed": ext[:, 1], "holiday": ext[:, 2]}
    for code in np.unique(ext[:train, 6]):
        features[f"weather_{code:g}"] = (ext[:, 6] == code).astype(np.float64)
    table = pd.DataFrame(features, pd.DatetimeIndex(times), dtype=np.float64)
    return Covariates(tuple(features), table, None)

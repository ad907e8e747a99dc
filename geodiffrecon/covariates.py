"""External features: weather per time, land or elevation per cell; no value from the future."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .axes import CFAxes, crs_of, dataset_box, lattice
from .errors import GridMismatch, InvalidParameter, InvalidTime, MissingColumn
from .files.kinds import is_netcdf
from .files.layouts import MOST_CLASSES, categories, classes_of, too_many_classes
from .files.netcdf import damaged, decoded, open_raw
from .files.quality import blank_codes
from .files.times import cf_times
from .grid import NestedGrid
from .local import local_file
from .stamps import utc_stamps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from .grid import Level


@dataclass(frozen=True, eq=False)
class Covariates:
    """Numeric features that help the model, per time, per cell, or both.

    Parameters
    ----------
    names : tuple of str
        Names of the features: those per time, then those per cell.
    per_time : pandas.DataFrame or None
        One column per feature, index of ascending UTC times (naive).
    per_cell : xarray.Dataset or None
        One static map (rows, cols) per feature, on the coarse or the fine grid.
    notes : tuple of str
        What was left out.

    Examples
    --------
    >>> index = pd.DatetimeIndex(["2024-01-01", "2024-01-02"])
    >>> weather = Covariates(("wind",), pd.DataFrame({"wind": [3.0, 5.0]}, index), None)
    >>> weather.align(np.array(["2024-01-01T18", "2024-01-03T18"], "M8[ns]")).tolist()
    [[3.0], [nan]]
    """

    names: tuple[str, ...]
    per_time: pd.DataFrame | None
    per_cell: xr.Dataset | None
    notes: tuple[str, ...] = ()

    def align(self, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
        """Return the features per time at `times` (T,), as (T, F).

        Each time gets the last row at or before it, and NaN where that row is older than the
        table's own step or has no value. Nothing is interpolated.
        """
        if self.per_time is None:
            return np.empty((len(times), 0))
        index = self.per_time.index.to_numpy().astype("datetime64[ns]")
        wanted = times.astype("datetime64[ns]")
        values = self.per_time.to_numpy(dtype=np.float64)
        row = np.searchsorted(index, wanted, side="right") - 1
        step = np.median(np.diff(index).astype(np.int64)) if len(index) > 1 else 1
        age = (wanted - index[row]).astype(np.int64)
        usable = (row >= 0) & (age < step)
        return np.where(usable[:, None], values[row], np.nan)

    def only(self, names: Sequence[str]) -> Covariates:
        """Return the features of `names` in their order, those that there are."""
        frame, maps = self.per_time, self.per_cell
        times = [] if frame is None else [name for name in names if name in frame.columns]
        cells = [] if maps is None else [name for name in names if name in maps.data_vars]
        return replace(
            self, names=(*times, *cells), per_time=frame[times] if frame is not None and times
            else None, per_cell=maps[cells] if maps is not None and cells else None,
        )  # fmt: skip

    def cells(self, grid: NestedGrid) -> tuple[NDArray[np.float32], Level]:
        """Return the features per cell, (F, rows, cols) north-up, and the level they are on.

        Raises
        ------
        GridMismatch
            If they are on neither level of `grid`.
        """
        if self.per_cell is None:
            return np.empty((0, *grid.shape), dtype=np.float32), "coarse"
        names = [str(name) for name in self.per_cell.data_vars]
        box, _ = dataset_box(self.per_cell, names[0])
        own = NestedGrid(box)
        for level in ("coarse", "fine"):
            same = NestedGrid(grid.box(level))
            if own.shape == same.shape:
                same.check_same(own, "the covariates")
                maps = [self.per_cell[name].values for name in names]
                return np.stack(maps).astype(np.float32), level
        raise GridMismatch(
            f"Covariates have {own.shape[0]} × {own.shape[1]} cells, but the grid has "
            f"{grid.shape} coarse or {grid.fine_shape} fine cells; resample them to one of these."
        )


def open_covariates(path: str | Path, *, tz: str | None = None) -> Covariates:
    """Open external features from a CSV or a NetCDF file.

    Parameters
    ----------
    path : str or Path
        CSV with a column ``time`` and numeric columns, or NetCDF with variables that have the
        dimension time only (per time) or both horizontal dimensions only (per cell).
    tz : str, optional
        Zone of time stamps in a CSV that have none.

    Returns
    -------
    Covariates

    Raises
    ------
    UnreadableFile, MissingColumn, InvalidTime, InvalidParameter
        One sentence that says what to do.
    """
    path = local_file(path, "the external features")
    if is_netcdf(path):
        return _from_netcdf(path)
    return _from_csv(path, tz)


def _from_csv(path: Path, tz: str | None) -> Covariates:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    if "time" not in table.columns:
        listed = ", ".join(str(name) for name in table.columns[:12])
        raise MissingColumn(f"{path.name} has no column 'time'; its columns are {listed}.")
    times, notes = utc_stamps(table["time"].astype("string"), tz=tz, what="time")
    features = table.drop(columns="time").select_dtypes("number").astype(np.float64)
    left_out = [str(name) for name in table.columns if name not in (*features.columns, "time")]
    if left_out:
        notes.append(f"Columns of {path.name} without numbers are left out: {', '.join(left_out)}.")
    if features.empty:
        raise MissingColumn(f"{path.name} has no numeric column beside 'time'; add one.")
    return _per_time(features.set_axis(pd.DatetimeIndex(times), axis=0), path, notes)


def _per_time(features: pd.DataFrame, path: Path, notes: list[str]) -> Covariates:
    features = features[features.index.notna()].sort_index()
    twice = features.index[features.index.duplicated()]
    if len(twice):
        raise InvalidTime(
            f"Time {twice[0].isoformat()}Z occurs twice in {path.name}; keep one row for each time."
        )
    names = tuple(str(name) for name in features.columns)
    columns = features.to_numpy(dtype=np.float64, copy=True)  # (T, F)
    for column, name in enumerate(names):
        notes.extend(blank_codes(columns[:, column], name, noun="values"))
    features = pd.DataFrame(columns, features.index, list(names))
    return Covariates(names, features, None, tuple(notes))


def _from_netcdf(path: Path) -> Covariates:
    try:
        with open_raw(path) as opened:
            dataset = opened.load()
    except (OSError, RuntimeError) as error:
        raise damaged(path, error) from error
    beside = {str(array.attrs.get("bounds", "")) for array in dataset.variables.values()}
    numeric = [
        str(name)
        for name, array in dataset.data_vars.items()
        if np.issubdtype(array.dtype, np.number) and array.ndim
        and "bnds" not in str(name) and str(name) not in beside
    ]  # fmt: skip
    series = [name for name in numeric if dataset[name].ndim == 1]
    maps = [name for name in numeric if dataset[name].ndim == 2]
    for name in numeric:
        if name not in (*series, *maps):
            raise InvalidParameter(
                f"External feature {name!r} has dimensions {dataset[name].dims}; give features "
                "per time (time) or per cell (y, x)."
            )
        if "flag_meanings" in dataset[name].attrs and name in series:
            meanings = str(dataset[name].attrs["flag_meanings"]).split()
            raise categories(f"Feature {name!r} of {path.name}", meanings)
    if not numeric:
        raise MissingColumn(f"{path.name} holds no numeric variable; check the file.")
    notes: list[str] = []
    values = {
        name: decoded(dataset[name].values, dataset[name].attrs, dataset[name].dtype, np.float64)
        for name in numeric
    }
    per_time = None
    if series:
        times, _, told = cf_times(dataset, str(dataset[series[0]].dims[0]), path)
        columns = pd.DataFrame({name: values[name] for name in series}, pd.DatetimeIndex(times))
        table = _per_time(columns, path, told)
        per_time, notes = table.per_time, list(table.notes)
    for name in list(maps):
        if "flag_meanings" in dataset[name].attrs:
            maps += _shares(dataset, name, values[name], path)
            maps.remove(name)
            notes.append(f"Feature {name!r} holds categories; the share of each class is used.")
            continue
        notes.extend(blank_codes(values[name], name))
        dataset[name] = dataset[name].copy(data=values[name])
    per_cell = _north_up(dataset[maps]) if maps else None
    return Covariates((*series, *maps), per_time, per_cell, tuple(notes))


def _shares(dataset: xr.Dataset, name: str, values: NDArray[np.float64], path: Path) -> list[str]:
    """Add a map of 0 and 1 for each class of a map of categories; return their names."""
    classes = classes_of(dataset[name].attrs)
    if classes is None:
        raise categories(f"Feature {name!r} of {path.name}", [])
    if len(classes) > MOST_CLASSES:
        raise too_many_classes(f"Feature {name!r} of {path.name}", len(classes))
    known = np.isfinite(values)
    for number, meaning in classes.items():
        share = dataset[name].copy(data=np.where(known, values == number, np.nan))
        share.attrs = {k: v for k, v in share.attrs.items() if not k.startswith("flag_")}
        dataset[f"{name}_{meaning}"] = share
        dataset[f"{name}_{meaning}"].encoding = dataset[name].encoding
    return [f"{name}_{meaning}" for meaning in classes.values()]


def _north_up(maps: xr.Dataset) -> xr.Dataset:
    """Return maps with their rows from the north and their columns from the west."""
    first = str(next(iter(maps.data_vars)))
    axes = CFAxes.of(maps, first)
    found = lattice(maps, axes, crs_of(maps, first, axes)[0], first)
    ordered = maps.isel({axes.y: found.rows, axes.x: found.cols}).transpose(axes.y, axes.x, ...)
    turned = {axes.y: found.y, axes.x: found.x}
    ordered = ordered.assign_coords(
        {axis: (axis, centres, _attrs(maps, axis)) for axis, centres in turned.items()}
    )
    for name in maps.data_vars:
        ordered[name].encoding = maps[name].encoding
    return ordered


def _attrs(maps: xr.Dataset, axis: str) -> dict[str, object]:
    """Return the attributes of an axis without its units, which are those of the CRS now."""
    degrees = "degree" in str(maps[axis].attrs.get("units", ""))
    return {k: v for k, v in maps[axis].attrs.items() if degrees or k != "units"}

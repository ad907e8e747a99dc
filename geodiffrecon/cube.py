"""The cube: maps over time on a nested grid, with missing cells as NaN and gaps as frames."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import CFAxes, crs_of, lattice
from .errors import GridMismatch, InvalidParameter, NoObservations
from .grid import NestedGrid
from .steps import TimeStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from .grid import Level

BUSY = 10.0  # counts in a map, which is then hardly ever zero by chance
FADED = 0.05  # of the usual total: a process that falls lower may fall to zero
TIME_ATTRS = {
    "standard_name": "time",
    "long_name": "start of the interval, UTC",
    "axis": "T",
    "bounds": "time_bnds",
}
UNDATED, IRREGULAR = "none", "irregular"  # steps of maps without dates, or on any dates
POINTS_AS = {"mean": ("mean",), "sum": ("sum", "count")}  # point aggregations that pool as these


def make_cube(
    values: NDArray[Any],
    times: NDArray[np.datetime64],
    grid: NestedGrid,
    *,
    value: str,
    level: Level,
    freq: str,
    aggregation: str = "mean",
    calendar_tz: str = "UTC",
    n_obs: NDArray[Any] | None = None,
    value_attrs: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Return the cube of `values`; every cube of the library is made here.

    Parameters
    ----------
    values : array, (T, rows, cols)
        Cell values, north-up; NaN where not observed.
    times : datetime64, (T,)
        UTC starts of consecutive intervals.
    grid : NestedGrid
        The grid; `level` says which of its levels `values` is on.
    value : str
        Name of the variable.
    level : {"coarse", "fine"}
        Level of the grid.
    freq : str
        Pandas frequency of the step.
    aggregation : {"mean", "sum"}
        What pooling fine cells into a coarse cell means.
    calendar_tz : str
        IANA zone in which days are cut.
    n_obs : array of int, (T, rows, cols), optional
        Observations per cell.
    value_attrs, attrs : mapping, optional
        Attributes of the variable (``units``, ``long_name``) and of the dataset.

    Returns
    -------
    xarray.Dataset
        Dimensions ``(time, y, x)`` or ``(time, latitude, longitude)``.

    Raises
    ------
    GridMismatch
        If the shape of `values` is not that of the level.
    InvalidTime
        If the times are not consecutive steps.
    """
    import xarray as xr

    _check_parts(values, (len(times), *grid.box(level).shape), aggregation)
    step = TimeStep.through(times, freq, tz=calendar_tz)
    starts = times.astype("datetime64[ns]")
    dims = ("time", *grid.dims)
    variables: dict[str, Any] = {
        value: (dims, values.astype(np.float32, copy=False), dict(value_attrs or {}))
    }
    if n_obs is not None:
        counts = {"units": "1", "long_name": f"number of observations of {value}"}
        variables[f"{value}_n_obs"] = (dims, n_obs.astype(np.int32, copy=False), counts)
    coords = {
        "time": ("time", starts, TIME_ATTRS),
        "time_bnds": (("time", "nv"), step.bounds(starts)),
        **grid.coords(level),
    }
    described = {
        "value": value,
        "aggregation": aggregation,
        "freq": step.freq,
        "calendar_tz": calendar_tz,
        "level": level,
        "factor": int(grid.factor),
    }
    cube = xr.Dataset(variables, coords, {**described, **(attrs or {})})
    if grid.crs is not None:
        for name in cube.data_vars:
            cube[name].encoding["grid_mapping"] = "spatial_ref"
    return cube


def as_cube(cube: xr.Dataset) -> xr.Dataset:
    """Return a cube as every part of the library reads it, however it was turned by hand.

    Names and coordinates decide where a value is, never its place in an array: dimensions are put
    in the order time, y, x, rows from the north, columns from the west, times ascending; one time
    that was taken out gets its dimension back. Numbers of other types become float32.

    Parameters
    ----------
    cube : xarray.Dataset
        A cube or maps of this library.

    Raises
    ------
    GridMismatch
        If it is one variable only, has lost what made it a cube, or holds no numbers.

    Examples
    --------
    >>> grid = NestedGrid.from_bounds((0, 0, 2, 2), crs="none", shape=(2, 2))
    >>> days = np.array(["2024-01-01"], "M8[ns]")
    >>> values = np.array([[[1, 2], [3, 4]]])
    >>> made = make_cube(values, days, grid, value="v", level="coarse", freq="1D")
    >>> as_cube(made.sortby("y").transpose("x", "y", "time", ...).isel(time=0))["v"].values.tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """
    name = _main_variable(cube)
    dated = cube.attrs["freq"] != UNDATED
    if dated and "time" not in cube.coords:
        raise GridMismatch(f"The cube of {name!r} has lost its times; keep the coordinate 'time'.")
    if dated and "time" not in cube.dims:
        static = [key for key, array in cube.data_vars.items() if array.ndim < cube[name].ndim]
        cube = cube.drop_vars("time_bnds", errors="ignore")
        cube = cube.drop_vars(static).expand_dims("time").assign(cube[static].drop_vars("time"))
    if dated and not cube.sizes["time"]:
        raise NoObservations(f"The cube of {name!r} holds no time; choose other times.")
    axes = CFAxes.of(cube, name)
    known, _ = crs_of(cube, name, axes)
    found = lattice(cube, axes, known, name)
    order = {axes.y: found.rows, axes.x: found.cols}
    if dated:
        order["time"] = np.argsort(cube["time"].values)
    moved = {k: at for k, at in order.items() if np.any(at != np.arange(len(at)))}
    cube = cube.isel(moved) if moved else cube
    if np.any(cube[axes.x].values != found.x):
        cube = cube.assign_coords({axes.x: (axes.x, found.x, cube[axes.x].attrs)})
    if cube[name].dims[0] != "time" or cube[name].dims[-2:] != (axes.y, axes.x):
        cube = cube.transpose("time", ..., axes.y, axes.x, missing_dims="ignore")
    if dated and "time_bnds" not in cube.variables:
        times = cube["time"].values.astype("datetime64[ns]")
        zone = str(cube.attrs.get("calendar_tz", "UTC"))
        step = TimeStep.through(times, str(cube.attrs["freq"]), tz=zone)
        cube = cube.assign_coords(time_bnds=(("time", "nv"), step.bounds(times)))
    odd = {key: _plain(array) for key, array in cube.data_vars.items() if not _is_plain(array)}
    return cube.assign(odd).assign_attrs(cube.attrs) if odd else cube


def _main_variable(cube: Any) -> str:
    """Return the name of a cube's main variable, or raise GridMismatch."""
    if not hasattr(cube, "data_vars"):
        raise GridMismatch(
            f"A cube is needed, not a {type(cube).__name__}; keep the dataset, such as "
            "cube[['pm25']] for one variable."
        )
    missing = [key for key in ("value", "level", "factor", "freq") if key not in cube.attrs]
    if missing:
        raise GridMismatch(
            f"The dataset is no cube of this library: attribute {missing[0]!r} is missing; make "
            "it with bin_points, open_history or open_cube."
        )
    name = str(cube.attrs["value"])
    if name not in cube.data_vars:
        raise GridMismatch(f"The cube has lost its main variable {name!r}; keep it in the dataset.")
    return name


def _is_plain(array: xr.DataArray) -> bool:
    kind = array.dtype
    usual = (kind.kind == "f" and kind.itemsize in (4, 8)) or kind.kind in "iubM"
    return usual and kind.isnative and not hasattr(array.data, "todense")


def _plain(array: xr.DataArray) -> xr.DataArray:
    """Return an array of native float32, whatever holds its numbers."""
    data = array.data.todense() if hasattr(array.data, "todense") else array.data
    try:
        if np.asarray(data).dtype.kind == "c":
            raise ValueError
        return array.copy(data=np.asarray(data).astype(np.float32))
    except (TypeError, ValueError) as error:
        raise GridMismatch(
            f"Variable {array.name!r} of the cube holds {array.dtype} values, not real numbers."
        ) from error


def _check_parts(values: NDArray[Any], shape: tuple[int, ...], aggregation: str) -> None:
    if aggregation not in ("mean", "sum"):
        raise InvalidParameter(f"Aggregation must be 'mean' or 'sum', got {aggregation!r}.")
    if values.shape != shape:
        raise GridMismatch(f"Values have shape {values.shape}, but times and grid need {shape}.")


def aggregate(cube: xr.Dataset, *, factor: int | None = None, how: str | None = None) -> xr.Dataset:
    """Pool a fine cube into a coarse cube.

    Parameters
    ----------
    cube : xarray.Dataset
        A cube of level ``fine``.
    factor : int, optional
        Fine cells per coarse cell and direction; the cube's own by default.
    how : {"mean", "sum"}, optional
        The cube's own aggregation by default. A mean is over the known cells; a sum with any
        cell missing is missing. A cube of binned points becomes what binning them into the coarse
        cells gives: the mean of all points, or the sum of what there is.

    Returns
    -------
    xarray.Dataset
        A cube of level ``coarse``; without `<value>_n_obs` in the input, its `<value>_n_obs`
        counts the known fine cells.

    Raises
    ------
    GridMismatch
        If the cube is not of level ``fine`` or the factor does not divide it.
    """
    cube = as_cube(cube)
    if cube.attrs.get("level") != "fine":
        level = cube.attrs.get("level")
        raise GridMismatch(f"Only a fine cube can be pooled, but this one has level {level!r}.")
    name, how = str(cube.attrs["value"]), how or str(cube.attrs["aggregation"])
    n = int(factor or cube.attrs["factor"])
    fine = NestedGrid.of(cube.assign_attrs(factor=1)).coarse
    grid = NestedGrid.from_fine(fine, n)
    blocks = _blocks(cube[name].values, n)  # (T, I, N, J, N)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum(axis=(2, 4), dtype=np.float64)
    count = known.sum(axis=(2, 4))
    stored = cube.get(f"{name}_n_obs")
    n_obs = count if stored is None else _blocks(stored.values, n).sum(axis=(2, 4))
    of_points = stored is not None and cube.attrs.get("point_aggregation") in POINTS_AS[how]
    with np.errstate(invalid="ignore", divide="ignore"):
        if how == "sum":
            pooled = np.where(count >= (1 if of_points else n * n), total, np.nan)
        elif of_points:
            weights = _blocks(cube[f"{name}_n_obs"].values, n).astype(np.float64)
            weighted = (np.where(known, blocks, 0) * weights).sum(axis=(2, 4)) / n_obs
            pooled = np.where(n_obs > 0, weighted, total / count)  # empty cells may be zeros
        else:
            pooled = total / count
    return make_cube(
        pooled,
        cube["time"].values,
        grid,
        value=name,
        level="coarse",
        freq=str(cube.attrs["freq"]),
        aggregation=how,
        calendar_tz=str(cube.attrs["calendar_tz"]),
        n_obs=n_obs,
        value_attrs=cube[name].attrs,
        attrs={k: v for k, v in cube.attrs.items() if k not in ("level", "factor", "aggregation")},
    )


def fingerprint(cube: xr.Dataset) -> str:
    """Return the SHA-256 (hex) of values, times and grid; independent of file and attributes."""
    cube = as_cube(cube)
    values = np.ascontiguousarray(cube[str(cube.attrs["value"])].values, dtype="<f4")
    values = np.where(np.isnan(values), np.float32(np.nan), values)  # one bit pattern of NaN
    times = cube["time"].values.astype("datetime64[ns]").astype("<i8")
    digest = hashlib.sha256(json.dumps(NestedGrid.of(cube).to_dict(), sort_keys=True).encode())
    digest.update(times.tobytes())
    digest.update(values.tobytes())
    return digest.hexdigest()


def outages(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which maps (T,) of summed `values` (T, rows, cols) are zero because nothing counted.

    Only where sums are counts (multiples of one unit) and no other map comes near zero: a
    recorder that fails is silent at once, traffic and rain fade. A twentieth of the other maps
    may be quieter.

    Examples
    --------
    >>> outages(np.array([30.0, 45, 0, 38]).reshape(4, 1, 1)).tolist()
    [False, False, True, False]
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    totals = filled.sum(axis=(1, 2))
    some = known.any(axis=(1, 2))
    silent_maps = some & ~filled.any(axis=(1, 2))
    others = totals[some & ~silent_maps]
    if not silent_maps.any() or not len(others) or (filled < 0).any():
        return np.zeros(len(values), bool)
    unit = _unit(filled)
    busy = unit > 0 and np.quantile(others, 0.05) >= max(BUSY * unit, FADED * np.median(others))
    return silent_maps & (busy and bool(silent_maps.sum() < len(others)))


def _unit(values: NDArray[np.float64]) -> float:
    """Return what all `values` are multiples of, by Euclid's algorithm; 0 where there is nothing.

    Measured values have no unit, or one so small that it is that of their digits.
    """
    left = np.unique(values[values > 0])
    error, unit = 1e-6 * float(left[-1]), float(left[0])
    while unit > 10 * error:
        left = np.abs(left - unit * np.rint(left / unit))
        left = left[left > error]
        if not len(left):
            return unit
        unit = float(left.min())
    return 0.0


def kept_zeros(cube: xr.Dataset) -> bool:
    """Return whether the caller has declared that zeros of a cube are zeros."""
    return cube.attrs.get("empty") == "zero"


def observed(cube: xr.Dataset) -> NDArray[np.bool_]:
    """Return which cells of the main variable were seen, (T, rows, cols); True = seen."""
    cube = as_cube(cube)
    return np.asarray(np.isfinite(cube[str(cube.attrs["value"])].values))


def _blocks(values: NDArray[Any], factor: int) -> NDArray[Any]:
    steps, rows, cols = values.shape
    return values.reshape(steps, rows // factor, factor, cols // factor, factor)

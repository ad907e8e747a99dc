"""From what is known of a field to the maps that users read, and to points and polygons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..cube import IRREGULAR, TIME_ATTRS, UNDATED
from ..errors import GeoDiffReconError, InvalidParameter, NoObservations
from ..files.layer import open_layer
from ..limits import limits_of
from ..memory import check_maps
from ..progress import silent
from ..steps import TimeStep
from .belief import QUANTILES, chosen, distance_km, informative_km
from .layers import centres, polygons, sampler
from .moved import Date

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from ..grid import NestedGrid
    from ..progress import Progress
    from .belief import Interpolation

    Array = NDArray[np.float64]


def dataset(
    made: Interpolation, *, exceed: tuple[float, ...], samples: int, progress: Progress = silent
) -> xr.Dataset:
    """Return the maps of all dates as a dataset with the names that `reconstruct` gives.

    Raises
    ------
    InvalidParameter, MemoryEstimateExceeded
        If the limits are no numbers or the maps would not fit into memory.
    """
    import xarray as xr

    exceed = limits_of(exceed)
    if samples < 0:
        raise InvalidParameter(f"Samples must be 0 or more, got {samples}.")
    name, dates = made.survey.name, len(made.days)
    check_maps(dates, made.grid.shape, samples)
    layers: list[dict[str, Array]] = []
    for date in range(dates):
        progress(date, dates, "mapping")
        layers.append(_layers(made, date, exceed, samples))
    progress(dates, dates, "mapping")
    dims = made.grid.dims
    units = {"units": made.survey.units} if made.survey.units else {}
    variables: dict[str, Any] = {}
    for key in layers[0]:
        stack = np.stack([layer[key] for layer in layers], axis=1 if key == "_draws" else 0)
        axes: tuple[str, ...] = ("time", *dims)
        if not made.dated:
            stack, axes = stack[:, 0] if key == "_draws" else stack[0], dims
        if key == "_draws":
            axes = ("realization", *axes)
        variables[name + key] = (axes, stack, _attrs(key, units))
    coords = {**made.grid.coords("coarse"), **_time_coords(made)}
    maps = xr.Dataset(variables, coords, _global_attrs(made, samples))
    if made.grid.crs is not None:
        for variable in maps.data_vars:
            maps[variable].encoding["grid_mapping"] = "spatial_ref"
    maps.gdr.of(made)
    return maps


def _layers(
    made: Interpolation, date: int, exceed: tuple[float, ...], samples: int
) -> dict[str, Array]:
    """Return the maps (rows, cols) of one date by the end of their names."""
    told, of_date = made.predict(date), Date(made, date)
    mean, std = told.moments()
    quantiles = {key: told.quantile(level) for key, level in QUANTILES.items()}
    chances = {limit: told.above(limit) for limit in exceed}
    moved = of_date.moved()
    if moved is not None:
        mean, std = moved.mean(mean), moved.std(std)
        quantiles = moved.quantiles(quantiles, QUANTILES)
        chances = {limit: moved.above(chance, limit) for limit, chance in chances.items()}
    mean = of_date.held(mean)
    cells = {"": mean, "_std": std} | {f"_{key}": value for key, value in quantiles.items()}
    cells |= {f"_exceed_{limit:g}": chance for limit, chance in chances.items()}
    known, seen = made.seen(date)
    for key, layer in cells.items():
        if key == "_std":
            layer[seen] = 0.0
        elif key.startswith("_exceed"):
            layer[seen] = known[seen] > float(key.removeprefix("_exceed_"))
        else:
            layer[seen] = known[seen]
    far = distance_km(made, date, made.sites)
    cells["_distance"] = far
    found = {key: _unfolded(made, layer, np.float32) for key, layer in cells.items()}
    near = np.zeros(made.grid.shape, np.int8)
    near[made.inside] = far <= informative_km(made)
    found["_n_obs"], found["_information"] = _counts(made, date), near
    if samples:
        drawn = of_date.draws(samples)
        found["_draws"] = np.stack([_unfolded(made, row, np.float32) for row in drawn])
    return found


def _unfolded(made: Interpolation, cells: Array, kind: Any) -> NDArray[Any]:
    full = np.full(made.grid.shape, np.nan, kind)
    full[made.inside] = cells
    return full


def _counts(made: Interpolation, date: int) -> NDArray[np.int32]:
    rows = made.of_date(date)
    x, y = made.survey.x[rows], made.survey.y[rows]
    own, grid = made.survey.crs, made.grid.crs
    if own is not None and grid is not None and own != grid:
        from pyproj import Transformer

        x, y = Transformer.from_crs(own.proj, grid.proj, always_xy=True).transform(x, y)
    row, col, inside = made.grid.cell_of(x, y, level="coarse")
    counts = np.zeros(made.grid.shape, np.int32)
    np.add.at(counts, (row[inside], col[inside]), 1)
    return counts


def _attrs(key: str, units: dict[str, str]) -> dict[str, Any]:
    if key == "_distance":
        return {"units": "km"}
    if key in ("_n_obs", "_information"):
        return {"units": "1"}
    if key.startswith("_exceed_"):
        return {"units": "1", "threshold": float(key.removeprefix("_exceed_"))}
    return dict(units)


def _time_coords(made: Interpolation) -> dict[str, Any]:
    if not made.dated:
        return {}
    times = _times(made)
    freq = step_of(times, made.survey.zone)
    if freq == IRREGULAR:
        bounds = np.stack([times, times], axis=1)
    else:
        bounds = TimeStep.through(times, freq, tz=made.survey.zone).bounds(times)
    return {"time": ("time", times, TIME_ATTRS), "time_bnds": (("time", "nv"), bounds)}


def _times(made: Interpolation) -> NDArray[np.datetime64]:
    nanoseconds = np.round(made.days * 86_400e3).astype(np.int64) * 1_000_000
    return np.asarray(nanoseconds.astype("datetime64[ns]"))


def step_of(times: NDArray[np.datetime64], tz: str = "UTC") -> str:
    """Return the pandas frequency of evenly spaced times in a zone, else "irregular".

    Examples
    --------
    >>> step_of(np.array(["2024-01-01", "2024-01-08", "2024-01-15"], "M8[ns]"))
    '7D'
    """
    gaps = np.unique(np.diff(times.astype("datetime64[s]").astype(np.int64)))
    if len(gaps) > 1:
        return IRREGULAR
    tried = ["1D", "1h"]  # of a single time
    for unit, size in (("D", 86400), ("h", 3600), ("min", 60)):
        if len(gaps) and int(gaps[0]) % size == 0:
            tried = [f"{int(gaps[0]) // size}{unit}"]
            break
    for freq in tried:
        try:
            TimeStep.through(times, freq, tz=tz)
        except GeoDiffReconError:
            continue
        return freq
    return IRREGULAR


def _global_attrs(made: Interpolation, samples: int) -> dict[str, Any]:
    from .. import __version__

    return {
        "value": made.survey.name, "aggregation": "mean", "level": "coarse", "factor": 1,
        "freq": step_of(_times(made), made.survey.zone) if made.dated else UNDATED,
        "calendar_tz": made.survey.zone,
        "geodiffrecon_version": __version__, "seed": made.seed, "samples": samples,
        "field": chosen(made),
    }  # fmt: skip


def at_places(
    made: Interpolation, x: Array, y: Array, *, exceed: Sequence[float] = ()
) -> pd.DataFrame:
    """Return the statistics at places of the readings' CRS, for every date."""
    name, known = made.survey.name, np.isfinite(x) & np.isfinite(y)
    frames = []
    for date in range(len(made.days)):
        sites = made.dated_sites(made.frame.sites(x[known], y[known]), date)
        told = made.field(date).predict(sites)
        mean, std = told.moments()
        table: dict[str, Array] = {name: mean, f"{name}_std": std}
        table |= {f"{name}_{key}": told.quantile(level) for key, level in QUANTILES.items()}
        table |= {f"{name}_exceed_{limit:g}": told.above(limit) for limit in exceed}
        table[f"{name}_distance"] = distance_km(made, date, sites)
        frame = pd.DataFrame(table, index=np.flatnonzero(known)).reindex(range(len(x)))
        if made.dated:
            frame.insert(0, "time", _times(made)[date])
        frames.append(frame)
    return pd.concat(frames)


def zones(
    maps: xr.Dataset,
    draws: Array,
    districts: Any,
    *,
    exceed: Sequence[float] = (),
    weights: Any = None,
    option: str = "--zones",
) -> gpd.GeoDataFrame:
    """Return mean, std, quantiles and chances of the mean of every polygon, from joint draws.

    Parameters
    ----------
    maps : xarray.Dataset
        Maps of this library.
    draws : array (K, T, rows, cols)
        Joint draws; NaN where nothing is mapped.
    districts : GeoDataFrame, str or Path
        Polygons. Cells count by the share of 16 points of theirs that lie inside.
    exceed : sequence of float
        Limits of the polygon's mean.
    weights : str or Path, optional
        Raster whose values, such as inhabitants, cells count by.
    option : str
        What the user calls the polygons.

    Raises
    ------
    NoObservations
        If no polygon meets the maps.
    """
    import geopandas

    from ..grid import NestedGrid, level_of

    grid = NestedGrid.of(maps)
    grid = NestedGrid(grid.box(level_of(maps)), 1)
    frame = polygons(districts, grid.crs, option=option)
    counted = np.isfinite(draws[0, 0])
    if weights is not None:
        counted = counted * np.nan_to_num(_weights(weights, grid)).reshape(grid.shape)
    shares = np.stack([shares_of(grid, shape) for shape in frame.geometry]) * counted
    total = shares.sum(axis=(1, 2))
    if not np.any(total > 0):
        raise NoObservations(
            f"No polygon of {option} meets a mapped cell; check the CRS of the polygons."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        part = shares.reshape(len(frame), -1) / total[:, None]
    name = str(maps.attrs["value"])
    flat = np.nan_to_num(draws).reshape(*draws.shape[:2], -1)
    means = np.einsum("zc,ktc->ktz", part, flat)  # (K, T, Z)
    stamps = maps["time"].values if "time" in maps.dims else [None]
    result = []
    for step, stamp in enumerate(stamps):
        drawn = means[:, step]
        table = frame.copy()
        if stamp is not None:
            table["time"] = stamp
        table[name], table[f"{name}_std"] = drawn.mean(axis=0), drawn.std(axis=0, ddof=1)
        for key, level in QUANTILES.items():
            table[f"{name}_{key}"] = np.quantile(drawn, level, axis=0)
        for limit in exceed:
            chance = np.where(total > 0, (drawn > limit).mean(axis=0), np.nan)
            table[f"{name}_exceed_{limit:g}"] = chance
        table["cells"] = (shares > 0).sum(axis=(1, 2))
        result.append(table)
    return geopandas.GeoDataFrame(pd.concat(result, ignore_index=True), crs=frame.crs)


def shares_of(grid: Any, shape: Any) -> Array:
    """Return the share (rows, cols) of every cell that lies in `shape`, from 16 points of it."""
    import shapely

    a, _, west, _, e, north = grid.coarse.affine[:6]
    rows, cols = grid.shape
    low_x, low_y, high_x, high_y = shape.bounds
    left, right = int(np.floor((low_x - west) / a)), int(np.ceil((high_x - west) / a))
    top, bottom = int(np.floor((high_y - north) / e)), int(np.ceil((low_y - north) / e))
    left, right = max(left, 0), min(right, cols)
    top, bottom = max(top, 0), min(bottom, rows)
    full = np.zeros((rows, cols))
    if left >= right or top >= bottom:
        return full
    steps = (np.arange(4) + 0.5) / 4
    x = west + a * (np.arange(left, right)[:, None] + steps).ravel()
    y = north + e * (np.arange(top, bottom)[:, None] + steps).ravel()
    shapely.prepare(shape)
    hit = shapely.contains_xy(shape, *np.meshgrid(x, y))
    hit = hit.reshape(bottom - top, 4, right - left, 4).mean(axis=(1, 3))
    full[top:bottom, left:right] = hit
    return full


def _weights(source: Any, grid: NestedGrid) -> Array:
    """Return the values (cells,) of a raster at cell centres, 0 where there is none."""
    layer = open_layer(Path(source), option="--weights", local=grid.crs is None)
    read = sampler(layer.values, layer.box, grid.crs, f"The raster {Path(source).name}")
    found = read(*centres(grid, grid.crs))
    if np.nanmin(found, initial=0) < 0:
        raise InvalidParameter(f"Weights of {source} are negative; they must be 0 or more.")
    return found

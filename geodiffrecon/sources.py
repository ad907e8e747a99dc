"""Stacks of maps in files (CF NetCDF, multi-band rasters), opened lazily and read by window."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import CFAxes, dataset_box, geobox, parse_crs, pick_variable
from .errors import InvalidTime, MissingColumn, UnreadableFile
from .grid import NETCDF_SUFFIXES
from .stamps import utc_stamps

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    Reader = Callable[[slice, slice], NDArray[Any]]

BLOCK_VALUES = 1 << 24
BAND_TIME = re.compile(
    r"\d{4}-?\d{2}-?\d{2}(?:[T ]\d{2}:?\d{2}(?::?\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
)
CUBE_TAGS = ("VALUE", "AGGREGATION", "FREQ", "CALENDAR_TZ", "LEVEL", "FACTOR")


@dataclass(frozen=True, eq=False)
class MapSource:
    """An opened stack of T maps: what it is, and functions that read a window of it.

    Parameters
    ----------
    name : str
        Name of the variable.
    box : odc.geo.geobox.GeoBox
        North-up grid of the file; its CRS is None where the file has none.
    times : datetime64[ns], (T,)
        UTC interval starts in file order.
    read : callable
        ``read(rows, cols)`` returns float32 (T, rows, cols), north-up, NaN where missing.
    read_n_obs : callable or None
        The same for the number of observations.
    value_attrs, attrs : dict
        Attributes of the variable and of the file.
    notes : tuple of str
        What had to be assumed.
    """

    name: str
    box: GeoBox
    times: NDArray[np.datetime64]
    read: Reader
    read_n_obs: Reader | None = None
    value_attrs: dict[str, Any] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_source(
    path: str | Path, *, variable: str | None, times: Any = None, calendar_tz: str | None = None
) -> MapSource:
    """Open a NetCDF or raster file of maps.

    Parameters
    ----------
    path : str or Path
        CF NetCDF, or any raster that GDAL reads with one band per time.
    variable : str, optional
        Variable to read; the only one by default. For a raster, the name to give it.
    times : sequence, optional
        Times of the maps where the file has none; UTC unless they carry a zone.
    calendar_tz : str, optional
        Zone of dates without a clock time in band descriptions.

    Raises
    ------
    UnreadableFile, MissingColumn, InvalidTime
        One sentence that says what to do.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of the file.")
    given = None if times is None else _given_times(times)
    if path.suffix.lower() in NETCDF_SUFFIXES:
        return _netcdf_source(path, variable, given)
    return _raster_source(path, variable, given, calendar_tz)


def _netcdf_source(path: Path, variable: str | None, given: Any) -> MapSource:
    with open_netcdf(path) as dataset:
        name = pick_variable(dataset, variable, path)
        axes = CFAxes.of(dataset, name)
        box, notes = dataset_box(dataset, name)
        times = cf_times(dataset, axes.time, path) if given is None else given
        _check_frames(len(times), dataset.sizes[axes.time] if axes.time else 1, path)
        counts = f"{name}_n_obs"
        attrs = {k: v for k, v in dataset[name].attrs.items() if k in ("units", "long_name")}
        return MapSource(
            name,
            box,
            times,
            read=lambda rows, cols: _read_netcdf(path, name, rows, cols, np.float32),
            read_n_obs=(lambda rows, cols: _read_netcdf(path, counts, rows, cols, np.int32))
            if counts in dataset.data_vars
            else None,
            value_attrs=attrs,
            attrs=dict(dataset.attrs),
            notes=tuple(notes),
        )


def open_netcdf(path: Path) -> xr.Dataset:
    """Open a NetCDF file lazily, or raise UnreadableFile or InvalidTime."""
    import xarray as xr

    try:
        return xr.open_dataset(path, decode_coords="all", decode_timedelta=False)
    except (OSError, RuntimeError) as error:
        raise damaged(path, error) from error
    except ValueError as error:
        if "decode" in str(error):
            raise InvalidTime(
                f"The time axis of {path.name} cannot be decoded; give it CF units such as "
                "'hours since 2024-01-01'."
            ) from error
        raise damaged(path, error) from error


def _read_netcdf(path: Path, name: str, rows: slice, cols: slice, kind: Any) -> NDArray[Any]:
    """Read a window north-up, block by block, because packed data decode to float64."""
    with open_netcdf(path) as dataset:
        axes, array = CFAxes.of(dataset, name), dataset[name]
        time = axes.time or "time"
        array = array if axes.time else array.expand_dims(time)
        extra = [str(dim) for dim in array.dims if dim not in (time, axes.y, axes.x)]
        for dim in extra:
            if array.sizes[dim] != 1:
                raise UnreadableFile(
                    f"Variable {name!r} has a dimension {dim!r} of size {array.sizes[dim]}; "
                    "select one of it first."
                )
        array = array.squeeze(extra, drop=True).transpose(time, axes.y, axes.x)
        window = {axes.y: _oriented(dataset[axes.y].values, rows, rising=False)}
        window[axes.x] = _oriented(dataset[axes.x].values, cols, rising=True)
        array = array.isel(window)
        result = np.empty(array.shape, dtype=kind)
        block = max(1, BLOCK_VALUES // max(1, array[0].size))
        try:
            for low in range(0, len(result), block):
                result[low : low + block] = array[low : low + block].values
        except (OSError, RuntimeError) as error:
            raise damaged(path, error) from error
    return result


def _oriented(coordinates: NDArray[Any], window: slice, *, rising: bool) -> NDArray[np.int64]:
    """Return file indices of `window` counted from the north (rows) or the west (columns)."""
    index = np.arange(len(coordinates))
    file_rises = bool(coordinates[-1] > coordinates[0])
    return (index if file_rises == rising else index[::-1])[window]


def cf_times(dataset: xr.Dataset, dim: str | None, path: Path) -> NDArray[np.datetime64]:
    """Return UTC interval starts: the lower bounds where the file has time bounds."""
    if dim is None or dim not in dataset.coords:
        raise InvalidTime(
            f"{path.name} has no time coordinate; add one in CF form, or pass times=…."
        )
    time = dataset[dim]
    if not np.issubdtype(time.dtype, np.datetime64):
        calendar = time.encoding.get("calendar") or time.attrs.get("calendar") or "unknown"
        raise InvalidTime(
            f"The time axis {dim!r} of {path.name} is no date (type {time.dtype}, calendar "
            f"{calendar}); give it CF units such as 'hours since 2024-01-01'."
        )
    bounds = time.attrs.get("bounds") or time.encoding.get("bounds")
    if bounds in dataset.variables:
        time = dataset[bounds][:, 0]
    return time.values.astype("datetime64[ns]")


def _raster_source(
    path: Path, variable: str | None, given: Any, calendar_tz: str | None
) -> MapSource:
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with rasterio.open(path) as source:
            tags = {key.upper(): value for key, value in source.tags().items()}
            attrs = {key.lower(): tags[key] for key in CUBE_TAGS if key in tags}
            names = [text or "" for text in source.descriptions]
            stamps = [source.tags(i).get("TIME") for i in source.indexes]
            box = _north_up(source)
            units, count = source.units[0], source.count
    except RasterioIOError as error:
        raise UnreadableFile(f"{path} cannot be read as a raster ({error}).") from error
    zone = calendar_tz or attrs.get("calendar_tz")
    times, notes = (given, []) if given is not None else _band_times(stamps, names, path, zone)
    _check_frames(len(times), count, path)
    found = attrs.get("value") or re.sub(r"\W+", "_", names[0].split(" ")[0])
    name = variable or (found if found.isidentifier() else "value")
    return MapSource(
        name,
        box,
        times,
        read=lambda rows, cols: _read_raster(path, rows, cols),
        value_attrs={"units": units} if units else {},
        attrs=attrs,
        notes=tuple(notes),
    )


def _north_up(source: Any) -> GeoBox:
    a, b, c, d, e, f = tuple(source.transform)[:6]
    if b or d or a <= 0:
        raise UnreadableFile(
            f"{source.name} is rotated or mirrored (transform {(a, b, d, e)}); warp it to a "
            "north-up grid first."
        )
    crs = None if source.crs is None else parse_crs(source.crs)
    return geobox(source.shape, (a, b, c, d, -abs(e), f if e < 0 else f + e * source.height), crs)


def _read_raster(path: Path, rows: slice, cols: slice) -> NDArray[Any]:
    """Read all bands of a window as float32 in true units; nodata and masked cells are NaN."""
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with rasterio.open(path) as source:
            flipped = source.transform.e > 0
            low, high = rows.start, rows.stop
            if flipped:
                low, high = source.height - high, source.height - low
            window = ((low, high), (cols.start, cols.stop))
            result = np.empty((source.count, high - low, cols.stop - cols.start), np.float32)
            for i in source.indexes:
                band = source.read(i, window=window, masked=True).astype(np.float64)
                band = band * source.scales[i - 1] + source.offsets[i - 1]
                result[i - 1] = band.filled(np.nan)
    except RasterioIOError as error:
        raise damaged(path, error) from error
    return result[:, ::-1] if flipped else result


def _band_times(
    stamps: list[str | None], names: list[str], path: Path, zone: str | None
) -> tuple[NDArray[np.datetime64], list[str]]:
    """Return times from TIME tags, else from ISO 8601 in the band descriptions."""
    texts = []
    for band, (stamp, name) in enumerate(zip(stamps, names, strict=True), start=1):
        found = BAND_TIME.search(stamp or name)
        if found is None:
            raise InvalidTime(
                f"Band {band} of {path.name} has no time in its TIME tag or description "
                f"({name!r}); set descriptions such as 'pm25 2024-01-31T06:00Z', or pass times=…."
            )
        texts.append(found.group())
    dates_only = all(len(text) <= 10 for text in texts)
    naive = not dates_only and not any(re.search(r"(Z|[T ].*[+-]\d{2}:?\d{2})$", t) for t in texts)
    times, notes = utc_stamps(texts, tz=(zone or "UTC") if dates_only else "UTC", what=path.name)
    if naive:
        notes.append(f"Band times of {path.name} have no zone and are taken as UTC.")
    return times, notes


def _given_times(times: Any) -> NDArray[np.datetime64]:
    import pandas as pd

    index = pd.DatetimeIndex(times)
    index = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    return index.to_numpy().astype("datetime64[ns]")


def _check_frames(times: int, frames: int, path: Path) -> None:
    if times != frames:
        raise InvalidTime(f"{path.name} has {frames} maps but {times} times were given.")
    if times == 0:
        raise MissingColumn(f"{path.name} holds no map: its time axis is empty.")


def damaged(path: Path, error: BaseException) -> UnreadableFile:
    """Return the error of a file that broke while it was read."""
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else repr(error)
    return UnreadableFile(
        f"{path} cannot be read ({reason}); it may be truncated or of another format."
    )

"""Maps as GeoTIFF stacks that QGIS shows at once: one file per statistic, one band per time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from .calendar import iso
from .cf import EXCEED, ascii_units, units_of
from .cube import IRREGULAR, as_cube
from .errors import InvalidParameter
from .grid import NestedGrid, level_of
from .outputs import file_name, provenance, whole_files
from .progress import silent
from .steps import TimeStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from .progress import Progress

NODATA = -9999.0
MAX_BANDS, MOST_BANDS = 366, 65535  # by default; what the format can hold
TILE = 512
STATISTICS = ("std", "q05", "q25", "q50", "q75", "q95", "n_obs", "distance", "information")
FLAGS = {"information"}  # 0 or 1 as bytes, known everywhere
CUBE_ATTRS = ("value", "aggregation", "freq", "calendar_tz", "level", "factor")


@dataclass(frozen=True, eq=False)
class _Stack:
    """What all files of one dataset share; `stem` begins their names."""

    name: str
    stem: str
    box: GeoBox
    times: NDArray[np.datetime64]
    labels: list[str]
    units: str
    tags: dict[str, str]

    @property
    def dated(self) -> bool:
        """Whether the maps have dates."""
        return not np.isnat(self.times).any()


@dataclass(frozen=True)
class _Planned:
    """One file: its name, what it holds, and which times."""

    name: str
    statistic: str
    variable: str
    part: slice


def write_geotiff(
    maps: xr.Dataset | Sequence[xr.Dataset],
    out_dir: str | Path,
    *,
    split_time: bool = False,
    max_bands: int = MAX_BANDS,
    progress: Progress = silent,
) -> list[Path]:
    """Write one GeoTIFF per statistic, valid as Cloud Optimized GeoTIFF.

    Files are named ``pm25_mean.tif``, ``pm25_std.tif``, …; bands are described as
    ``pm25 mean 2024-01-01T06:00Z`` (a day or longer: ``pm25 mean 2024-01-01``, the agency's
    day) and tagged with ``TIME``. Values are float32 with nodata -9999; ``information`` is a byte,
    0 or 1, and known everywhere. More times than `max_bands` make several files, named by their
    first and last time. Draws are left to NetCDF.

    Parameters
    ----------
    maps : xarray.Dataset or sequence of them
        Maps or any cube of this library. Several are the levels of one grid, which their files
        name: ``pm25_coarse_mean.tif``, ``pm25_fine_mean.tif``, ….
    out_dir : str or Path
        Folder of the files; all appear at once, or none.
    split_time : bool
        One file per time, ``pm25_mean_20240101T0600Z.tif``, whatever `max_bands` is.
    max_bands : int
        Most bands of a file, 1 to 65535. Programs read files of up to a year of days at once.
    progress : callable
        Told of every file.

    Returns
    -------
    list of Path
        The files, statistic by statistic in time order.

    Raises
    ------
    GridMismatch
        If the dataset is no cube of this library.
    InvalidParameter
        If the folder cannot be written to, or no file can have `max_bands`.
    """
    several = isinstance(maps, (list, tuple))
    given = cast("Sequence[xr.Dataset]", maps if several else [maps])
    cubes = [as_cube(cube) for cube in given]
    planned = [
        (cube, stack, file)
        for cube, stack in [(cube, _stack(cube, by_level=several)) for cube in cubes]
        for file in _plan(cube, stack, split_time=split_time, max_bands=max_bands)
    ]
    with whole_files(out_dir) as draft:
        for done, (cube, stack, file) in enumerate(planned):
            progress(done, len(planned), "writing GeoTIFF")
            layer = cube[file.variable]
            values = layer.isel(time=file.part).values if stack.dated else layer.values[None]
            _write(values, stack, file.part, file.statistic, draft, file.name)
    progress(len(planned), len(planned), "writing GeoTIFF")
    return [Path(out_dir) / file.name for _, _, file in planned]


def geotiff_names(
    maps: xr.Dataset, *, split_time: bool = False, max_bands: int = MAX_BANDS
) -> dict[str, list[str]]:
    """Return the names of the files that `write_geotiff` writes, by statistic in time order.

    Parameters
    ----------
    maps, split_time, max_bands
        As in `write_geotiff`.

    Returns
    -------
    dict of str to list of str
        Such as ``{"mean": ["pm25_mean.tif"], "std": ["pm25_std.tif"]}``.

    Raises
    ------
    GridMismatch, InvalidParameter
        As `write_geotiff`.
    """
    maps = as_cube(maps)
    names: dict[str, list[str]] = {}
    for file in _plan(maps, _stack(maps), split_time=split_time, max_bands=max_bands):
        names.setdefault(file.statistic, []).append(file.name)
    return names


def check_bands(max_bands: int, *, called: str = "max_bands") -> None:
    """Raise InvalidParameter if a GeoTIFF cannot have as many bands; `called` names the limit."""
    if not 1 <= max_bands <= MOST_BANDS:
        raise InvalidParameter(
            f"{called} is {max_bands}, but a GeoTIFF has 1 to {MOST_BANDS} bands; give a "
            f"number of these, such as {MAX_BANDS}."
        )


def _plan(maps: xr.Dataset, stack: _Stack, *, split_time: bool, max_bands: int) -> list[_Planned]:
    """Return the files of `maps`, statistic by statistic in time order."""
    check_bands(max_bands)
    main = "mean" if maps.attrs["aggregation"] == "mean" or _is_map(maps) else "sum"
    variables = {main: stack.name}
    variables |= {s: f"{stack.name}_{s}" for s in _statistics(maps, stack.name)}
    parts = _parts(len(stack.times), 1 if split_time else max_bands)
    ends = [_suffix(stack, part, len(parts), split_time) for part in parts]
    return [
        _Planned(f"{stack.stem}_{statistic}{end}.tif", statistic, variable, part)
        for statistic, variable in variables.items()
        for part, end in zip(parts, ends, strict=True)
    ]


def _stack(maps: xr.Dataset, *, by_level: bool = False) -> _Stack:
    grid = NestedGrid.of(maps)
    name, attrs = str(maps.attrs["value"]), maps.attrs
    times, labels = _dates(maps)
    tags = {key.upper(): str(attrs[key]) for key in CUBE_ATTRS if key in attrs}
    tags |= {key.upper(): value for key, value in provenance(maps).items()}
    tags["TIFFTAG_SOFTWARE"] = tags.pop("SOFTWARE")
    return _Stack(
        name,
        f"{file_name(name)}_{level_of(maps)}" if by_level else file_name(name),
        grid.box(level_of(maps)),
        times,
        labels,
        ascii_units(str(maps[name].attrs.get("units", ""))),
        tags | {"AREA_OR_POINT": "Area"},
    )


def _dates(maps: xr.Dataset) -> tuple[NDArray[np.datetime64], list[str]]:
    """Return times and how bands are labelled; a map without a date has neither."""
    if "time" not in maps.dims:
        return np.array(["NaT"], "datetime64[ns]"), [""]
    times = maps["time"].values.astype("datetime64[ns]")
    freq, tz = str(maps.attrs["freq"]), str(maps.attrs["calendar_tz"])
    if freq == IRREGULAR:
        return times, _texts(pd.DatetimeIndex(times))
    return times, _labels(times, TimeStep.through(times, freq, tz=tz))


def _statistics(maps: xr.Dataset, name: str) -> list[str]:
    """Return the statistics that there are, probabilities of exceedance last."""
    found = [str(other).removeprefix(f"{name}_") for other in maps.data_vars]
    return [s for s in STATISTICS if s in found] + [s for s in found if s.startswith(EXCEED)]


def _is_map(maps: xr.Dataset) -> bool:
    return f"{maps.attrs['value']}_std" in maps


def _labels(times: NDArray[np.datetime64], step: TimeStep) -> list[str]:
    """Return the local date of days and longer steps, else the UTC time in ISO 8601."""
    index = pd.DatetimeIndex(times)
    if step.unit != "fixed":
        local = index.tz_localize("UTC").tz_convert(step.tz)
        if (local == local.normalize()).all():
            return [str(stamp.date()) for stamp in local]
    return _texts(index)


def _texts(index: pd.DatetimeIndex) -> list[str]:
    form = "%Y-%m-%dT%H:%MZ" if (index.second == 0).all() else "%Y-%m-%dT%H:%M:%SZ"
    return list(index.strftime(form))


def _parts(steps: int, most: int) -> list[slice]:
    return [slice(low, min(low + most, steps)) for low in range(0, steps, most)]


def _suffix(stack: _Stack, part: slice, n_parts: int, split_time: bool) -> str:
    if n_parts == 1 and not split_time:
        return ""
    ends = dict.fromkeys((stack.labels[part.start], stack.labels[part.stop - 1]))
    return "".join("_" + label.replace("-", "").replace(":", "") for label in ends)


def _write(
    values: NDArray[Any], stack: _Stack, part: slice, statistic: str, draft: Path, name: str
) -> None:
    """Write bands to a plain TIFF with overviews, then copy it into the final layout."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.shutil import copy

    bands, rows, cols = values.shape
    flag = statistic in FLAGS
    plain = draft / f".{name}"
    profile = {
        "driver": "GTiff",
        "dtype": "uint8" if flag else "float32",
        "count": bands,
        "height": rows,
        "width": cols,
        "nodata": None if flag else NODATA,
        "transform": stack.box.affine,
        "crs": None if stack.box.crs is None else stack.box.crs.to_wkt(),
        "interleave": "band",
        "bigtiff": "if_safer",
        **_tiles(rows, cols, "blockxsize", "blockysize"),
        "tiled": True,
    }
    with rasterio.open(plain, "w", **profile) as target:
        target.update_tags(**stack.tags, STATISTIC=statistic)
        for i in range(bands):
            _write_band(target, i + 1, values[i], stack, part.start + i, statistic)
        resampling = Resampling.nearest if flag else Resampling.average
        target.build_overviews(_overviews(rows, cols), resampling)
    if bands == 1:
        options = _cog_options(rows, cols) | ({"OVERVIEW_RESAMPLING": "NEAREST"} if flag else {})
        copy(plain, draft / name, driver="COG", **options)
    else:
        options = _stack_options(rows, cols) | ({"PREDICTOR": 2} if flag else {})
        copy(plain, draft / name, driver="GTiff", **options)
    plain.unlink()


def _write_band(
    target: Any, band: int, values: NDArray[Any], stack: _Stack, step: int, statistic: str
) -> None:
    known = values if statistic in FLAGS else np.where(np.isfinite(values), values, NODATA)
    target.write(known.astype(target.dtypes[band - 1]), band)
    target.set_band_description(band, f"{stack.name} {statistic} {stack.labels[step]}".rstrip())
    target.set_band_unit(band, units_of(statistic, stack.units))
    if not stack.dated:
        return
    # Every further item would be parsed 366 times before the first band shows.
    target.update_tags(band, TIME=iso(stack.times[step]))


def _tiles(rows: int, cols: int, x_key: str, y_key: str) -> dict[str, int]:
    """Return tile sizes: 512, or for small maps the next multiple of 16."""
    side_x, side_y = (min(TILE, -(-size // 16) * 16) for size in (cols, rows))
    return {x_key: side_x, y_key: side_y}


def _overviews(rows: int, cols: int) -> list[int]:
    """Return the overview factors down to one tile."""
    factors: list[int] = []
    size = max(rows, cols)
    while size > TILE:
        factors.append(2 ** (len(factors) + 1))
        size = -(-size // 2)
    return factors


def _cog_options(rows: int, cols: int) -> dict[str, Any]:
    return {
        "COMPRESS": "DEFLATE",
        "PREDICTOR": "YES",
        "BLOCKSIZE": max(_tiles(rows, cols, "x", "y").values()),
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "BIGTIFF": "IF_SAFER",
    }


def _stack_options(rows: int, cols: int) -> dict[str, Any]:
    # GDAL's COG driver writes bands pixel-interleaved: one of 366 would take 0.8 s to show.
    return {
        "COPY_SRC_OVERVIEWS": "YES",
        "TILED": "YES",
        "INTERLEAVE": "BAND",
        "COMPRESS": "DEFLATE",
        "PREDICTOR": 3,
        "BIGTIFF": "IF_SAFER",
        **_tiles(rows, cols, "BLOCKXSIZE", "BLOCKYSIZE"),
    }

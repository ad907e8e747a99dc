"""Stacks of maps in files (CF NetCDF, multi-band rasters), opened lazily and read by window."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidTime, MissingColumn, MissingCRS
from ..local import local_file
from ..words import agreed
from .kinds import is_netcdf
from .layouts import classes_of
from .netcdf import open_raw, packing, pick_variable, stored
from .rasters import Bands, chosen_bands, open_raster, place_of, subdataset, thematic
from .times import REMEDY, band_times, cf_times, given_times, parse_times, scalar_time, times_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    Reader = Callable[[slice, slice], NDArray[Any]]

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
    times : datetime64[ns], (T,), or None
        UTC stamps in file order; None where the file has no time.
    count : int
        How many maps there are, T.
    read : callable
        ``read(rows, cols)`` returns float32 (T, rows, cols), north-up, NaN where missing.
    starts : bool
        Whether the file says that the stamps are starts of their intervals.
    read_n_obs : callable or None
        The same as `read` for the number of observations.
    value_attrs, attrs : dict
        Attributes of the variable and of the file.
    notes : tuple of str
        What had to be assumed.
    packing : (scale, offset)
        Of the stored numbers.
    classes : dict of float to str, or None
        Names of classes by their numbers, where values are categories.
    """

    name: str
    box: GeoBox
    times: NDArray[np.datetime64] | None
    count: int
    read: Reader
    starts: bool = False
    read_n_obs: Reader | None = None
    value_attrs: dict[str, Any] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    packing: tuple[float, float] = (1.0, 0.0)
    classes: dict[float, str] | None = None


def open_source(
    path: str | Path,
    *,
    variable: str | None = None,
    crs: Any = None,
    select: Mapping[str, Any] | None = None,
    times: Any = None,
    time_from: str | None = None,
    calendar_tz: str | None = None,
    categories: bool = False,
) -> MapSource:
    """Open a NetCDF or raster file of maps.

    Parameters
    ----------
    path : str or Path
        CF NetCDF, HDF5, or any raster that GDAL reads with one band per time.
    variable : str, optional
        Variable to read; the only one by default. For a raster, the name to give it.
    crs : optional
        CRS that takes the place of the file's own; "none" means local metres.
    select : mapping, optional
        Which value of every further dimension, such as ``{"level": 1000}``; of a raster which
        ``band``.
    times : sequence, optional
        Times of the maps where the file has none; UTC unless they carry a zone.
    time_from : str, optional
        Pattern of the time in the names of bands or of the file, such as ``lst_%Y%m%d``.
    calendar_tz : str, optional
        Zone of dates without a clock time in band descriptions.
    categories : bool
        Whether values may be the numbers of classes.

    Raises
    ------
    UnreadableFile, MissingColumn, MissingCRS, GridMismatch, InvalidTime, InvalidParameter
        One sentence that says what to do.
    """
    path = local_file(path)
    times = parse_times(times) if isinstance(times, str) else times
    given = None if times is None else given_times(times)
    opened = _netcdf_source if is_netcdf(path) else _raster_source
    source = opened(path, variable, crs, dict(select or {}), given, time_from, calendar_tz,
                    categories)  # fmt: skip
    if source.count == 0:
        raise MissingColumn(f"{path.name} holds no map: its time axis is empty.")
    if source.times is not None and len(source.times) != source.count:
        held = agreed(source.count, f"{source.count} maps")
        given_ones = agreed(len(source.times), f"{len(source.times)} times")
        raise InvalidTime(f"{path.name} has {held} but was given {given_ones}.")
    if source.box.crs is None and crs is None:
        return replace(source, notes=tuple(note for note in source.notes))
    return source


def needs_times(source: MapSource, path: Path) -> NDArray[np.datetime64]:
    """Return the times of the maps, or raise InvalidTime where the file has none."""
    if source.times is not None:
        return source.times
    bands = (
        f" its {source.count} bands have no time in their TIME tags or descriptions"
        if source.count > 1
        else " nothing in it says when its map is"
    )
    choose = ", or choose one of the bands with --select band=1" if source.count > 1 else ""
    raise InvalidTime(f"{path.name} has no time:{bands}; {REMEDY}{choose}.")


def needs_crs(source: MapSource, crs: Any) -> None:
    """Raise MissingCRS where neither the file nor the caller gives a CRS."""
    if source.box.crs is None and crs is None:
        raise MissingCRS(
            f"The file of {source.name!r} has no CRS; give it with --crs, for example "
            "--crs EPSG:4326, or --crs none for local metres."
        )


def _netcdf_source(
    path: Path, variable: str | None, crs: Any, select: dict[str, Any], given: Any,
    time_from: str | None, calendar_tz: str | None, categories: bool,
) -> MapSource:  # fmt: skip
    with open_raw(path, variable) as dataset:
        leaf = pick_variable(dataset, variable, path)
        group = (variable or "").rpartition("/")[0]
        name = f"{group}/{leaf}" if group else leaf
        maps, box, notes = stored(dataset, path, name, crs, select, classes=categories)
        count = dataset.sizes[maps.axes.time] if maps.axes.time else 1
        times, starts = given, False
        if given is None and time_from is not None:
            times = times_from([path.name], time_from)
        elif given is None and (maps.axes.time or scalar_time(dataset)):
            times, starts, told = cf_times(dataset, maps.axes.time, path)
            notes = [*notes, *told]
        counts = replace(maps, name=f"{name}_n_obs")
        attrs = {k: v for k, v in dataset[leaf].attrs.items() if k in ("units", "long_name")}
        return MapSource(
            leaf,
            box,
            times,
            count,
            maps.read,
            starts=starts,
            read_n_obs=(lambda rows, cols: counts.read(rows, cols, kind=np.int32))
            if f"{leaf}_n_obs" in dataset.data_vars
            else None,
            value_attrs=attrs,
            attrs=dict(dataset.attrs),
            notes=tuple(notes),
            packing=packing(dataset[leaf].attrs),
            classes=classes_of(dataset[leaf].attrs) if categories else None,
        )


def _raster_source(
    path: Path, variable: str | None, crs: Any, select: dict[str, Any], given: Any,
    time_from: str | None, calendar_tz: str | None, categories: bool,
) -> MapSource:  # fmt: skip
    opened = subdataset(path, variable)
    with open_raster(opened) as source:
        bands = chosen_bands(source, path, select, variable, classes=categories)
        first = bands[0] - 1
        packed = (float(source.scales[first]), float(source.offsets[first]))
        classes: dict[float, str] | None = {} if thematic(source, bands[0]) else None
        box, cols, notes = place_of(source, crs, path)
        general = dict(source.tags())
        attrs = {k.lower(): v for k, v in general.items() if k.upper() in CUBE_TAGS}
        names = [source.descriptions[band - 1] or "" for band in bands]
        tags = [dict(source.tags(band)) for band in bands]
        units, flipped = source.units[bands[0] - 1], bool(source.transform.e > 0)
        flipped = flipped and not (box.crs is None and source.transform.e == 1 == box.affine.a)
    times = given
    if given is None and time_from is not None:
        times = times_from(names if len(bands) > 1 else [f"{names[0]} {path.name}"], time_from)
    elif given is None:
        zone = calendar_tz or attrs.get("calendar_tz")
        times, told = band_times(tags, names, general, path, zone)
        notes += told
    found = attrs.get("value") or re.sub(r"\W+", "_", names[0].split(" ")[0])
    name = variable or (found if attrs.get("value") or found.isidentifier() else "value")
    return MapSource(
        name,
        box,
        times,
        len(bands),
        Bands(opened, bands, cols, flipped).read,
        value_attrs={"units": units} if units else {},
        attrs=attrs,
        notes=tuple(notes),
        packing=packed,
        classes=classes,
    )

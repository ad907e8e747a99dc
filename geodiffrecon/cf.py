"""Cubes and maps as CF-1.11 NetCDF, and back; the same maps make the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cube import IRREGULAR, as_cube
from .errors import UnreadableFile
from .files.netcdf import damaged, open_netcdf
from .grid import NestedGrid, level_of
from .outputs import file_name, provenance, whole_files

if TYPE_CHECKING:
    import xarray as xr

CONVENTIONS = "CF-1.11"
REFERENCES = "https://arxiv.org/abs/2410.05323"
FILL = np.float32(9.96921e36)
CHUNK_VALUES = 1 << 18
STANDARD_NAMES = {
    "pm25": "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air",
    "pm2_5": "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air",
    "pm10": "mass_concentration_of_pm10_ambient_aerosol_particles_in_air",
    "no2": "mass_concentration_of_nitrogen_dioxide_in_air",
    "so2": "mass_concentration_of_sulfur_dioxide_in_air",
    "o3": "mass_concentration_of_ozone_in_air",
    "co": "mass_concentration_of_carbon_monoxide_in_air",
}
MASS_UNITS = {"ug m-3", "mg m-3", "kg m-3"}
ASCII_UNITS = {
    "µg/m³": "ug m-3",
    "μg/m³": "ug m-3",
    "µg/m3": "ug m-3",
    "μg/m3": "ug m-3",
    "ug/m3": "ug m-3",
    "ug/m^3": "ug m-3",
    "µg m-3": "ug m-3",
    "mg/m3": "mg m-3",
}
STATISTICS = {
    "std": "standard deviation of the predictive distribution of {v}",
    "q05": "5 % quantile of the predictive distribution of {v}",
    "q25": "25 % quantile of the predictive distribution of {v}",
    "q50": "median of the predictive distribution of {v}",
    "q75": "75 % quantile of the predictive distribution of {v}",
    "q95": "95 % quantile of the predictive distribution of {v}",
    "n_obs": "number of observations of {v}",
    "distance": "distance to the nearest station that reported {v}",
    "information": "whether a station that reported {v} is near enough to be informative",
    "draws": "draws from the predictive distribution of {v}",
}
EXCEED = "exceed_"  # before a threshold
OWN_UNITS = {"n_obs": "1", "distance": "km", "information": "1"}
OF_VALUES = (None, "q05", "q25", "q50", "q75", "q95", "draws")  # methods of the value itself
MODIFIERS = {
    "std": "standard_error", "n_obs": "number_of_observations", "information": "status_flag",
}  # fmt: skip
FLAG_VALUES = np.array([0, 1], dtype=np.int8)
FLAG_MEANINGS = "no_information information"


def write_netcdf(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a cube or maps as CF-1.11 NetCDF that QGIS, GDAL and xarray place correctly.

    Parameters
    ----------
    dataset : xarray.Dataset
        A cube, or the maps of `DiffRecon.reconstruct`.
    path : str or Path
        The file; an existing one is replaced at once, when the new one is complete.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    GridMismatch
        If the dataset is no cube of this library.
    InvalidParameter
        If the folder cannot be written to.
    """
    path = Path(path)
    described = _described(_named(as_cube(dataset)))
    with whole_files(path.parent) as draft:
        unlimited = ["time"] if "time" in described.dims else []
        described.to_netcdf(draft / path.name, engine="netcdf4", unlimited_dims=unlimited)
    return path


def read_netcdf(path: str | Path) -> xr.Dataset:
    """Read a cube or maps written by `write_netcdf` into memory.

    Raises
    ------
    UnreadableFile
        If the file is missing, truncated or not of this library.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(f"{path} does not exist; check the path of the file.")
    try:
        with open_netcdf(path) as opened:
            dataset = opened.load()
    except (OSError, RuntimeError) as error:
        raise damaged(path, error) from error
    if "value" not in dataset.attrs or "level" not in dataset.attrs:
        raise UnreadableFile(f"{path.name} was not written by geodiffrecon; use open_history.")
    dataset.attrs = {key: _plain(value) for key, value in dataset.attrs.items()}
    if isinstance(dataset.attrs.get("notes"), str):
        dataset.attrs["notes"] = dataset.attrs["notes"].split("\n")
    if "time" in dataset.dims:
        for name in ("time", "time_bnds"):
            dataset[name] = dataset[name].astype("datetime64[ns]")
        dataset["time"].attrs["bounds"] = "time_bnds"
    return dataset


def ascii_units(units: str) -> str:
    """Return units as UDUNITS text, ``ug m-3`` for any way to write micrograms per cubic metre.

    Examples
    --------
    >>> ascii_units("µg/m³"), ascii_units("K")
    ('ug m-3', 'K')
    """
    return ASCII_UNITS.get(units.strip(), units.strip())


def units_of(statistic: str | None, units: str) -> str:
    """Return the units of a statistic of values in `units`; None stands for the values.

    Examples
    --------
    >>> units_of("q95", "ug m-3"), units_of("distance", "ug m-3"), units_of("exceed_35", "ug m-3")
    ('ug m-3', 'km', '1')
    """
    if statistic is not None and statistic.startswith(EXCEED):
        return "1"
    return OWN_UNITS.get(statistic or "", units)


def _named(dataset: xr.Dataset) -> xr.Dataset:
    """Return a copy whose variables have names that files can hold; the own name is told."""
    own = str(dataset.attrs["value"])
    safe = file_name(own)
    if safe == own:
        return dataset
    held = [str(v) for v in dataset.data_vars if v == own or str(v).startswith(f"{own}_")]
    named = dataset.rename({variable: safe + variable.removeprefix(own) for variable in held})
    named[safe].attrs = {"long_name": own, **named[safe].attrs}
    return named.assign_attrs(value=safe)


def _described(dataset: xr.Dataset) -> xr.Dataset:
    """Return a copy with every attribute and encoding that CF and GDAL need."""
    grid = NestedGrid.of(dataset)
    result = dataset.copy(deep=False).assign_coords(grid.coords(level_of(dataset)))
    name = str(dataset.attrs["value"])
    for variable in result.data_vars:
        result[variable].attrs = _variable_attrs(dataset, name, str(variable))
        result[variable].encoding = _encoding(result[variable], mapped=grid.crs is not None)
    for axis in grid.dims:
        result[axis].encoding = {"_FillValue": None}
    if "time" in result.dims:
        _encode_time(result)
    if "realization" in result.dims:
        numbers = np.arange(result.sizes["realization"], dtype=np.int32)
        result = result.assign_coords(
            realization=("realization", numbers, {"standard_name": "realization", "units": "1"})
        )
    result.attrs = _global_attrs(dataset, name)
    return result


def _encode_time(result: xr.Dataset) -> None:
    """Set the encoding of times and their bounds."""
    whole = not np.any(result["time_bnds"].values.astype("datetime64[ns]").astype(np.int64) % 10**9)
    unit = "seconds" if whole else "microseconds"
    for variable in ("time", "time_bnds"):
        result[variable].encoding = {
            "units": f"{unit} since 1970-01-01 00:00:00",
            "dtype": "int64",
            "calendar": "standard",
            "_FillValue": None,
        }


def _variable_attrs(dataset: xr.Dataset, name: str, variable: str) -> dict[str, Any]:
    """Return the CF attributes of the main variable `name` or of one of its statistics."""
    main = dataset[name].attrs
    units = ascii_units(str(main.get("units", "")))
    statistic = variable.removeprefix(f"{name}_") if variable != name else None
    attrs = dict(dataset[variable].attrs) | ({"units": units} if units else {})
    long_name = _long_name(statistic, name, units, attrs)
    if long_name is None:
        attrs.setdefault("long_name", name.replace("_", " "))
    else:
        attrs["long_name"] = long_name
    if own := units_of(statistic, units):
        attrs["units"] = own
    standard = main.get("standard_name")
    if standard is None and units in MASS_UNITS:
        standard = STANDARD_NAMES.get(name.lower())
    if standard is not None and not _about_no_value(statistic):
        attrs["standard_name"] = f"{standard} {MODIFIERS.get(statistic or '', '')}".strip()
    if statistic in OF_VALUES:
        how = dataset.attrs["aggregation"]
        dated = "time" in dataset.dims and dataset.attrs.get("freq") != IRREGULAR
        attrs["cell_methods"] = f"time: {how} area: {how}" if dated else "area: point"
    elif statistic == "distance":
        attrs["cell_methods"] = "area: point"  # to the centre of the cell
    elif statistic == "information":
        attrs |= {"flag_values": FLAG_VALUES, "flag_meanings": FLAG_MEANINGS}
    others = [str(other) for other in dataset.data_vars if other not in (name, f"{name}_draws")]
    if statistic is None and others:
        attrs["ancillary_variables"] = " ".join(others)
    return attrs


def _long_name(statistic: str | None, name: str, units: str, attrs: dict[str, Any]) -> str | None:
    """Return what a statistic of `name` is, or None for the values themselves."""
    if statistic is not None and statistic.startswith(EXCEED):
        threshold = float(attrs.get("threshold", statistic.removeprefix(EXCEED)))
        return f"probability of {name} above {threshold:g} {units}".strip()
    text = STATISTICS.get(statistic or "")
    return None if text is None else text.format(v=name)


def _about_no_value(statistic: str | None) -> bool:
    """Tell whether a statistic has a quantity of its own, for which there is no standard name."""
    return statistic == "distance" or (statistic or "").startswith(EXCEED)


def _encoding(array: xr.DataArray, *, mapped: bool) -> dict[str, Any]:
    """Return compression, fill value and chunks: whole maps, about a megabyte together."""
    if array.ndim < 2:
        return {}
    cells = array.sizes[array.dims[-1]] * array.sizes[array.dims[-2]]
    steps = int(np.clip(CHUNK_VALUES // cells, 1, max(array.sizes.get("time", 1), 1)))
    chunks = tuple(
        steps if dim == "time" else 1 if dim == "realization" else size
        for dim, size in array.sizes.items()
    )
    encoding: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": chunks}
    if np.issubdtype(array.dtype, np.floating):
        encoding |= {"dtype": "float32", "_FillValue": FILL}
    # Without the mapping in .encoding the file has no CRS for GDAL and QGIS.
    return encoding | ({"grid_mapping": "spatial_ref"} if mapped else {})


def _global_attrs(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    origin = provenance(dataset)
    made = "reconstructed" if f"{name}_std" in dataset else "made"
    stored = {key: _storable(value) for key, value in dataset.attrs.items() if value is not None}
    return {
        "Conventions": CONVENTIONS,
        "title": f"{name} on the {dataset.attrs['level']} grid",
        **stored,
        "source": origin.pop("software"),
        "history": " ".join([f"{made} by geodiffrecon", *(f"{k}={v}" for k, v in origin.items())]),
        "references": REFERENCES,
    }


def _storable(value: Any) -> Any:
    """Return an attribute in a form that NetCDF keeps as it is."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, str | int | float | np.generic):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

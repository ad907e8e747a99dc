"""What is in a file of maps, for people who look before they work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .netcdf import NETCDF_SUFFIXES, map_variables, open_raw
from .rasters import open_raster

if TYPE_CHECKING:
    from pathlib import Path

MOST_CELLS = 1 << 22  # of the first band, read for the share that is missing


def describe(path: Path, variable: str | None) -> tuple[dict[str, Any], str | None]:
    """Return what a file says of itself, line by line, and the variable to look at.

    Parameters
    ----------
    path : Path
        A NetCDF file, or a raster of any form that GDAL opens.
    variable : str or None
        The variable to look at; the first map by default.
    """
    found: dict[str, Any] = {"file": str(path)}
    if path.suffix.lower() not in NETCDF_SUFFIXES:
        return found | _raster(path), variable
    with open_raw(path, variable) as dataset:
        maps = map_variables(dataset)
        found["variables"] = [_variable(dataset[name]) for name in dataset.data_vars]
        own = dataset.attrs.get("value")
    first = variable or (None if own or not maps else maps[0])
    if len(maps) > 1 and first is not None and variable is None:
        found["shown"] = f"{first}; name another with --variable"
    return found, first


def _variable(array: Any) -> str:
    units = array.attrs.get("units", "")
    shape = " × ".join(f"{dim} {size}" for dim, size in array.sizes.items())
    return f"{array.name} ({shape}){f', {units}' if units else ''}, {array.dtype}"


def _raster(path: Path) -> dict[str, Any]:
    with open_raster(path) as source:
        if not source.count or source.subdatasets:
            return {"rasters": [str(name) for name in source.subdatasets] or "none",
                    "driver": source.driver}  # fmt: skip
        rows, cols = source.shape
        found: dict[str, Any] = {
            "driver": source.driver,
            "size": f"{rows} × {cols} cells, {source.count} bands",
            "dtype": ", ".join(sorted(set(source.dtypes))),
            "nodata": "none" if source.nodata is None else f"{source.nodata:g}",
            "bands": [name for name in source.descriptions if name][:12] or "without names",
        }
        if rows * cols <= MOST_CELLS:
            missing = float(np.mean(source.dataset_mask() == 0))
            found["missing"] = f"{100 * missing:.1f} % of the cells"
        if source.crs is not None:
            found["crs"] = str(source.crs)[:60]
        return found

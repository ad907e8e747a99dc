"""What is in a file of maps, for people who look before they work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..words import agreed
from .kinds import is_netcdf
from .netcdf import grouped, map_variables, open_raw
from .quality import blank_codes
from .rasters import open_raster

if TYPE_CHECKING:
    from pathlib import Path

    from .sources import MapSource

MOST_CELLS = 1 << 22  # read for the share that is missing


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
    if not is_netcdf(path):
        return found | _raster(path), variable
    names = grouped(path) if variable is None else []
    if names and all("/" in name for name in names):
        found["variables"] = names
        found["shown"] = f"{names[0]}; name another with --variable"
        return found, names[0]
    with open_raw(path, variable) as dataset:
        maps = map_variables(dataset)
        found["variables"] = [_variable(dataset[name]) for name in dataset.data_vars]
        own = dataset.attrs.get("value")
    first = variable or (None if own or not maps else maps[0])
    if len(maps) > 1 and first is not None and variable is None:
        found["shown"] = f"{first}; name another with --variable"
    return found, first


def share_missing(source: MapSource) -> tuple[float, str, list[str]]:
    """Return the share of cells without a value, a sentence, and what is taken as missing.

    Of long files only middle rows are read.
    """
    rows, cols = source.box.shape
    few = max(1, min(rows, MOST_CELLS // (cols * source.count)))
    first = (rows - few) // 2
    values = source.read(slice(first, first + few), slice(0, cols))
    notes = blank_codes(values, source.name, packing=source.packing)
    share = float(np.mean(np.isnan(values)))
    where = "" if few == rows else f" of the {few} rows in the middle"
    return share, f"{100 * share:.3g} % of the cells{where}", notes


def _variable(array: Any) -> str:
    units = array.attrs.get("units", "")
    shape = " × ".join(f"{dim} {size}" for dim, size in array.sizes.items())
    fill = array.attrs.get("_FillValue", array.attrs.get("missing_value"))
    told = [units, str(array.dtype), "" if fill is None else f"missing {fill}"]
    return f"{array.name} ({shape}), {', '.join(part for part in told if part)}"


def _raster(path: Path) -> dict[str, Any]:
    with open_raster(path) as source:
        if not source.count or source.subdatasets:
            return {"rasters": [str(name) for name in source.subdatasets] or "none",
                    "driver": source.driver}  # fmt: skip
        rows, cols = source.shape
        found: dict[str, Any] = {
            "driver": source.driver,
            "size": f"{rows} × {cols} cells, {agreed(source.count, f'{source.count} bands')}",
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

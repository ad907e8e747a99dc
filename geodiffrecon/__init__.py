"""Complete, fine maps with calibrated errors from sparse, coarse observations.

Importing the package loads neither torch nor GDAL; every public name is loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "NestedGrid": "grid",
    "PointTable": "points",
    "read_points": "points",
    "bin_points": "binning",
    "aggregate": "cube",
    "make_cube": "cube",
    "interpolate": "interpolation",
    "open_history": "history",
    "open_cube": "history",
    "open_covariates": "covariates",
    "DiffRecon": "model",
    "load": "loading",
    "StationDiffRecon": "stations.model",
    "StationNetwork": "stations.network",
    "evaluate_stations": "stations.trial",
    "Settings": "presets",
    "preset": "presets",
    "evaluate": "validation",
    "write_geotiff": "geotiff",
    "write_netcdf": "cf",
    "read_netcdf": "cf",
    "SimulatedPM25": "synthetic",
    "GeoDiffReconError": "errors",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geodiffrecon' has no attribute {name!r}")
    found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name not in ("GeoDiffReconError", "Settings", "preset"):  # all others deal in datasets
        import_module(".interpolation.accessor", __name__)  # registers maps.gdr
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
